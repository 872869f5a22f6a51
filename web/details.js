/** All about one key, as a dialog and as a card beside the pointer; and what the keyboard does. */

import { duration } from './i18n.js';
import { lamp, setLamp, sign } from './icons.js';
import { aboutOf, mailOf, partyOf, sinceOf } from './key.js';
import { addressOf } from './store.js';
import { Window, button, element } from './window.js';

/** Time that a pointer rests on a key before its card comes. */
const REST_MS = 550;

export class HelpWindow extends Window {
  open(language) {
    const rows = [
      [['←', '↑', '→', '↓'], 'arrows'], [['Home', 'End'], 'ends'], [['Page ↑', 'Page ↓'], 'pages'], [['Enter'], 'act'],
      [['Space'], 'space'], [['Shift F10'], 'menu'], [['Alt ← →'], 'move'], [['a', '…', '9'], 'type'], [['/'], 'search'],
      [['Esc'], 'escape'], [['?'], 'help'],
    ];
    const list = element('dl');
    for (const [keys, name] of rows) {
      const caps = keys.flatMap((key) => [element('kbd', { textContent: key }), ' ']);
      list.append(element('dt', {}, ...caps), element('dd', { textContent: language.say(`help_${name}`) }));
    }
    this.fill(language, '', language.say('help'), '', list);
    this.show();
  }
}

/** The list of all that is known about a key, and the clocks in it that run. */
function describe(key, look) {
  const { language } = look;
  const clocks = [];
  const list = element('dl');
  const row = (name, ...children) => list.append(element('dt', { textContent: language.say(name) }), element('dd', {}, ...children));
  const rows = (name, items) => row(name, element('ul', {}, ...items));
  const text = (content) => element('span', { textContent: content, dir: 'auto' });
  const quiet = (content) => element('span', { className: 'calls-in', textContent: content });

  row('address', text(key.r.replace(/^sips?:/, '')));
  if (key.department) row('department', text(key.department));
  if (key.calls.length) rows('current_calls', key.calls.map((call) => callRow(call, look, clocks)));
  if (key.slots.length) {
    rows('lines', key.slots.map((slot) => {
      const small = lamp(slot.state);
      const who = partyOf(slot.remote, language, look.nameOf) || look.nameOf(slot.by) || addressOf(slot.by).user;
      const line = element('li', {}, small, text(slot.label), quiet(language.say(slot.state)), who ? quiet(who) : '');
      line.dataset.state = slot.state;
      return line;
    }));
  }
  if (key.waiting) row('messages', mailOf(key, language));
  const about = aboutOf(key, language);
  if (about) row('note', text(about));
  if (key.devices.length || key.registered !== undefined) {
    const devices = key.devices.map((device) => {
      const name = device.agent || device.id || addressOf(device.contact).host;
      const words = [name, device.note].filter(Boolean).join(' · ');
      const line = element('li', {}, lamp(device.state), text(words));
      line.dataset.state = device.state;
      return line;
    });
    if (devices.length === 0) devices.push(element('li', { textContent: language.say(key.registered ? 'registered' : 'unregistered') }));
    rows('devices', devices);
  }
  return { list, clocks };
}

function callRow(call, { language, nameOf }, clocks) {
  const clock = element('span', { className: 'clock' });
  const start = call.answered ?? call.since;
  if (start !== undefined) clocks.push({ clock, start });
  const who = partyOf(call.remote, language, nameOf);
  const number = addressOf(call.remote?.uri ?? '').user;
  return element(
    'li',
    {},
    call.dir ? sign(call.dir) : '',
    element('span', { textContent: who || language.say('unknown'), dir: 'auto' }),
    number && number !== who ? element('span', { className: 'calls-in', textContent: number }) : '',
    element('span', { className: 'calls-in', textContent: language.say(`call_${call.hold ? 'hold' : call.state}`) }),
    clock,
  );
}

function wordsOf(key, { language, now, stale }) {
  return [language.say(key.state), sinceOf(key, language, now), stale ? language.say('last_known') : ''].filter(Boolean).join(', ');
}

function move(clocks, now) {
  for (const { clock, start } of clocks) clock.textContent = duration(now - start);
}

export class KeyWindow extends Window {
  #r;
  #clocks = [];
  #lamp = lamp();
  #drawn;
  #actions;

