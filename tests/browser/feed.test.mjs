/** The protocol client against recorded frames, with a clock that the test moves. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Feed, Refused } from '../../web/feed.js';
import { Store } from '../../web/store.js';

const R = 'sip:1001@example.com';
const HELLO = { t: 'ok', id: 1, proto: 1, server: 'lamplighter/0.1', epoch: 'k3f9', heartbeat_s: 25 };
const SUB = { t: 'ok', id: 2, sub: 'main', matched: 1, resumed: false };
const item = (rev, lamp) => ({ r: R, k: 'dialog', seq: rev, rev, ts: 1, src: 'sip:pub', state: { lamp, calls: [], n: 0 } });
const snap = (rev, ...items) => ({ t: 'snap', sub: 'main', items, more: false, cursor: `k3f9.${rev}` });

/** A feed, its socket as the server sees it, and time. */
class Bench {
  now = 1_000_000;
  sockets = [];
  phases = [];
  store = new Store();
  random = 0.5;
  #timers = new Map();
  #ids = 0;

  constructor(options = {}) {
    this.feed = new Feed({
      url: 'ws://gateway.example/v1/feed',
      open: (url, protocol) => {
        const socket = { url, protocol, sent: [], closed: undefined };
        socket.send = (text) => socket.sent.push(JSON.parse(text));
        socket.close = (code) => (socket.closed = code);
        this.sockets.push(socket);
        return socket;
      },
      clock: {
        now: () => this.now,
        set: (call, ms) => {
          this.#timers.set(++this.#ids, { call, at: this.now + ms });
          return this.#ids;
        },
        clear: (timer) => this.#timers.delete(timer),
      },
      random: () => this.random,
      onframe: (frame) => this.store.apply(frame),
      onstatus: ({ phase }) => this.phases.push(phase),
      ...options,
    });
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get lamp() {
    return this.store.keys.get(R)?.state;
  }

  /** When the next timer is due, from now. */
  get due() {
    return Math.min(...[...this.#timers.values()].map(({ at }) => at)) - this.now;
  }

  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      const [id, { call, at }] = due;
      this.#timers.delete(id);
      this.now = Math.max(this.now, at);
      call();
    }
    this.now = end;
  }

  say(...frames) {
    for (const frame of frames) this.socket.onmessage({ data: JSON.stringify(frame) });
  }

  /** From a closed socket to a live state. */
  live(rev = 5, lamp = 'idle') {
    this.socket.onopen();
    this.say(HELLO, SUB, snap(rev, item(rev, lamp)));
  }
}

test('hello_then_sub_then_snapshot_is_live', () => {
  const bench = new Bench();
  bench.feed.start();
  assert.equal(bench.socket.url, 'ws://gateway.example/v1/feed');
  assert.equal(bench.socket.protocol, 'presence.v1');
  assert.deepEqual(bench.socket.sent, [], 'nothing is said before the socket is open');
  bench.socket.onopen();
  assert.deepEqual(bench.socket.sent.map(({ t, id }) => [t, id]), [['hello', 1]]);
  bench.say(HELLO);
  const [, sub] = bench.socket.sent;
  assert.deepEqual(sub, { t: 'sub', id: 2, sub: 'main', r: ['*'], kinds: ['presence', 'dialog', 'mwi'], snapshot: true });
  bench.say(SUB, { t: 'snap', sub: 'main', items: [item(3, 'ringing')], more: true });
  assert.equal(bench.feed.status.phase, 'connecting', 'half a snapshot is not live');
  bench.say(snap(5));
  assert.equal(bench.feed.status.phase, 'live');
  bench.say({ t: 'upd', items: [item(6, 'busy')], cursor: 'k3f9.6' });
  assert.equal(bench.lamp, 'busy');
});

test('a_lost_connection_is_stale_from_the_last_frame_and_resumes_at_the_newest_cursor', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  bench.say({ t: 'upd', items: [item(9, 'busy')], cursor: 'k3f9.9' });
  const last = bench.now;
  bench.pass(700);
  bench.socket.onclose({ code: 1006, reason: '' });
  assert.deepEqual(bench.feed.status, { phase: 'stale', trueAt: last });
  assert.equal(bench.lamp, 'busy', 'what was known is kept');
  bench.pass(500);
  assert.equal(bench.sockets.length, 2);
  bench.socket.onopen();
  bench.say(HELLO);
  assert.equal(bench.socket.sent.at(-1).cursor, 'k3f9.9');
  bench.say({ ...SUB, resumed: true });
  assert.equal(bench.feed.status.phase, 'stale', 'not live before it has caught up');
  assert.equal(bench.feed.status.trueAt, last, 'talking to the server does not make old state newer');
  bench.say(snap(12, item(11, 'idle')));
  assert.equal(bench.feed.status.phase, 'live');
  assert.equal(bench.lamp, 'idle');
});

