/** Draws one key: a cell of the grid that is filled with one key after another. */

import { lamp, setLamp, sign, SIGNS } from './icons.js';
import { duration } from './i18n.js';
import { addressOf } from './store.js';
import { startOf } from './view.js';

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
export function labelOf(key, language, { now, nameOf, stale }) {
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
  ].filter(Boolean).join(', ');
}

function part(tag, className, ...children) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...children);
  return element;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
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
  #key;
  #since = '';

  constructor() {
    for (const foreign of [this.#name, this.#extension, this.#who]) foreign.dir = 'auto';
    const text = part(
      'div',
      'text',
      part('div', 'line', this.#name, this.#extension),
      part('div', 'line', this.#word, this.#clock, this.#several, this.#also),
      part('div', 'line', this.#detail, this.#mail),
    );
    this.element = part('div', 'key', this.#lamp, text);
    this.element.setAttribute('role', 'gridcell');
    this.element.setAttribute('part', 'key');
    this.element.tabIndex = -1;
  }

  get key() {
    return this.#key;
  }

  /**
   * @param {import('./store.js').Key} key
   * @param {{language: import('./i18n.js').Language, now: number, nameOf: (uri: string) => string, stale: boolean}} look
   */
  draw(key, look) {
    const { language, now, nameOf } = look;
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
    this.#way.toggleAttribute('hidden', !way);
    this.#way.style.display = way ? '' : 'none';
    if (way) {
      this.#way.firstChild.setAttribute('d', way);
      this.#way.dataset.dir = key.call.dir;
    }
    write(this.#who, who || aboutOf(key, language));
    this.#detail.classList.toggle('about', !who);
    this.#detail.hidden = this.#who.textContent === '';
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
