/**
 * `<blf-admin>`: the page of the person who runs the gateway. It asks the API every few seconds, and says so when the
 * answer does not come; a part that a gateway does not offer is left out. English only.
 */

import { adminSheet } from './admin-style.js';
import { Chart, rateOf } from './chart.js';
import { Explain } from './explain.js';
import { logo } from './icons.js';
import { Server } from './server.js';
import { SignIn } from './signin.js';
import { styleSheet } from './style.js';
import en from './text-en.js';
import { themeSheet } from './theme.js';
import { ago, bytes, count, table } from './table.js';
import { button } from './window.js';

const POLL_MS = 5000;
/** A feed client that is this many changes behind is slow. */
const SLOW_REVS = 1000;
const ROWS_MOST = 500;

const perSecond = (value) => `${count(value)}/s`;
/** Title, series, whether it counts up, and how a value is read. */
const CHARTS = [
  ['SIP messages in', 'sip_messages_received_total', true, perSecond],
  ['NOTIFY sent', 'sip_notify_sent_total', true, perSecond],
  ['PUBLISH accepted', 'sip_publish_accepted_total', true, perSecond],
  ['Changes of state', 'bus_changes_total', true, perSecond],
  ['SIP requests refused', 'sip_requests_refused_total', true, perSecond],
  ['NOTIFY without answer', 'sip_notify_timeout_total', true, perSecond],
  ['SIP subscriptions', 'sip_subscriptions', false, count],
  ['Publications', 'bus_publications', false, count],
  ['Feed connections', 'ws_connections', false, count],
  ['Feed items sent', 'feed_items_sent_total', true, perSecond],
  ['Slowest client behind', 'feed_cursor_lag_revs', false, count],
  ['HTTP requests', 'http_requests_total', true, perSecond],
  ['CPU', 'process_cpu_seconds_total', true, (value) => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`],
  ['Memory', 'process_resident_memory_bytes', false, bytes],
];

const TEMPLATE = `
  <div class="panel themed admin">
    <header>
      <div class="bar"><h1><span class="logo"></span>Lamplighter <small>the gateway</small></h1><a class="plain" href="./">Panel</a></div>
      <div class="connection" data-phase="connecting"><div class="said" role="status"><span class="beacon"></span><span class="words">Asking …</span></div><span class="count version"></span></div>
    </header>
    <main>
      <section data-part="explain"><h2>Why is this lamp lit?</h2></section>
      <section data-part="rates" hidden><h2>The last hour</h2><div class="charts"></div></section>
      <section data-part="connections" hidden><h2>Feed clients</h2><div class="rows"></div></section>
      <section data-part="watchers" hidden><h2>SIP subscriptions</h2><div class="rows"></div><nav class="pages" aria-label="Pages of SIP subscriptions" hidden></nav></section>
    </main>
  </div>`;

export class BlfAdmin extends HTMLElement {
  #root = this.attachShadow({ mode: 'open' });
  #server = new Server({ src: '/v1/feed', base: location.href, fetch: (url, init) => fetch(url, init) });
  #charts = CHARTS.map(([title, series, counts, write]) => ({ chart: new Chart(title, write), series, counts }));
  #signIn;
  #explain;
  /** Where the pages of SIP subscriptions begin, the last of them is shown; and where the one behind it does. */
  #pages = [''];
  #next;
  #back = button('Back', () => this.#turn(this.#pages.slice(0, -1)), { className: 'plain small' });
  #more = button('More', () => this.#turn([...this.#pages, this.#next]), { className: 'plain small' });
  #timer = 0;
  #listeners;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [themeSheet(), styleSheet(), adminSheet()];
    this.#root.innerHTML = TEMPLATE;
    this.#find('.logo').replaceWith(logo());
    this.#part('rates').querySelector('.charts').append(...this.#charts.map(({ chart }) => chart.element));
    this.#part('watchers').querySelector('nav').append(this.#back, this.#more);
    this.#explain = new Explain(this.#server);
    this.#part('explain').append(this.#explain.element);
    this.#signIn = new SignIn(async (token) => {
      await this.#server.signIn(token);
      this.#poll();
    });
    this.#signIn.translate((name) => en[name] ?? '');
    this.#find('main').append(this.#signIn.element);
  }

  connectedCallback() {
    this.#listeners = new AbortController();
    this.ownerDocument.addEventListener('visibilitychange', () => this.#poll(), { signal: this.#listeners.signal });
    this.#poll();
  }

  disconnectedCallback() {
    this.#listeners.abort();
    this.#explain.stop();
    clearTimeout(this.#timer);
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (this.ownerDocument.hidden) return;
    const fail = (error) => ({ failed: error.code });
    const ask = (path) => this.#server.ask(path).catch(fail);
    const page = this.#pages.at(-1);
    const [ready, version, rates, connections, watchers] = await Promise.all([
      this.#ready(), ask('/version'), ask('rates'), ask('connections'), ask(page ? `watchers?page=${page}` : 'watchers'), this.#explain.refresh(),
    ]);
    if (!this.isConnected) return;
    const codes = [rates, connections, watchers].map(({ failed }) => failed);
    this.#drawStatus(ready, version, codes);
    this.#draw('rates', rates, (part, value) => this.#drawRates(value));
    this.#draw('connections', connections, (part, value) => this.#drawConnections(part, value));
    // Another page may have been asked for meanwhile; and one that is no more leads back to the first.
    if (page === this.#pages.at(-1)) {
      if (page && watchers.failed && watchers.failed !== 'offline') return this.#turn(['']);
      this.#draw('watchers', watchers, (part, value) => this.#drawWatchers(part, value));
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#poll(), POLL_MS);
  }

  /** Ready or not, it answers; the status alone would hide the reasons. */
  async #ready() {
    try {
      return await (await fetch('/readyz', { signal: AbortSignal.timeout(POLL_MS) })).json();
    } catch {
      return undefined;
    }
  }

  #drawStatus(ready, version, codes) {
    const signedOut = codes.includes('unauthenticated');
    const forbidden = codes.includes('forbidden');
    const reasons = Array.isArray(ready?.reasons) ? ready.reasons.join('; ') : '';
    const [phase, words] =
      ready === undefined ? ['stale', 'The gateway does not answer. What is shown is what it said last.']
      : !ready.ready ? ['refused', `Not ready: ${reasons}`]
      : forbidden ? ['stale', 'You are signed in, but not as someone who runs this gateway.']
      : ['live', 'Ready: all parts of the gateway are at work'];
    this.#find('.connection').dataset.phase = phase;
    const said = this.#find('.words');
    if (said.textContent !== words) said.textContent = words;
    if (version?.version) this.#find('.version').textContent = `${version.name} ${version.version}`;
    this.#signIn.show(signedOut);
    this.#part('explain').hidden = signedOut;
  }

  #draw(name, value, draw) {
    const part = this.#part(name);
    // What cannot be had just now stays as it was; the status above says so.
    if (value.failed === 'offline') return;
    part.hidden = value.failed !== undefined;
    if (!part.hidden) draw(part, value);
  }

  #drawRates({ series = {}, at, every_s: every }) {
    for (const { chart, series: name, counts } of this.#charts) {
      const values = Array.isArray(series[name]) ? series[name] : [];
      const shown = counts ? rateOf(values, every).slice(1) : values;
      chart.element.hidden = shown.every((value) => value === null);
      chart.draw(shown, at, every);
    }
  }

  #drawConnections(part, { connections = [] }) {
    const rows = connections.toSorted((a, b) => b.lag - a.lag).slice(0, ROWS_MOST).map((one) => ({
      slow: one.lag > SLOW_REVS,
      cells: [
        one.client || '–', one.principal || '–', one.peer, ago(one.since), count(one.subscriptions),
        one.lag > SLOW_REVS ? `${count(one.lag)}, slow` : count(one.lag), count(one.conflated),
        button('Disconnect', () => this.#disconnect(one.id), { className: 'plain small' }),
      ],
    }));
    const head = ['Client', 'Who', 'From', 'Connected', 'Subscriptions', 'Changes behind', 'Skipped', ''];
    this.#fill(part, `Feed clients: ${count(connections.length)}`, table('Feed clients', head, rows, 'Nobody is connected to the feed.'));
  }

  #drawWatchers(part, { watchers = [], page }) {
    const rows = watchers.map((one) => ({
      slow: one.answer !== '' && !/^2\d\d|waiting/.test(one.answer),
      cells: [one.watcher, one.r, one.kind, one.state, one.flow, one.until === null ? 'for good' : ago(one.until), one.notified ? ago(one.notified) : '–', one.answer],
    }));
    const head = ['Watcher', 'Watches', 'Kind', 'State', 'By way of', 'Until', 'Last NOTIFY', 'Answer'];
    const paged = page !== undefined || this.#pages.length > 1;
    const title = paged ? `SIP subscriptions, page ${count(this.#pages.length)}` : `SIP subscriptions: ${count(rows.length)}`;
    this.#fill(part, title, table('SIP subscriptions', head, rows, 'No phone watches anything.'));
    this.#next = page;
    part.querySelector('nav').hidden = !paged;
    this.#back.disabled = this.#pages.length === 1;
    this.#more.disabled = page === undefined;
  }

  #turn(pages) {
    this.#pages = pages;
    this.#poll();
  }

  /** While someone has their hands on a button, the rows stay. */
  #fill(part, title, rows) {
    part.querySelector('h2').textContent = title;
    const old = part.querySelector('.rows');
    if (!old.contains(this.#root.activeElement)) old.replaceChildren(rows);
  }

  async #disconnect(id) {
    await this.#server.ask(`connections/${id}`, { method: 'DELETE' }).catch(() => {});
    this.#root.activeElement?.blur();
    this.#poll();
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  #part(name) {
    return this.#find(`[data-part="${name}"]`);
  }
}

customElements.define('blf-admin', BlfAdmin);
