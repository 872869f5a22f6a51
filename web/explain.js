/** "Why is this lamp lit?": who says what about an address, what came of it, who was told; and what happens, live. */

import { ago, count, table } from './table.js';
import { button, element } from './window.js';

const TRACES_MOST = 300;

export class Explain {
  #server;
  #input = element('input', { type: 'search', placeholder: '1001, or sip:1001@example.com', autocomplete: 'off', spellcheck: false });
  #answer = element('div', { className: 'answer' });
  #traced = element('ol', { className: 'trace' });
  #tracer;
  #toggle;
  #source;
  #asked = '';

  /** @param {import('./server.js').Server} server */
  constructor(server) {
    this.#server = server;
    this.#input.setAttribute('aria-label', 'Address');
    const ask = element('button', { type: 'submit', className: 'plain first', textContent: 'Explain' });
    const form = element('form', { className: 'ask' }, this.#input, ask);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.stop();
      this.#asked = this.#input.value.trim();
      this.#traced.replaceChildren();
      this.refresh();
    });
    this.#toggle = button('Watch live', () => (this.#source ? this.stop() : this.#trace()));
    this.#tracer = element('div', { hidden: true }, element('div', { className: 'ask' }, element('h3', { textContent: 'What happens' }), this.#toggle), this.#traced);
    this.element = element('div', {}, form, this.#answer, this.#tracer);
  }

  /** Asks again about the address that was asked for. */
  async refresh() {
    if (!this.#asked) return;
    const asked = this.#asked;
    let shown;
    try {
      shown = this.#describe(await this.#server.ask(`explain/${encodeURIComponent(asked)}`));
    } catch (error) {
      shown = [element('p', { className: 'fault', textContent: error.message || 'The gateway does not answer.' })];
    }
    // Rows that someone reads or scrolls stay while they do.
    const reads = this.#answer.contains(this.#answer.getRootNode().activeElement);
    if (asked !== this.#asked || (reads && this.#answer.dataset.asked === asked)) return;
    this.#answer.dataset.asked = asked;
    this.#answer.replaceChildren(...shown);
    this.#tracer.hidden = false;
  }

  /** Ends the live trace. */
  stop() {
    this.#source?.close();
    this.#source = undefined;
    this.#toggle.textContent = 'Watch live';
  }

  #trace() {
    this.#source = new EventSource(`/v1/trace?r=${encodeURIComponent(this.#asked)}`);
    this.#source.addEventListener('trace', ({ data }) => {
      const { at, what, detail } = JSON.parse(data);
      this.#note(new Date(at).toLocaleTimeString(), what, detail);
    });
    this.#source.addEventListener('missed', ({ data }) => this.#note('', 'missed', `${count(JSON.parse(data).missed)} events came too fast`));
    this.#source.onerror = () => {
      if (this.#source?.readyState !== EventSource.CLOSED) return; // it tries again by itself
      this.#note('', 'ended', 'the gateway does not offer this, or not to you');
      this.stop();
    };
    this.#toggle.textContent = 'Stop';
    this.refresh();
  }

  #note(time, what, detail) {
    const line = element('li', {}, element('time', { textContent: time }), element('b', { textContent: what }), element('span', { textContent: detail, dir: 'auto' }));
    this.#traced.prepend(line);
    while (this.#traced.children.length > TRACES_MOST) this.#traced.lastChild.remove();
  }

  #describe({ resource, packages = [], unanswered = [], feed = [] }) {
    const made = [element('p', { className: 'resource', textContent: resource })];
    for (const fault of unanswered) made.push(element('p', { className: 'fault', textContent: fault }));
    if (packages.length === 0 && unanswered.length === 0) made.push(element('p', { className: 'hint', textContent: 'Nobody says anything about this address, and nobody watches it.' }));
    for (const one of packages) made.push(this.#package(one));
    if (feed.length) {
      const rows = feed.map((one) => ({ cells: [one.client || one.session, one.from, one.kinds.join(', '), one.waiting ? `${count(one.waiting)} not yet sent` : 'all sent'] }));
      made.push(element('h4', { textContent: 'Read along in the feed' }), table('Feed clients of this address', ['Client', 'From', 'Kinds', 'Has'], rows, ''));
    }
    return made;
  }

  #package({ kind, state, rule, sources = [], watchers = [], history = [] }) {
    const until = (at) => (at === null ? 'as long as its origin' : ago(at));
    const says = sources.map((one) => ({ cells: [one.says, one.source, one.from, ago(one.at), until(one.until)] }));
    const told = watchers.map((one) => ({
      cells: [one.watcher, one.state, one.flow, one.notified ? `${ago(one.notified)}${one.version === null ? '' : `, version ${one.version}`}` : 'never', one.answer],
    }));
    const past = history.toReversed().map((one) => ({ cells: [ago(one.at), one.what, one.who] }));
    return element(
      'div',
      { className: 'package' },
      element('h3', {}, element('span', { textContent: kind, className: 'kind' }), element('span', { textContent: state, dir: 'auto' })),
      rule ? element('p', { className: 'hint', textContent: rule }) : '',
      element('h4', { textContent: 'Who says so' }),
      table(`Sources of ${kind}`, ['Says', 'Source', 'From', 'Said', 'Until'], says, 'Nobody.'),
      element('h4', { textContent: 'Who was told' }),
      table(`Watchers of ${kind}`, ['Watcher', 'State', 'By way of', 'Last NOTIFY', 'Answer'], told, 'No phone watches this.'),
      past.length ? element('details', {}, element('summary', { textContent: `What happened (${past.length})` }), table(`History of ${kind}`, ['When', 'What', 'Whose doing'], past, '')) : '',
    );
  }
}
