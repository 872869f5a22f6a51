/** A gateway as the panel sees it: the files of `web/` at `/panel/` and the feed at `/v1/feed`, with the state in a map. */

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { WebSocketServer } from 'ws';

const WEB = new URL('../../web/', import.meta.url);
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'";
const CHUNK = 200;

export class Gateway {
  /** Frames that clients sent. */
  heard = [];
  /** Tickets that connections brought. */
  tickets = [];
  /** Connections made so far. */
  sockets = 0;
  /** What `hello` is told to be offered. */
  features = [];
  #answers = new Map();
  #secret;
  #etags = 0;
  #items = new Map();
  #rev = 0;
  #epoch;
  #clients = new Set();
  #http;
  #port = 0;
  #skew;

  constructor({ epoch = 'e1', skew = 0 } = {}) {
    this.#epoch = epoch;
    this.#skew = skew;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/panel/`;
  }

  get cursor() {
    return `${this.#epoch}.${this.#rev}`;
  }

  /** Listens; a second time on the same port, as a gateway does that was started again. */
  async start() {
    this.#http = createServer((request, response) => this.#serve(request, response));
    const sockets = new WebSocketServer({ server: this.#http, path: '/v1/feed', handleProtocols: (offered) => (offered.has('presence.v1') ? 'presence.v1' : false) });
    sockets.on('connection', (socket, request) => this.#accept(socket, request));
    this.#http.listen(this.#port, '127.0.0.1');
    await once(this.#http, 'listening');
    this.#port = this.#http.address().port;
    return this;
  }

  /** Dies without a word. */
  async stop() {
    const closed = once(this.#http, 'close');
    this.#http.close();
    for (const client of this.#clients) client.socket.terminate();
    this.#clients.clear();
    this.#http.closeAllConnections();
    await closed;
  }

  /** Changes states: `[resource, kind, state]`; without a state: gone. All in one frame. */
  set(...changes) {
    const items = changes.map(([r, k, state]) => {
      const rev = ++this.#rev;
      const id = `${r} ${k}`;
      const seq = (this.#items.get(id)?.seq ?? 0) + 1;
      const item = { r, k, seq, rev, ts: Date.now() + this.#skew };
      Object.assign(item, state ? { src: 'test', state } : { gone: true, reason: 'expired' });
      this.#items.delete(id);
      this.#items.set(id, item);
      return item;
    });
    for (const client of this.#clients) {
      const seen = client.subscribed ? items.filter(client.sees) : [];
      if (seen.length) this.#send(client, { t: 'upd', items: seen, cursor: this.cursor });
    }
  }

  /** What `path` answers: a value as JSON, or a function that serves it. */
  answer(path, value) {
    this.#answers.set(path, typeof value === 'function' ? value : (_, response) => json(response, 200, value));
  }

  /** A page of somebody else, at `/panel/{name}`. */
  page(name, html) {
    this.answer(`/panel/${name}`, (_, response) => response.writeHead(200, { 'content-type': 'text/html', 'content-security-policy': POLICY }).end(html));
  }

  /** From now on one must sign in with `secret`. */
  guard(secret) {
    this.#secret = secret;
    this.answer('/v1/session', (request, response) => {
      if (request.headers.authorization === `Bearer ${secret}`) {
        response.setHeader('set-cookie', 'session=1; Path=/; HttpOnly; SameSite=Strict');
        return json(response, 201, { principal: 'test' });
      }
      if (this.#knows(request)) return json(response, 200, { principal: 'test' });
      json(response, 401, { type: '/problems/unauthenticated', title: 'Who are you?', status: 401 });
    });
  }

  #knows(request) {
    return !this.#secret || /session=1/.test(request.headers.cookie);
  }

  /** Sends a frame as it is to every client. */
  say(frame) {
    for (const client of this.#clients) this.#send(client, frame);
  }

  /** Closes every connection with a code. */
  close(code) {
    for (const { socket } of this.#clients) socket.close(code);
  }

  #send({ socket }, frame) {
    socket.send(JSON.stringify(frame));
  }

  #accept(socket, request) {
    this.sockets += 1;
    this.tickets.push(new URL(request.url, this.url).searchParams.get('ticket'));
    const known = this.#knows(request);
    const client = { socket, subscribed: false };
    this.#clients.add(client);
    socket.on('close', () => this.#clients.delete(client));
    socket.on('message', (data) => {
      const frame = JSON.parse(data);
      this.heard.push(frame);
      const { t, id } = frame;
      if (t === 'hello' && !known) {
        this.#send(client, { t: 'error', id, type: '/problems/unauthenticated', title: 'Who are you?', status: 401 });
        return socket.close(4401);
      }
      if (t === 'hello') this.#send(client, { t: 'ok', id, proto: 1, server: 'test', epoch: this.#epoch, heartbeat_s: 25, features: this.features });
      if (t === 'act' || t === 'unpub' || t === 'unsub') this.#send(client, { t: 'ok', id });
      if (t === 'pub') {
        this.#send(client, { t: 'ok', id, etag: `e${++this.#etags}` });
        this.set([frame.r, frame.kind, frame.state]);
      }
      if (t === 'ping') this.#send(client, { t: 'pong', id, time: Date.now() + this.#skew });
      if (t === 'sub') this.#subscribe(client, frame);
    });
  }

  #subscribe(client, { id, sub, cursor, r }) {
    client.sees = (item) => r.includes('*') || r.includes(item.r);
    const [epoch, rev] = (cursor ?? '').split('.');
    const resumed = epoch === this.#epoch;
    const items = [...this.#items.values()].filter((item) => client.sees(item) && (resumed ? item.rev > Number(rev) : !item.gone));
    this.#send(client, { t: 'ok', id, sub, matched: items.length, resumed });
    for (let at = 0; at + CHUNK < items.length; at += CHUNK) {
      this.#send(client, { t: 'snap', sub, items: items.slice(at, at + CHUNK), more: true });
    }
    const rest = items.slice(Math.max(0, Math.ceil(items.length / CHUNK) - 1) * CHUNK);
    this.#send(client, { t: 'snap', sub, items: rest, more: false, cursor: this.cursor });
    client.subscribed = true;
  }

  async #serve(request, response) {
    const { pathname } = new URL(request.url, this.url);
    const answer = this.#answers.get(pathname);
    if (answer) return answer(request, response);
    const name = /^\/panel\/([a-z0-9.-]*)$/.exec(pathname)?.[1];
    try {
      const body = await readFile(new URL(name || 'index.html', WEB));
      const type = TYPES[(name || 'index.html').split('.').pop()];
      response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': POLICY }).end(body);
    } catch {
      json(response, 404, { type: '/problems/not-found', title: 'Not found', status: 404 });
    }
  }
}

function json(response, status, value) {
  response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' }).end(JSON.stringify(value));
}
