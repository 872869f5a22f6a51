/** The pages of the panel: all keys, favourites, the groups of the directory, and pages that a person made. */

import { DRAGGED } from './grid.js';
import { sign } from './icons.js';
import { FAVOURITES } from './memory.js';
import { Window, element, field, nameButton } from './window.js';

/**
 * @typedef {{id: string, text: string, only?: ReadonlyMap<string, number>, place?: 'favourites'|number}} Tab
 *   `only`: its members with their places; `place`: where they can be arranged.
 */

/**
 * @param {import('./memory.js').Memory} memory
 * @param {import('./directory.js').Group[]} groups
 * @param {import('./i18n.js').Language} language
 * @returns {Tab[]} The first is all keys.
 */
export function tabsOf(memory, groups, language) {
  const placesOf = (keys) => new Map(keys.map((r, at) => [r, at]));
  const favourites = memory.keysOf(FAVOURITES);
  return [
    { id: 'all', text: language.say('all') },
    ...(favourites.length ? [{ id: FAVOURITES, text: language.say('favourites'), only: placesOf(favourites), place: FAVOURITES }] : []),
    ...groups.map(({ name, members }) => ({ id: `group:${name}`, text: name, only: members })),
    ...memory.pages.map(({ name, keys }, at) => ({ id: `page:${at}`, text: name, only: placesOf(keys), place: at })),
  ];
}

export class TabBar {
  #drawn = '';
  #does;

  /**
   * @param {HTMLElement} bar
   * @param {object} does What to do when someone
   * @param {(id: string) => void} does.choose chooses a page,
   * @param {(id: string, x: number, y: number) => void} does.menu wants its menu,
   * @param {(id: string, r: string) => void} does.drop drops a key on it,
   * @param {() => void} does.add wants a new one.
   */
  constructor(bar, does) {
    this.element = bar;
    this.#does = does;
    bar.addEventListener('click', ({ target }) => {
      const tab = target.closest('button');
      if (tab?.dataset.tab) does.choose(tab.dataset.tab);
      else if (tab) does.add();
    });
    bar.addEventListener('contextmenu', (event) => {
      const tab = event.target.closest('[data-place]');
      if (!tab) return;
      event.preventDefault();
      const { left, bottom } = tab.getBoundingClientRect();
      does.menu(tab.dataset.tab, event.clientX || left, event.clientY || bottom);
    });
    for (const name of ['dragover', 'dragleave', 'drop']) bar.addEventListener(name, (event) => this.#drag(event));
  }

  /** @param {Tab[]} tabs @param {string} active @param {boolean} locked Pages can only be chosen. */
  draw(tabs, active, language, locked) {
    this.element.hidden = tabs.length === 1;
    const drawn = JSON.stringify([tabs.map(({ id, text, place }) => [id, text, place]), active, language.tag, locked]);
    if (this.#drawn === drawn) return;
    this.#drawn = drawn;
    const hadFocus = this.element.getRootNode().activeElement?.dataset?.tab;
    const buttons = tabs.map(({ id, text, place }) => {
      const tab = element('button', { type: 'button', className: 'tab' }, id === FAVOURITES ? sign('star') : '', text);
      tab.setAttribute('part', 'tab');
      tab.setAttribute('aria-pressed', id === active);
      tab.dataset.tab = id;
      if (place !== undefined && !locked) tab.dataset.place = place;
      return tab;
    });
    const add = element('button', { type: 'button', className: 'tab add' }, sign('plus'));
    nameButton(add, language.say('page_new'));
    this.element.replaceChildren(...buttons, locked ? '' : add);
    if (hadFocus) buttons.find((tab) => tab.dataset.tab === hadFocus)?.focus();
  }

  #drag(event) {
    const tab = event.target.closest?.('[data-place]');
    this.element.querySelector('.target')?.classList.remove('target');
    if (!tab || !event.dataTransfer.types.includes(DRAGGED)) return;
    if (event.type === 'dragleave') return;
    event.preventDefault();
    if (event.type === 'dragover') tab.classList.add('target');
    else this.#does.drop(tab.dataset.tab, event.dataTransfer.getData(DRAGGED));
  }
}

/** Asks for the name of a page. */
export class PageWindow extends Window {
  open(language, title, name, onnamed) {
    const input = element('input', { type: 'text', value: name, maxLength: 60, required: true });
    const save = element('button', { type: 'submit', className: 'plain first', textContent: language.say('save') });
    const form = element('form', { className: 'form' }, field(language.say('page_name'), input), element('div', { className: 'actions' }, save));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.close();
      onnamed(input.value);
    });
    this.fill(language, '', title, '', form);
    this.show();
    input.select();
  }
}
