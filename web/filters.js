/** The row of states: how many keys are in each, and which are shown. */

import { lamp } from './icons.js';
import { STATES } from './store.js';
import { countStates } from './view.js';
import { element } from './window.js';

/** States whose filter shows only when a key is in it. */
const RARE = new Set(['parked', 'unknown']);

export class Filters {
  #chips = new Map();

  /** @param {HTMLElement} row @param {(state: string) => void} onchoose A state was pressed; empty: all. */
  constructor(row, onchoose) {
    for (const state of ['', ...STATES]) {
      const [words, count] = [element('span'), element('b')];
      const chip = element('button', { type: 'button', className: state ? 'chip' : 'chip every' }, state ? lamp(state) : '', words, count);
      if (state) chip.dataset.state = state;
      chip.addEventListener('click', () => onchoose(state));
      row.append(chip);
      this.#chips.set(state, { element: chip, words, count, drawn: '' });
    }
  }

  /** @param {import('./i18n.js').Language} language */
  translate(language) {
    for (const [state, { words }] of this.#chips) words.textContent = language.say(state || 'all');
  }

  /** @param {import('./store.js').Key[]} keys @param {ReadonlySet<string>} chosen */
  draw(keys, chosen, language) {
    const counts = countStates(keys);
    for (const [state, chip] of this.#chips) {
      const count = state ? counts[state] : keys.length;
      const pressed = state ? chosen.has(state) : chosen.size === 0;
      const drawn = `${count} ${pressed} ${language.tag}`;
      if (chip.drawn === drawn) continue;
      chip.drawn = drawn;
      chip.element.dataset.count = count;
      chip.element.setAttribute('aria-pressed', pressed);
      chip.element.hidden = RARE.has(state) && count === 0 && !pressed;
      chip.count.textContent = language.number(count);
    }
  }
}
