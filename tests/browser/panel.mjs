/** What every test of the panel starts from: a browser, a gateway that the test plays, and a page that behaves. */

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';
import { launch, open } from './chromium.mjs';
import { Gateway } from './gateway.mjs';
import { office, uri } from './office.mjs';

export let gateway;
let browser;
let pages;

before(async () => (browser = await launch()));
after(() => browser?.close());
beforeEach(async () => {
  gateway = await new Gateway().start();
  pages = [];
});
afterEach(async () => {
  // Whatever a test looks at, the page must have kept to its security policy and thrown nothing.
  for (const page of pages) {
    assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }
  await gateway.stop();
});

/** Opens the panel on an office of 24 phones. */
export async function panel(options, count = 24) {
  gateway.set(...office(Date.now()));
  const page = await look(options);
  await page.locator('.chip.every', { hasText: String(count) }).waitFor();
  await phase(page, 'live');
  return page;
}

export async function look(options, place = '') {
  const page = await open(browser, new URL(place, gateway.url).href, options);
  pages.push(page);
  return page;
}

export const key = (page, extension) => page.locator(`.key[data-r="${uri(extension)}"]`);
export const texts = (page, selector) => page.locator(selector).allTextContents();
export const phase = (page, name, state = 'visible') => page.locator(`.connection[data-phase="${name}"]`).waitFor({ state });
export const focusedKey = (page) => page.evaluate(() => document.querySelector('blf-panel').shadowRoot.activeElement?.dataset.r);
export const order = (page) => page.locator('.key').evaluateAll((cells) => cells.map((cell) => /:(\d+)@/.exec(cell.dataset.r)[1]));

/** Plays another gateway from now on. */
export async function replaceGateway(options) {
  await gateway.stop();
  gateway = await new Gateway(options).start();
}
