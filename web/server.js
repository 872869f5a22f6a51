/**
 * Where a gateway is, and how one signs in there.
 *
 * On the gateway's own pages a session cookie speaks for the person, which scripts cannot read. A page of another
 * origin (a CRM) names a `ticketUrl` on its own server, which answers `{"ticket": ".."}`; a ticket is good for one use.
 */

import { Refused } from './feed.js';

/** Answers of the API are smaller than this; what does not come in time does not come. */
const PATIENCE_MS = 10_000;

export class Server {
  #feed;
  #ticketUrl;
  #fetch;

  /**
   * @param {object} options
   * @param {string} options.src URL of the feed, ws: or http:; relative to `base`.
   * @param {string|null} [options.ticketUrl]
   * @param {string} options.base URL of the page.
   * @param {typeof fetch} options.fetch
   */
  constructor({ src, ticketUrl, base, fetch }) {
    this.#feed = new URL(src, base);
    this.#ticketUrl = ticketUrl ? new URL(ticketUrl, base).href : null;
    this.#fetch = fetch;
  }

  /** What `Feed` takes as `url`: fixed, or with a new ticket for each connection. */
  get feedUrl() {
    const url = new URL(this.#feed);
    url.protocol = url.protocol.replace(/^http/, 'ws');
    if (!this.#ticketUrl) return url.href;
    return async () => {
      url.searchParams.set('ticket', await this.#ticket());
      return url.href;
    };
  }

  /**
   * Asks the API, in the name of who is signed in here.
   * @param {string} path Below `/v1/`, such as `directory`; or from the root, such as `/version`.
   * @param {RequestInit} [init]
   * @returns {Promise<any>} What it says, undefined if it says nothing.
   * @throws {Refused} With the slug of the problem, `not-found`, or `offline`.
   */
  ask(path, init = {}) {
    const url = new URL(path, this.#feed);
    url.protocol = url.protocol.replace(/^ws/, 'http');
    return this.#get(url, init);
  }

  /** Exchanges a key or token for a session of this browser. @throws {Refused} */
  async signIn(token) {
    await this.ask('session', { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  }

  /** Why a socket would not open, if it is a matter of permission. */
  async why() {
    if (this.#ticketUrl) return undefined;
    try {
      await this.ask('session');
    } catch (error) {
      if (['unauthenticated', 'forbidden'].includes(error.code)) return error.code;
    }
    return undefined;
  }

  /** A new one. @throws {Refused} */
  async #ticket() {
    const { ticket } = (await this.#get(new URL(this.#ticketUrl), { method: 'POST' })) ?? {};
    if (typeof ticket !== 'string') throw new Refused('unauthenticated', '');
    return ticket;
  }

  async #get(url, init) {
    let response;
    let body;
    try {
      response = await this.#fetch(url, { ...init, signal: AbortSignal.timeout(PATIENCE_MS) });
      body = await response.text();
    } catch (error) {
      throw new Refused('offline', String(error?.message ?? ''));
    }
    const value = parsed(body);
    if (response.ok) return value;
    const slug = typeof value?.type === 'string' ? value.type.replace(/^.*\//, '') : '';
    const code = { 401: 'unauthenticated', 403: 'forbidden', 404: 'not-found' }[response.status] ?? (slug || 'internal');
    throw new Refused(code, String(value?.detail ?? value?.title ?? ''));
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
