/**
 * What one person chose on this device: favourites, watched keys, pages of their own, and how the panel looks.
 *
 * Lives in the browser's storage, where anybody may have written; so everything is checked when it is read.
 */

const LIST_MOST = 2000;
const PAGES_MOST = 50;
const NAME_MOST = 60;

/** The list of favourites, as a place to arrange; pages are numbers. */
export const FAVOURITES = 'favourites';

const CHOICES = {
  theme: ['auto', 'light', 'dark'],
  density: ['normal', 'compact', 'large'],
  view: ['grid', 'list', 'wallboard'],
};

/**
 * @typedef {{name: string, keys: string[]}} Page
 * @typedef {{desktop: boolean, sound: boolean, volume: number, quiet: boolean, from: string, until: string}} Alerts
 *   `volume` 0 to 1; `from` and `until` are `hh:mm` of the quiet hours.
 */

export class Memory {
  #storage;
  #name;
  #data;
  #onchange;

  /**
   * @param {Storage|undefined} storage Without one, all is forgotten with the page.
   * @param {string} name Where in it.
   * @param {() => void} onchange After each change.
   */
  constructor(storage, name, onchange) {
    this.#storage = storage;
    this.#name = name;
    this.#onchange = onchange;
    this.#data = checked(this.#read());
  }

  /** @returns {{theme?: string, density?: string, view?: string, sort?: string, lang?: string, me?: string}} */
  get look() {
    return this.#data.look;
  }

  /** @returns {Alerts} */
  get alerts() {
    return this.#data.alerts;
  }

  /** @returns {readonly Page[]} */
  get pages() {
    return this.#data.pages;
  }

  /** Resources that someone wants to hear about. @returns {readonly string[]} */
  get watched() {
    return this.#data.watched;
  }

  /** @param {'favourites'|number} place @returns {readonly string[]} */
  keysOf(place) {
    return place === FAVOURITES ? this.#data.favourites : (this.#data.pages[place]?.keys ?? []);
  }

  choose(changes) {
    this.#save({ look: checkedLook({ ...this.#data.look, ...changes }) });
  }

  setAlerts(changes) {
    this.#save({ alerts: checkedAlerts({ ...this.#data.alerts, ...changes }) });
  }

  toggleWatched(r) {
    this.#save({ watched: toggled(this.#data.watched, r) });
  }

  /** Adds or takes away. */
  toggle(place, r) {
    this.#put(place, toggled(this.keysOf(place), r));
  }

  /** Puts `r` where `at` is; last if `at` is not in the list. */
  move(place, r, at) {
    const keys = this.keysOf(place);
    const [from, to] = [keys.indexOf(r), keys.indexOf(at)];
    if (from < 0 || from === to) return;
    const rest = keys.toSpliced(from, 1);
    this.#put(place, rest.toSpliced(to < 0 ? rest.length : to, 0, r));
  }

  /** @returns {number} The place of the new page, -1 if there are too many. */
  addPage(name, keys = []) {
    if (this.#data.pages.length >= PAGES_MOST) return -1;
    this.#save({ pages: checkedPages([...this.#data.pages, { name, keys }]) });
    return this.#data.pages.length - 1;
  }

  renamePage(at, name) {
    this.#save({ pages: checkedPages(this.#data.pages.map((page, one) => (one === at ? { ...page, name } : page))) });
  }

  removePage(at) {
    this.#save({ pages: this.#data.pages.toSpliced(at, 1) });
  }

  /** The arrangement as a file to keep or to give to a colleague. */
  export() {
    const { favourites, watched, pages } = this.#data;
    return JSON.stringify({ lamplighter: 'arrangement', version: 1, favourites, watched, pages }, null, 2);
  }

  /**
   * Replaces the arrangement.
   * @param {string} text What `export` made.
   * @throws {SyntaxError} It is something else.
   */
  import(text) {
    const value = JSON.parse(text);
    if (value?.lamplighter !== 'arrangement' || value.version !== 1) throw new SyntaxError('not an arrangement');
    const { favourites, watched, pages } = checked(value);
    this.#save({ favourites, watched, pages });
  }

  #put(place, keys) {
    if (place === FAVOURITES) this.#save({ favourites: checkedKeys(keys) });
    else this.#save({ pages: checkedPages(this.#data.pages.map((page, at) => (at === place ? { ...page, keys } : page))) });
  }

  #read() {
    try {
      return JSON.parse(this.#storage?.getItem(this.#name) ?? 'null');
    } catch {
      return null; // forbidden, or not ours
    }
  }

  #save(changes) {
    this.#data = { ...this.#data, ...changes };
    try {
      this.#storage?.setItem(this.#name, JSON.stringify(this.#data));
    } catch {
      // Full or forbidden: then it lasts until the page is closed.
    }
    this.#onchange();
  }
}

function checked(value) {
  return {
    look: checkedLook(value?.look),
    alerts: checkedAlerts(value?.alerts),
    favourites: checkedKeys(value?.favourites),
    watched: checkedKeys(value?.watched),
    pages: checkedPages(value?.pages),
  };
}

function checkedLook(value) {
  const look = {};
  for (const [name, choices] of Object.entries(CHOICES)) if (choices.includes(value?.[name])) look[name] = value[name];
  for (const name of ['sort', 'lang', 'me']) if (typeof value?.[name] === 'string') look[name] = value[name].slice(0, 200);
  return look;
}

function checkedAlerts(value) {
  const hour = (text, otherwise) => (/^([01]\d|2[0-3]):[0-5]\d$/.test(text) ? text : otherwise);
  return {
    desktop: value?.desktop === true,
    sound: value?.sound === true,
    volume: Number.isFinite(value?.volume) ? Math.min(1, Math.max(0, value.volume)) : 0.5,
    quiet: value?.quiet === true,
    from: hour(value?.from, '18:00'),
    until: hour(value?.until, '08:00'),
  };
}

function checkedKeys(value) {
  const keys = Array.isArray(value) ? value.filter((one) => typeof one === 'string' && one.length <= 512) : [];
  return [...new Set(keys)].slice(0, LIST_MOST);
}

function checkedPages(value) {
  const pages = Array.isArray(value) ? value.filter((page) => typeof page?.name === 'string') : [];
  return pages.slice(0, PAGES_MOST).map(({ name, keys }) => ({ name: name.trim().slice(0, NAME_MOST) || '–', keys: checkedKeys(keys) }));
}

const toggled = (list, r) => (list.includes(r) ? list.filter((one) => one !== r) : [...list, r]);

/** Whether `hh:mm` lies within the quiet hours, which may go over midnight. */
export function isQuiet({ quiet, from, until }, now) {
  if (!quiet) return false;
  return from <= until ? from <= now && now < until : now >= from || now < until;
}
