/** The demo office as people see it: the built gateway, its phones, and the panel in Chromium. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { launch, open, picture } from './chromium.mjs';

const START_MS = 20_000;
const LIFE_MS = 60_000;
const SETTINGS = ['web.listen=127.0.0.1:0', 'sip.listen=["udp:127.0.0.1:0"]'];

let browser;
let office;

before(async () => (browser = await launch()));
after(async () => {
  await browser?.close();
  await office?.stop();
});

/** Starts `lamplighter demo` on free ports; its panel's address is the URL it prints that ends in `/panel/`. */
async function startOffice() {
  const binary = process.env.LAMPLIGHTER;
  if (!binary || !existsSync(binary)) {
    throw new Error(`LAMPLIGHTER is ${binary ? `${binary}, which does not exist` : 'not set'}: set it to the path of the built gateway.`);
  }
  const child = spawn(binary, ['demo', ...SETTINGS.flatMap((one) => ['--set', one])], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  const told = [];
  const stop = async () => {
    child.kill('SIGTERM');
    const [code] = await exited;
    return { code, told: told.join('\n') };
  };
  const url = await new Promise((found, failed) => {
    const fail = (why) => failed(new Error(`${why}. It said:\n${told.join('\n')}`));
    const timer = setTimeout(() => child.kill('SIGKILL') && fail(`no panel after ${START_MS / 1000} s`), START_MS);
    exited.then(([code, signal]) => fail(`lamplighter demo ended (${code ?? signal})`));
    createInterface(child.stderr).on('line', (line) => told.push(line));
    createInterface(child.stdout).on('line', (line) => {
      told.push(line);
      const [address] = /https?:\/\/\S+\/panel\/(?=\s|$)/.exec(line) ?? [];
      if (!address) return;
      clearTimeout(timer);
      found(address);
    });
  });
  return { url, stop };
}

test('the_demo_office_is_alive_on_the_panel', async () => {
  office = await startOffice();
  const page = await open(browser, office.url, { viewport: { width: 1440, height: 1100 } });
  // What a key shows over time, from the first moment on.
  await page.evaluate(() => {
    globalThis.seen = {};
    const note = (cell) => {
      const { r, state } = cell.dataset;
      const past = (globalThis.seen[r] ??= []);
      if (r && past.at(-1) !== state) past.push(state);
    };
    const root = document.querySelector('blf-panel').shadowRoot;
    new MutationObserver(() => root.querySelectorAll('.key').forEach(note)).observe(root, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-state', 'data-r'] });
    root.querySelectorAll('.key').forEach(note);
  });
  await page.locator('.connection[data-phase="live"]').waitFor();
  await page.waitForFunction(() => document.querySelector('blf-panel').shadowRoot.querySelectorAll('.key').length >= 24, undefined, { timeout: START_MS });

  const lives = () => {
    const pasts = Object.values(globalThis.seen);
    const shows = (state) => pasts.some((past) => past.includes(state));
    const answered = pasts.some((past) => past.some((state, at) => state === 'ringing' && ['busy', 'idle'].includes(past[at + 1])));
    return shows('ringing') && shows('busy') && answered;
  };
  await page.waitForFunction(lives, undefined, { timeout: LIFE_MS }).catch(async () => {
    assert.fail(`no call came and went within ${LIFE_MS / 1000} s: ${JSON.stringify(await page.evaluate(() => globalThis.seen))}`);
  });
  // A call names its other side and how long it has lasted.
  const busy = page.locator('.key[data-state="busy"]').filter({ has: page.locator('.who:not(:empty)') }).first();
  await busy.waitFor({ timeout: LIFE_MS });
  assert.match(await busy.locator('.clock').textContent(), /^\d+:\d\d$/);
  await picture(page, 'office-light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, 'office-dark');
  assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
  assert.deepEqual(page.faults, []);

  // The gateway goes: nothing that is shown looks live any more.
  const { code, told } = await office.stop();
  assert.equal(code, 0, `SIGTERM ends the demo in good order, and it said:\n${told}`);
  await page.locator('.connection[data-phase="stale"]').waitFor();
  assert.equal(await page.locator('.grid.stale').count(), 1);
});
