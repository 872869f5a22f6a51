/** A person's own status: published by them, seen by everybody who watches. */

import { lamp } from './icons.js';
import { Window, button, choice, element, field } from './window.js';

/** What people say they are doing, as presence, with the state that a key then shows and the name of its text. */
const STATUSES = {
  idle: { state: { basic: 'open' }, shows: 'idle', text: 'idle' },
  away: { state: { basic: 'open', show: 'away' }, shows: 'away', text: 'away' },
  meeting: { state: { basic: 'open', activities: ['meeting'] }, shows: 'away', text: 'activity_meeting' },
  lunch: { state: { basic: 'open', activities: ['meal'] }, shows: 'away', text: 'me_lunch' },
  dnd: { state: { basic: 'open', show: 'dnd' }, shows: 'dnd', text: 'dnd' },
};
const HOUR_S = 3600;

/** Seconds until the day ends, at least an hour. */
export function restOfDay(now) {
  const midnight = new Date(now).setHours(24, 0, 0, 0);
  return Math.max(HOUR_S, Math.floor((midnight - now) / 1000));
}

/** Publishes a status under one name of source, so that a second panel of the same person replaces it. */
export class Status {
  #command;

  /** @param {(t: string, members: object) => Promise<object>} command Sends a command to the feed. */
  constructor(command) {
    this.#command = command;
  }

  /** @returns {Promise<object>} The answer, with the `etag` of the publication. @throws {import('./feed.js').Refused} */
  set(r, status, note, expires) {
    const state = { ...STATUSES[status].state, ...(note && { note }) };
    return this.#command('pub', { r, kind: 'presence', source: 'panel', expires, state });
  }

  async clear(r) {
    // Its entity-tag may be of another day or device; publishing anew tells the one that counts now.
    const { etag } = await this.set(r, 'idle', '', 60);
    await this.#command('unpub', { r, kind: 'presence', etag });
  }
}

export class MeWindow extends Window {
  #status;
  #say;

  /**
   * @param {ShadowRoot} root
   * @param {Status} status
   * @param {(name: string, detail?: string) => void} say Tells the person how it went.
   */
  constructor(root, status, say) {
    super(root);
    this.#status = status;
    this.#say = say;
  }

  /**
   * @param {import('./i18n.js').Language} language
   * @param {import('./store.js').Key[]} keys Who one can be.
   * @param {string|undefined} me Who one is.
   * @param {(r: string) => void} onchosen Someone says who they are.
   */
  open(language, keys, me, onchosen) {
    const say = (name) => language.say(name);
    const people = [['', say('me_choose')], ...keys.map(({ r, name, user }) => [r, name ? `${name} (${user})` : user])];
    const own = keys.find(({ r }) => r === me);
    const who = choice(people, own ? me : '', onchosen);
    const note = element('input', { type: 'text', maxLength: 120, placeholder: say('me_note_hint'), value: own?.note ?? '' });
    const until = choice([[HOUR_S, say('me_hour')], [4 * HOUR_S, say('me_four')], ['', say('me_day')]], '', () => {});
    const now = own ? (Object.keys(STATUSES).find((one) => one === own.activity || STATUSES[one].shows === own.state) ?? 'idle') : 'idle';
    const radios = Object.entries(STATUSES).map(([name, { shows, text }]) => {
      const radio = element('input', { type: 'radio', name: 'status', value: name, checked: name === now });
      const row = element('label', { className: 'option' }, radio, lamp(shows), say(text));
      row.dataset.state = shows;
      return row;
    });
    const fault = element('p', { className: 'fault' });
    fault.setAttribute('role', 'alert');
    const attempt = async (act, done) => {
      fault.textContent = '';
      if (!who.value) return who.focus();
      try {
        await act(who.value);
      } catch (error) {
        fault.textContent = language.say('act_failed', { detail: error.message });
        return;
      }
      this.close();
      this.#say(done);
    };
    const set = element('button', { type: 'submit', className: 'plain first', textContent: say('me_set') });
    const clear = button(say('me_clear'), () => attempt((r) => this.#status.clear(r), 'me_cleared'));
    const options = element('fieldset', { className: 'options' }, element('legend', { textContent: say('me_status') }), ...radios);
    const form = element(
      'form',
      { className: 'form' },
      field(say('me_who'), who),
      options,
      field(say('me_note'), note),
      field(say('me_until'), until),
      fault,
      element('div', { className: 'actions' }, set, clear),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const chosen = form.querySelector('input[name="status"]:checked').value;
      const expires = Number(until.value) || restOfDay(Date.now());
      attempt((r) => this.#status.set(r, chosen, note.value.trim(), expires), 'me_done');
    });
    this.fill(language, '', say('me'), '', form);
    this.show();
  }
}
