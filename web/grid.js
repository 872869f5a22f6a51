/**
 * A grid of keys of which only the visible rows exist in the document, with one tab stop that the arrows move
 * (the roving focus of the ARIA grid pattern).
 */

import { KeyCell } from './key.js';
import { fold } from './view.js';

/** Rows kept above and below what is visible. */
const OVERSCAN = 2;
/** Letters make one word as long as the pauses between them are shorter. */
const TYPE_AHEAD_MS = 800;

export class Grid {
  #element;
  #sizer = document.createElement('div');
  #probe = document.createElement('div');
  #keys = [];
  #places = new Map();
  /** Row number to its element and cells. */
  #rows = new Map();
  #spare = [];
  #columns = 1;
  #pitch = 1;
  #active;
  #activeAt = 0;
  #look;
  #drawn = new WeakMap();
  #version = 0;
  #typed = '';
  #typedAt = 0;
  #onopen;

  /**
   * @param {HTMLElement} element Scrolls; gets role `grid`.
   * @param {(r: string) => void} onopen Someone wants the details of a key.
   */
  constructor(element, onopen) {
    this.#element = element;
    this.#onopen = onopen;
    element.setAttribute('role', 'grid');
    element.setAttribute('aria-readonly', 'true');
    this.#sizer.className = 'sizer';
    this.#sizer.setAttribute('role', 'presentation');
    this.#probe.className = 'probe';
    this.#probe.setAttribute('aria-hidden', 'true');
    this.#sizer.append(this.#probe);
    element.append(this.#sizer);
    element.addEventListener('scroll', () => this.#layOut(), { passive: true });
    element.addEventListener('keydown', (event) => this.#press(event));
    element.addEventListener('click', (event) => this.#click(event));
    element.addEventListener('focusin', (event) => this.#focused(event));
    this.sizes = new ResizeObserver(() => this.#measure());
    this.sizes.observe(element);
    this.sizes.observe(this.#probe);
  }

  /** Something that all keys depend on has changed: language, staleness, the server's clock. */
  restyle(look) {
    this.#look = look;
    this.#version += 1;
    this.#layOut();
  }

  /** Shows `keys` in this order. Those drawn already are not touched. */
  show(keys, now) {
    this.#look = { ...this.#look, now };
    this.#keys = keys;
    this.#places = new Map(keys.map(({ r }, at) => [r, at]));
    this.#activeAt = this.#places.get(this.#active) ?? Math.min(this.#activeAt, Math.max(0, keys.length - 1));
    this.#active = keys[this.#activeAt]?.r;
    this.#layOut();
  }

  /** Moves the clocks of the calls that can be seen. */
  tick(now) {
    for (const { cells } of this.#rows.values()) for (const cell of cells) if (cell.key) cell.tick(now);
  }

  focus() {
    this.#cellAt(this.#activeAt)?.element.focus();
  }

  #measure() {
    const { width, height } = this.#probe.getBoundingClientRect();
    const style = getComputedStyle(this.#element);
    const inner = this.#element.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const gap = parseFloat(getComputedStyle(this.#probe).columnGap);
    if (width === 0 || inner <= 0) return;
    this.#columns = Math.max(1, Math.floor((inner + gap) / width));
    this.#pitch = height;
    this.#sizer.style.setProperty('--columns', this.#columns);
    this.#layOut();
  }

  #layOut() {
    if (!this.#look || this.#pitch <= 1) return;
    const rowCount = Math.ceil(this.#keys.length / this.#columns);
    this.#element.setAttribute('aria-rowcount', rowCount);
    this.#element.setAttribute('aria-colcount', Math.min(this.#columns, this.#keys.length));
    this.#sizer.style.height = `${rowCount * this.#pitch}px`;
    const top = this.#element.scrollTop / this.#pitch;
    const first = Math.max(0, Math.floor(top) - OVERSCAN);
    const last = Math.min(rowCount - 1, Math.ceil(top + this.#element.clientHeight / this.#pitch) + OVERSCAN);
    const wanted = new Set();
    for (let row = first; row <= last; row++) wanted.add(row);
    // The row with the tab stop stays, however far one scrolls: focus must not fall out of the document.
    if (rowCount > 0) wanted.add(Math.floor(this.#activeAt / this.#columns));

    const focused = this.#element.getRootNode().activeElement?.closest?.('.key');
    const hadFocus = focused && this.#element.contains(focused);
    for (const [row, line] of this.#rows) {
      if (wanted.has(row)) continue;
      this.#rows.delete(row);
      this.#spare.push(line);
    }
    for (const row of wanted) this.#drawRow(row);
    for (const { element } of this.#spare) element.remove();
    this.#spare.length = 0;
    if (hadFocus) {
      const cell = this.#cellAt(this.#activeAt);
      if (cell && cell.element !== focused) cell.element.focus({ preventScroll: true });
      if (!cell) this.#element.focus({ preventScroll: true });
    }
    this.#element.tabIndex = this.#keys.length ? -1 : 0;
  }

  #drawRow(row) {
    let line = this.#rows.get(row);
    if (!line) {
      line = this.#spare.pop() ?? newRow();
      this.#rows.set(row, line);
      line.element.style.transform = `translateY(${row * this.#pitch}px)`;
      line.element.setAttribute('aria-rowindex', row + 1);
      this.#place(row, line);
    } else {
      line.element.style.transform = `translateY(${row * this.#pitch}px)`;
    }
    const from = row * this.#columns;
    const count = Math.min(this.#columns, this.#keys.length - from);
    while (line.cells.length > count) line.cells.pop().element.remove();
    while (line.cells.length < count) {
      const cell = new KeyCell();
      cell.element.setAttribute('aria-colindex', line.cells.push(cell));
      line.element.append(cell.element);
    }
    line.cells.forEach((cell, column) => {
      const key = this.#keys[from + column];
      if (cell.key !== key || this.#drawn.get(cell) !== this.#version) {
        cell.draw(key, this.#look);
        this.#drawn.set(cell, this.#version);
      }
      const stop = from + column === this.#activeAt ? 0 : -1;
      if (cell.element.tabIndex !== stop) cell.element.tabIndex = stop;
    });
  }

  /** Rows stand in the document in the order in which they are seen, for those who read it. */
  #place(row, line) {
    let next;
    for (const at of this.#rows.keys()) if (at > row && (next === undefined || at < next)) next = at;
    this.#sizer.insertBefore(line.element, next === undefined ? null : this.#rows.get(next).element);
  }

  #cellAt(at) {
    return this.#rows.get(Math.floor(at / this.#columns))?.cells[at % this.#columns];
  }

  #rOf(event) {
    return event.target.closest?.('.key')?.dataset.r;
  }

  #focused(event) {
    const at = this.#places.get(this.#rOf(event));
    if (at === undefined || at === this.#activeAt) return;
    this.#activeAt = at;
    this.#active = this.#keys[at].r;
    this.#layOut();
  }

  #click(event) {
    const r = this.#rOf(event);
    if (r === undefined) return;
    this.#go(this.#places.get(r));
    this.#onopen(r);
  }

  /** Makes the key at `at` the tab stop, brings it into view and focuses it. */
  #go(at) {
    if (this.#keys.length === 0) return;
    this.#activeAt = Math.max(0, Math.min(at, this.#keys.length - 1));
    this.#active = this.#keys[this.#activeAt].r;
    const row = Math.floor(this.#activeAt / this.#columns);
    const { clientHeight, scrollTop } = this.#element;
    const [above, below] = [row * this.#pitch, (row + 1) * this.#pitch + this.#pitch / 4];
    if (above < scrollTop) this.#element.scrollTop = above;
    else if (below > scrollTop + clientHeight) this.#element.scrollTop = below - clientHeight;
    this.#layOut();
    this.#cellAt(this.#activeAt).element.focus({ preventScroll: true });
  }

  #press(event) {
    if (event.altKey || event.metaKey || this.#keys.length === 0) return;
    const at = this.#activeAt;
    const columns = this.#columns;
    const column = at % columns;
    const page = Math.max(1, Math.floor(this.#element.clientHeight / this.#pitch) - 1) * columns;
    const last = this.#keys.length - 1;
    const ahead = getComputedStyle(this.#element).direction === 'rtl' ? -1 : 1;
    const moves = {
      ArrowRight: () => at + ahead,
      ArrowLeft: () => at - ahead,
      ArrowDown: () => (at + columns <= last ? at + columns : at),
      ArrowUp: () => (at - columns >= 0 ? at - columns : at),
      Home: () => (event.ctrlKey ? 0 : at - column),
      End: () => (event.ctrlKey ? last : at - column + columns - 1),
      PageDown: () => Math.min(at + page, last),
      PageUp: () => (at - page >= 0 ? at - page : column),
    };
    if (event.key in moves) {
      this.#go(moves[event.key]());
    } else if (event.ctrlKey) {
      return;
    } else if (event.key === 'Enter' || (event.key === ' ' && !this.#isTyping(event))) {
      this.#onopen(this.#active);
    } else if (!this.#typeAhead(event)) {
      return;
    }
    event.preventDefault();
  }

  #isTyping({ timeStamp }) {
    return this.#typed !== '' && timeStamp - this.#typedAt <= TYPE_AHEAD_MS;
  }

  #typeAhead(event) {
    const { key } = event;
    if (key.length !== 1 || key === '/' || key === '?') return false;
    this.#typed = (this.#isTyping(event) ? this.#typed : '') + fold(key);
    this.#typedAt = event.timeStamp;
    const typed = this.#typed;
    // A first letter moves on from here; more letters narrow the name down from where one stands.
    const from = this.#activeAt + (typed.length === 1 ? 1 : 0);
    for (let step = 0; step < this.#keys.length; step++) {
      const at = (from + step) % this.#keys.length;
      const { name, user } = this.#keys[at];
      const words = fold(name).split(/\s+/);
      if (!fold(name).startsWith(typed) && !fold(user).startsWith(typed) && !words.some((w) => w.startsWith(typed))) continue;
      this.#go(at);
      break;
    }
    return true;
  }
}

function newRow() {
  const element = document.createElement('div');
  element.className = 'row';
  element.setAttribute('role', 'row');
  return { element, cells: [] };
}
