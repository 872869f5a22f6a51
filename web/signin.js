/** The form that a person sees when the gateway wants to know who they are. */

import { element } from './window.js';

export class SignIn {
  #input = element('input', { type: 'password', autocomplete: 'current-password', spellcheck: false, required: true, name: 'token' });
  #label = element('span');
  #title = element('h2');
  #hint = element('p');
  #fault = element('p', { className: 'fault' });
  #button = element('button', { type: 'submit', className: 'plain first' });
  #say;

  /** @param {(token: string) => Promise<void>} enter Signs in; throws a `Refused`. */
  constructor(enter) {
    this.#fault.setAttribute('role', 'alert');
    this.element = element(
      'form',
      { className: 'signin', hidden: true },
      this.#title,
      this.#hint,
      element('label', { className: 'field' }, this.#label, this.#input),
      this.#fault,
      this.#button,
    );
    this.element.addEventListener('submit', async (event) => {
      event.preventDefault();
      this.#button.disabled = true;
      this.#fault.textContent = '';
      try {
        await enter(this.#input.value.trim());
        this.#input.value = '';
      } catch (error) {
        this.#fault.textContent = this.#say(error.code === 'offline' ? 'sign_in_unreachable' : 'sign_in_failed');
      }
      this.#button.disabled = false;
    });
  }

  /** @param {(name: string) => string} say */
  translate(say) {
    this.#say = say;
    this.#title.textContent = this.#button.textContent = say('sign_in');
    this.#hint.textContent = say('sign_in_hint');
    this.#label.textContent = say('sign_in_token');
  }

  show(shown) {
    if (this.element.hidden === !shown) return;
    this.element.hidden = !shown;
    if (shown) this.#input.focus();
  }
}
