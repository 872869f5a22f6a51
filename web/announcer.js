/** Tells people what has happened: what rings, to those who listen; what came of their doing, to everybody. */

import { partyOf } from './key.js';

/** Time between two sentences about keys. */
const ANNOUNCE_MS = 2000;
const TOAST_MS = 4000;

export class Announcer {
  #region;
  #toast;
  #look;
  #waiting = new Map();
  #saying = 0;
  #toasting = 0;

  /**
   * @param {HTMLElement} region The one live region.
   * @param {HTMLElement} toast A popover.
   * @param {() => import('./key.js').Look} look
   */
  constructor(region, toast, look) {
    this.#region = region;
    this.#toast = toast;
    this.#look = look;
  }

  /** This key has begun to ring. */
  rings(key) {
    this.#waiting.set(key.r, key);
    this.#saying ||= setTimeout(() => this.#announce());
  }

  /** It does no longer; if that has not been said yet, it need not be. */
  rests(r) {
    this.#waiting.delete(r);
  }

  /** Says something to those who listen. */
  say(text) {
    this.#region.textContent = text;
  }

  /** Says what has come of what someone did, and shows it for a while. */
  tell(text) {
    this.say(text);
    this.#toast.textContent = text;
    this.#toast.hidePopover();
    this.#toast.showPopover();
    clearTimeout(this.#toasting);
    this.#toasting = setTimeout(() => this.#toast.hidePopover(), TOAST_MS);
  }

  /** Forgets what was still to be said. */
  stop() {
    clearTimeout(this.#saying);
    clearTimeout(this.#toasting);
    this.#saying = 0;
    this.#waiting.clear();
  }

  /** One sentence, at most each two seconds, and only on what rings still. */
  #announce() {
    this.#saying = 0;
    const keys = [...this.#waiting.values()];
    this.#waiting.clear();
    if (keys.length === 0) return;
    const { language, nameOf } = this.#look();
    const [key] = keys;
    const who = partyOf(key.call?.remote, language, nameOf);
    const places = { who: key.name || key.user, from: language.say('from', { who }), n: keys.length };
    this.say(language.say(keys.length > 1 ? 'ring_many' : who ? 'rings' : 'rings_plain', places));
    this.#saying = setTimeout(() => this.#announce(), ANNOUNCE_MS);
  }
}