test('reset_drops_the_cursor_and_waits_for_the_new_snapshot', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live(50, 'busy');
  bench.say({ t: 'reset', sub: 'main', reason: 'epoch_changed' });
  assert.equal(bench.feed.status.phase, 'stale');
  bench.say({ t: 'ping' });
  assert.equal(bench.feed.status.phase, 'stale', 'a sign of life is not a snapshot');
  bench.socket.onclose({ code: 1006 });
  bench.pass(500);
  bench.socket.onopen();
  bench.say(HELLO);
  assert.equal(bench.socket.sent.at(-1).cursor, undefined);
  bench.say(SUB, snap(2, item(2, 'idle')));
  assert.equal(bench.feed.status.phase, 'live');
});

test('a_right_that_is_taken_away_ends_it_at_once', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live(50, 'busy');
  bench.say({ t: 'reset', sub: 'main', reason: 'forbidden' });
  assert.equal(bench.feed.status.phase, 'refused');
  assert.equal(bench.feed.status.code, 'forbidden');
  bench.pass(120_000);
  assert.equal(bench.feed.status.phase, 'refused', 'asking again would only repeat the answer');
});

test('a_snapshot_that_never_ends_is_given_up', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.socket.onopen();
  bench.say(HELLO, SUB);
  bench.pass(30_000);
  assert.equal(bench.sockets[0].closed, 4408);
  assert.equal(bench.feed.status.phase, 'connecting', 'nothing was ever shown, so nothing is stale');
});

test('attempts_back_off_with_full_jitter_up_to_half_a_minute', () => {
  const bench = new Bench();
  bench.random = 0.999999;
  bench.feed.start();
  const waits = [];
  for (let attempt = 0; attempt < 9; attempt++) {
    bench.socket.onclose({ code: 1006 });
    waits.push(Math.round(bench.due));
    bench.pass(bench.due);
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  bench.random = 0;
  bench.socket.onclose({ code: 1006 });
  assert.equal(bench.due, 0);
});

test('a_server_that_accepts_and_hangs_up_at_once_is_backed_off_from_too', () => {
  const bench = new Bench();
  bench.random = 0.999999;
  bench.feed.start();
  for (let attempt = 0; attempt < 4; attempt++) {
    bench.live();
    bench.socket.onclose({ code: 1011 });
    assert.equal(Math.round(bench.due), 500 * 2 ** attempt);
    bench.pass(bench.due);
  }
  bench.live();
  for (let second = 0; second < 30; second++) {
    bench.pass(1000);
    bench.say({ t: 'ping' });
  }
  bench.socket.onclose({ code: 1011 });
  assert.equal(Math.round(bench.due), 500, 'a connection that lasted starts anew');
});

test('bye_sets_the_least_wait', () => {
  const bench = new Bench();
  bench.random = 0;
  bench.feed.start();
  bench.live();
  bench.say({ t: 'bye', code: 'server_shutdown', retry_ms: 2000 });
  bench.socket.onclose({ code: 1001 });
  assert.equal(bench.due, 2000);
});

test('silence_is_stale_first_and_dead_then', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  const last = bench.now;
  bench.pass(36_000);
  assert.equal(bench.feed.status.phase, 'live');
  bench.pass(2_000);
  assert.deepEqual(bench.feed.status, { phase: 'stale', trueAt: last });
  assert.equal(bench.socket.closed, undefined);
  bench.say({ t: 'ping' });
  assert.equal(bench.feed.status.phase, 'live', 'it was only slow');
  bench.pass(50_000);
  assert.equal(bench.sockets[0].closed, 4408);
  assert.equal(bench.feed.status.phase, 'stale');
});

