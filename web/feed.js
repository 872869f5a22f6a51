/**
 * The client of the feed, protocol `presence.v1`: one WebSocket, one subscription, resumed by cursor.
 *
 * It knows no DOM and no globals: socket, clock, timers and chance come in as arguments, so that it runs in Node and
 * in tests as it does in a browser. Frames go to `onframe` in the order of arrival; what they mean is for `Store`.
 */

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;
/** Time to reach the answer to `hello`. */
const HANDSHAKE_MS = 10_000;
/** Time from there to the end of the snapshot. */
const SNAPSHOT_MS = 30_000;
/** A connection that was live for this long starts the back-off anew. */
const SETTLED_MS = 10_000;
/** Silence, in heartbeats, after which the state shown is no longer called live, and after which the socket is given up. */
const STALE_BEATS = 1.5;
const DEAD_BEATS = 2;

/** Close codes after which trying again would only repeat the answer. */
const FINAL = new Map([
  [4401, 'unauthenticated'],
  [4403, 'forbidden'],
  [4404, 'unsupported-version'],
  [4409, 'replaced'],
]);
/** Errors to `hello` or `sub` that pass by themselves. */
const PASSING = new Set(['rate-limited', 'upstream-unavailable', 'internal']);
/** Errors that a new ticket may cure. */
const CURABLE = new Set(['unauthenticated', 'token-expired', 'token-invalid']);

/** A command that the server refused, or that no connection carried; `code` is the slug of the problem. */
export class Refused extends Error {
  constructor(code, detail) {
    super(detail || code);
    this.code = code;
  }
}

/**
 * Where the connection stands.
 *
 * `connecting`: no state has been seen yet. `live`: what the store holds is true now. `stale`: it is no longer.
 * `refused`: the server said no (`code`, `detail`); nothing is tried until `retry()`. `stopped`: `stop()` was called.
 * `trueAt`: when the state was last known to be true, in our milliseconds; 0 if never, or if it is live.
 *
 * @typedef {{phase: 'connecting'|'live'|'stale'|'refused'|'stopped', trueAt: number, code?: string, detail?: string}} Status
 */

export class Feed {
  #options;
  #socket = null;
  #timer = null;
  #status;
  #attempt = 0;
  #floor = 0;
  #ids = 0;
  #pending = new Map();
  #cursor;
  #seen = 0;
  /** When the state shown was last known to be true; 0: never. */
  #trueAt = 0;
  #liveSince = 0;
  /** Stale only because nothing is heard; the next frame makes it live again. */
  #silent = false;
  #heartbeat = 25_000;
  #offsets = [];
  #opened = false;
  #subscribed = false;
  /** The id of the newest `sub`; what answers an older one is not for us any more. */
  #subscription = 0;
  #asking = false;
  #attempts = 0;
  #features = new Set();

  /**
   * @param {object} options
   * @param {string|(() => Promise<string>)} options.url ws: or wss: URL of `/v1/feed`; a function is asked before each
   *   attempt, for a URL that carries a ticket is good for one connection only. It may throw a `Refused`.
   * @param {() => Promise<string|undefined>} [options.why] Asked when a socket would not open, since browsers hide the
   *   reason: the slug of the problem if it is one of permission.
   * @param {string[]} [options.selectors] Resources, such as `*` or `sip:*@example.com`.
   * @param {string[]} [options.kinds]
   * @param {(url: string, protocol: string) => WebSocket} options.open Opens a socket.
   * @param {{now(): number, set(call: () => void, ms: number): any, clear(timer: any): void}} options.clock
   * @param {() => number} options.random In [0, 1).
   * @param {(frame: object) => void} options.onframe Frames that carry state: `ok`, `snap`, `upd`, `reset`.
   * @param {(status: Status) => void} options.onstatus After each change of `status`.
   */
  constructor(options) {
    this.#options = { selectors: ['*'], kinds: ['presence', 'dialog', 'mwi'], ...options };
    this.#status = { phase: 'stopped', trueAt: 0 };
  }

  /** @returns {Status} */
  get status() {
    return this.#status;
  }

  /** Milliseconds to add to our clock to get the server's. */
  get offset() {
    return this.#offsets.length ? this.#offsets.reduce((a, b) => (b.trip < a.trip ? b : a)).offset : 0;
  }

  /** What the server offers beside the core, such as `pub` and `act`; empty until it has answered. */
  get features() {
    return this.#features;
  }

