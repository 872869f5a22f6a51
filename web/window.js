/** Dialogs, and the small pieces that they are made of. */

import { sign } from './icons.js';

/** An element with its members set; children may be texts, and empty ones are left out. */
export function element(tag, members = {}, ...children) {
  const made = Object.assign(document.createElement(tag), members);
  made.append(...children.filter((child) => child !== ''));
  return made;
}

/** A button that says what it does; with `symbol` it shows a sign and says it to those who hear it. */
export function button(label, onclick, { symbol, className = symbol ? 'icon' : 'plain' } = {}) {
  const made = element('button', { type: 'button', className }, symbol ? sign(symbol) : label);
  if (symbol) nameButton(made, label);
  made.addEventListener('click', onclick);
  return made;
}

export function nameButton(made, label) {
  made.setAttribute('aria-label', label);
  made.title = label;
}

/** A form's row: what is asked, and the control that answers. */
export function field(label, control, className = 'field') {
  return element('label', { className }, element('span', { textContent: label }), control);
}

/** A `select` over `[value, text]` pairs. */
export function choice(pairs, value, onchange) {
  const made = element('select', {}, ...pairs.map(([one, text]) => new Option(text, one)));
  made.value = value;
  made.addEventListener('change', () => onchange(made.value));
  return made;
}

let ids = 0;

/** A modal dialog that closes by its button, Escape, or a click beside it. */
export class Window {
  #title = `title-${++ids}`;

  constructor(root) {
    this.element = element('dialog');
    this.element.setAttribute('part', 'dialog');
    this.element.addEventListener('click', (event) => {
      if (event.target === this.element || event.target.closest('[data-close]')) this.element.close();
    });
    root.append(this.element);
  }

  get isOpen() {
    return this.element.open;
  }

  show() {
    if (!this.element.open) this.element.showModal();
  }

  close() {
    this.element.close();
  }

  fill(language, before, title, under, ...rest) {
    const close = button(language.say('close'), () => {}, { symbol: 'close' });
    close.dataset.close = '';
    const heading = element('h2', { id: this.#title, textContent: title, dir: 'auto' });
    const words = element('div', {}, heading, under ? element('p', { textContent: under }) : '');
    this.element.setAttribute('aria-labelledby', this.#title);
    this.element.replaceChildren(element('div', { className: 'top' }, before, words, close), ...rest);
  }
}
