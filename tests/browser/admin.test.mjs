/** The page of the person who runs the gateway, in a real Chromium, over answers as a gateway gives them. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { pathOf, rateOf, roundUp } from '../../web/chart.js';
import { check } from './axe.mjs';
import { launch, open, picture } from './chromium.mjs';
import { Gateway } from './gateway.mjs';
import { uri } from './office.mjs';

const HOUR = 360;
let browser;
let gateway;
let page;

before(async () => (browser = await launch()));
after(() => browser?.close());
beforeEach(async () => {
  gateway = await new Gateway().start();
  answers(gateway, Date.now());
});
afterEach(async () => {
  await gateway.stop();
  if (page.isClosed()) return;
  assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

async function look(options) {
  page = await open(browser, new URL('admin.html', gateway.url).href, { viewport: { width: 1280, height: 1500 }, ...options });
  return page;
}

const part = (name) => page.locator(`[data-part="${name}"]`);

/** What a gateway of 28 phones says, with one feed client that does not keep up and one phone that does not answer. */
function answers(gateway, now) {
  const wave = (at, height) => height * (1.2 + Math.sin(at / 23) + 0.4 * Math.sin(at / 5));
  const gauge = (of) => Array.from({ length: HOUR }, (_, at) => of(at));
  const counter = (height) => {
    let sum = 1000;
    return gauge((at) => (sum += Math.max(0, wave(at, height) * 10)));
  };
  gateway.answer('/version', { name: 'Lamplighter', version: '0.1.0', feed: 1 });
  gateway.answer('/readyz', { ready: true });
  gateway.answer('/v1/rates', {
    every_s: 10,
    at: now,
    series: {
      sip_messages_received_total: counter(42), sip_notify_sent_total: counter(31), sip_publish_accepted_total: counter(9),
      bus_changes_total: counter(8), sip_requests_refused_total: gauge((at) => (at > 200 ? 12 : 3)),
      sip_notify_timeout_total: gauge(() => null), sip_subscriptions: gauge((at) => 620 + Math.round(at / 30)), bus_publications: gauge(() => 84),
      ws_connections: gauge((at) => (at < 30 ? null : 3)), feed_items_sent_total: counter(24), feed_cursor_lag_revs: gauge((at) => (at > 330 ? (at - 330) * 200 : 2)),
      http_requests_total: counter(1), process_cpu_seconds_total: counter(0.012), process_resident_memory_bytes: gauge((at) => 41e6 + at * 2e4),
    },
  });
  gateway.answer('/v1/connections', {
    connections: [
      { id: 1, principal: 'reception', client: 'panel/1', peer: '192.0.2.20:50144', since: now - 7_300_000, subscriptions: 1, rev: 81300, lag: 0, conflated: 214 },
      { id: 4, principal: 'crm', client: 'crm/2.3', peer: '192.0.2.31:41022', since: now - 95_000, subscriptions: 3, rev: 75500, lag: 5800, conflated: 90321 },
    ],
  });
  const watcher = { state: 'active', flow: 'UDP 192.0.2.7:5060', until: now + 1_900_000, notified: now - 42_000, version: 7, answer: '200' };
  gateway.answer('/v1/watchers', {
    watchers: [
      { ...watcher, watcher: uri(102), r: uri(101), kind: 'dialog' },
      { ...watcher, watcher: uri(103), r: uri(101), kind: 'dialog', flow: 'TCP 192.0.2.8:5060', answer: 'timeout' },
    ],
  });
  gateway.answer(`/v1/explain/${encodeURIComponent(uri(101))}`, {
    resource: uri(101),
    unanswered: [],
    feed: [{ session: 's-1', client: 'panel/1', from: '192.0.2.20:50144', since: now, kinds: ['dialog', 'presence'], rev: 81300, waiting: 0 }],
    packages: [{
      kind: 'dialog', state: 'ringing', rule: 'a call is shown once, the newest publication wins, and what is over anywhere is over everywhere',
      sources: [{ source: 'pub:e6ca2e46', from: '192.0.2.7:5060', at: now - 4_000, until: now + 590_000, says: 'ringing' }],
      watchers: [{ ...watcher, watcher: uri(102) }],
      history: [{ at: now - 60_000, what: 'published', who: 'pub:e6ca2e46' }, { at: now - 4_000, what: 'published', who: 'pub:e6ca2e46' }],
    }],
  });
  gateway.answer('/v1/trace', (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const say = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    say('trace', { r: uri(101), at: now, what: 'request', detail: 'PUBLISH from UDP 192.0.2.7:5060' });
    say('trace', { r: uri(101), at: now + 1, what: 'notify', detail: `<b>${uri(102)}</b> version 8` });
    say('missed', { missed: 12 });
  });
}

test('the_state_of_the_gateway_is_told', async () => {
  await look();
  await page.getByRole('status').filter({ hasText: 'Ready: all parts of the gateway are at work' }).waitFor();
  await part('rates').locator('.chart').first().waitFor();
  assert.equal(await page.locator('.version').textContent(), 'Lamplighter 0.1.0');
  const names = await page.getByRole('img').evaluateAll((all) => all.map((one) => one.getAttribute('aria-label')));
  assert.equal(names.find((name) => name.startsWith('SIP subscriptions')), 'SIP subscriptions: now 632, highest of the hour 632');
  assert.ok(!names.some((name) => name.startsWith('NOTIFY without answer')), 'what is never known is not drawn');
  const slow = part('connections').locator('tr.slow');
  assert.match(await slow.textContent(), /crm\/2\.3.*5,800, slow/);
  assert.equal(await part('connections').locator('tbody tr').count(), 2);
  assert.match(await part('watchers').locator('tr.slow').textContent(), /timeout/);
  gateway.answer('/readyz', (_, response) => response.writeHead(503).end(JSON.stringify({ ready: false, reasons: ['sip: no listener'] })));
  await page.getByRole('status').filter({ hasText: 'Not ready: sip: no listener' }).waitFor({ timeout: 10_000 });
});