  /** @param {{dial: (r: string) => void, copy: (r: string) => void}|undefined} actions What one can do; none: only look. */
  constructor(root, actions) {
    super(root);
    this.#actions = actions;
  }

  /** The resource shown, if any. */
  get r() {
    return this.isOpen ? this.#r : undefined;
  }

  open(key, look) {
    this.#r = key.r;
    this.draw(key, look);
    this.show();
  }

  /** Draws what has changed; while someone has their hands on a button, the buttons stay. */
  draw(key, look) {
    const { language, now, stale } = look;
    const focused = this.element.getRootNode().activeElement?.dataset?.role;
    const { list, clocks } = describe(key, look);
    this.#clocks = clocks;
    this.element.dataset.state = key.state;
    this.element.classList.toggle('stale', stale);
    setLamp(this.#lamp, key.state);
    this.fill(language, this.#lamp, key.name || key.user, wordsOf(key, look), list, this.#buttons(key, look));
    this.#drawn = key;
    if (focused) this.element.querySelector(`[data-role="${focused}"]`)?.focus();
    this.tick(now);
  }

  shows(key) {
    return this.#drawn === key;
  }

  tick(now) {
    move(this.#clocks, now);
  }

  #buttons(key, { language, locked }) {
    if (locked) return '';
    const { dial, copy } = this.#actions;
    const made = ['dial', 'copy'].map((role) => {
      const one = button(language.say(role), () => ({ dial, copy })[role](key.r));
      one.dataset.role = role;
      return one;
    });
    made[0].classList.add('first');
    return element('div', { className: 'actions' }, ...made);
  }
}

/** What a pointer that rests on a key is told. Those who do not point have the dialog, which says the same. */
export class HoverCard {
  #card = element('div', { className: 'card' });
  #lamp = lamp();
  #timer = 0;
  #r;
  #clocks = [];
  #draw;

  /**
   * @param {ShadowRoot} root
   * @param {HTMLElement} grid Where keys are.
   * @param {(r: string) => [import('./store.js').Key, import('./key.js').Look]|undefined} find
   */
  constructor(root, grid, find) {
    this.#card.setAttribute('popover', 'manual');
    this.#card.setAttribute('aria-hidden', 'true');
    this.#card.setAttribute('part', 'card');
    root.append(this.#card);
    this.#draw = find;
    grid.addEventListener('pointerover', (event) => this.#over(event));
    for (const end of ['pointerleave', 'pointerdown', 'keydown', 'wheel', 'dragstart']) {
      grid.addEventListener(end, () => this.hide(), { passive: true });
    }
  }

  /** Follows a change of what is shown. */
  refresh() {
    if (this.#r !== undefined) this.#fill();
  }

  tick(now) {
    if (this.#r !== undefined) move(this.#clocks, now);
  }

  hide() {
    clearTimeout(this.#timer);
    if (this.#r === undefined) return;
    this.#r = undefined;
    this.#card.hidePopover();
  }

  #over({ target, pointerType, buttons }) {
    const cell = target.closest?.('.key');
    if (cell?.dataset.r === this.#r && cell) return;
    this.hide();
    if (!cell || pointerType !== 'mouse' || buttons) return;
    this.#timer = setTimeout(() => this.#show(cell), REST_MS);
  }

  #show(cell) {
    if (!cell.isConnected) return;
    this.#r = cell.dataset.r;
    if (!this.#fill()) return;
    this.#card.showPopover();
    const at = cell.getBoundingClientRect();
    const { width, height } = this.#card.getBoundingClientRect();
    const below = at.bottom + 6 + height <= innerHeight;
    const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
    this.#card.style.left = `${left}px`;
    this.#card.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - 6 - height)}px`;
  }

  /** @returns {boolean} Whether there is such a key. */
  #fill() {
    const [key, look] = this.#draw(this.#r) ?? [];
    if (!key) {
      this.hide();
      return false;
    }
    const { list, clocks } = describe(key, look);
    this.#clocks = clocks;
    this.#card.dataset.state = key.state;
    this.#card.classList.toggle('stale', look.stale);
    setLamp(this.#lamp, key.state);
    const words = element('div', {}, element('b', { textContent: key.name || key.user, dir: 'auto' }), element('p', { textContent: wordsOf(key, look) }));
    this.#card.replaceChildren(element('div', { className: 'top' }, this.#lamp, words), list);
    move(clocks, look.now);
    return true;
  }
}
