/**
 * From frames to keys: what the feed says about each resource, merged over the kinds of `KINDS` and the directory.
 *
 * Pure: no clock, no I/O. A key is a plain value that is replaced, never changed, so that a reader knows by identity
 * whether it has drawn it already.
 */

/** What a key can show, the most pressing first. */
export const STATES = [
  'ringing', 'dialing', 'busy', 'hold', 'parked', 'dnd', 'away', 'idle', 'offline', 'unknown',
];

/** Kinds of state that a key shows. */
export const KINDS = ['presence', 'dialog', 'mwi', 'reg', 'line', 'park'];
const SHOWN = new Set(KINDS);
const CALLING = new Set(['ringing', 'dialing', 'busy', 'hold', 'parked']);

/** Activities of RFC 4480 section 3.2 that say nothing about being reachable. */
const NEUTRAL = new Set(['other', 'unknown', 'working', 'looking-for-work', 'spectator']);

/** Texts come from phones and callers. */
const TEXT_MOST = 200;
const CALLS_MOST = 20;
const SLOTS_MOST = 32;
/** What shared line appearances and parking places call their states, by what a key calls them. */
const SLOT_STATES = {
  idle: 'idle', free: 'idle', seized: 'dialing', trying: 'dialing', proceeding: 'dialing', progressing: 'dialing',
  early: 'ringing', alerting: 'ringing', ringing: 'ringing', active: 'busy', confirmed: 'busy', busy: 'busy',
  hold: 'hold', held: 'hold', 'held-private': 'hold', parked: 'parked', occupied: 'parked',
};
/** Resources of which nothing is known any more, kept so that their keys do not jump. */
const FORGOTTEN_MOST = 2000;

/**
 * @typedef {{uri: string, user: string, host: string}} Address
 * @typedef {{name: string, extension: string, department: string}} Person What a directory says.
 * @typedef {{label: string, state: string, by: string, remote: {uri: string, name: string}|null, since: number|undefined}} Slot
 *   An appearance of a shared line, or a place where calls are parked.
 * @typedef {{id: string, state: string, note: string, agent: string, contact: string}} Device
 * @typedef {{id: string, dir: 'in'|'out'|undefined, state: string, hold: boolean, remote: {uri: string, name: string}|null,
 *   since: number|undefined, answered: number|undefined}} Call
 * @typedef {{r: string, user: string, host: string, name: string, state: string, dnd: boolean, activity: string,
 *   note: string, since: number|undefined, calls: Call[], count: number, call: Call|undefined, voicemail: number,
 *   urgent: number, waiting: boolean, department: string, slots: Slot[], devices: Device[],
 *   registered: boolean|undefined}} Key
 */

export class Store {
  /** @type {Map<string, Map<string, {rev: number, generation: number, state: object|undefined}>>} */
  #entries = new Map();
  /** @type {Map<string, Key>} */
  #keys = new Map();
  #forgotten = new Set();
  #epoch;
  #generation = 0;
  #replacing = false;
  #people = new Map();

  /** @returns {ReadonlyMap<string, Key>} */
  get keys() {
    return this.#keys;
  }