test('the_servers_clock_is_taken_from_the_shortest_round_trip', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  const ping = () => bench.socket.sent.findLast(({ t }) => t === 'ping').id;
  bench.pass(400);
  bench.say({ t: 'pong', id: ping(), time: bench.now + 5000 });
  assert.equal(bench.feed.offset, 5200);
  bench.pass(12_100);
  bench.pass(20);
  bench.say({ t: 'pong', id: ping(), time: bench.now + 4990 });
  assert.equal(Math.round(bench.feed.offset), 5000);
});

test('a_refusal_is_not_repeated_until_someone_asks', () => {
  for (const [code, name] of [[4401, 'unauthenticated'], [4403, 'forbidden'], [4404, 'unsupported-version'], [4409, 'replaced']]) {
    const bench = new Bench();
    bench.feed.start();
    bench.live();
    bench.socket.onclose({ code, reason: '' });
    assert.equal(bench.feed.status.phase, 'refused');
    assert.equal(bench.feed.status.code, name);
    bench.pass(600_000);
    assert.equal(bench.sockets.length, 1);
    bench.feed.retry();
    assert.equal(bench.sockets.length, 2);
    assert.equal(bench.feed.status.phase, 'stale');
  }
});

test('an_error_to_sub_says_why', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.socket.onopen();
  bench.say(HELLO, { t: 'error', id: 2, type: '/problems/forbidden', title: 'Not allowed', status: 403, detail: 'no dialog', sub: 'main' });
  const { phase, code, detail } = bench.feed.status;
  assert.deepEqual([phase, code, detail], ['refused', 'forbidden', 'no dialog']);
});

test('a_rate_limit_is_waited_out', () => {
  const bench = new Bench();
  bench.random = 0;
  bench.feed.start();
  bench.socket.onopen();
  bench.say({ t: 'error', id: 1, type: '/problems/rate-limited', title: 'Slow down', status: 429, retry_ms: 3000 });
  assert.equal(bench.feed.status.phase, 'connecting');
  assert.equal(bench.due, 3000);
});

test('unknown_frames_are_ignored_and_broken_ones_resume', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  bench.say({ t: 'fanfare' }, { t: 'note', code: 'token_expiring', in_s: 60 }, { t: 'ok', id: 99 });
  assert.equal(bench.feed.status.phase, 'live');
  bench.socket.onmessage({ data: '{"t":"upd","items":[' });
  assert.equal(bench.sockets[0].closed, 4400);
  assert.equal(bench.feed.status.phase, 'stale');
});

test('an_old_socket_has_no_say', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  const [old] = bench.sockets;
  old.onclose({ code: 1006 });
  bench.pass(500);
  bench.live(8, 'busy');
  old.onmessage({ data: JSON.stringify({ t: 'upd', items: [item(9, 'idle')] }) });
  old.onclose({ code: 4401 });
  assert.equal(bench.lamp, 'busy');
  assert.equal(bench.feed.status.phase, 'live');
});

test('stop_is_final_and_start_resumes', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  bench.feed.stop();
  assert.equal(bench.sockets[0].closed, 1000);
  bench.pass(600_000);
  assert.equal(bench.sockets.length, 1);
  bench.feed.start();
  bench.socket.onopen();
  bench.say(HELLO);
  assert.equal(bench.socket.sent.at(-1).cursor, 'k3f9.5');
});

const settled = () => new Promise((done) => setImmediate(done));

test('each_connection_brings_a_new_ticket_and_a_spent_one_is_replaced_once', async () => {
  let tickets = 0;
  const bench = new Bench({ url: async () => `ws://gateway.example/v1/feed?ticket=t${++tickets}` });
  bench.feed.start();
  await settled();
  bench.live();
  assert.equal(bench.socket.url, 'ws://gateway.example/v1/feed?ticket=t1');
  bench.socket.onclose({ code: 4401, reason: 'session expired' });
  assert.equal(bench.feed.status.phase, 'stale', 'a new ticket may do');
  bench.pass(500);
  await settled();
  assert.equal(bench.socket.url, 'ws://gateway.example/v1/feed?ticket=t2');
  bench.socket.onclose({ code: 4401 });
  assert.equal(bench.feed.status.phase, 'refused', 'but not for ever');
});

