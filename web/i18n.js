/** What the panel says, per language, and how it writes numbers and times. */

import de from './text-de.js';
import en from './text-en.js';
import es from './text-es.js';
import fr from './text-fr.js';

export const CATALOGUES = { en, de, fr, es };

/** What each language calls itself. */
export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français', es: 'Español' };

export class Language {
  /** @param {string[]} wanted Language tags, the dearest first; English if none is spoken. */
  constructor(wanted) {
    const tag = wanted.find((one) => one.split('-')[0].toLowerCase() in CATALOGUES) ?? 'en';
    this.tag = tag;
    this.#texts = CATALOGUES[tag.split('-')[0].toLowerCase()];
    this.#number = new Intl.NumberFormat(tag);
    this.#time = new Intl.DateTimeFormat(tag, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
    this.#minute = new Intl.DateTimeFormat(tag, { hour: '2-digit', minute: '2-digit' });
    this.#day = new Intl.DateTimeFormat(tag, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
    this.compare = new Intl.Collator(tag, { numeric: true, sensitivity: 'base' }).compare;
  }

  #texts;
  #number;
  #time;
  #minute;
  #day;

  /** @returns {string} The text `name` with its `{places}` filled in; empty if there is no such text. */
  say(name, places = {}) {
    const fill = (_, place) => (typeof places[place] === 'number' ? this.number(places[place]) : (places[place] ?? ''));
    return (this.#texts[name] ?? '').replace(/\{(\w+)\}/g, fill).trim();
  }

  number(n) {
    return this.#number.format(n);
  }

  /** A moment of today, to the second. */
  time(ms) {
    return this.#time.format(ms);
  }

  /** When something began, to the minute, with the day unless it is of the last twelve hours. */
  moment(ms, now) {
    return (Math.abs(now - ms) < 12 * 3_600_000 ? this.#minute : this.#day).format(ms);
  }
}

/** `m:ss`, or `h:mm:ss` from an hour on. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
