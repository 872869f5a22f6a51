/**
 * A grid of keys of which only the visible rows exist in the document, with one tab stop that the arrows move
 * (the roving focus of the ARIA grid pattern).
 */

import { KeyCell } from './key.js';
import { fold } from './view.js';

/** Rows kept above and below what is visible. */
const OVERSCAN = 2;
/** Bells that may swing at once; more would be unrest, and work, rather than a hint. */
const SWINGS_MOST = 4;
/** A wallboard's keys are this many times as large as others, from and to. */
const LARGEST = 3;
const SMALLEST = 0.6;
/** Letters make one word as long as the pauses between them are shorter. */
const TYPE_AHEAD_MS = 800;

/** What a dragged key is, to drop targets; its data is the resource. */
export const DRAGGED = 'application/x-lamplighter-key';

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
  #does;
  #fits = false;
  #scale = 1;
  #draggable = false;

  /**
   * @param {HTMLElement} element Scrolls; gets role `grid`.
   * @param {object} does What to do when someone
   * @param {(r: string) => void} does.act presses a key,
   * @param {(r: string) => void} does.describe wants its details,
   * @param {(r: string, x: number, y: number) => void} does.menu or its menu,
   * @param {(r: string, at: string) => void} does.move puts it where another is.
   */
  constructor(element, does) {
    this.#element = element;
    this.#does = does;
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
    element.addEventListener('contextmenu', (event) => this.#menu(event));
    for (const name of ['dragstart', 'dragover', 'dragleave', 'drop', 'dragend']) {
      element.addEventListener(name, (event) => this.#drag(event));
    }
    element.addEventListener('focusin', (event) => this.#focused(event));
    this.sizes = new ResizeObserver(() => this.#measure());
    this.sizes.observe(element);
    this.sizes.observe(this.#probe);
  }

  /** How keys are drawn from now on; those drawn already stay until `forget`. */
  restyle(look) {
    this.#look = look;
  }

  /** Something that all keys depend on has changed: language, staleness, who is a favourite. */
  forget() {
    this.#version += 1;
  }

  /** Brings a key into view and focuses it. @returns {boolean} Whether it is shown. */
  select(r) {
    const at = this.#places.get(r);
    if (at !== undefined) this.#go(at);
    return at !== undefined;
  }

  /** Whether keys grow and shrink so that all of them fit, and whether they can be dragged. */
  behave({ fits, draggable }) {
    this.#fits = fits;
    this.#draggable = draggable;
    if (!fits) this.#setScale(1);
    this.#measure();
  }

  /** Keys have changed that stay where they are. */
  update(keys, now) {
    this.#look = { ...this.#look, now };
    for (const key of keys) {
      const at = this.#places.get(key.r);
      if (at !== undefined) this.#keys[at] = key;
    }
    for (const row of this.#rows.keys()) this.#drawRow(row);
    this.#calm();
  }

  /** Shows `keys` in this order. Those drawn already are not touched. */
  show(keys, now) {
    this.#look = { ...this.#look, now };
    this.#keys = keys;
    this.#places = new Map(keys.map(({ r }, at) => [r, at]));
    this.#activeAt = this.#places.get(this.#active) ?? Math.min(this.#activeAt, Math.max(0, keys.length - 1));
    this.#active = keys[this.#activeAt]?.r;
    if (this.#fits) this.#measure();
    else this.#layOut();
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
    const scale = this.#fits ? this.#fit(inner, { width, height, gap }) : this.#scale;
    const grown = scale / this.#scale;
    this.#setScale(scale);
    this.#columns = Math.max(1, Math.floor((inner + gap * grown) / (width * grown)));
    this.#pitch = height * grown;
    this.#sizer.style.setProperty('--columns', this.#columns);
    this.#layOut();
  }

  /** The largest scale at which all keys can be seen at once. */
  #fit(inner, { width, height, gap }) {
    const style = getComputedStyle(this.#element);
    const room = this.#element.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    for (let scale = LARGEST; scale > SMALLEST; scale -= 0.05) {
      const grown = scale / this.#scale;
      const columns = Math.floor((inner + gap * grown) / (width * grown));
      if (columns > 0 && Math.ceil(this.#keys.length / columns) * height * grown <= room) return scale;
    }
    return SMALLEST;
  }

  #setScale(scale) {
    this.#scale = scale;
    this.#element.style.setProperty('--blf-scale', scale);
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
    this.#calm();
    for (const { element } of this.#spare) element.remove();
    this.#spare.length = 0;
    if (hadFocus) {
      const cell = this.#cellAt(this.#activeAt);
      if (cell && cell.element !== focused) cell.element.focus({ preventScroll: true });
      if (!cell) this.#element.focus({ preventScroll: true });
    }
    this.#element.tabIndex = this.#keys.length ? -1 : 0;
  }

  #calm() {
    let ringing = 0;
    for (const { cells } of this.#rows.values()) for (const { key } of cells) if (key?.state === 'ringing') ringing += 1;
    this.#element.classList.toggle('calm', ringing > SWINGS_MOST);
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
        cell.element.draggable = this.#draggable;
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
    if (event.target.closest('.more')) this.#openMenu(r, event.clientX, event.clientY);
    else this.#does.act(r);
  }

  #menu(event) {
    const r = this.#rOf(event);
    if (r === undefined) return;
    event.preventDefault();
    this.#go(this.#places.get(r));
    this.#openMenu(r, event.clientX, event.clientY);
  }

  /** At a point, or else at the key. */
  #openMenu(r, x, y) {
    const { left, bottom } = this.#cellAt(this.#places.get(r)).element.getBoundingClientRect();
    this.#does.menu(r, x || left + 16, y || bottom - 16);
  }

  #drag(event) {
    const cell = event.target.closest?.('.key');
    const marked = this.#element.querySelector('.key.target');
    if (event.type !== 'dragover' || marked !== cell) marked?.classList.remove('target');
    if (!cell) return;
    if (event.type === 'dragstart') {
      event.dataTransfer.setData(DRAGGED, cell.dataset.r);
      event.dataTransfer.effectAllowed = 'copyMove';
    } else if (event.type === 'dragover' && this.#look.arranges && event.dataTransfer.types.includes(DRAGGED)) {
      cell.classList.add('target');
      event.preventDefault();
    } else if (event.type === 'drop') {
      event.preventDefault();
      this.#does.move(event.dataTransfer.getData(DRAGGED), cell.dataset.r);
    }
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
    if (event.metaKey || this.#keys.length === 0) return;
    if (event.altKey) return this.#shift(event);
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
    } else if (event.key === 'Enter') {
      this.#does.act(this.#active);
    } else if (event.key === ' ' && !this.#isTyping(event)) {
      this.#does.describe(this.#active);
    } else if (event.key === 'ContextMenu' || (event.key === 'F10' && event.shiftKey)) {
      this.#go(at);
      this.#openMenu(this.#active, 0, 0);
    } else if (!this.#typeAhead(event)) {
      return;
    }
    event.preventDefault();
  }

  /** Moves the key itself by Alt and an arrow. */
  #shift(event) {
    const ahead = getComputedStyle(this.#element).direction === 'rtl' ? -1 : 1;
    const step = { ArrowRight: ahead, ArrowLeft: -ahead, ArrowDown: this.#columns, ArrowUp: -this.#columns }[event.key];
    const to = this.#keys[this.#activeAt + step];
    if (!this.#look.arranges || !to) return;
    event.preventDefault();
    this.#does.move(this.#active, to.r);
    this.focus();
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
