/** Draws one key: a cell of the grid that is filled with one key after another. */

import { lamp, setLamp, sign, SIGNS } from './icons.js';
import { duration } from './i18n.js';
import { addressOf } from './store.js';
import { startOf } from './view.js';

/** Small lamps that one key has room for. */
const SLOTS_SHOWN = 6;

/**
 * How keys are drawn, apart from what they say.
 * @typedef {{language: import('./i18n.js').Language, now: number, nameOf: (uri: string) => string, stale: boolean,
 *   isFavourite?: (r: string) => boolean, isWatched?: (r: string) => boolean}} Look
 */

/** A call's other side as people say it; empty if it is not known. */
export function partyOf(remote, language, nameOf) {
  if (!remote) return '';
  const { user, host } = addressOf(remote.uri);
  if (/^anonymous$/i.test(user) || host === 'anonymous.invalid') return language.say('anonymous');
  return nameOf(remote.uri) || remote.name || user || host;
}

/** What someone is doing, and their note. */
export function aboutOf(key, language) {
  return [language.say(`activity_${key.activity}`), key.note].filter(Boolean).join(' · ');
}

/** Since when someone is away; that they are there needs no date. */
export function sinceOf({ since, state }, language, now) {
  return since === undefined || state === 'idle' ? '' : language.say('since', { time: language.moment(since, now) });
}

/** Voicemail in words. */
export function mailOf({ voicemail, urgent, waiting }, language) {
  if (!waiting) return '';
  const name = voicemail === 0 ? 'voicemail_some' : voicemail === 1 ? 'voicemail_one' : 'voicemail';
  return [language.say(name, { n: voicemail }), urgent ? language.say('urgent', { n: urgent }) : ''].filter(Boolean).join(', ');
}

/** Everything that a key says, for those who hear it. Running times are left out: they would never be right. */
export function labelOf(key, language, { now, nameOf, stale, isFavourite }) {
  const who = partyOf(key.call?.remote, language, nameOf);
  const way = { in: 'from', out: 'to' }[key.call?.dir] ?? 'with';
  return [
    key.name,
    key.user,
    language.say(key.state),
    stale ? language.say('last_known') : '',
    key.dnd && key.state !== 'dnd' ? language.say('dnd') : '',
    who ? language.say(way, { who }) : '',
    key.count > 1 ? language.say('calls', { n: key.count }) : '',
    sinceOf(key, language, now),
    aboutOf(key, language),
    mailOf(key, language),
    ...slotsInUse(key).map((slot) => `${slot.label}: ${language.say(slot.state)}`),
    isFavourite?.(key.r) ? language.say('favourites') : '',
  ].filter(Boolean).join(', ');
}

function slotsInUse({ slots }) {
  return slots.filter(({ state }) => state !== 'idle').slice(0, SLOTS_SHOWN);
}

/** A piece of a key; pages may style it by the same name as a part. */
function part(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.setAttribute('part', className);
  element.append(...children);
  return element;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The appearances of a shared line, or the places where calls are parked: a small lamp each. */
class Slots {
  element = part('span', 'slots');
  #lamps = [];

  draw(slots, language) {
    const shown = slots.slice(0, SLOTS_SHOWN);
    while (this.#lamps.length > shown.length) this.#lamps.pop().element.remove();
    while (this.#lamps.length < shown.length) {
      const one = { element: part('span', 'slot'), lamp: lamp(), label: part('span', 'label'), state: '' };
      one.element.append(one.lamp, one.label);
      this.element.append(one.element);
      this.#lamps.push(one);
    }
    shown.forEach(({ label, state }, at) => {
      const one = this.#lamps[at];
      if (one.state !== state) setLamp(one.lamp, (one.element.dataset.state = one.state = state));
      write(one.label, label);
    });
    this.element.hidden = shown.length === 0;
    this.element.dataset.more = slots.length > shown.length ? `+${language.number(slots.length - shown.length)}` : '';
  }
}

export class KeyCell {
  #lamp = lamp();
  #name = part('span', 'name');
  #extension = part('span', 'extension');
  #word = part('span', 'word');
  #clock = part('span', 'clock');
  #several = part('span', 'several');
  #also = part('span', 'also');
  #way = sign('in');
  #who = part('span', 'who');
  #detail = part('span', 'detail', this.#way, this.#who);
  #mailCount = part('span', 'number');
  #mail = part('span', 'mail', sign('voicemail'), this.#mailCount);
  #slots = new Slots();
  #star = part('span', 'star', sign('star'));
  #bell = part('span', 'bell', sign('bell'));
  #more = part('span', 'more', sign('more'));
  #key;
  #since = '';

  /** @param {string} [role] What the key is to those who hear it. */
  constructor(role = 'gridcell') {
    for (const foreign of [this.#name, this.#extension, this.#who]) foreign.dir = 'auto';
    const text = part(
      'div',
      'text',
      part('div', 'line', this.#name, this.#bell, this.#star, this.#extension),
      part('div', 'line', this.#word, this.#clock, this.#several, this.#also),
      part('div', 'line', this.#detail, this.#slots.element, this.#mail),
    );
    // The label says it all, in the order of speech.
    text.setAttribute('aria-hidden', 'true');
    this.#lamp.setAttribute('part', 'lamp');
    this.element = part('div', 'key', this.#lamp, text, this.#more);
    this.element.setAttribute('role', role);
    this.element.tabIndex = -1;
  }

  get key() {
    return this.#key;
  }

  /**
   * @param {import('./store.js').Key} key
   * @param {Look} look
   */
  draw(key, look) {
    const { language, now, nameOf, isFavourite, isWatched } = look;
    // Colours fade when a key changes, not when another key takes this place: that would be a state it never had.
    this.element.classList.toggle('moved', this.#key?.r === key.r);
    if (this.#key?.state !== key.state) {
      this.element.dataset.state = key.state;
      setLamp(this.#lamp, key.state);
    }
    this.#key = key;
    this.element.dataset.r = key.r;
    this.element.setAttribute('aria-label', labelOf(key, language, look));
    write(this.#name, key.name || key.user);
    write(this.#extension, key.name ? key.user : '');
    write(this.#word, language.say(key.state));
    this.#since = sinceOf(key, language, now);
    write(this.#several, key.count > 1 ? `×${language.number(key.count)}` : '');
    write(this.#also, key.dnd && key.state !== 'dnd' ? language.say('dnd') : '');
    const who = partyOf(key.call?.remote, language, nameOf);
    const way = who ? SIGNS[key.call.dir] : undefined;
    this.#way.style.display = way ? '' : 'none';
    if (way) {
      this.#way.firstChild.setAttribute('d', way);
      this.#way.dataset.dir = key.call.dir;
    }
    write(this.#who, who || aboutOf(key, language));
    this.#detail.classList.toggle('about', !who);
    this.#detail.hidden = this.#who.textContent === '';
    this.#slots.draw(key.slots, language);
    this.#star.hidden = !isFavourite?.(key.r);
    this.#bell.hidden = !isWatched?.(key.r);
    this.#mail.hidden = !key.waiting;
    write(this.#mailCount, key.voicemail ? language.number(key.voicemail) : '');
    this.tick(now);
  }

  /** Moves the clock of a running call. `now` is in the server's milliseconds. */
  tick(now) {
    const start = startOf(this.#key);
    write(this.#clock, start === undefined ? this.#since : duration(now - start));
  }
}
