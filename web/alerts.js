/** Tells a person about the keys they watch: a notification of the system, and a sound. */

import { isQuiet } from './memory.js';
import { partyOf } from './key.js';

const BUSY = new Set(['ringing', 'dialing', 'busy', 'hold', 'parked']);
/** Two notes, as `[Hz, begin, end]` in seconds. */
const TUNES = { rings: [[880, 0, 0.16], [1174.7, 0.18, 0.5]], free: [[659.3, 0, 0.35]] };

/** What a change of a watched key is worth telling: `rings`, `free`, or nothing. */
export function newsOf(before, after) {
  if (!before || !after || before.state === after.state) return undefined;
  if (after.state === 'ringing') return 'rings';
  return after.state === 'idle' && BUSY.has(before.state) ? 'free' : undefined;
}

export class Alerts {
  #audio;

  /** Asks for leave to notify. @returns {Promise<boolean>} */
  static async permit() {
    if (typeof Notification === 'undefined') return false;
    return (await Notification.requestPermission()) === 'granted';
  }

  /**
   * @param {'rings'|'free'} news
   * @param {import('./store.js').Key} key
   * @param {import('./memory.js').Alerts} wish
   * @param {import('./key.js').Look} look
   */
  tell(news, key, wish, { language, nameOf }) {
    const clock = new Date();
    const now = [clock.getHours(), clock.getMinutes()].map((n) => String(n).padStart(2, '0')).join(':');
    if (isQuiet(wish, now)) return;
    if (wish.desktop && typeof Notification !== 'undefined' && Notification.permission === 'granted') {
      const who = key.name || key.user;
      const from = partyOf(key.call?.remote, language, nameOf);
      const title = language.say(news === 'rings' ? 'rings_plain' : 'free', { who });
      const body = from && news === 'rings' ? language.say('from', { who: from }) : key.user;
      try {
        // One notification a key: the newest replaces the one before.
        new Notification(title, { body, tag: key.r, lang: language.tag });
      } catch {
        // Some browsers leave this to installed applications.
      }
    }
    if (wish.sound) this.play(news, wish.volume);
  }

  play(news, volume) {
    this.#audio ??= new AudioContext();
    const audio = this.#audio;
    for (const [pitch, begin, end] of TUNES[news]) {
      const [tone, gain] = [audio.createOscillator(), audio.createGain()];
      const at = audio.currentTime;
      tone.frequency.value = pitch;
      gain.gain.setValueAtTime(0, at + begin);
      gain.gain.linearRampToValueAtTime(volume * 0.4, at + begin + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.0001, at + end);
      tone.connect(gain).connect(audio.destination);
      tone.start(at + begin);
      tone.stop(at + end);
    }
  }
}
