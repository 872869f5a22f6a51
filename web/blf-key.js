/**
 * `<blf-key resource="sip:1001@example.com">`: one key, anywhere in a page.
 *
 * Attributes: `resource`; and as of `<blf-panel>`: `src`, `ticket-url`, `theme`, `lang`, `dial`, `locked`. Events: as of
 * `<blf-panel>`. Keys of the same gateway share one connection, which lasts as long as one of them is in a page.
 */

import { actionOf, follow, linkOf } from './action.js';
import { Feed } from './feed.js';
import { Language } from './i18n.js';
import { KeyCell } from './key.js';
import { Server } from './server.js';
import { KINDS, Store, keyOf } from './store.js';
import { themeSheet } from './theme.js';

const KEY_CSS = `
  :host { display: inline-block; inline-size: 16.5rem; vertical-align: top; }
  .single { block-size: 100%; }
  .key { block-size: 100%; min-block-size: var(--key-height); }
  .single.locked .key { cursor: default; }
`;

/** One connection for all keys of one gateway. */
class Line {
  static #lines = new Map();
  store = new Store();
  #elements = new Set();
  #id;
  #changing = 0;

  /** @returns {Line} Shared by all who name the same gateway. */
  static of(src, ticketUrl) {
    const id = JSON.stringify([src, ticketUrl]);
    if (!Line.#lines.has(id)) Line.#lines.set(id, new Line(id, src, ticketUrl));
    return Line.#lines.get(id);
  }

  constructor(id, src, ticketUrl) {
    this.#id = id;
    const server = new Server({ src, ticketUrl, base: location.href, fetch: (url, init) => fetch(url, init) });
    this.feed = new Feed({
      url: server.feedUrl,
      selectors: [],
      kinds: KINDS,
      open: (to, protocol) => new WebSocket(to, protocol),
      clock: { now: Date.now, set: (call, ms) => setTimeout(call, ms), clear: (timer) => clearTimeout(timer) },
      random: Math.random,
      why: () => server.why(),
      onframe: (frame) => {
        const changed = this.store.apply(frame);
        for (const one of this.#elements) if (changed.has(one.resource)) one.changed();
      },
      onstatus: () => this.#elements.forEach((one) => one.draw()),
    });
  }

  get now() {
    return (this.feed.status.trueAt || Date.now()) + this.feed.offset;
  }

  join(one) {
    this.#elements.add(one);
    this.#change();
  }

  leave(one) {
    this.#elements.delete(one);
    this.#change();
  }

  /** Soon, since keys come and go together. */
  #change() {
    this.#changing ||= setTimeout(() => {
      this.#changing = 0;
      const wanted = [...new Set([...this.#elements].map(({ resource }) => resource))].filter(Boolean);
      if (wanted.length === 0) {
        this.feed.stop();
        Line.#lines.delete(this.#id);
        return;
      }
      this.feed.select(wanted);
      this.feed.start();
    });
  }
}

let sheet;

export class BlfKey extends HTMLElement {
  static observedAttributes = ['resource', 'src', 'ticket-url', 'theme', 'lang', 'locked'];

  #root = this.attachShadow({ mode: 'open' });
  #cell = new KeyCell('button');
  #frame = document.createElement('div');
  #line;
  #language;
  #ticking = 0;

  constructor() {
    super();
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(KEY_CSS);
    }
    this.#root.adoptedStyleSheets = [themeSheet(), sheet];
    this.#frame.append(this.#cell.element);
    this.#root.append(this.#frame);
    this.#cell.element.tabIndex = 0;
    this.#cell.element.addEventListener('click', () => this.#act());
    this.#cell.element.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      this.#act();
    });
  }

  get resource() {
    return this.getAttribute('resource') ?? '';
  }

  /** What is known about it. @returns {import('./store.js').Key} */
  get key() {
    return this.#line?.store.keys.get(this.resource) ?? keyOf(this.resource, {});
  }

  connectedCallback() {
    this.#line = Line.of(this.getAttribute('src') ?? '/v1/feed', this.getAttribute('ticket-url'));
    this.#line.join(this);
    this.draw();
    this.#tick();
  }

  disconnectedCallback() {
    clearTimeout(this.#ticking);
    this.#line.leave(this);
    this.#line = undefined;
  }

  attributeChangedCallback(name) {
    if (!this.#line) return;
    if (['theme', 'lang', 'locked'].includes(name)) return this.draw();
    this.disconnectedCallback();
    this.connectedCallback();
  }

  changed() {
    this.draw();
    const detail = { keys: [this.key], gone: [] };
    this.dispatchEvent(new CustomEvent('blf-change', { detail, bubbles: true, composed: true }));
  }

  draw() {
    const own = this.getAttribute('lang');
    const wanted = own ? [own] : [...navigator.languages];
    this.#language = new Language(wanted);
    const stale = this.#line.feed.status.phase !== 'live';
    this.#frame.className = `themed single${stale ? ' stale' : ''}${this.hasAttribute('locked') ? ' locked' : ''}`;
    this.#frame.dataset.theme = this.getAttribute('theme') ?? 'auto';
    this.#cell.draw(this.key, { language: this.#language, now: this.#line.now, nameOf: () => '', stale });
  }

  #act() {
    const { key } = this;
    if (this.hasAttribute('locked') || !this.resource) return;
    const action = actionOf(key);
    const detail = { action, resource: key.r, number: key.user, key };
    const event = new CustomEvent('blf-action', { detail, bubbles: true, composed: true, cancelable: true });
    if (!this.dispatchEvent(event)) return;
    const { feed } = this.#line;
    // A key has no room to say what went wrong; the phone, which stays silent, says it.
    if (feed.features.has('act')) feed.command('act', { action, r: key.r, call: key.call?.id }).catch(() => {});
    else if (action === 'dial') follow(linkOf(key.r, this.getAttribute('dial')));
  }

  #tick() {
    const { now } = this.#line;
    if (!this.ownerDocument.hidden) this.#cell.tick(now);
    this.#ticking = setTimeout(() => this.#tick(), 1000 - (now % 1000) + 5);
  }
}

customElements.define('blf-key', BlfKey);
