/** What a person chose, what a directory says, and what is worth an alert: all of it from outside, so all of it checked. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkOf } from '../../web/action.js';
import { newsOf } from '../../web/alerts.js';
import { readDirectory } from '../../web/directory.js';
import { restOfDay } from '../../web/me.js';
import { FAVOURITES, Memory, isQuiet } from '../../web/memory.js';
import { Server } from '../../web/server.js';

function storage(text) {
  const kept = new Map([['x', text]]);
  return { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value), kept };
}

const memoryOf = (value) => new Memory(storage(typeof value === 'string' ? value : JSON.stringify(value)), 'x', () => {});

test('what_was_written_by_somebody_else_does_no_harm', () => {
  for (const text of ['', '{', 'null', '7', '[]', '{"pages":7,"favourites":{"a":1},"look":[],"alerts":"loud"}']) {
    const memory = memoryOf(text);
    assert.deepEqual([memory.pages, memory.keysOf(FAVOURITES), memory.watched, memory.look], [[], [], [], {}], text);
    assert.equal(memory.alerts.desktop, false);
  }
  const memory = memoryOf({
    favourites: ['a', 'a', 7, null, 'b'], pages: [{ name: ' P ', keys: ['a'] }, { name: 7 }, null, { name: ' ' }],
    look: { theme: 'neon', view: 'list', me: 'sip:1@x' }, alerts: { volume: 9, from: '25:00', desktop: 'yes' },
  });
  assert.deepEqual(memory.keysOf(FAVOURITES), ['a', 'b']);
  assert.deepEqual(memory.pages, [{ name: 'P', keys: ['a'] }, { name: '–', keys: [] }]);
  assert.deepEqual(memory.look, { view: 'list', me: 'sip:1@x' });
  assert.deepEqual([memory.alerts.volume, memory.alerts.from, memory.alerts.desktop], [1, '18:00', false]);
});

test('lists_and_pages_are_bounded', () => {
  const memory = memoryOf({ favourites: Array.from({ length: 5000 }, (_, at) => `sip:${at}@x`) });
  assert.equal(memory.keysOf(FAVOURITES).length, 2000);
  for (let at = 0; at < 50; at++) assert.equal(memory.addPage(`P${at}`), at);
  assert.equal(memory.addPage('one more'), -1);
  memory.toggle(0, 'r'.repeat(600));
  assert.deepEqual(memory.keysOf(0), []);
});

test('keys_move_to_where_another_is', () => {
  const moved = (r, at) => {
    const memory = memoryOf({ favourites: ['a', 'b', 'c', 'd'] });
    memory.move(FAVOURITES, r, at);
    return memory.keysOf(FAVOURITES).join('');
  };
  assert.deepEqual([moved('a', 'c'), moved('d', 'b'), moved('a', 'a'), moved('b', 'gone'), moved('x', 'a')], ['bcad', 'adbc', 'abcd', 'acdb', 'abcd']);
});

test('an_arrangement_goes_out_and_comes_back', () => {
  const memory = memoryOf({ favourites: ['a'], watched: ['b'], pages: [{ name: 'P', keys: ['c'] }] });
  const other = memoryOf(null);
  other.import(memory.export());
  assert.equal(other.export(), memory.export());
  for (const text of ['', '{}', '{"lamplighter":"arrangement","version":2}']) assert.throws(() => other.import(text), SyntaxError);
  assert.deepEqual(other.keysOf(0), ['c'], 'a bad file changes nothing');
});

test('a_storage_that_is_full_or_forbidden_is_done_without', () => {
  const broken = { getItem: () => { throw new Error('no'); }, setItem: () => { throw new Error('full'); } };
  let changes = 0;
  const memory = new Memory(broken, 'x', () => (changes += 1));
  memory.toggle(FAVOURITES, 'a');
  assert.deepEqual([memory.keysOf(FAVOURITES), changes], [['a'], 1]);
});

test('quiet_hours_may_go_over_midnight', () => {
  const night = { quiet: true, from: '18:00', until: '08:00' };
  assert.deepEqual(['17:59', '18:00', '23:59', '00:00', '07:59', '08:00'].map((now) => isQuiet(night, now)), [false, true, true, true, true, false]);
  assert.equal(isQuiet({ ...night, quiet: false }, '23:00'), false);
  assert.deepEqual(['11:59', '12:00', '13:00'].map((now) => isQuiet({ quiet: true, from: '12:00', until: '13:00' }, now)), [false, true, false]);
});

test('news_are_a_bell_and_a_phone_that_gets_free', () => {
  const news = (before, after) => newsOf(before && { state: before }, after && { state: after });
  assert.deepEqual([news('idle', 'ringing'), news('busy', 'ringing'), news('busy', 'idle'), news('hold', 'idle')], ['rings', 'rings', 'free', 'free']);
  assert.deepEqual([news('away', 'idle'), news('unknown', 'idle'), news('ringing', 'busy'), news(undefined, 'ringing'), news('busy', undefined)], Array(5).fill(undefined));
});

test('a_directory_is_read_as_far_as_it_makes_sense', () => {
  const { people, groups } = readDirectory({
    people: [{ resource: 'sip:1@x', name: 'Ann', department: 7 }, { name: 'nobody' }, null],
    groups: { Sales: ['sip:1@x', 7, 'sip:2@x'], Odd: 'none' },
  });
  assert.deepEqual([...people], [['sip:1@x', { name: 'Ann', extension: '', department: '' }]]);
  assert.deepEqual(groups.map(({ name, members }) => [name, [...members.keys()]]), [['Sales', ['sip:1@x', 'sip:2@x']], ['Odd', []]]);
  for (const value of [undefined, null, 7, [], { people: {}, groups: null }]) assert.deepEqual(readDirectory(value), { people: new Map(), groups: [] });
});

test('only_links_that_call_are_made_of_resources', () => {
  assert.equal(linkOf('sip:1@x', null), 'sip:1@x');
  assert.equal(linkOf('javascript:alert(1)', null), 'sip:javascript%3Aalert(1)');
  assert.equal(linkOf('sip:+49 30@x', 'tel'), 'tel:%2B49%2030');
});

test('today_ends_at_midnight_but_a_status_holds_an_hour', () => {
  assert.equal(restOfDay(new Date(2026, 0, 5, 15, 0).getTime()), 9 * 3600);
  assert.equal(restOfDay(new Date(2026, 0, 5, 23, 50).getTime()), 3600);
});

test('answers_of_the_api_become_values_or_problems', async () => {
  const asked = [];
  const serverOf = (status, body, more) => new Server({
    src: 'wss://gw.example/base/v1/feed', base: 'https://crm.example/', ...more,
    fetch: async (url, init) => {
      asked.push([String(url), init.method]);
      if (status === 0) throw new TypeError('network');
      return { ok: status < 400, status, text: async () => body };
    },
  });
  assert.deepEqual(await serverOf(200, '{"people":[]}').ask('directory'), { people: [] });
  assert.equal(asked.at(-1)[0], 'https://gw.example/base/v1/directory');
  assert.equal(await serverOf(204, '').ask('session'), undefined);
  const problem = '{"type":"/problems/too-many-resources","title":"Too many","detail":"of them"}';
  await assert.rejects(serverOf(429, problem).ask('trace'), { code: 'too-many-resources', message: 'of them' });
  await assert.rejects(serverOf(401, 'no json').ask('rates'), { code: 'unauthenticated' });
  await assert.rejects(serverOf(0).ask('rates'), { code: 'offline' });
  assert.equal(await serverOf(401, '').why(), 'unauthenticated');
  assert.equal(await serverOf(200, '{}').why(), undefined);
  const ticketed = serverOf(200, '{"ticket":"a b"}', { ticketUrl: '/tickets' });
  assert.equal(await ticketed.feedUrl(), 'wss://gw.example/base/v1/feed?ticket=a+b');
  assert.deepEqual(asked.at(-1), ['https://crm.example/tickets', 'POST']);
  await assert.rejects(serverOf(200, '{}', { ticketUrl: '/tickets' }).feedUrl(), { code: 'unauthenticated' });
});
