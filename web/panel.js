/**
 * `<blf-panel>`: the keys of an office, live.
 *
 * Attributes: `src` (URL of the feed; `/v1/feed` of this host), `ticket-url` (answers `{"ticket": ".."}` to a POST),
 * `subscribe` (resources and `group:NAME`, separated by spaces; `*`), `view` (`grid`, `list`, `wallboard`), `density`
 * (`normal`, `compact`, `large`), `theme` (`auto`, `light`, `dark`), `lang`, `dial` (`tel`: calls are links to numbers),
 * `locked` (look, do not touch). What an attribute says, people cannot choose otherwise.
 *
 * Events: `blf-change`, `detail` is `{keys, gone}`, at most once a frame of the screen; `blf-action`, cancelable, before
 * a key acts, `detail` is `{action, resource, number, key}` with `action` `dial` or `pickup`.
 */

import { actionOf, copy, follow, linkOf } from './action.js';
import { Alerts, newsOf } from './alerts.js';
import { Announcer } from './announcer.js';
import { HelpWindow, HoverCard, KeyWindow } from './details.js';
import { readDirectory } from './directory.js';
import { Feed } from './feed.js';
import { Filters } from './filters.js';
import { Grid } from './grid.js';
import { Language } from './i18n.js';
import { lamp, logo, sign } from './icons.js';
import { MeWindow, Status } from './me.js';
import { FAVOURITES, Memory } from './memory.js';
import { Menu } from './menu.js';
import { Server } from './server.js';
import { SettingsWindow } from './settings.js';
import { SignIn } from './signin.js';
import { KINDS, Store, addressOf } from './store.js';
import { styleSheet } from './style.js';
import { PageWindow, TabBar, tabsOf } from './tabs.js';
import { themeSheet } from './theme.js';
import { SORTS, View, isSteady } from './view.js';
import { nameButton } from './window.js';

/** How old a directory may be when the connection comes back. */
const DIRECTORY_MS = 60_000;
const BONES = 24;

const TEMPLATE = `
  <div class="panel themed" part="panel">
    <header part="header">
      <div class="bar" part="toolbar">
        <h1><slot name="title"><span class="logo"></span>Lamplighter</slot></h1>
        <div class="finder"><input type="search" autocomplete="off" spellcheck="false"><kbd aria-hidden="true">/</kbd></div>
        <label class="sort"><span></span><select></select></label>
        <slot name="toolbar"></slot>
        <button class="plain me" type="button" hidden></button>
        <button class="icon view" type="button"></button>
        <button class="icon settings" type="button"></button>
        <button class="icon help" type="button"></button>
        <time class="wall"></time>
      </div>
      <div class="tabs" role="group" part="tabs"></div>
      <div class="chips" role="group" part="filters"></div>
    </header>
    <div class="connection" part="connection">
      <div class="said" role="status"><span class="beacon"></span><span class="words"></span></div>
      <button class="plain again" type="button" hidden></button>
      <span class="count"></span>
    </div>
    <div class="stage">
      <div class="grid" tabindex="0" part="grid"></div>
      <div class="bones" aria-hidden="true">${'<i></i>'.repeat(BONES)}</div>
      <div class="nothing" hidden><p></p><button class="plain" type="button"></button></div>
    </div>
    <slot name="footer"></slot>
    <div class="toast" popover="manual" aria-hidden="true" part="toast"></div>
    <div class="unseen" aria-live="polite"></div>
  </div>`;

export class BlfPanel extends HTMLElement {
  static observedAttributes = ['src', 'ticket-url', 'subscribe', 'lang', 'view', 'density', 'theme', 'locked'];