test('who_may_have_no_ticket_is_refused_and_a_ticket_server_that_is_down_is_tried_again', async () => {
  let answer = () => Promise.reject(new Refused('offline-ish', ''));
  const bench = new Bench({ url: () => answer() });
  bench.feed.start();
  await settled();
  assert.deepEqual([bench.feed.status.phase, bench.feed.status.code], ['refused', 'offline-ish']);
  answer = () => Promise.reject(new TypeError('network'));
  bench.feed.retry();
  await settled();
  assert.equal(bench.feed.status.phase, 'connecting');
  answer = async () => 'ws://gateway.example/v1/feed?ticket=x';
  bench.pass(30_000);
  await settled();
  assert.equal(bench.sockets.length, 1);
});

test('a_ticket_that_comes_after_stop_opens_nothing', async () => {
  const bench = new Bench({ url: async () => 'ws://gateway.example/v1/feed?ticket=x' });
  bench.feed.start();
  bench.feed.stop();
  await settled();
  assert.equal(bench.sockets.length, 0);
});

test('a_socket_that_would_not_open_is_asked_about', async () => {
  const bench = new Bench({ why: async () => 'unauthenticated' });
  bench.feed.start();
  bench.socket.onclose({ code: 1006 });
  await settled();
  assert.deepEqual([bench.feed.status.phase, bench.feed.status.code], ['refused', 'unauthenticated']);
  const other = new Bench({ why: async () => undefined });
  other.feed.start();
  other.socket.onclose({ code: 1006 });
  await settled();
  assert.equal(other.feed.status.phase, 'connecting');
});

test('an_expired_token_is_a_matter_of_signing_in', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.socket.onopen();
  bench.say({ t: 'error', id: 1, type: '/problems/token-expired', title: 'Expired', status: 401 });
  assert.equal(bench.feed.status.code, 'unauthenticated');
});

test('commands_are_answered_refused_or_lost', async () => {
  const bench = new Bench();
  await assert.rejects(bench.feed.command('pub', {}), { code: 'offline' });
  bench.feed.start();
  bench.live();
  const done = bench.feed.command('pub', { r: R, kind: 'presence', state: { basic: 'open' } });
  const { id, t } = bench.socket.sent.at(-1);
  assert.equal(t, 'pub');
  bench.say({ t: 'ok', id, etag: 'a7' });
  assert.equal((await done).etag, 'a7');
  const refused = bench.feed.command('pub', {});
  bench.say({ t: 'error', id: bench.socket.sent.at(-1).id, type: '/problems/forbidden', title: 'Not allowed', status: 403, detail: 'not yours' });
  await assert.rejects(refused, { code: 'forbidden', message: 'not yours' });
  assert.equal(bench.feed.status.phase, 'live', 'it is not the connection that was refused');
  const lost = bench.feed.command('pub', {});
  bench.socket.onclose({ code: 1006 });
  await assert.rejects(lost, { code: 'offline' });
});

test('other_resources_are_watched_on_the_same_connection', () => {
  const bench = new Bench();
  bench.feed.start();
  bench.live();
  const other = 'sip:1002@example.com';
  bench.feed.select([other]);
  const [unsub, sub] = bench.socket.sent.slice(-2);
  assert.deepEqual([unsub.t, sub.t, sub.r, sub.cursor], ['unsub', 'sub', [other], undefined]);
  bench.say({ t: 'snap', sub: 'main', items: [item(9, 'busy')], more: false, cursor: 'k3f9.9' });
  assert.equal(bench.lamp, 'idle', 'what was still on its way is not of the new subscription');
  bench.say({ t: 'ok', id: unsub.id }, { ...SUB, id: sub.id }, { t: 'snap', sub: 'main', items: [{ ...item(10, 'idle'), r: other }], more: false, cursor: 'k3f9.10' });
  assert.deepEqual([...bench.store.keys.keys()], [other]);
  assert.equal(bench.sockets.length, 1);
});
