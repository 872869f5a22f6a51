/**
 * `<blf-panel>`: the keys of an office, live.
 *
 * Attributes: `src` (URL of the feed; `/v1/feed` of this host), `subscribe` (resources, separated by spaces; `*`),
 * `theme` (`auto`, `light`, `dark`), `lang`. Event: `blf-action`, cancelable, before the details of a key open;
 * `detail` is `{resource, key}`. Part: `key`.
 */

import { HelpWindow, KeyWindow } from './details.js';
import { Feed } from './feed.js';
import { Grid } from './grid.js';
import { Language } from './i18n.js';
import { drawing, lamp, sign } from './icons.js';
import { partyOf } from './key.js';
import { STATES, Store, addressOf } from './store.js';
import { styleSheet } from './style.js';
import { SORTS, View, countStates } from './view.js';

const THEMES = ['auto', 'light', 'dark'];
const THEME_MEMORY = 'blf-panel.theme';
/** Time between two sentences for those who listen. */
const ANNOUNCE_MS = 2000;
/** States whose filter shows only when a key is in it. */
const RARE = new Set(['parked', 'unknown']);

const TEMPLATE = `
  <div class="panel">
    <header>
      <div class="bar">
        <h1><slot name="title"><span class="logo"></span>Lamplighter</slot></h1>
        <div class="finder"><input type="search" autocomplete="off" spellcheck="false"><kbd aria-hidden="true">/</kbd></div>
        <label class="sort"><span></span><select></select></label>
        <slot name="toolbar"></slot>
        <button class="icon theme" type="button"></button>
        <button class="icon help" type="button"></button>
      </div>
      <div class="chips" role="group"></div>
    </header>
    <div class="connection">
      <div class="said" role="status"><span class="beacon"></span><span class="words"></span></div>
      <button class="plain again" type="button" hidden></button>
      <span class="count"></span>
    </div>
    <div class="grid" tabindex="0"></div>
    <div class="unseen" aria-live="polite"></div>
  </div>`;

export class BlfPanel extends HTMLElement {
  static observedAttributes = ['src', 'subscribe', 'lang'];