  #root = this.attachShadow({ mode: 'open' });
  #store = new Store();
  #server;
  #feed;
  #language;
  #view;
  #memory;
  #grid;
  #details;
  #card;
  #menu;
  #help;
  #me;
  #page;
  #settings;
  #signIn;
  #tabBar;
  #alerts = new Alerts();
  #filters;
  #announcer;
  #wish = { query: '', states: new Set(), sort: undefined };
  #tab = 'all';
  #groups = [];
  #directoryAt = -Infinity;
  #changed = new Set();
  /** Whether keys have come, gone or are named anew since they were put in order. */
  #unranked = false;
  #heard = new Map();
  #frame = 0;
  #ticking = 0;
  #listeners;
  #wakeLock;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [themeSheet(), styleSheet()];
    this.#root.innerHTML = TEMPLATE;
    const panel = this.#find('.panel');
    this.#find('.logo').replaceWith(logo());
    this.#find('.finder').prepend(sign('search'));
    this.#find('.settings').append(sign('settings'));
    this.#find('.help').append(sign('help'));
    this.#grid = new Grid(this.#find('.grid'), {
      act: (r) => this.#act(r),
      describe: (r) => this.#describe(r),
      menu: (r, x, y) => this.#openMenu(r, x, y),
      move: (r, at) => this.#move(r, at),
    });
    this.#tabBar = new TabBar(this.#find('.tabs'), {
      choose: (id) => this.#chooseTab(id),
      menu: (id, x, y) => this.#openTabMenu(id, x, y),
      drop: (id, r) => this.#put(id, r),
      add: () => this.#addPage(),
    });
    const find = (r) => [this.#store.keys.get(r), this.#look];
    this.#card = new HoverCard(panel, this.#find('.grid'), find);
    this.#details = new KeyWindow(panel, { dial: (r) => this.#act(r, 'dial'), copy: (r) => this.#copy(r) });
    this.#menu = new Menu(panel);
    this.#help = new HelpWindow(panel);
    this.#page = new PageWindow(panel);
    this.#me = new MeWindow(panel, new Status((t, members) => this.#feed.command(t, members)), (text) => this.#announcer.tell(this.#language.say(text)));
    this.#announcer = new Announcer(this.#find('[aria-live]'), this.#find('.toast'), () => this.#look);
    this.#filters = new Filters(this.#find('.chips'), (state) => this.#choose(state));
    this.#signIn = new SignIn(async (token) => {
      await this.#server.signIn(token);
      this.#feed.retry();
    });
    this.#find('.stage').append(this.#signIn.element);
    this.#buildTools();
  }

  /** For the page around the panel. */
  get api() {
    return {
      /** All keys, by resource. */
      keys: this.#store.keys,
      connect: () => (this.#feed.start(), this.#feed.retry()),
      disconnect: () => this.#feed.stop(),
      /** `{query, states, sort, tab}`, each left as it is when left out. */
      filter: ({ query, states, sort, tab } = {}) => {
        if (query !== undefined) this.#find('.finder input').value = query;
        if (tab !== undefined) this.#tab = tab;
        this.#wish = { query: query ?? this.#wish.query, states: new Set(states ?? this.#wish.states), sort: sort ?? this.#wish.sort };
        this.#show();
      },
      /** Brings a key into view and focuses it. @returns {boolean} Whether it is shown. */
      select: (r) => this.#grid.select(r),
      /** Names and groups that the page knows itself: `{people: [{resource, name, ..}], groups: {name: [resource]}}`. */
      setDirectory: (value) => {
        this.#directoryAt = Infinity;
        this.#setDirectory(value);
      },
      /** @returns {Promise<void>} */
      signIn: async (token) => {
        await this.#server.signIn(token);
        this.#feed.retry();
      },
    };
  }

  connectedCallback() {
    this.#listeners = new AbortController();
    const { signal } = this.#listeners;
    this.ownerDocument.addEventListener('keydown', (event) => this.#shortcut(event), { signal });
    this.ownerDocument.addEventListener('visibilitychange', () => this.#seen(), { signal });
    this.ownerDocument.defaultView.addEventListener('online', () => this.#feed.retry(), { signal });
    const name = this.id ? `blf-panel.${this.id}` : 'blf-panel';
    this.#memory = new Memory(storage(), name, () => this.#remembered());
    this.#settings ??= new SettingsWindow(this.#find('.panel'), this.#memory, this.#alerts);
    this.#translate();
    this.#openFeed();
    this.#dress();
    this.#seen();
  }

  disconnectedCallback() {
    this.#listeners.abort();
    this.#feed.stop();
    this.#wakeLock?.release();
    this.#announcer.stop();
    clearTimeout(this.#ticking);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  attributeChangedCallback(name) {
    if (!this.isConnected || !this.#feed) return;
    if (name === 'lang') return this.#translate();
    if (name === 'subscribe') return this.#feed.select(this.#selectors);
    if (name !== 'src' && name !== 'ticket-url') return this.#dress();
    this.#feed.stop();
    this.#directoryAt = -Infinity;
    this.#openFeed();
  }

  // --- the feed

  get #selectors() {
    return (this.getAttribute('subscribe') ?? '*').split(/\s+/).filter(Boolean);
  }

  #openFeed() {
    this.#store = new Store();
    this.#changed.clear();
    this.#heard.clear();
    this.#announcer.stop();
    this.#unranked = true;
    this.#server = new Server({
      src: this.getAttribute('src') ?? '/v1/feed',
      ticketUrl: this.getAttribute('ticket-url'),
      base: location.href,
      fetch: (url, init) => fetch(url, init),
    });
    this.#feed = new Feed({
      url: this.#server.feedUrl,
      selectors: this.#selectors,
      kinds: KINDS,
      open: (to, protocol) => new WebSocket(to, protocol),
      clock: { now: Date.now, set: (call, ms) => setTimeout(call, ms), clear: (timer) => clearTimeout(timer) },
      random: Math.random,
      why: () => this.#server.why(),
      onframe: (frame) => this.#receive(frame),
      onstatus: () => this.#restyle(),
    });
    this.#feed.start();
  }

  #receive(frame) {
    for (const r of this.#store.apply(frame)) {
      const [before, after] = [this.#heard.get(r), this.#store.keys.get(r)];
      if (after) this.#heard.set(r, after);
      else this.#heard.delete(r);
      this.#unranked ||= before?.name !== after?.name || before?.user !== after?.user;
      this.#changed.add(r);
      this.#hear(r, before, after, frame.t === 'upd');
    }
    if (this.#changed.size) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** Draws what has come since the last frame of the screen. */
  #draw() {
    this.#frame = 0;
    const { keys } = this.#store;
    const changed = [...this.#changed];
    this.#changed.clear();
    if (!this.#unranked && isSteady(this.#chosen)) {
      this.#grid.update(changed.map((r) => keys.get(r)), this.#now());
      this.#filters.draw(this.#members(), this.#wish.states, this.#language);
    } else {
      this.#show();
    }
    this.#redrawDetails();
    const detail = { keys: changed.flatMap((r) => keys.get(r) ?? []), gone: changed.filter((r) => !keys.has(r)) };
    this.dispatchEvent(new CustomEvent('blf-change', { detail, bubbles: true, composed: true }));
  }

  async #fetchDirectory() {
    if (Date.now() - this.#directoryAt < DIRECTORY_MS || this.hasAttribute('ticket-url')) return;
    this.#directoryAt = Date.now();
    const store = this.#store;
    // Not every gateway has one, and not everybody may read it.
    const directory = await this.#server.ask('directory').catch(() => undefined);
    if (directory && store === this.#store) this.#setDirectory(directory);
  }

  #setDirectory(value) {
    const { people, groups } = readDirectory(value);
    this.#groups = groups;
    if (this.#store.setPeople(people).size) this.#unranked = true;
    this.#show();
  }

  // --- what is shown

  get #isWallboard() {
    return this.#choice('view', 'grid') === 'wallboard';
  }

  get #locked() {
    return this.hasAttribute('locked') || this.#isWallboard;
  }

  /** What the page says, else the person, else the default. */
  #choice(name, otherwise) {
    return this.getAttribute(name) ?? this.#memory.look[name] ?? otherwise;
  }

  get #tabs() {
    return tabsOf(this.#memory, this.#groups, this.#language);
  }

  get #active() {
    const tabs = this.#tabs;
    return tabs.find(({ id }) => id === this.#tab) ?? tabs[0];
  }

  /** What is wished, with the defaults of the page that is shown. */
  get #chosen() {
    const { only, place } = this.#active;
    const usual = place === undefined ? (this.#memory.look.sort ?? 'extension') : 'own';
    const sort = this.#wish.sort ?? usual;
    return { ...this.#wish, sort: sort === 'own' && !only ? 'extension' : sort, only };
  }

  get #arranges() {
    const { query, states, sort } = this.#chosen;
    return !this.#locked && this.#active.place !== undefined && sort === 'own' && !query.trim() && states.size === 0;
  }

  /** The keys of the page that is shown, before search and filter. */
  #members() {
    const { only } = this.#active;
    const { keys } = this.#store;
    return only ? [...only.keys()].flatMap((r) => keys.get(r) ?? []) : [...keys.values()];
  }

  #show() {
    if (!this.#language || !this.#feed) return;
    const { keys } = this.#store;
    if (this.#unranked) this.#view.rank(keys.values());
    this.#unranked = false;
    const { id, place } = this.#active;
    const wish = this.#chosen;
    const members = this.#members();
    const shown = this.#view.select(members, wish);
    this.#grid.restyle(this.#look);
    this.#grid.show(shown, this.#now());
    this.#tabBar.draw(this.#tabs, id, this.#language, this.#locked);
    this.#filters.draw(members, this.#wish.states, this.#language);
    const select = this.#find('select');
    select.querySelector('[value="own"]').hidden = place === undefined && wish.only === undefined;
    select.value = wish.sort;
    const all = shown.length === members.length;
    this.#find('.count').textContent = all ? '' : this.#language.say('shown', { shown: shown.length, total: members.length });
    const { phase } = this.#feed.status;
    const waiting = keys.size === 0;
    const signingIn = phase === 'refused' && this.#feed.status.code === 'unauthenticated' && !this.hasAttribute('ticket-url');
    this.#find('.nothing').hidden = shown.length > 0 || (waiting && phase !== 'live') || signingIn;
    const isPage = members.length === 0 && place !== undefined;
    this.#find('.nothing p').textContent = this.#language.say(waiting ? 'none_yet' : isPage ? 'page_empty' : 'none_match');
    this.#find('.nothing button').hidden = waiting;
    this.#find('.bones').hidden = !(waiting && phase === 'connecting');
    this.#find('.grid').hidden = signingIn && waiting;
    this.#find('.panel').classList.toggle('outside', signingIn && waiting);
    this.#signIn.show(signingIn);
    this.#drawMe();
  }

  /** @returns {import('./key.js').Look & {locked: boolean, arranges: boolean}} */
  get #look() {
    const favourites = new Set(this.#memory.keysOf(FAVOURITES));
    const watched = new Set(this.#memory.watched);
    return {
      language: this.#language,
      now: this.#now(),
      stale: this.#feed.status.phase !== 'live',
      nameOf: (uri) => this.#nameOf(uri),
      isFavourite: (r) => favourites.has(r),
      isWatched: (r) => watched.has(r),
      locked: this.#locked,
      arranges: this.#arranges,
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

  /** Follows the connection. */
  #restyle() {
    const { phase, trueAt, code, detail } = this.#feed.status;
    const language = this.#language;
    this.#find('.connection').dataset.phase = phase;
    const time = trueAt ? language.time(trueAt) : '';
    const sentence = phase === 'refused' && time ? 'refused_stale' : phase;
    const said = language.say(sentence, { time, detail: language.say(`why_${code}`) || detail });
    const words = this.#find('.connection .words');
    if (words.textContent !== said) words.textContent = said;
    words.title = phase === 'live' ? language.say('live_long') : '';
    this.#find('.again').hidden = phase !== 'stale' && phase !== 'refused';
    this.#find('.grid').classList.toggle('stale', phase !== 'live');
    this.#grid.forget();
    this.#show();
    this.#redrawDetails(true);
    if (phase === 'live') this.#fetchDirectory();
  }

  /** Follows attributes and what the person chose. */
  #dress() {
    const panel = this.#find('.panel');
    const view = this.#choice('view', 'grid');
    panel.dataset.theme = this.#choice('theme', 'auto');
    panel.dataset.view = view;
    panel.dataset.density = this.#choice('density', 'normal');
    panel.classList.toggle('locked', this.#locked);
    const button = this.#find('button.view');
    const other = view === 'list' ? 'grid' : 'list';
    button.hidden = this.hasAttribute('view');
    button.replaceChildren(sign(other));
    nameButton(button, this.#language.say(other));
    this.#grid.behave({ fits: this.#isWallboard, draggable: !this.#locked });
    this.#grid.forget();
    this.#show();
    this.#stayAwake();
  }

  #remembered() {
    this.#translate();
    this.#dress();
    this.#redrawDetails(true);
  }

  #translate() {
    const own = this.getAttribute('lang') ?? this.#memory.look.lang;
    const language = new Language(own ? [own] : [...navigator.languages]);
    if (this.#language?.tag === language.tag) return;
    this.#language = language;
    this.#view = new View(language.compare);
    this.#unranked = true;
    const say = (name) => language.say(name);
    const name = (selector, text) => this.#find(selector).setAttribute('aria-label', say(text));
    this.#find('.panel').lang = language.tag;
    this.#find('.finder input').placeholder = say('search_hint');
    name('.finder input', 'search');
    name('.chips', 'filter');
    name('.tabs', 'pages');
    name('.grid', 'keys');
    nameButton(this.#find('.help'), say('help'));
    nameButton(this.#find('.settings'), say('settings'));
    this.#find('label.sort span').textContent = say('sort');
    for (const option of this.#find('select').options) option.textContent = say(`sort_${option.value}`);
    this.#filters.translate(language);
    this.#find('.again').textContent = say('retry');
    this.#find('.nothing button').textContent = say('show_all');
    this.#signIn.translate(say);
    if (this.#feed) this.#restyle();
  }

  #drawMe() {
    const offered = this.#feed.features.has('pub') && !this.#locked;
    const me = this.#find('.me');
    me.hidden = !offered;
    if (!offered) return;
    const key = this.#store.keys.get(this.#memory.look.me);
    const state = key?.state ?? 'unknown';
    const text = key ? key.name || key.user : this.#language.say('me');
    const drawn = `${state} ${text}`;
    if (me.dataset.drawn === drawn) return;
    me.dataset.drawn = drawn;
    me.dataset.state = state;
    me.replaceChildren(lamp(state), text);
    me.title = this.#language.say('me');
  }

  // --- what is heard

  /** A snapshot is not news. Who has favourites or watches keys hears about those only. */
  #hear(r, before, after, isNews) {
    const rang = before?.state === 'ringing';
    const rings = after?.state === 'ringing';
    if (rang && !rings) this.#announcer.rests(r);
    if (!isNews) return;
    const watched = this.#memory.watched;
    const news = newsOf(before, after);
    if (news && watched.includes(r)) this.#alerts.tell(news, after, this.#memory.alerts, this.#look);
    if (!rings || rang) return;
    const dear = [...watched, ...this.#memory.keysOf(FAVOURITES)];
    if (dear.length && !dear.includes(r)) return;
    this.#announcer.rings(after);
  }

  // --- what people do

  #act(r, action) {
    const key = this.#store.keys.get(r);
    if (!key || this.#locked) return;
    this.#card.hide();
    action ??= actionOf(key);
    const detail = { action, resource: r, number: key.user, key };
    const event = new CustomEvent('blf-action', { detail, bubbles: true, composed: true, cancelable: true });
    if (!this.dispatchEvent(event)) return;
    const who = key.name || key.user;
    if (this.#feed.features.has('act')) {
      const device = this.#memory.look.me;
      const command = { action, r, ...(action === 'pickup' && { call: key.call?.id }), ...(device && { device }) };
      const done = () => this.#announcer.tell(this.#language.say(`asked_${action}`, { who }));
      this.#feed.command('act', command).then(done, (error) => this.#announcer.tell(this.#language.say('act_failed', { detail: error.message })));
    } else if (action === 'pickup') {
      // No link fetches a call; what can be done is shown.
      this.#describe(r);
    } else {
      follow(linkOf(r, this.getAttribute('dial')));
      this.#announcer.tell(this.#language.say('calling', { who }));
    }
  }

  #describe(r) {
    const key = this.#store.keys.get(r);
    this.#card.hide();
    if (key) this.#details.open(key, this.#look);
  }

  async #copy(r) {
    const done = await copy(this.#store.keys.get(r)?.user ?? '');
    this.#announcer.tell(this.#language.say(done ? 'copied' : 'copy_failed'));
  }

  #openMenu(r, x, y) {
    const key = this.#store.keys.get(r);
    if (!key) return;
    this.#card.hide();
    const say = (name, places) => this.#language.say(name, places);
    const item = (text, act) => ({ text, act });
    const who = key.name || key.user;
    const toggled = (list, add, remove) => say(list.includes(r) ? remove : add);
    const items = [
      item(say('dial_now', { who }), () => this.#act(r, 'dial')),
      ...(key.state === 'ringing' && this.#feed.features.has('act') ? [item(say('pickup'), () => this.#act(r, 'pickup'))] : []),
      item(say('copy'), () => this.#copy(r)),
      item(say('details'), () => this.#describe(r)),
      null,
      item(toggled(this.#memory.keysOf(FAVOURITES), 'favourite_add', 'favourite_remove'), () => this.#memory.toggle(FAVOURITES, r)),
      item(toggled(this.#memory.watched, 'watch', 'unwatch'), () => this.#memory.toggleWatched(r)),
      null,
      ...this.#memory.pages.map(({ name, keys }, at) =>
        item(say(keys.includes(r) ? 'page_remove' : 'page_add', { name }), () => this.#memory.toggle(at, r))),
      item(say('page_new'), () => this.#addPage(r)),
    ];
    this.#menu.open(who, this.#locked ? items.slice(2, 4).filter(Boolean) : items, x, y, () => this.#grid.focus());
  }

  #openTabMenu(id, x, y) {
    const { place, text } = this.#tabs.find((tab) => tab.id === id) ?? {};
    if (typeof place !== 'number' || this.#locked) return;
    const say = (name) => this.#language.say(name);
    const rename = () => this.#page.open(this.#language, say('page_rename'), text, (name) => this.#memory.renamePage(place, name));
    const remove = () => {
      this.#tab = 'all';
      this.#memory.removePage(place);
    };
    const items = [{ text: say('page_rename'), act: rename }, { text: say('page_delete'), act: remove }];
    this.#menu.open(text, items, x, y, () => this.#find(`[data-tab="${id}"]`)?.focus());
  }

  #addPage(r) {
    const { language } = this.#look;
    this.#page.open(language, language.say('page_new'), this.#memory.pages.length ? '' : language.say('page_first'), (name) => {
      const at = this.#memory.addPage(name, r === undefined ? [] : [r]);
      if (at >= 0) this.#chooseTab(`page:${at}`);
    });
  }

  #chooseTab(id) {
    this.#tab = id;
    this.#wish.sort = undefined;
    this.#show();
  }

  /** A key was dropped on a page. */
  #put(id, r) {
    const place = this.#tabs.find((tab) => tab.id === id)?.place;
    if (place !== undefined && !this.#memory.keysOf(place).includes(r)) this.#memory.toggle(place, r);
  }

  #move(r, at) {
    const { place } = this.#active;
    if (!this.#arranges) return;
    this.#memory.move(place, r, at);
    const keys = this.#memory.keysOf(place);
    const { name, user } = this.#store.keys.get(r);
    this.#announcer.say(this.#language.say('moved', { who: name || user, n: keys.indexOf(r) + 1, total: keys.length }));
  }

  #redrawDetails(anyway = false) {
    const { r } = this.#details;
    const key = this.#store.keys.get(r);
    if (key && (anyway || !this.#details.shows(key))) this.#details.draw(key, this.#look);
    this.#card.refresh();
  }

  #shortcut(event) {
    const target = event.composedPath()[0];
    const typing = target instanceof Element && target.closest('input, textarea, select, [contenteditable]');
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (this.#root.querySelector('dialog[open]') || this.#menu.isOpen || this.#isWallboard) return;
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
    if (this.#members().length === 0) this.#tab = 'all';
    this.#show();
  }

  // --- time

  #seen() {
    this.#tick();
    this.#stayAwake();
  }

  /** Each second, with the second, as long as someone looks and time runs. */
  #tick() {
    clearTimeout(this.#ticking);
    if (this.ownerDocument.hidden) return;
    const now = this.#now();
    this.#grid.tick(now);
    this.#card.tick(now);
    if (this.#details.r !== undefined) this.#details.tick(now);
    if (this.#isWallboard) this.#find('time.wall').textContent = this.#language.time(Date.now());
    this.#ticking = setTimeout(() => this.#tick(), 1000 - (now % 1000) + 5);
  }

  /** A wallboard's screen stays on; browsers take the lock back whenever the page is hidden. */
  async #stayAwake() {
    if (!this.#isWallboard || this.ownerDocument.hidden || !navigator.wakeLock) return;
    if (this.#wakeLock && !this.#wakeLock.released) return;
    this.#wakeLock = await navigator.wakeLock.request('screen').catch(() => undefined);
  }

  // --- building

  #find(selector) {
    return this.#root.querySelector(selector);
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
      if (this.#active.place === undefined && select.value !== 'own') this.#memory.choose({ sort: select.value });
      this.#show();
    });
    const on = (selector, act) => this.#find(selector).addEventListener('click', act);
    on('button.view', () => this.#memory.choose({ view: this.#choice('view', 'grid') === 'list' ? 'grid' : 'list' }));
    on('.settings', () => {
      const now = { theme: this.#choice('theme', 'auto'), density: this.#choice('density', 'normal'), lang: this.getAttribute('lang') ?? this.#memory.look.lang ?? '' };
      this.#settings.open(this.#language, now);
    });
    on('.help', () => this.#help.open(this.#language));
    on('.again', () => this.#feed.retry());
    on('.nothing button', () => this.#reset());
    on('.me', () => {
      const people = this.#view.select(this.#store.keys.values(), { query: '', states: new Set(), sort: 'name' });
      this.#me.open(this.#language, people, this.#memory.look.me, (me) => this.#memory.choose({ me }));
    });
  }
}

function storage() {
  try {
    return localStorage;
  } catch {
    return undefined; // a browser may forbid it
  }
}

customElements.define('blf-panel', BlfPanel);