  /**
   * Sends a command to a live connection.
   * @param {string} t Such as `pub`.
   * @param {object} members
   * @returns {Promise<object>} Its `ok` frame.
   * @throws {Refused} The server's problem, or `offline`.
   */
  command(t, members) {
    if (this.#status.phase !== 'live') return Promise.reject(new Refused('offline', ''));
    return new Promise((done, failed) => this.#send(t, members, { done, failed }));
  }

  /**
   * Watches other resources from now on; the store is brought in line by a whole snapshot.
   * @param {string[]} selectors
   */
  select(selectors) {
    if (JSON.stringify(selectors) === JSON.stringify(this.#options.selectors)) return;
    this.#options.selectors = selectors;
    this.#cursor = undefined;
    if (!this.#subscribed) return;
    this.#send('unsub', { sub: 'main' });
    this.#subscribe();
  }

  start() {
    if (this.#status.phase !== 'stopped') return;
    this.#lose();
    this.#connect();
  }

  /** Closes for good. `start()` begins anew, with a cursor if there was one. */
  stop() {
    this.#drop(1000);
    this.#enter('stopped');
  }

  /** Tries at once instead of after the back-off; for a person who asks, or when the network is back. */
  retry() {
    const { phase } = this.#status;
    if (phase === 'live' || phase === 'stopped' || this.#socket || this.#asking) return;
    this.#attempt = 0;
    this.#floor = 0;
    this.#lose();
    this.#connect();
  }

  #enter(phase, code, detail) {
    const old = this.#status;
    this.#status = { phase, trueAt: phase === 'live' ? 0 : this.#trueAt, ...(code && { code, detail }) };
    if (JSON.stringify(old) !== JSON.stringify(this.#status)) this.#options.onstatus(this.#status);
  }

  /** What was live is stale from the last frame on. */
  #lose() {
    this.#silent = false;
    this.#enter(this.#trueAt ? 'stale' : 'connecting');
  }

  #connect() {
    const { clock, url } = this.#options;
    clock.clear(this.#timer);
    this.#abandon();
    this.#ids = 0;
    const attempt = ++this.#attempts;
    if (typeof url === 'string') return this.#open(url);
    this.#asking = true;
    const mine = (handle) => (value) => {
      if (attempt !== this.#attempts) return;
      this.#asking = false;
      handle(value);
    };
    url().then(
      mine((ready) => this.#open(ready)),
      mine((error) => (error instanceof Refused ? this.#refuse(error.code, error.message) : this.#reconnect(1000))),
    );
  }

  #open(url) {
    const { clock, open } = this.#options;
    let socket;
    try {
      socket = open(url, 'presence.v1');
    } catch (error) {
      this.#refuse('invalid-field', String(error.message));
      return;
    }
    this.#socket = socket;
    this.#opened = false;
    const mine = (handle) => (event) => socket === this.#socket && handle(event);
    socket.onopen = mine(() => {
      this.#opened = true;
      this.#send('hello', { client: 'panel/1', flush_ms: 100 });
    });
    socket.onmessage = mine((event) => this.#receive(event.data));
    socket.onerror = () => {}; // `close` follows and says more.
    socket.onclose = mine((event) => this.#closed(event.code, event.reason));
    this.#timer = clock.set(() => this.#reconnect(4408), HANDSHAKE_MS);
  }

  #send(t, members, answer) {
    const id = ++this.#ids;
    this.#pending.set(id, { t, at: this.#options.clock.now(), answer });
    this.#socket.send(JSON.stringify({ t, id, ...members }));
    return id;
  }

  /** Nobody will answer what was asked any more. */
  #abandon() {
    const asked = [...this.#pending.values()];
    this.#pending.clear();
    for (const { answer } of asked) answer?.failed(new Refused('offline', ''));
  }

  #subscribe() {
    const { selectors, kinds } = this.#options;
    this.#subscribed = true;
    this.#subscription = this.#send('sub', { sub: 'main', r: selectors, kinds, snapshot: true, cursor: this.#cursor });
    this.#awaitSnapshot();
  }

  #receive(data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      frame = null;
    }
    // A frame that cannot be read may have been the one that mattered: resume from the cursor before it.
    if (frame === null || typeof frame !== 'object') return this.#reconnect(4400);
    const { clock, onframe } = this.#options;
    this.#seen = clock.now();
    if (this.#silent) this.#live();
    if (this.#status.phase === 'live') this.#trueAt = this.#seen;
    switch (frame.t) {
      case 'ok':
        this.#answered(frame);
        break;
      case 'snap':
        if (this.#pending.has(this.#subscription)) break; // of a subscription that has ended
        onframe(frame);
        if (frame.more !== true) this.#caughtUp(frame.cursor);
        break;
      case 'upd':
        onframe(frame);
        if (frame.cursor !== undefined && !this.#pending.has(this.#subscription)) this.#cursor = frame.cursor;
        break;
      case 'reset':
        this.#cursor = undefined;
        this.#lose();
        onframe(frame);
        // Where the right to watch was taken away, no snapshot follows.
        if (frame.reason === 'forbidden') this.#refuse('forbidden', '');
        else this.#awaitSnapshot();
        break;
      case 'pong':
        this.#measure(frame);
        break;
      case 'bye':
        this.#floor = Number(frame.retry_ms) || 0;
        break;
      case 'error':
        this.#failed(frame);
        break;
    }
  }

  #answered(frame) {
    const { t: asked, answer } = this.#pending.get(frame.id) ?? {};
    this.#pending.delete(frame.id);
    if (asked === 'hello') {
      if (frame.heartbeat_s > 0) this.#heartbeat = frame.heartbeat_s * 1000;
      this.#features = new Set(Array.isArray(frame.features) ? frame.features : []);
      this.#options.onframe(frame);
      this.#subscribe();
    } else if (asked === 'sub' && frame.id === this.#subscription) {
      if (frame.resumed !== true) this.#cursor = undefined;
      this.#options.onframe(frame);
    }
    answer?.done(frame);
  }

  #awaitSnapshot() {
    const { clock } = this.#options;
    clock.clear(this.#timer);
    this.#timer = clock.set(() => this.#reconnect(4408), SNAPSHOT_MS);
  }

  #caughtUp(cursor) {
    if (cursor !== undefined) this.#cursor = cursor;
    this.#liveSince = this.#options.clock.now();
    this.#live();
    this.#beat();
  }

  #live() {
    this.#silent = false;
    this.#trueAt = this.#seen;
    this.#enter('live');
  }

  /** Twice per heartbeat: asks for the time, and notices silence (also the silence of a machine that slept). */
  #beat() {
    const { clock } = this.#options;
    clock.clear(this.#timer);
    const silence = clock.now() - this.#seen;
    if (silence >= this.#heartbeat * DEAD_BEATS) return this.#reconnect(4408);
    if (silence >= this.#heartbeat * STALE_BEATS) {
      this.#lose();
      this.#silent = true;
    }
    if (clock.now() - this.#liveSince >= SETTLED_MS) this.#attempt = 0;
    if (![...this.#pending.values()].some(({ t }) => t === 'ping')) this.#send('ping');
    const limits = [STALE_BEATS, DEAD_BEATS].map((beats) => beats * this.#heartbeat - silence).filter((ms) => ms > 0);
    this.#timer = clock.set(() => this.#beat(), Math.min(this.#heartbeat / 2, ...limits));
  }

  #measure(frame) {
    const sent = this.#pending.get(frame.id)?.at;
    this.#pending.delete(frame.id);
    if (sent === undefined || !Number.isFinite(frame.time)) return;
    const now = this.#options.clock.now();
    // The shortest round trip of the last eight bounds the error best.
    this.#offsets = [...this.#offsets.slice(-7), { trip: now - sent, offset: frame.time - (sent + now) / 2 }];
  }

  #failed(frame) {
    const { t: asked, answer } = this.#pending.get(frame.id) ?? {};
    this.#pending.delete(frame.id);
    const code = String(frame.type ?? 'internal').replace(/^.*\//, '');
    const detail = String(frame.detail ?? frame.title ?? '');
    answer?.failed(new Refused(code, detail));
    if (asked !== 'hello' && asked !== 'sub') return;
    this.#floor = Number(frame.retry_ms) || 0;
    if (PASSING.has(code)) return this.#reconnect(4408);
    this.#refuse(CURABLE.has(code) ? 'unauthenticated' : code, detail);
  }

  #refuse(code, detail) {
    this.#drop(1000);
    this.#enter('refused', code, detail);
  }

  #closed(closeCode, reason) {
    const code = FINAL.get(closeCode);
    // A ticket is for one connection; the next attempt brings a new one. If that is refused at once, it is final.
    const another = code === 'unauthenticated' && typeof this.#options.url === 'function' && this.#status.phase === 'live';
    if (code && !another) return this.#refuse(code, String(reason ?? ''));
    const opened = this.#opened;
    this.#reconnect(1000);
    if (opened || !this.#options.why) return;
    const attempt = this.#attempts;
    this.#options.why().then(
      (problem) => problem && attempt === this.#attempts && this.#refuse(problem, ''),
      () => {}, // It cannot be reached: that is what the back-off is for.
    );
  }

  #drop(code) {
    this.#options.clock.clear(this.#timer);
    this.#attempts += 1;
    this.#asking = this.#subscribed = false;
    const socket = this.#socket;
    this.#socket = null;
    this.#abandon();
    socket?.close(code);
  }

  /** Gives the socket up and tries again later: exponential from 0.5 s to 30 s with full jitter. */
  #reconnect(code) {
    this.#drop(code);
    this.#lose();
    const most = Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.#attempt++, 10));
    const { clock, random } = this.#options;
    const wait = Math.max(this.#floor, Math.round(random() * most));
    this.#floor = 0;
    this.#timer = clock.set(() => this.#connect(), wait);
  }
}