  /**
   * Applies one frame.
   * @param {object} frame Of type `ok`, `snap`, `upd` or `reset`; any other does nothing.
   * @returns {Set<string>} Resources whose key has changed, come or gone.
   */
  apply(frame) {
    const touched = new Set();
    switch (frame.t) {
      case 'ok':
        if (frame.epoch !== undefined && frame.epoch !== this.#epoch) this.#forgetRevisions(frame.epoch);
        if (frame.sub !== undefined) this.#begin(frame.resumed !== true);
        break;
      case 'reset':
        this.#forgetRevisions(this.#epoch);
        this.#begin(true);
        // No snapshot follows: what may be seen no longer is forgotten at once.
        if (frame.reason === 'forbidden') this.#end(touched);
        break;
      case 'snap':
        this.#items(frame.items, touched);
        if (frame.more !== true) this.#end(touched);
        break;
      case 'upd':
        this.#items(frame.items, touched);
        break;
    }
    const changed = new Set();
    for (const r of touched) this.#settle(r, changed);
    return changed;
  }

  /**
   * Takes what a directory knows about people: names, extensions, departments.
   * @param {ReadonlyMap<string, Person>} people By resource.
   * @returns {Set<string>} Resources whose key has changed.
   */
  setPeople(people) {
    this.#people = people;
    const changed = new Set();
    for (const r of this.#keys.keys()) if (this.#entries.has(r)) this.#settle(r, changed);
    return changed;
  }

  /** Revisions of another epoch say nothing about order in this one. */
  #forgetRevisions(epoch) {
    this.#epoch = epoch;
    for (const kinds of this.#entries.values()) for (const entry of kinds.values()) entry.rev = -1;
  }

  #begin(replacing) {
    this.#replacing = replacing;
    this.#generation += 1;
  }

  /** A whole snapshot has ended: what it did not name is no more. */
  #end(touched) {
    if (!this.#replacing) return;
    this.#replacing = false;
    for (const [r, kinds] of this.#entries) {
      for (const [k, entry] of kinds) {
        if (entry.generation === this.#generation) continue;
        kinds.delete(k);
        touched.add(r);
      }
      if (kinds.size === 0) this.#entries.delete(r);
    }
  }

  #items(items, touched) {
    if (!Array.isArray(items)) return;
    for (const item of items) {
      if (item === null || typeof item !== 'object' || typeof item.r !== 'string' || !SHOWN.has(item.k)) continue;
      let kinds = this.#entries.get(item.r);
      if (!kinds) this.#entries.set(item.r, (kinds = new Map()));
      const entry = kinds.get(item.k) ?? { rev: -1, generation: 0, state: undefined };
      kinds.set(item.k, entry);
      entry.generation = this.#generation;
      touched.add(item.r);
      if (item.absent === true) {
        entry.state = undefined;
      } else if (item.rev > entry.rev) {
        entry.rev = item.rev;
        entry.state = item.gone === true ? undefined : object(item.state);
      }
    }
  }

  /** Makes the key of `r` anew. */
  #settle(r, changed) {
    const kinds = this.#entries.get(r);
    const old = this.#keys.get(r);
    this.#forgotten.delete(r);
    if (!kinds) {
      if (this.#keys.delete(r)) changed.add(r);
      return;
    }
    const states = Object.fromEntries([...kinds].map(([k, { state }]) => [k, state]));
    const key = keyOf(r, states, old?.name, this.#people.get(r));
    if (!old || JSON.stringify(old) !== JSON.stringify(key)) {
      this.#keys.set(r, key);
      changed.add(r);
    }
    if (Object.values(states).every((state) => state === undefined)) this.#remember(r, changed);
  }

  #remember(r, changed) {
    this.#forgotten.add(r);
    if (this.#forgotten.size <= FORGOTTEN_MOST) return;
    const [oldest] = this.#forgotten;
    this.#forgotten.delete(oldest);
    this.#entries.delete(oldest);
    this.#keys.delete(oldest);
    changed.add(oldest);
  }
}

/**
 * The parts of a URI that people read.
 * @param {string} uri
 * @returns {Address} `user` is empty if there is none; a `tel:` number is a user without a host.
 */
export function addressOf(uri) {
  const [, scheme, rest] = /^(?:([a-z][a-z0-9+.-]*):)?(.*)$/i.exec(uri) ?? [undefined, undefined, uri];
  const plain = rest.replace(/[;?].*$/, '');
  const at = plain.lastIndexOf('@');
  const telephone = /^tel$/i.test(scheme ?? '');
  const user = at >= 0 ? plain.slice(0, at) : telephone ? plain : '';
  const host = at >= 0 ? plain.slice(at + 1) : telephone ? '' : plain;
  return { uri, user: decoded(user), host: host.toLowerCase() };
}

/**
 * @param {string} r
 * @param {Record<string, object|undefined>} states By kind.
 * @param {string} [knownName] A name that an earlier state told; a phone names itself only while it is in a call.
 * @param {Person} [person] What the directory says; its names come first.
 * @returns {Key}
 */
export function keyOf(r, states, knownName = '', person = undefined) {
  const { presence, dialog, mwi, reg } = states;
  const { user, host } = addressOf(r);
  const calls = list(dialog?.calls).slice(0, CALLS_MOST).map(callOf).filter(({ state }) => state !== 'terminated');
  const slots = [...slotsOf(states.line?.appearances), ...slotsOf(states.park?.slots)].slice(0, SLOTS_MOST);
  const state = stateOf(dialog, presence, calls, slots, reg);
  const activities = list(presence?.activities).map(text);
  const call = CALLING.has(state) ? calls.toSorted((a, b) => rank(a, state) - rank(b, state))[0] : undefined;
  const voice = object(mwi?.voice);
  const voicemail = count(voice?.new);
  return {
    r,
    user: person?.extension || user || host,
    host: user ? host : '',
    name: person?.name || ([presence, dialog, mwi].map(nameIn).find(Boolean) ?? knownName),
    state,
    dnd: isDnd(presence, activities),
    activity: activities.find((one) => !NEUTRAL.has(one)) ?? '',
    note: text(presence?.note),
    since: CALLING.has(state) ? undefined : time(presence?.since),
    calls,
    count: Math.max(count(dialog?.n), calls.length),
    call,
    voicemail,
    urgent: count(voice?.urgent_new),
    waiting: mwi?.waiting === true || voicemail > 0,
    department: person?.department ?? '',
    slots,
    devices: devicesOf(presence, reg),
    registered: typeof reg?.registered === 'boolean' ? reg.registered : undefined,
  };
}

/** Calls come before presence, and presence before silence. */
function stateOf(dialog, presence, calls, slots, reg) {
  const lamp = dialog?.lamp;
  if (CALLING.has(lamp)) return lamp;
  // A lamp that we do not know yet, over a call that is there: busy is the least it can mean.
  if (calls.length && lamp !== 'idle' && lamp !== 'offline' && lamp !== 'unknown') return 'busy';
  // A shared line shows the most pressing of its appearances.
  const slot = STATES.find((one) => CALLING.has(one) && slots.some(({ state }) => state === one));
  if (slot) return slot;
  const activities = list(presence?.activities).map(text);
  if (isDnd(presence, activities)) return 'dnd';
  if (presence?.basic === 'closed') return 'offline';
  if (activities.includes('on-the-phone') || activities.includes('busy')) return 'busy';
  if (/^(away|xa)$/.test(presence?.show)) return 'away';
  if (activities.some((one) => one && !NEUTRAL.has(one))) return 'away';
  if (presence?.basic === 'open' || lamp === 'idle') return 'idle';
  if (slots.some((one) => one.state === 'idle')) return 'idle';
  if (lamp === undefined && typeof reg?.registered === 'boolean') return reg.registered ? 'idle' : 'offline';
  return lamp === 'offline' ? 'offline' : 'unknown';
}

function isDnd(presence, activities) {
  return presence?.show === 'dnd' || activities.includes('dnd');
}

/** Which of several calls a key names: the one that its state speaks of, then the newest. */
function rank(call, state) {
  const ringing = call.state === 'early' || call.state === 'trying' || call.state === 'proceeding';
  const speaks = {
    ringing: ringing && call.dir !== 'out',
    dialing: ringing && call.dir === 'out',
    busy: call.state === 'confirmed' && !call.hold,
    hold: call.hold,
  };
  return (speaks[state] === false ? 1e15 : 0) - (call.since ?? 0);
}

function callOf(value) {
  const call = object(value) ?? {};
  const remote = object(call.remote);
  return {
    id: text(call.id),
    dir: call.dir === 'in' || call.dir === 'out' ? call.dir : undefined,
    state: text(call.state),
    hold: call.hold === true,
    remote: remote ? { uri: text(remote.uri), name: text(remote.name) } : null,
    since: time(call.since),
    answered: time(call.answered),
  };
}

function slotsOf(values) {
  return list(values).map((value, at) => {
    const slot = object(value) ?? {};
    const remote = object(slot.remote);
    const label = slot.label ?? slot.slot ?? slot.index ?? at + 1;
    return {
      label: String(typeof label === 'number' ? label : text(label)),
      state: Object.hasOwn(SLOT_STATES, slot.state) ? SLOT_STATES[slot.state] : 'unknown',
      by: text(slot.by),
      remote: remote ? { uri: text(remote.uri), name: text(remote.name) } : null,
      since: time(slot.since),
    };
  });
}

/** Devices as presence lists them, and what is registered. */
function devicesOf(presence, reg) {
  const present = list(presence?.devices).map((value) => {
    const { id, basic, show, note, contact } = object(value) ?? {};
    const state = show === 'dnd' ? 'dnd' : /^(away|xa)$/.test(show) ? 'away' : basic === 'closed' ? 'offline' : 'idle';
    return { id: text(id), state, note: text(note), agent: '', contact: text(contact) };
  });
  const registered = list(reg?.contacts).map((value) => {
    const { uri, state, ua } = object(value) ?? {};
    return { id: '', state: state === 'terminated' ? 'offline' : 'idle', note: '', agent: text(ua), contact: text(uri) };
  });
  return [...present, ...registered].slice(0, CALLS_MOST);
}

/** What a resource calls itself: `name`, or `local_name` of a call, the display name on its own side. */
function nameIn(state) {
  const calls = [...list(state?.calls), ...list(state?.ended)];
  return [state?.name, ...calls.map((call) => object(call)?.local_name)].map(text).find(Boolean);
}

function decoded(user) {
  try {
    return decodeURIComponent(user);
  } catch {
    return user;
  }
}

const object = (value) => (value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined);
const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (typeof value === 'string' ? value.slice(0, TEXT_MOST) : '');
const count = (value) => (Number.isFinite(value) && value > 0 ? Math.floor(value) : 0);
const time = (value) => (Number.isFinite(value) && value > 0 ? value : undefined);
