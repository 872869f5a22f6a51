/** Chromium for the tests. It must be there: a test that cannot look at the panel has failed. */

import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

const OUT = fileURLToPath(new URL('../out/', import.meta.url));

/** Starts a headless browser with a new, empty profile. */
export async function launch() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    throw new Error(`No Chromium at ${executablePath}. Install the Debian package chromium, or set CHROMIUM to its path.`);
  }
  return chromium.launch({ executablePath, args: FLAGS, headless: true });
}

/** Opens a page that remembers whatever a page must not do: errors, and what its security policy forbids. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (message) => {
    // A gateway that is down, or says no, is not the panel's fault.
    const gone = /ERR_CONNECTION|WebSocket connection to|status of (40[14]|503)/.test(message.text());
    if (message.type() === 'error' && !gone) page.faults.push(message.text());
  });
  await page.addInitScript(() => {
    globalThis.violations = [];
    addEventListener('securitypolicyviolation', (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url);
  return page;
}

/** Keeps a picture for people to look at, in `tests/out/`. */
export async function picture(page, name) {
  mkdirSync(OUT, { recursive: true });
  await page.screenshot({ path: `${OUT}${name}.png` });
}
