/** The menu of a key, after the ARIA menu pattern. */

import { element } from './window.js';

export class Menu {
  #menu = element('div', { className: 'menu' });
  #restore = () => {};

  constructor(root) {
    this.#menu.setAttribute('popover', 'auto');
    this.#menu.setAttribute('role', 'menu');
    this.#menu.setAttribute('part', 'menu');
    this.#menu.addEventListener('keydown', (event) => this.#press(event));
    this.#menu.addEventListener('toggle', ({ newState }) => newState === 'closed' && this.#closed());
    root.append(this.#menu);
  }

  get isOpen() {
    return this.#menu.matches(':popover-open');
  }

  /**
   * @param {string} label Whose menu it is.
   * @param {({text: string, act: () => void}|null)[]} items `null` draws a line.
   * @param {number} x Where, in the viewport.
   * @param {number} y
   * @param {() => void} restore Puts the focus back.
   */
  open(label, items, x, y, restore) {
    this.#restore = restore;
    this.#menu.setAttribute('aria-label', label);
    this.#menu.replaceChildren(...items.map((item) => this.#item(item)));
    this.#menu.showPopover();
    const { width, height } = this.#menu.getBoundingClientRect();
    this.#menu.style.left = `${Math.max(4, Math.min(x, innerWidth - width - 4))}px`;
    this.#menu.style.top = `${Math.max(4, Math.min(y, innerHeight - height - 4))}px`;
    this.#menu.querySelector('button')?.focus();
  }

  close() {
    if (this.isOpen) this.#menu.hidePopover();
  }

  #item(item) {
    if (!item) {
      const line = element('div', { className: 'rule' });
      line.setAttribute('role', 'separator');
      return line;
    }
    const made = element('button', { type: 'button', textContent: item.text, tabIndex: -1 });
    made.setAttribute('role', 'menuitem');
    made.addEventListener('click', () => {
      this.close();
      item.act();
    });
    return made;
  }

  #closed() {
    // Unless what was chosen has taken the focus.
    const { activeElement } = this.#menu.getRootNode();
    if (!activeElement || this.#menu.contains(activeElement)) this.#restore();
  }

  #press(event) {
    const items = [...this.#menu.querySelectorAll('button')];
    const at = items.indexOf(this.#menu.getRootNode().activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === 'Tab') this.close();
    else if (to === undefined) return;
    else items.at(to % items.length).focus();
    event.preventDefault();
    event.stopPropagation();
  }
}