test('a_slow_client_is_disconnected', async () => {
  const closed = [];
  gateway.answer('/v1/connections/4', ({ method }, response) => {
    closed.push(method);
    response.writeHead(204).end();
  });
  await look();
  await page.getByRole('row', { name: /crm/ }).getByRole('button', { name: 'Disconnect' }).click();
  while (closed.length === 0) await page.evaluate(() => new Promise((done) => setTimeout(done, 20)));
  assert.deepEqual(closed, ['DELETE']);
});

test('subscriptions_come_in_pages', async () => {
  const one = (user) => ({ watcher: uri(user), r: uri(101), kind: 'dialog', state: 'active', flow: 'UDP 192.0.2.7:5060', until: null, notified: null, version: 1, answer: '200' });
  const answer = ({ url }, response) => {
    const page = new URL(url, gateway.url).searchParams.get('page');
    const says = { null: { watchers: [one(102)], page: '0.7' }, '0.7': { watchers: [one(103)], page: '1.0' }, '1.0': { watchers: [one(104)] } }[page];
    response.writeHead(says ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(says ?? {}));
  };
  gateway.answer('/v1/watchers', answer);
  await look();
  const watchers = part('watchers');
  const shown = (user, number) => watchers.filter({ hasText: `page ${number}` }).getByRole('cell', { name: uri(user) }).waitFor();
  const [back, more] = ['Back', 'More'].map((name) => watchers.getByRole('button', { name }));
  await shown(102, 1);
  assert.equal(await back.isDisabled(), true);
  await more.click();
  await shown(103, 2);
  await more.click();
  await shown(104, 3);
  assert.equal(await more.isDisabled(), true);
  await back.click();
  await shown(103, 2);
  gateway.answer('/v1/watchers', (asked, response) => (/page/.test(asked.url) ? response.writeHead(404).end('{}') : answer(asked, response)));
  await shown(102, 1);
});

test('why_a_lamp_is_lit_and_what_happens_live', async () => {
  await look();
  await page.getByRole('searchbox', { name: 'Address' }).fill(uri(101));
  await page.keyboard.press('Enter');
  const answer = page.locator('.answer');
  await answer.filter({ hasText: 'the newest publication wins' }).waitFor();
  for (const text of ['ringing', 'pub:e6ca2e46', 'UDP 192.0.2.7:5060', 'version 7', 'all sent', 'in 10 min']) assert.match(await answer.textContent(), new RegExp(text));
  await page.getByRole('button', { name: 'Watch live' }).click();
  await page.locator('.trace li').nth(2).waitFor();
  assert.deepEqual(await page.locator('.trace span').allTextContents(), ['12 events came too fast', `<b>${uri(102)}</b> version 8`, 'PUBLISH from UDP 192.0.2.7:5060']);
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('searchbox', { name: 'Address' }).fill('nobody');
  await page.keyboard.press('Enter');
  await answer.locator('.fault').waitFor();
});

test('it_is_accessible_and_looked_at_in_light_dark_and_forced_colours', async () => {
  for (const [name, options] of [['light', { colorScheme: 'light' }], ['dark', { colorScheme: 'dark' }], ['forced', { forcedColors: 'active' }]]) {
    if (page && !page.isClosed()) await page.context().close();
    await look(options);
    await page.getByRole('searchbox', { name: 'Address' }).fill(uri(101));
    await page.keyboard.press('Enter');
    await page.locator('.answer table').first().waitFor();
    await part('rates').locator('.chart').first().waitFor();
    assert.deepEqual(await check(page), [], name);
    await picture(page, `admin-${name}`);
  }
});

test('what_a_gateway_does_not_offer_is_left_out_and_who_is_not_signed_in_is_asked', async () => {
  for (const path of ['rates', 'connections', 'watchers']) gateway.answer(`/v1/${path}`, (_, response) => response.writeHead(404).end('{}'));
  await look();
  await page.getByRole('status').filter({ hasText: 'Ready' }).waitFor();
  assert.equal(await part('rates').isVisible(), false);
  assert.equal(await part('explain').isVisible(), true);
  gateway.answer('/v1/rates', (_, response) => response.writeHead(401).end('{}'));
  await page.getByLabel('Key or token').waitFor({ timeout: 10_000 });
  await picture(page, 'admin-signin');
});

test('rates_of_counters_and_lines_through_them', () => {
  assert.deepEqual(rateOf([null, 10, 30, 5, 15], 10), [null, null, 2, null, 1], 'a counter that fell was started anew');
  assert.deepEqual([0, 0.03, 1, 1.1, 4, 7, 10, 312].map(roundUp), [1, 0.05, 1, 2, 5, 10, 10, 500]);
  assert.equal(pathOf([0, 5, null, 10], 10, 30, 10), 'M0.0 10.0L10.0 5.0M30.0 0.0');
});
