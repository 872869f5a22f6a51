/**
 * How much the panel costs a browser: `npm run bench` prints what it measures beside what is wanted. Not a test, since
 * machines differ. 2000 keys, 500 changes a second: as a gateway sends them (ten frames a second), and one by one.
 */

import { launch, open } from './chromium.mjs';
import { Gateway } from './gateway.mjs';
import { call, uri } from './office.mjs';

const KEYS = 2000;
const RATE = 500;
const SECONDS = Number(process.env.SECONDS ?? 10);
const SNAPSHOTS = 5;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const browser = await launch();
const gateway = await new Gateway().start();
const dialog = (at) => {
  const lamp = ['idle', 'ringing', 'busy', 'idle', 'hold'][at % 5];
  const calls = lamp === 'idle' ? [] : [call(lamp === 'ringing' ? 'early' : 'confirmed', 'in', { uri: `sip:+49${at}@c.example`, name: `Caller ${at}` }, Date.now())];
  return { lamp, calls, n: calls.length };
};
gateway.set(...Array.from({ length: KEYS }, (_, at) => [uri(1000 + at), 'presence', { basic: 'open', name: `Person ${at}` }]));
gateway.set(...Array.from({ length: KEYS }, (_, at) => [uri(1000 + at), 'dialog', dialog(at)]));

/** In the page: from the end of the snapshot to the frame of the screen that shows keys. */
function watchPaint() {
  const Real = globalThis.WebSocket;
  globalThis.WebSocket = class extends Real {
    constructor(...all) {
      super(...all);
      this.addEventListener('message', ({ data }) => {
        if (!data.startsWith('{"t":"snap"') || !data.includes('"more":false')) return;
        const end = performance.now();
        const look = () => {
          if (!document.querySelector('blf-panel').shadowRoot.querySelector('.key')) return requestAnimationFrame(look);
          requestAnimationFrame(() => (globalThis.paint = performance.now() - end));
        };
        look();
      });
    }
  };
}

const paints = [];
let page;
for (let at = 0; at < SNAPSHOTS; at++) {
  await page?.context().close();
  page = await open(browser, 'about:blank');
  await page.addInitScript(watchPaint);
  await page.goto(gateway.url);
  await page.waitForFunction(() => globalThis.paint !== undefined);
  paints.push(await page.evaluate(() => globalThis.paint));
}
console.log(`first paint of ${KEYS} keys after the snapshot: ${Math.round(median(paints))} ms, at most ${Math.round(Math.max(...paints))} (wanted: at most 500)`);

const devtools = await page.context().newCDPSession(page);
await devtools.send('Performance.enable');
const busy = async () => (await devtools.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration').value;

async function measure(title, batch) {
  await pause(1000);
  await page.evaluate(() => {
    const gaps = (globalThis.gaps = []);
    let last = performance.now();
    const frame = (now) => {
      gaps.push(now - last);
      last = now;
      if (globalThis.gaps === gaps) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const [begin, before] = [performance.now(), await busy()];
  let sent = 0;
  while (performance.now() - begin < SECONDS * 1000) {
    const due = Math.floor(((performance.now() - begin) / 1000) * RATE);
    const changes = [];
    for (; sent < due; sent++) changes.push([uri(1000 + ((sent * 7) % KEYS)), 'dialog', dialog(sent)]);
    if (batch && changes.length) gateway.set(...changes);
    else for (const change of changes) gateway.set(change);
    await pause(batch ? 100 : 2);
  }
  const passed = (performance.now() - begin) / 1000;
  const used = ((await busy()) - before) * 1000;
  const gaps = await page.evaluate(() => {
    const { gaps } = globalThis;
    globalThis.gaps = undefined;
    return gaps.slice(1);
  });
  const late = gaps.filter((gap) => gap > 50).length;
  console.log(`${title}: ${Math.round(sent / passed)} changes/s, main thread ${Math.round(used / passed)} ms/s (wanted: at most 300), ` +
    `${(gaps.length / passed).toFixed(1)} frames/s (60), ${late} frames over 50 ms (0), longest ${Math.round(Math.max(...gaps))} ms`);
}

await measure('ten frames a second', true);
await measure('one by one', false);
await page.locator('.sort select').selectOption('state');
await measure('ten frames a second, sorted by state', true);
await browser.close();
await gateway.stop();