  #root = this.attachShadow({ mode: 'open' });
  #store = new Store();
  #feed;
  #language;
  #view;
  #grid;
  #details;
  #help;
  #chips = new Map();
  #nothing;
  #wish = { query: '', states: new Set(), sort: 'extension' };
  #changed = new Set();
  #frame = 0;
  #ticking = 0;
  #ringing = new Set();
  #toSay = new Map();
  #saying = 0;
  /** Names as they were when the keys were last put in order. */
  #named = new Map();
  #listeners;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styleSheet()];
    this.#root.innerHTML = TEMPLATE;
    this.#find('.logo').replaceWith(logo());
    this.#find('.finder').prepend(sign('search'));
    this.#find('.theme').append(sign('theme'));
    this.#find('.help').append(sign('help'));
    this.#grid = new Grid(this.#find('.grid'), (r) => this.#open(r));
    this.#details = new KeyWindow(this.#root);
    this.#help = new HelpWindow(this.#root);
    this.#buildNothing();
    this.#buildChips();
    this.#buildTools();
  }

  connectedCallback() {
    this.#listeners = new AbortController();
    const { signal } = this.#listeners;
    this.ownerDocument.addEventListener('keydown', (event) => this.#shortcut(event), { signal });
    this.ownerDocument.addEventListener('visibilitychange', () => this.#tick(), { signal });
    this.ownerDocument.defaultView.addEventListener('online', () => this.#feed.retry(), { signal });
    const remembered = this.#remembered();
    if (!this.hasAttribute('theme') && remembered) this.setAttribute('theme', remembered);
    this.#translate();
    this.#openFeed();
    this.#tick();
  }

  disconnectedCallback() {
    this.#listeners.abort();
    this.#feed.stop();
    clearTimeout(this.#ticking);
    clearTimeout(this.#saying);
    cancelAnimationFrame(this.#frame);
    this.#frame = this.#saying = 0;
  }

  attributeChangedCallback(name) {
    if (!this.isConnected || !this.#feed) return;
    if (name === 'lang') return this.#translate();
    this.#feed.stop();
    this.#openFeed();
  }

  // --- the feed

  #openFeed() {
    this.#store = new Store();
    this.#changed.clear();
    this.#ringing.clear();
    this.#toSay.clear();
    const url = new URL(this.getAttribute('src') ?? '/v1/feed', location.href);
    url.protocol = url.protocol.replace(/^http/, 'ws');
    this.#feed = new Feed({
      url: url.href,
      selectors: (this.getAttribute('subscribe') ?? '*').split(/\s+/).filter(Boolean),
      open: (to, protocol) => new WebSocket(to, protocol),
      clock: { now: Date.now, set: (call, ms) => setTimeout(call, ms), clear: (timer) => clearTimeout(timer) },
      random: Math.random,
      onframe: (frame) => this.#receive(frame),
      onstatus: () => this.#restyle(),
    });
    this.#rank();
    this.#feed.start();
  }

  #receive(frame) {
    for (const r of this.#store.apply(frame)) {
      this.#changed.add(r);
      this.#hear(r, this.#store.keys.get(r), frame.t === 'upd');
    }
    if (this.#changed.size) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Draws what has come since the last frame of the screen. */
  #draw() {
    this.#frame = 0;
    const { keys } = this.#store;
    const shown = this.#named;
    if ([...this.#changed].some((r) => shown.get(r) !== keys.get(r)?.name)) this.#rank();
    this.#changed.clear();
    this.#show();
    this.#redrawDetails();
  }

  // --- what is shown

  #rank() {
    const { keys } = this.#store;
    this.#named = new Map([...keys].map(([r, { name }]) => [r, name]));
    this.#view.rank(keys.values());
  }

  #show() {
    const { keys } = this.#store;
    const chosen = this.#view.select(keys.values(), this.#wish);
    this.#grid.show(chosen, this.#now());
    const counts = countStates(keys.values());
    for (const [state, chip] of this.#chips) {
      const count = state ? counts[state] : keys.size;
      const pressed = state ? this.#wish.states.has(state) : this.#wish.states.size === 0;
      chip.element.dataset.count = count;
      chip.element.setAttribute('aria-pressed', pressed);
      chip.element.hidden = RARE.has(state) && count === 0 && !pressed;
      chip.count.textContent = this.#language.number(count);
    }
    const all = chosen.length === keys.size;
    this.#find('.count').textContent = all ? '' : this.#language.say('shown', { shown: chosen.length, total: keys.size });
    const { nothing, words, button } = this.#nothing;
    const waiting = keys.size === 0;
    nothing.hidden = chosen.length > 0 || (waiting && this.#feed.status.phase !== 'live');
    words.textContent = this.#language.say(waiting ? 'none_yet' : 'none_match');
    button.hidden = waiting;
  }

  get #look() {
    return {
      language: this.#language,
      now: this.#now(),
      stale: this.#feed.status.phase !== 'live',
      nameOf: (uri) => this.#nameOf(uri),
    };
  }

  /** The server's time; time stands still while we do not hear from it. */
  #now() {
    return (this.#feed.status.trueAt || Date.now()) + this.#feed.offset;
  }

  #nameOf(uri) {
    const { user, host } = addressOf(uri);
    return user && host ? (this.#store.keys.get(`sip:${user}@${host}`)?.name ?? '') : '';
  }

  #restyle() {
    const { phase, trueAt, code, detail } = this.#feed.status;
    const language = this.#language;
    const strip = this.#find('.connection');
    strip.dataset.phase = phase;
    const time = trueAt ? language.time(trueAt) : '';
    const sentence = phase === 'refused' && time ? 'refused_stale' : phase;
    const why = language.say(`why_${code}`) || detail;
    const words = this.#find('.connection .words');
    const said = language.say(sentence, { time, detail: why });
    if (words.textContent !== said) words.textContent = said;
    words.title = phase === 'live' ? language.say('live_long') : '';
    this.#find('.again').hidden = phase !== 'stale' && phase !== 'refused';
    this.#find('.grid').classList.toggle('stale', phase !== 'live');
    this.#grid.restyle(this.#look);
    this.#show();
    this.#redrawDetails(true);
  }

  #translate() {
    const own = this.getAttribute('lang');
    this.#language = new Language(own ? [own] : [...navigator.languages]);
    const language = this.#language;
    this.#view = new View(language.compare);
    const name = (selector, text) => this.#find(selector).setAttribute('aria-label', language.say(text));
    this.#find('.panel').lang = language.tag;
    this.#find('.finder input').placeholder = language.say('search_hint');
    name('.finder input', 'search');
    name('.chips', 'filter');
    name('.grid', 'keys');
    name('.help', 'help');
    this.#find('.help').title = language.say('help');
    this.#find('label.sort span').textContent = language.say('sort');
    for (const option of this.#find('select').options) option.textContent = language.say(`sort_${option.value}`);
    for (const [state, chip] of this.#chips) chip.words.textContent = language.say(state || 'all');
    this.#find('.again').textContent = language.say('retry');
    this.#nothing.button.textContent = language.say('show_all');
    this.#nameTheme();
    if (!this.#feed) return;
    this.#rank();
    this.#restyle();
  }

  // --- what is heard

  /** A snapshot is not news. */
  #hear(r, key, isNews) {
    const rings = key?.state === 'ringing';
    if (rings === this.#ringing.has(r)) return;
    if (!rings) {
      this.#ringing.delete(r);
      this.#toSay.delete(r);
      return;
    }
    this.#ringing.add(r);
    if (!isNews) return;
    this.#toSay.set(r, key);
    this.#saying ||= setTimeout(() => this.#announce());
  }

  /** One sentence, at most each two seconds, and only on what rings still. */
  #announce() {
    this.#saying = 0;
    const language = this.#language;
    const keys = [...this.#toSay.values()];
    this.#toSay.clear();
    if (keys.length === 0) return;
    const [key] = keys;
    const who = partyOf(key.call?.remote, language, (uri) => this.#nameOf(uri));
    const places = { who: key.name || key.user, from: language.say('from', { who }), n: keys.length };
    const sentence = keys.length > 1 ? 'ring_many' : who ? 'rings' : 'rings_plain';
    this.#find('[aria-live]').textContent = language.say(sentence, places);
    this.#saying = setTimeout(() => this.#announce(), ANNOUNCE_MS);
  }

  // --- what people do

  #open(r) {
    const key = this.#store.keys.get(r);
    if (!key) return;
    const detail = { resource: r, key };
    const action = new CustomEvent('blf-action', { detail, bubbles: true, composed: true, cancelable: true });
    if (this.dispatchEvent(action)) this.#details.open(key, this.#look);
  }

  #redrawDetails(anyway = false) {
    const { r } = this.#details;
    const key = this.#store.keys.get(r);
    if (key && (anyway || !this.#details.shows(key))) this.#details.draw(key, this.#look);
  }

  #shortcut(event) {
    const target = event.composedPath()[0];
    const typing = target instanceof Element && target.closest('input, textarea, select, [contenteditable]');
    if (event.ctrlKey || event.altKey || event.metaKey || this.#root.querySelector('dialog[open]')) return;
    const { activeElement, body } = this.ownerDocument;
    if (event.key === 'Escape' && (activeElement === this || activeElement === body)) {
      this.#reset();
    } else if (event.key === '/' && !typing) {
      const input = this.#find('.finder input');
      input.focus();
      input.select();
    } else if (event.key === '?' && !typing) {
      this.#help.open(this.#language);
    } else {
      return;
    }
    event.preventDefault();
  }

  #reset() {
    this.#find('.finder input').value = '';
    this.#wish = { ...this.#wish, query: '', states: new Set() };
    this.#show();
  }

  /** Each second, with the second, as long as someone looks and time runs. */
  #tick() {
    clearTimeout(this.#ticking);
    if (this.ownerDocument.hidden) return;
    const now = this.#now();
    this.#grid.tick(now);
    if (this.#details.r !== undefined) this.#details.tick(now);
    this.#ticking = setTimeout(() => this.#tick(), 1000 - (now % 1000) + 5);
  }

  #remembered() {
    try {
      const theme = localStorage.getItem(THEME_MEMORY);
      return THEMES.includes(theme) ? theme : undefined;
    } catch {
      return undefined; // a browser may forbid it
    }
  }

  #nextTheme() {
    const theme = THEMES[(THEMES.indexOf(this.getAttribute('theme') ?? 'auto') + 1) % THEMES.length];
    this.setAttribute('theme', theme);
    try {
      localStorage.setItem(THEME_MEMORY, theme);
    } catch {
      // Then it lasts until the page is closed.
    }
    this.#nameTheme();
  }

  #nameTheme() {
    const button = this.#find('.theme');
    const name = this.#language.say(`theme_${this.getAttribute('theme') ?? 'auto'}`);
    button.setAttribute('aria-label', name);
    button.title = name;
  }

  // --- building

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  #buildChips() {
    for (const state of ['', ...STATES]) {
      const element = document.createElement('button');
      const [words, count] = [document.createElement('span'), document.createElement('b')];
      element.type = 'button';
      element.className = state ? 'chip' : 'chip every';
      if (state) {
        element.dataset.state = state;
        element.append(lamp(state));
      }
      element.append(words, count);
      element.addEventListener('click', () => this.#choose(state));
      this.#find('.chips').append(element);
      this.#chips.set(state, { element, words, count });
    }
  }

  #choose(state) {
    const states = new Set(state ? this.#wish.states : []);
    if (state && !states.delete(state)) states.add(state);
    this.#wish = { ...this.#wish, states };
    this.#show();
  }

  #buildTools() {
    const input = this.#find('.finder input');
    input.addEventListener('input', () => {
      this.#wish = { ...this.#wish, query: input.value };
      this.#show();
    });
    input.addEventListener('keydown', (event) => {
      if (event.key !== 'ArrowDown' && event.key !== 'Enter') return;
      event.preventDefault();
      this.#grid.focus();
    });
    const select = this.#find('select');
    select.append(...SORTS.map((sort) => new Option(sort, sort)));
    select.addEventListener('change', () => {
      this.#wish = { ...this.#wish, sort: select.value };
      this.#show();
    });
    this.#find('.theme').addEventListener('click', () => this.#nextTheme());
    this.#find('.help').addEventListener('click', () => this.#help.open(this.#language));
    this.#find('.again').addEventListener('click', () => this.#feed.retry());
  }

  #buildNothing() {
    const [nothing, words, button] = ['div', 'p', 'button'].map((tag) => document.createElement(tag));
    nothing.className = 'nothing';
    nothing.hidden = true;
    button.className = 'plain';
    button.type = 'button';
    button.addEventListener('click', () => this.#reset());
    nothing.append(words, button);
    this.#find('.grid').after(nothing);
    this.#nothing = { nothing, words, button };
  }
}

/** A street lamp. */
function logo() {
  const svg = drawing('logo', 2);
  svg.children[0].setAttribute('d', 'M8.2 7.5h7.6L14.5 14.5h-5z');
  svg.children[1].setAttribute('d', 'M12 1.5l5.200 4.400v1.200H6.800V5.900zM9.200 15.200h5.600v1.600h-2v4.200h2.700v1.500H8.500V21h2.700v-4.200h-2z');
  return svg;
}

customElements.define('blf-panel', BlfPanel);
