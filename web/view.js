/** Which keys are shown and in which order. Pure; collation comes in as an argument. */

import { STATES } from './store.js';

export const SORTS = ['extension', 'name', 'state', 'longest', 'own'];

const PRESSING = new Map(STATES.map((state, at) => [state, at]));

/**
 * @typedef {{query: string, states: ReadonlySet<string>, sort: string, only?: ReadonlyMap<string, number>}} Wish
 *   No state chosen means all; `only` names the members of a group or page with their places, for the order `own`.
 */

export class View {
  #compare;
  #ranks = { extension: new Map(), name: new Map() };

  /** @param {(a: string, b: string) => number} compare Collation; numbers in texts by value. */
  constructor(compare) {
    this.#compare = compare;
  }

  /**
   * Collates all keys; must be called when one has come, gone, or is named anew. Collation is the costly part of
   * sorting, so that changes of state, which are frequent, do without.
   * @param {Iterable<import('./store.js').Key>} keys
   */
  rank(keys) {
    const all = [...keys];
    const compare = this.#compare;
    const byExtension = (a, b) => compare(a.user, b.user) || compare(a.host, b.host) || compare(a.r, b.r);
    all.sort(byExtension);
    this.#ranks.extension = new Map(all.map(({ r }, at) => [r, at]));
    // The nameless come last.
    all.sort((a, b) => !a.name - !b.name || compare(a.name, b.name));
    this.#ranks.name = new Map(all.map(({ r }, at) => [r, at]));
  }

  /**
   * @param {Iterable<import('./store.js').Key>} keys All of them ranked.
   * @param {Wish} wish
   * @returns {import('./store.js').Key[]}
   */
  select(keys, { query, states, sort, only }) {
    const words = fold(query).split(/\s+/).filter(Boolean);
    const wanted = (key) =>
      (!only || only.has(key.r)) && (states.size === 0 || states.has(key.state)) && words.every((word) => searchable(key).includes(word));
    const extension = ({ r }) => this.#ranks.extension.get(r) ?? 0;
    const name = ({ r }) => this.#ranks.name.get(r) ?? 0;
    const orders = {
      extension: (a, b) => extension(a) - extension(b),
      name: (a, b) => name(a) - name(b),
      state: (a, b) => PRESSING.get(a.state) - PRESSING.get(b.state) || extension(a) - extension(b),
      own: (a, b) => (only ? only.get(a.r) - only.get(b.r) : extension(a) - extension(b)),
      longest: (a, b) => (startOf(a) ?? Infinity) - (startOf(b) ?? Infinity) || extension(a) - extension(b),
    };
    // Infinity - Infinity is NaN, which falls through to the extension.
    return [...keys].filter(wanted).sort(orders[sort] ?? orders.extension);
  }
}

/** Whether what is shown and its order stay as they are when keys change in nothing but what the feed says. */
export function isSteady({ query, states, sort }) {
  return query.trim() === '' && states.size === 0 && (sort === 'extension' || sort === 'name' || sort === 'own');
}

/** How many keys are in each state. */
export function countStates(keys) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const { state } of keys) counts[state] += 1;
  return counts;
}

/** When the call that a key shows began (or was answered), in the server's milliseconds; undefined without a call. */
export function startOf({ call }) {
  return call?.answered ?? call?.since;
}

/** Case and accents do not matter to who searches. */
export function fold(text) {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}

const folded = new WeakMap();

function searchable(key) {
  let text = folded.get(key);
  if (text === undefined) {
    const remotes = key.calls.map(({ remote }) => (remote ? `${remote.name} ${remote.uri}` : ''));
    text = fold([key.name, key.user, key.r, key.note, key.department, ...remotes].join(' '));
    folded.set(key, text);
  }
  return text;
}
