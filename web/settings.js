/** How the panel looks, when it calls for attention, and what one has arranged. */

import { Alerts } from './alerts.js';
import { LANGUAGES } from './i18n.js';
import { Window, button, choice, element, field } from './window.js';

export class SettingsWindow extends Window {
  #memory;
  #alerts;

  /**
   * @param {ShadowRoot} root
   * @param {import('./memory.js').Memory} memory
   * @param {Alerts} alerts
   */
  constructor(root, memory, alerts) {
    super(root);
    this.#memory = memory;
    this.#alerts = alerts;
  }

  /**
   * @param {import('./i18n.js').Language} language
   * @param {{theme: string, density: string, lang: string}} now What is in force.
   */
  open(language, now) {
    const say = (name) => language.say(name);
    const options = (name, values) => values.map((value) => [value, say(`${name}_${value}`)]);
    const choose = (name) => (value) => this.#memory.choose({ [name]: value });
    const looks = [
      field(say('theme'), choice(options('theme', ['auto', 'light', 'dark']), now.theme, choose('theme'))),
      field(say('density'), choice(options('density', ['compact', 'normal', 'large']), now.density, choose('density'))),
      field(say('language'), choice([['', say('language_auto')], ...Object.entries(LANGUAGES)], now.lang, (lang) => {
        this.#memory.choose({ lang });
        this.close();
      })),
    ];
    this.fill(language, '', say('settings'), '', element('div', { className: 'form' }, ...looks), this.#alertsPart(language), this.#arrangement(language));
    this.show();
  }

  #part(title, hint, ...rest) {
    return element('section', { className: 'form' }, element('h3', { textContent: title }), element('p', { className: 'hint', textContent: hint }), ...rest);
  }

  #alertsPart(language) {
    const say = (name) => language.say(name);
    const wish = this.#memory.alerts;
    const change = (changes) => this.#memory.setAlerts(changes);
    const fault = element('p', { className: 'fault' });
    fault.setAttribute('role', 'alert');
    const box = (name, checked, onchange) => {
      const input = element('input', { type: 'checkbox', checked });
      input.addEventListener('change', () => onchange(input));
      return element('label', { className: 'option' }, input, say(name));
    };
    const desktop = box('alerts_desktop', wish.desktop, async (input) => {
      const permitted = !input.checked || (await Alerts.permit());
      input.checked &&= permitted;
      fault.textContent = permitted ? '' : say('alerts_denied');
      change({ desktop: input.checked });
    });
    const sound = box('alerts_sound', wish.sound, (input) => {
      change({ sound: input.checked });
      if (input.checked) this.#alerts.play('free', this.#memory.alerts.volume);
    });
    const volume = element('input', { type: 'range', min: 0, max: 1, step: 0.05, value: wish.volume });
    volume.addEventListener('change', () => {
      change({ volume: Number(volume.value) });
      this.#alerts.play('free', Number(volume.value));
    });
    const hour = (name, value) => {
      const input = element('input', { type: 'time', value });
      input.addEventListener('change', () => change({ [name]: input.value }));
      return field(say(`alerts_${name}`), input, 'hour');
    };
    const quiet = element(
      'div',
      { className: 'quiet' },
      box('alerts_quiet', wish.quiet, (input) => change({ quiet: input.checked })),
      hour('from', wish.from),
      hour('until', wish.until),
    );
    return this.#part(say('alerts'), say('alerts_hint'), desktop, sound, field(say('alerts_volume'), volume), quiet, fault);
  }

  #arrangement(language) {
    const say = (name) => language.say(name);
    const fault = element('p', { className: 'fault' });
    fault.setAttribute('role', 'alert');
    const file = element('input', { type: 'file', accept: '.json,application/json', className: 'unseen', tabIndex: -1 });
    file.setAttribute('aria-hidden', 'true');
    file.addEventListener('change', async () => {
      try {
        this.#memory.import(await file.files[0].text());
        this.close();
      } catch {
        fault.textContent = say('import_failed');
      }
      file.value = '';
    });
    const save = button(say('export'), () => {
      const url = URL.createObjectURL(new Blob([this.#memory.export()], { type: 'application/json' }));
      element('a', { href: url, download: 'lamplighter-panel.json' }).click();
      URL.revokeObjectURL(url);
    });
    const load = button(say('import'), () => file.click());
    return this.#part(say('arrangement'), say('arrangement_hint'), element('div', { className: 'actions' }, save, load, file), fault);
  }
}
