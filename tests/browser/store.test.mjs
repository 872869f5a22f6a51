/** What the frames make of the keys, and how keys are chosen, ordered and spoken. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CATALOGUES, Language, duration } from '../../web/i18n.js';
import { LAMPS } from '../../web/icons.js';
import { labelOf } from '../../web/key.js';
import { STATES, Store, addressOf, keyOf } from '../../web/store.js';
import { SORTS, View, countStates } from '../../web/view.js';

const R = 'sip:1001@example.com';
const OTHER = 'sip:1002@example.com';
const item = (r, k, rev, state) => ({ r, k, seq: rev, rev, ts: 1, src: 'sip:pub', state });
const gone = (r, k, rev) => ({ r, k, seq: rev, rev, ts: 1, gone: true, reason: 'expired' });
const lamp = (name) => ({ lamp: name, calls: [], n: 0 });
const hello = (epoch = 'e1') => ({ t: 'ok', id: 1, epoch });
const sub = (resumed = false) => ({ t: 'ok', id: 2, sub: 'main', resumed });
const snap = (...items) => ({ t: 'snap', sub: 'main', items, more: false, cursor: 'e1.1' });
const upd = (...items) => ({ t: 'upd', items });

function storeOf(...frames) {
  const store = new Store();
  for (const frame of frames) store.apply(frame);
  return store;
}

const stateOf = (store, r = R) => store.keys.get(r)?.state;

test('kinds_of_one_resource_make_one_key', () => {
  const store = storeOf(hello(), sub(), snap(
    item(R, 'presence', 1, { basic: 'open', note: 'Back at 3' }),
    item(R, 'dialog', 2, lamp('busy')),
    item(R, 'mwi', 3, { waiting: true, voice: { new: 2, old: 8, urgent_new: 1, urgent_old: 0 } }),
  ));
  assert.equal(store.keys.size, 1);
  const { user, host, state, note, voicemail, urgent, waiting } = store.keys.get(R);
  assert.deepEqual({ user, host, state, note, voicemail, urgent, waiting }, {
    user: '1001', host: 'example.com', state: 'busy', note: 'Back at 3', voicemail: 2, urgent: 1, waiting: true,
  });
});

test('older_revisions_never_win', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 10, lamp('idle'))));
  assert.deepEqual([...store.apply(upd(item(R, 'dialog', 9, lamp('ringing'))))], []);
  assert.equal(stateOf(store), 'idle');
  store.apply(upd(item(R, 'dialog', 12, lamp('busy')), item(R, 'dialog', 11, lamp('ringing'))));
  assert.equal(stateOf(store), 'busy');
  store.apply(upd(gone(R, 'dialog', 14), item(R, 'dialog', 13, lamp('ringing'))));
  assert.equal(stateOf(store), 'unknown', 'what is gone does not come back by an older word');
});

test('a_change_that_shows_nothing_new_is_no_change', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 1, lamp('idle'))));
  const before = store.keys.get(R);
  assert.equal(store.apply(upd(item(R, 'dialog', 2, { ...lamp('idle'), version: 99 }))).size, 0);
  assert.equal(store.keys.get(R), before);
});

test('what_is_gone_stays_as_unknown_until_the_next_full_snapshot', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 1, lamp('busy')), item(OTHER, 'dialog', 2, lamp('idle'))));
  assert.deepEqual([...store.apply(upd(gone(R, 'dialog', 3)))], [R]);
  assert.equal(stateOf(store), 'unknown');
  store.apply(sub(true));
  store.apply(snap());
  assert.equal(store.keys.size, 2, 'a resumed snapshot names only what has changed');
  store.apply(sub(false));
  assert.deepEqual([...store.apply(snap(item(OTHER, 'dialog', 2, lamp('idle'))))], [R]);
  assert.deepEqual([...store.keys.keys()], [OTHER]);
});

test('a_full_snapshot_in_chunks_drops_only_at_its_end', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 1, lamp('busy')), item(OTHER, 'presence', 2, { basic: 'open' })));
  store.apply(sub());
  store.apply({ t: 'snap', sub: 'main', items: [item(R, 'dialog', 5, lamp('idle'))], more: true });
  assert.equal(store.keys.size, 2);
  store.apply(snap());
  assert.deepEqual([...store.keys.keys()], [R]);
});

test('a_kind_missing_from_a_full_snapshot_leaves_its_key', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 1, lamp('busy')), item(R, 'presence', 2, { basic: 'open' })));
  store.apply(sub());
  store.apply(snap(item(R, 'presence', 2, { basic: 'open' })));
  assert.equal(stateOf(store), 'idle');
});

test('revisions_of_a_new_epoch_start_over', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 5000, lamp('busy'))));
  store.apply(hello('e2'));
  assert.equal(stateOf(store), 'busy', 'kept until something newer is known');
  store.apply(sub());
  store.apply(snap(item(R, 'dialog', 3, lamp('idle'))));
  assert.equal(stateOf(store), 'idle');
});

test('a_reset_replaces_everything', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 5000, lamp('busy')), item(OTHER, 'dialog', 5001, lamp('busy'))));
  store.apply({ t: 'reset', sub: 'main', reason: 'epoch_changed' });
  store.apply(snap(item(R, 'dialog', 3, lamp('ringing'))));
  assert.equal(stateOf(store), 'ringing');
  assert.equal(store.keys.has(OTHER), false);
});

test('what_may_be_seen_no_longer_is_forgotten', () => {
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 5000, lamp('busy')), item(OTHER, 'dialog', 5001, lamp('busy'))));
  const changed = store.apply({ t: 'reset', sub: 'main', reason: 'forbidden' });
  assert.deepEqual([...changed].sort(), [OTHER, R].sort());
  assert.equal(store.keys.size, 0);
});

test('unknown_kinds_and_malformed_items_make_no_keys', () => {
  const bad = [null, 7, {}, { r: 5, k: 'dialog', rev: 1, state: {} }, item(R, 'tea', 1, {}), item(R, 'toString', 1, {})];
  const store = storeOf(hello(), sub(), snap(...bad), upd(), { t: 'upd', items: 'none' }, { t: 'fanfare' });
  assert.equal(store.keys.size, 0);
  store.apply(upd(item(R, 'dialog', 1, null), item(OTHER, 'dialog', 2, { lamp: 7, calls: [null, 'x', {}], n: -1 })));
  assert.equal(stateOf(store), 'unknown');
  assert.equal(stateOf(store, OTHER), 'busy', 'calls without a lamp are calls');
});

test('an_asked_resource_without_state_is_a_key_too', () => {
  const store = storeOf(hello(), sub(), snap({ r: R, k: 'dialog', absent: true }));
  assert.equal(stateOf(store), 'unknown');
});

test('what_is_forgotten_is_bounded', () => {
  const store = storeOf(hello(), sub(), snap());
  for (let at = 0; at < 5000; at++) store.apply(upd(item(`sip:${at}@example.com`, 'dialog', 2 * at + 1, lamp('idle')), gone(`sip:${at}@example.com`, 'dialog', 2 * at + 2)));
  assert.equal(store.keys.size, 2000);
  assert.equal(stateOf(store, 'sip:4999@example.com'), 'unknown');
});

test('calls_come_before_presence', () => {
  const cases = [
    ['idle', { lamp: 'idle' }, undefined],
    ['idle', undefined, { basic: 'open' }],
    ['idle', { lamp: 'offline' }, { basic: 'open' }],
    ['offline', { lamp: 'offline' }, undefined],
    ['offline', { lamp: 'idle' }, { basic: 'closed' }],
    ['busy', { lamp: 'busy' }, { basic: 'closed', show: 'dnd' }],
    ['busy', { lamp: 'idle' }, { basic: 'open', activities: ['on-the-phone'] }],
    ['busy', { lamp: 'forwarded', calls: [{ id: '1', state: 'confirmed' }] }, undefined],
    ['hold', { lamp: 'hold' }, { show: 'away' }],
    ['parked', { lamp: 'parked' }, undefined],
    ['dialing', { lamp: 'dialing' }, undefined],
    ['ringing', { lamp: 'ringing' }, { show: 'dnd' }],
    ['dnd', { lamp: 'idle' }, { basic: 'open', show: 'dnd' }],
    ['dnd', undefined, { basic: 'closed', activities: ['dnd'] }],
    ['away', { lamp: 'idle' }, { basic: 'open', show: 'xa' }],
    ['away', { lamp: 'idle' }, { basic: 'open', activities: ['working', 'meeting'] }],
    ['idle', { lamp: 'idle' }, { basic: 'open', activities: ['working'] }],
    ['unknown', { lamp: 'unknown' }, undefined],
    ['unknown', undefined, undefined],
    ['unknown', { lamp: 'a lamp of tomorrow' }, undefined],
  ];
  for (const [expected, dialog, presence] of cases) {
    assert.equal(keyOf(R, { dialog, presence }).state, expected, JSON.stringify([dialog, presence]));
  }
});

test('a_key_names_the_call_that_its_lamp_speaks_of', () => {
  const call = (id, state, dir, since, hold = false) => ({ id, state, dir, since, hold, remote: { uri: 'sip:x@example.org', name: id } });
  const calls = [call('held', 'confirmed', 'in', 10, true), call('talk', 'confirmed', 'out', 20), call('bell', 'early', 'in', 30), call('over', 'terminated', 'in', 99)];
  const shown = (name) => keyOf(R, { dialog: { lamp: name, calls, n: 3 } }).call.id;
  assert.deepEqual(['ringing', 'busy', 'hold'].map(shown), ['bell', 'talk', 'held']);
  assert.equal(keyOf(R, { dialog: { lamp: 'busy', calls, n: 3 } }).count, 3);
  assert.equal(keyOf(R, { dialog: { lamp: 'idle', calls: [], n: 0 } }).call, undefined);
});

test('a_name_once_told_stays', () => {
  const local = { ...lamp('busy'), calls: [{ id: '1', state: 'confirmed', local: R, local_name: 'Ann Lee' }] };
  const store = storeOf(hello(), sub(), snap(item(R, 'dialog', 1, local)), upd(item(R, 'dialog', 2, lamp('idle'))));
  assert.equal(store.keys.get(R).name, 'Ann Lee');
});

test('addresses_as_people_read_them', () => {
  const cases = [
    ['sip:+44123@Ex.com;user=phone', '+44123', 'ex.com'], ['xmpp:ann@chat.example', 'ann', 'chat.example'], ['tel:+4930', '+4930', ''],
    ['sip:a%20b@example.com', 'a b', 'example.com'], ['sip:a%zz@example.com', 'a%zz', 'example.com'], ['sip:example.com', '', 'example.com'],
  ];
  for (const [uri, user, host] of cases) assert.deepEqual(addressOf(uri), { uri, user, host });
});

test('keys_are_found_by_name_number_note_and_party', () => {
  const keys = [
    keyOf('sip:101@example.com', { presence: { basic: 'open', name: 'Björn Östlund', note: 'Back at 3' } }),
    keyOf('sip:102@example.com', { presence: { basic: 'open', name: 'Ann Lee' }, dialog: { lamp: 'busy', calls: [{ state: 'confirmed', remote: { uri: 'sip:+4930555@c.example', name: 'Helga' } }] } }),
  ];
  const view = new View(new Intl.Collator('en', { numeric: true }).compare);
  view.rank(keys);
  const find = (query, ...states) => view.select(keys, { query, states: new Set(states), sort: 'extension' }).map(({ user }) => user);
  assert.deepEqual(find('bjorn'), ['101']);
  assert.deepEqual(find('OSTLUND  björn'), ['101']);
  assert.deepEqual(find('back at'), ['101']);
  assert.deepEqual(find('4930555'), ['102']);
  assert.deepEqual(find('helga'), ['102']);
  assert.deepEqual(find('10'), ['101', '102']);
  assert.deepEqual(find('nobody'), []);
  assert.deepEqual(find('', 'busy'), ['102']);
  assert.deepEqual(find('bjorn', 'busy'), []);
  assert.deepEqual(find('', 'busy', 'idle'), ['101', '102']);
  assert.deepEqual([countStates(keys).busy, countStates(keys).idle, countStates(keys).away], [1, 1, 0]);
});

test('orders_are_by_extension_name_state_and_longest_call', () => {
  const key = (user, name, dialog) => keyOf(`sip:${user}@example.com`, { presence: { basic: 'open', name }, dialog });
  const talk = (since) => ({ lamp: 'busy', calls: [{ state: 'confirmed', since, answered: since }] });
  const keys = [key('1000', 'Ann', talk(500)), key('99', '', { lamp: 'ringing', calls: [{ state: 'early', dir: 'in', since: 900 }] }), key('101', 'Zoe', talk(100)), key('102', 'élan', { lamp: 'idle' })];
  const view = new View(new Language(['en']).compare);
  view.rank(keys);
  const by = (sort) => view.select(keys, { query: '', states: new Set(), sort }).map(({ user }) => user);
  assert.deepEqual(SORTS.map(by), [['99', '101', '102', '1000'], ['1000', '102', '101', '99'], ['99', '101', '1000', '102'], ['101', '1000', '99', '102'], ['99', '101', '102', '1000']]);
});

test('every_state_has_a_shape_of_its_own_and_a_word_in_every_language', () => {
  assert.equal(new Set(STATES.map((state) => LAMPS[state].body + LAMPS[state].mark)).size, STATES.length);
  for (const [tag, texts] of Object.entries(CATALOGUES)) {
    assert.deepEqual(Object.keys(texts).sort(), Object.keys(CATALOGUES.en).sort(), tag);
    assert.equal(new Set(STATES.map((state) => texts[state])).size, STATES.length, tag);
    for (const [name, text] of Object.entries(texts)) {
      const places = (one) => (one.match(/\{\w+\}/g) ?? []).sort();
      assert.deepEqual(places(text), places(CATALOGUES.en[name]), `${tag} ${name}`);
    }
  }
});

test('what_a_key_says_to_those_who_hear_it', () => {
  const remote = { uri: 'sip:+4930555@carrier.example', name: 'Helga Brandt' };
  const key = keyOf(R, {
    presence: { basic: 'open', name: 'Ann Lee', note: 'Back at 3', show: 'dnd' },
    dialog: { lamp: 'ringing', calls: [{ state: 'early', dir: 'in', remote, since: 1 }], n: 2 },
    mwi: { waiting: true, voice: { new: 1 } },
  });
  const say = (tag, stale) => labelOf(key, new Language([tag]), { now: 5, nameOf: () => '', stale });
  assert.equal(say('en', false), 'Ann Lee, 1001, Ringing, Do not disturb, from Helga Brandt, 2 calls, Back at 3, 1 new voice message');
  assert.equal(say('de', true), 'Ann Lee, 1001, Klingelt, zuletzt bekannt, Nicht stören, von Helga Brandt, 2 Gespräche, Back at 3, 1 neue Sprachnachricht');
  assert.equal(new Language(['xx', 'de-AT']).tag, 'de-AT');
  assert.equal(new Language(['xx']).tag, 'en');
});

test('durations', () => {
  assert.deepEqual([-5000, 0, 61_999, 3_599_000, 3_600_000, 360_000_000].map(duration), ['0:00', '0:00', '1:01', '59:59', '1:00:00', '100:00:00']);
});
