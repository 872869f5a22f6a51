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
    sockets.on('connection', (socket) => this.#accept(socket));
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
    for (const client of this.#clients) if (client.subscribed) this.#send(client, { t: 'upd', items, cursor: this.cursor });
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

  #accept(socket) {
    const client = { socket, subscribed: false };
    this.#clients.add(client);
    socket.on('close', () => this.#clients.delete(client));
    socket.on('message', (data) => {
      const frame = JSON.parse(data);
      this.heard.push(frame);
      const { t, id } = frame;
      if (t === 'hello') this.#send(client, { t: 'ok', id, proto: 1, server: 'test', epoch: this.#epoch, heartbeat_s: 25 });
      if (t === 'ping') this.#send(client, { t: 'pong', id, time: Date.now() + this.#skew });
      if (t === 'sub') this.#subscribe(client, frame);
    });
  }

  #subscribe(client, { id, sub, cursor }) {
    const [epoch, rev] = (cursor ?? '').split('.');
    const resumed = epoch === this.#epoch;
    const items = [...this.#items.values()].filter((item) => (resumed ? item.rev > Number(rev) : !item.gone));
    this.#send(client, { t: 'ok', id, sub, matched: items.length, resumed });
    for (let at = 0; at + CHUNK < items.length; at += CHUNK) {
      this.#send(client, { t: 'snap', sub, items: items.slice(at, at + CHUNK), more: true });
    }
    const rest = items.slice(Math.max(0, Math.ceil(items.length / CHUNK) - 1) * CHUNK);
    this.#send(client, { t: 'snap', sub, items: rest, more: false, cursor: this.cursor });
    client.subscribed = true;
  }

  async #serve({ url }, response) {
    const name = /^\/panel\/([a-z0-9.-]*)$/.exec(url)?.[1];
    try {
      const body = await readFile(new URL(name || 'index.html', WEB));
      const type = TYPES[(name || 'index.html').split('.').pop()];
      response.writeHead(200, { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': POLICY }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }
}
