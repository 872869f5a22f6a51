/** The panel in a real Chromium, against a gateway that the test plays. */

import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { STATES } from '../../web/store.js';
import { check } from './axe.mjs';
import { launch, open, picture } from './chromium.mjs';
import { contrast, distance, seenWith } from './colour.mjs';
import { Gateway } from './gateway.mjs';
import { call, office, uri } from './office.mjs';

let browser;
let gateway;
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
async function panel(options, count = 24) {
  gateway.set(...office(Date.now()));
  const page = await look(options);
  await page.locator('.chip.every', { hasText: String(count) }).waitFor();
  await phase(page, 'live');
  return page;
}

async function look(options, place = '') {
  const page = await open(browser, new URL(place, gateway.url).href, options);
  pages.push(page);
  return page;
}

const key = (page, extension) => page.locator(`.key[data-r="${uri(extension)}"]`);
const texts = (page, selector) => page.locator(selector).allTextContents();
const phase = (page, name, state = 'visible') => page.locator(`.connection[data-phase="${name}"]`).waitFor({ state });
const focusedKey = (page) => page.evaluate(() => document.querySelector('blf-panel').shadowRoot.activeElement?.dataset.r);
const order = (page) => page.locator('.key').evaluateAll((cells) => cells.map((cell) => /:(\d+)@/.exec(cell.dataset.r)[1]));

test('each_state_has_its_word_shape_and_colour', async () => {
  const page = await panel();
  const words = {
    ringing: 'Ringing', dialing: 'Dialing', busy: 'Busy', hold: 'On hold', parked: 'Parked', dnd: 'Do not disturb', away: 'Away',
    idle: 'Available', offline: 'Offline', unknown: 'Unknown',
  };
  const shapes = new Set();
  const colours = new Set();
  for (const state of STATES) {
    const one = page.locator(`.key[data-state="${state}"]`).first();
    assert.equal(await one.locator('.word').textContent(), words[state]);
    const [shape, colour] = await one.locator('.lamp').evaluate((svg) => [
      [...svg.children].map((path) => path.getAttribute('d')).join('|'),
      getComputedStyle(svg.firstChild).fill,
    ]);
    shapes.add(shape);
    colours.add(colour);
  }
  assert.equal(shapes.size, STATES.length);
  // What is off and what is not known are both grey: that is their meaning.
  assert.equal(colours.size, STATES.length - 1);
});

test('a_key_shows_party_direction_duration_calls_voicemail_and_note', async () => {
  const page = await panel();
  const ringing = key(page, 102);
  assert.equal(await ringing.locator('.name').textContent(), 'Björn Östlund');
  assert.equal(await ringing.locator('.extension').textContent(), '102');
  assert.equal(await ringing.locator('.who').textContent(), 'Helga Brandt');
  assert.equal(await ringing.locator('.detail .sign').getAttribute('data-dir'), 'in');
  assert.equal(await key(page, 105).locator('.detail .sign').getAttribute('data-dir'), 'out');
  assert.equal(await key(page, 105).locator('.who').textContent(), '+441632960123', 'a number without a name');
  assert.equal(await key(page, 121).locator('.who').textContent(), 'Anonymous');
  assert.match(await key(page, 103).locator('.clock').textContent(), /^12:3\d$/);
  assert.match(await key(page, 107).locator('.clock').textContent(), /^1:05:1\d$/);
  assert.equal(await key(page, 110).locator('.several').textContent(), '×2');
  assert.equal(await key(page, 101).locator('.mail').textContent(), '3');
  assert.equal(await key(page, 104).locator('.who').textContent(), 'Deadline at five');
  assert.equal(await key(page, 106).locator('.who').textContent(), 'In a meeting · Back at 3');
  assert.match(await key(page, 106).locator('.clock').textContent(), /^since \d\d:\d\d$/);
  assert.equal(
    await ringing.getAttribute('aria-label'),
    'Björn Östlund, 102, Ringing, from Helga Brandt',
  );
});

test('changes_arrive_and_clocks_run', async () => {
  const page = await panel();
  gateway.set([uri(102), 'dialog', { lamp: 'busy', calls: [call('confirmed', 'in', { uri: uri(101), name: '' }, Date.now())], n: 1 }]);
  await page.locator(`.key[data-r="${uri(102)}"][data-state="busy"]`).waitFor();
  assert.equal(await key(page, 102).locator('.who').textContent(), 'Ann Lee', 'a colleague is called by name');
  const clock = key(page, 102).locator('.clock');
  await clock.filter({ hasText: '0:00' }).waitFor();
  await clock.filter({ hasText: '0:02' }).waitFor();
  gateway.set([uri(102), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await page.locator(`.key[data-r="${uri(102)}"][data-state="idle"]`).waitFor();
  assert.equal(await clock.textContent(), '');
});

test('durations_follow_the_servers_clock', async () => {
  await gateway.stop();
  const skew = 3_600_000;
  gateway = await new Gateway({ skew }).start();
  gateway.set([uri(101), 'dialog', { lamp: 'busy', calls: [call('confirmed', 'in', null, Date.now() + skew - 90_000)], n: 1 }]);
  const page = await look();
  await key(page, 101).locator('.clock', { hasText: /^1:3\d$/ }).waitFor();
});

test('a_name_that_looks_like_markup_is_text', async () => {
  const name = '<img src=x onerror=alert(1)>';
  gateway.set([uri(101), 'presence', { basic: 'open', name, note: name }]);
  const page = await look();
  await key(page, 101).waitFor();
  assert.equal(await key(page, 101).locator('.name').textContent(), name);
  await key(page, 101).press('Space');
  assert.equal(await page.locator('dialog h2').textContent(), name);
  assert.equal(await page.locator('img').count(), 0);
});

test('the_keyboard_walks_the_grid', async () => {
  const page = await panel();
  const columns = Number(await page.locator('.grid').getAttribute('aria-colcount'));
  assert.ok(columns > 2);
  await key(page, 101).focus();
  const steps = [
    ['ArrowRight', 102], ['ArrowDown', 102 + columns], ['ArrowLeft', 101 + columns], ['ArrowUp', 101], ['ArrowUp', 101], ['End', 100 + columns],
    ['Home', 101], ['Control+End', 124], ['ArrowRight', 124], ['Control+Home', 101], ['PageDown', undefined], ['PageUp', undefined],
  ];
  for (const [press, expected] of steps) {
    await page.keyboard.press(press);
    if (expected) assert.equal(await focusedKey(page), uri(expected), press);
  }
  assert.equal(await page.locator('.key[tabindex="0"]').count(), 1, 'the grid is one tab stop');
  await page.keyboard.type('tara');
  assert.equal(await focusedKey(page), uri(120));
  await page.locator('.key[tabindex="0"]').evaluate(() => new Promise((done) => setTimeout(done, 900)));
  await page.keyboard.type('11');
  assert.equal(await focusedKey(page), uri(110), 'digits go to the number');
  await page.locator('.key[tabindex="0"]').evaluate(() => new Promise((done) => setTimeout(done, 900)));
  await page.keyboard.press('Space');
  const dialog = page.locator('dialog[open]');
  assert.equal(await dialog.locator('h2').textContent(), 'Jonas Weber');
  assert.equal(await dialog.locator('li').count(), 2);
  await page.keyboard.press('Escape');
  assert.equal(await dialog.count(), 0);
  assert.equal(await focusedKey(page), uri(110), 'focus comes back');
  await page.keyboard.press('?');
  assert.equal(await page.locator('dialog[open] h2').textContent(), 'Keyboard');
});

test('focus_stays_with_its_key_when_the_order_changes', async () => {
  const page = await panel();
  await page.locator('.sort select').selectOption('state');
  await key(page, 114).focus();
  gateway.set([uri(114), 'dialog', { lamp: 'ringing', calls: [call('early', 'in', null, Date.now())], n: 1 }]);
  await page.locator(`.key[data-r="${uri(114)}"][data-state="ringing"]`).waitFor();
  assert.equal(await focusedKey(page), uri(114));
  assert.deepEqual((await order(page)).slice(0, 3), ['102', '114', '121']);
});

test('details_follow_the_key_while_they_are_open', async () => {
  const page = await panel();
  await key(page, 102).press('Space');
  await page.locator('dialog [data-role="dial"]').focus();
  gateway.set([uri(102), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await page.locator('dialog .top p', { hasText: 'Available' }).waitFor();
  const role = await page.evaluate(() => document.querySelector('blf-panel').shadowRoot.activeElement?.dataset.role);
  assert.equal(role, 'dial', 'nobody loses their place');
});

test('a_key_dials_or_picks_up_and_a_page_may_take_that_for_itself', async () => {
  const page = await panel();
  await page.evaluate(() => {
    globalThis.taken = [];
    document.addEventListener('blf-action', (event) => {
      const { action, resource, number } = event.detail;
      globalThis.taken.push([action, resource, number]);
      event.preventDefault();
    });
  });
  await key(page, 103).click();
  await key(page, 102).press('Enter');
  assert.deepEqual(await page.evaluate(() => globalThis.taken), [['dial', uri(103), '103'], ['pickup', uri(102), '102']]);
  assert.equal(await page.locator('dialog[open]').count(), 0);
});

test('a_gateway_that_controls_calls_is_asked_to', async () => {
  gateway.features = ['act'];
  const page = await panel();
  await key(page, 102).click();
  await page.locator('.toast', { hasText: 'The call of Björn Östlund comes to your phone.' }).waitFor();
  const { action, r, call: id } = gateway.heard.find(({ t }) => t === 'act');
  assert.equal(action, 'pickup');
  assert.equal(r, uri(102));
  assert.match(id, /^c\d+$/, 'it says which call');
});

test('without_call_control_a_ringing_key_shows_what_can_be_done', async () => {
  const page = await panel();
  await key(page, 102).click();
  await page.locator('dialog[open] h2', { hasText: 'Björn Östlund' }).waitFor();
});

test('the_menu_of_a_key_comes_by_pointer_and_by_keyboard', async () => {
  const page = await panel();
  await key(page, 103).click({ button: 'right' });
  const menu = page.getByRole('menu', { name: 'Carla Mendes' });
  await menu.waitFor();
  const names = ['Call Carla Mendes', 'Copy the number', 'Details', 'Add to favourites', 'Tell me when it rings or gets free', 'New page …'];
  assert.deepEqual(await page.getByRole('menuitem').allTextContents(), names);
  const focused = () => page.evaluate(() => document.querySelector('blf-panel').shadowRoot.activeElement.textContent);
  assert.equal(await focused(), names[0]);
  await page.keyboard.press('ArrowDown');
  assert.equal(await focused(), names[1]);
  await page.keyboard.press('End');
  assert.equal(await focused(), names.at(-1));
  await page.keyboard.press('Escape');
  assert.equal(await menu.count(), 0);
  assert.equal(await focusedKey(page), uri(103), 'focus comes back');
  await page.keyboard.press('Shift+F10');
  await menu.waitFor();
  await page.getByRole('menuitem', { name: 'Details' }).click();
  await page.locator('dialog[open] h2', { hasText: 'Carla Mendes' }).waitFor();
});

test('favourites_and_pages_are_arranged_and_kept', async () => {
  const page = await panel();
  assert.equal(await page.locator('.tabs').isVisible(), false, 'one page needs no tabs');
  const choose = async (extension, item) => {
    await key(page, extension).click({ button: 'right' });
    await page.getByRole('menuitem', { name: item }).click();
  };
  for (const extension of [103, 101, 110]) await choose(extension, 'Add to favourites');
  assert.equal(await key(page, 101).locator('.star').isVisible(), true);
  await page.getByRole('button', { name: 'Favourites' }).click();
  assert.deepEqual(await order(page), ['103', '101', '110'], 'in the order in which they came');
  await key(page, 110).dragTo(key(page, 103));
  assert.deepEqual(await order(page), ['110', '103', '101']);
  await key(page, 110).focus();
  await page.keyboard.press('Alt+ArrowRight');
  assert.deepEqual(await order(page), ['103', '110', '101']);
  assert.equal(await focusedKey(page), uri(110));
  await page.locator('[aria-live]', { hasText: 'Jonas Weber moved to place 2 of 3' }).waitFor({ state: 'attached' });

  await page.getByRole('button', { name: 'New page …' }).click();
  await page.getByLabel('Name of the page').fill('Front desk');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.locator('.nothing', { hasText: 'Nothing here yet.' }).waitFor();
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await key(page, 102).dragTo(page.getByRole('button', { name: 'Front desk' }));
  await choose(121, 'Add to “Front desk”');
  await page.getByRole('button', { name: 'Front desk' }).click();
  assert.deepEqual(await order(page), ['102', '121']);
  await page.reload();
  await page.getByRole('button', { name: 'Front desk' }).click();
  await key(page, 121).waitFor();
  assert.deepEqual(await order(page), ['102', '121'], 'kept in this browser');

  await page.getByRole('button', { name: 'Settings' }).click();
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Save as a file' }).click()]);
  const saved = JSON.parse(await text(await download.createReadStream()));
  assert.deepEqual(saved.pages, [{ name: 'Front desk', keys: [uri(102), uri(121)] }]);
  assert.deepEqual(saved.favourites, [uri(103), uri(110), uri(101)]);
  const load = (value) => page.locator('input[type="file"]').setInputFiles({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(value)) });
  await load({ pages: [] });
  await page.getByRole('alert').filter({ hasText: 'This file is not an arrangement.' }).waitFor();
  await load({ ...saved, pages: [{ name: 'Night', keys: [uri(105)] }] });
  await page.getByRole('button', { name: 'Night' }).click();
  assert.deepEqual(await order(page), ['105']);
  await page.getByRole('button', { name: 'Night' }).click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Delete the page' }).click();
  assert.equal((await order(page)).length, 24);
});

test('groups_of_the_directory_are_pages_and_its_names_come_first', async () => {
  gateway.answer('/v1/directory', {
    people: [{ resource: uri(103), name: 'Carla Mendes-Ruiz', extension: '9103', department: 'Sales' }],
    groups: { Sales: [uri(103), uri(105)], Support: [] },
  });
  const page = await panel();
  await page.getByRole('button', { name: 'Sales', exact: true }).click();
  assert.deepEqual((await texts(page, '.key .name')).sort(), ['Carla Mendes-Ruiz', 'Eleni Papadaki']);
  assert.equal(await key(page, 103).locator('.extension').textContent(), '9103');
  assert.equal(await page.locator('.chip.every b').textContent(), '2', 'filters count the page');
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.locator('input[type="search"]').fill('sales');
  await page.locator('.count', { hasText: '1 of 24' }).waitFor();
});

test('a_gateway_that_wants_to_know_who_one_is_asks', async () => {
  gateway.guard('s3cret');
  const page = await look();
  const form = page.locator('form.signin');
  await form.waitFor();
  await picture(page, 'panel-signin');
  await page.getByLabel('Key or token').fill('wrong');
  await form.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').filter({ hasText: 'This key or token is not accepted.' }).waitFor();
  gateway.set([uri(101), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await page.getByLabel('Key or token').fill('s3cret');
  await page.keyboard.press('Enter');
  await key(page, 101).waitFor();
  assert.equal(await form.isVisible(), false);
  await page.reload();
  await key(page, 101).waitFor();
});

test('own_status_is_published', async () => {
  gateway.features = ['pub'];
  const page = await panel();
  await page.getByRole('button', { name: 'My status' }).click();
  await page.getByLabel('I am').selectOption(uri(108));
  await page.getByRole('radio', { name: 'In a meeting' }).check();
  await page.getByRole('textbox', { name: 'Note' }).fill('Back at 4');
  await picture(page, 'panel-me');
  await page.getByRole('button', { name: 'Set', exact: true }).click();
  await page.locator('.toast', { hasText: 'Everybody can see your status now.' }).waitFor();
  await key(page, 108).locator('.who', { hasText: 'In a meeting · Back at 4' }).waitFor();
  const { r, kind, state } = gateway.heard.find(({ t }) => t === 'pub');
  assert.deepEqual([r, kind, state], [uri(108), 'presence', { basic: 'open', activities: ['meeting'], note: 'Back at 4' }]);
  await page.locator('button.me', { hasText: 'Hiro Tanaka' }).click();
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.locator('.toast', { hasText: 'Your status has been cleared.' }).waitFor();
  assert.equal(gateway.heard.at(-1).t === 'unpub' || gateway.heard.some(({ t, etag }) => t === 'unpub' && etag === 'e2'), true);
});

test('a_watched_key_notifies_when_it_rings_and_when_it_gets_free', async () => {
  const page = await panel({ permissions: ['notifications'] });
  await page.evaluate(() => {
    globalThis.told = [];
    globalThis.Notification = class {
      static permission = 'granted';
      static requestPermission = async () => 'granted';
      constructor(title, { body, tag }) {
        globalThis.told.push([title, body, tag]);
      }
    };
  });
  await key(page, 108).click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Tell me when it rings or gets free' }).click();
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Show a notification').check();
  await picture(page, 'panel-settings');
  await page.keyboard.press('Escape');
  const lamp = (extension, name, ...calls) => gateway.set([uri(extension), 'dialog', { lamp: name, calls, n: calls.length }]);
  lamp(108, 'ringing', call('early', 'in', { uri: 'sip:1@c.example', name: 'Bo' }, Date.now()));
  lamp(111, 'ringing', call('early', 'in', { uri: 'sip:1@c.example', name: 'Cy' }, Date.now()));
  await page.waitForFunction(() => globalThis.told.length === 1);
  lamp(108, 'busy', call('confirmed', 'in', { uri: 'sip:1@c.example', name: 'Bo' }, Date.now()));
  lamp(108, 'idle');
  await page.waitForFunction(() => globalThis.told.length === 2);
  assert.deepEqual(await page.evaluate(() => globalThis.told), [['Hiro Tanaka rings', 'from Bo', uri(108)], ['Hiro Tanaka is free', '108', uri(108)]]);
});

test('shared_lines_and_parking_places_are_small_lamps', async () => {
  gateway.set(
    [uri('sales'), 'line', { line: uri('sales'), appearances: [{ index: 1, state: 'active', by: uri(102) }, { index: 2, state: 'held' }, { index: 3, state: 'idle' }] }],
    [uri('park'), 'park', { slots: [{ slot: '701', state: 'parked', remote: { uri: 'sip:5@c.example', name: 'Åsa' } }, { slot: '702', state: 'free' }] }],
  );
  const page = await panel({}, 26);
  const slots = (r) => key(page, r).locator('.slot').evaluateAll((all) => all.map((one) => `${one.textContent} ${one.dataset.state}`));
  assert.deepEqual(await slots('sales'), ['1 busy', '2 hold', '3 idle']);
  assert.deepEqual(await slots('park'), ['701 parked', '702 idle']);
  assert.equal(await key(page, 'sales').getAttribute('data-state'), 'busy');
  assert.match(await key(page, 'park').getAttribute('aria-label'), /701: Parked/);
});

test('a_pointer_that_rests_is_told_more', async () => {
  gateway.set([uri(110), 'reg', { registered: true, contacts: [{ uri: 'sip:110@192.0.2.7:5060', state: 'active', ua: 'Yealink T54W' }] }]);
  const page = await panel();
  await key(page, 110).hover();
  const card = page.locator('.card');
  await card.filter({ hasText: 'Yealink T54W' }).waitFor();
  assert.equal(await card.locator('.clock').count(), 2, 'both calls');
  await picture(page, 'panel-card');
  await page.mouse.move(2, 2);
  await card.waitFor({ state: 'hidden' });
});

test('a_wallboard_shows_all_keys_large_and_cannot_be_touched', async () => {
  gateway.set(...office(Date.now()));
  const page = await look({ viewport: { width: 1920, height: 1080 } }, '?view=wallboard&theme=dark');
  await key(page, 124).waitFor();
  await phase(page, 'live', 'attached');
  const grid = page.locator('.grid');
  const [scroll, client, scale] = await grid.evaluate((element) => [element.scrollHeight, element.clientHeight, Number(element.style.getPropertyValue('--blf-scale'))]);
  assert.ok(scroll <= client, 'no scrolling');
  assert.ok(scale >= 1.4, `large type: ${scale}`);
  assert.equal(await page.getByRole('searchbox').count(), 0);
  assert.match(await page.locator('time.wall').textContent(), /^\d\d:\d\d:\d\d$/);
  await picture(page, 'panel-wallboard');
  await gateway.stop();
  await phase(page, 'stale');
  await gateway.start();
});

test('a_list_and_other_sizes_are_chosen_and_remembered', async () => {
  const page = await panel();
  await page.getByRole('button', { name: 'List' }).click();
  assert.equal(await page.locator('.grid').getAttribute('aria-colcount'), '1');
  await picture(page, 'panel-list');
  await page.reload();
  await key(page, 101).waitFor();
  assert.equal(await page.locator('.grid').getAttribute('aria-colcount'), '1');
  await page.getByRole('button', { name: 'Grid' }).click();
  const columns = async () => Number(await page.locator('.grid').getAttribute('aria-colcount'));
  const normal = await columns();
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Size of the keys').selectOption('compact');
  await page.keyboard.press('Escape');
  assert.ok((await columns()) > normal);
});

test('a_crm_embeds_a_panel_and_single_keys_under_its_own_policy', async () => {
  gateway.page('crm', `<!doctype html><html lang="en"><title>CRM</title><script type="module" src="/panel/blf-key.js"></script>
    <script type="module" src="/panel/panel.js"></script><main><h1>Customer</h1><blf-key resource="${uri(102)}"></blf-key>
    <blf-key resource="${uri(103)}"></blf-key><blf-panel id="crm" subscribe="${uri(104)}" view="list" ticket-url="/tickets"></blf-panel></main></html>`);
  gateway.answer('/tickets', { ticket: 't-1' });
  gateway.set(...office(Date.now()));
  const page = await look({}, 'crm');
  await page.locator(`blf-key .key[data-r="${uri(102)}"][data-state="ringing"]`).waitFor();
  await page.locator(`blf-key .key[data-r="${uri(103)}"][data-state="busy"]`).waitFor();
  await key(page, 104).waitFor();
  assert.equal(await page.locator('blf-panel .key').count(), 1);
  assert.equal(gateway.tickets.at(-1), 't-1', 'the ticket was shown');
  assert.equal(gateway.sockets, 2, 'both keys share a connection');
  await page.evaluate(() => document.addEventListener('blf-change', ({ target, detail }) => (globalThis.heard = [target.resource, detail.keys[0].state])));
  gateway.set([uri(102), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await page.waitForFunction((r) => String(globalThis.heard) === `${r},idle`, uri(102));
  await page.evaluate((r) => document.querySelector('blf-key').setAttribute('resource', r), uri(107));
  await page.locator(`blf-key .key[data-r="${uri(107)}"][data-state="hold"]`).waitFor();
  assert.equal(gateway.sockets, 2, 'without a new connection');
  await page.locator('blf-key').first().evaluate((element) => document.body.style.setProperty('--blf-hold', 'rgb(1, 2, 3)'));
  const fill = await page.locator('blf-key .lamp .body').first().evaluate((body) => getComputedStyle(body).fill);
  assert.equal(fill, 'rgb(1, 2, 3)', 'pages set colours');
  const globals = await page.evaluate(() => Object.keys(globalThis).filter((name) => /blf|panel|lamp/i.test(name)));
  assert.deepEqual(globals, []);
  await page.evaluate((r) => document.querySelector('blf-panel').api.filter({ query: 'nobody' }), 0);
  await page.locator('.nothing', { hasText: 'No key matches.' }).waitFor();
});

test('right_to_left_mirrors_the_panel', async () => {
  const page = await panel();
  await page.evaluate(() => (document.documentElement.dir = 'rtl'));
  await key(page, 101).focus();
  const [one, two] = await Promise.all([101, 102].map((extension) => key(page, extension).boundingBox()));
  assert.ok(one.x > two.x);
  await page.keyboard.press('ArrowLeft');
  assert.equal(await focusedKey(page), uri(102));
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
});

test('search_filter_and_sort', async () => {
  const page = await panel();
  await page.keyboard.press('/');
  await page.keyboard.type('ostl');
  await page.locator('.count', { hasText: '1 of 24' }).waitFor();
  assert.deepEqual(await order(page), ['102']);
  await page.keyboard.press('Enter');
  assert.equal(await focusedKey(page), uri(102), 'Enter goes to the keys');
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('input[type="search"]').inputValue(), '');
  assert.equal((await order(page)).length, 24);

  const chip = (state) => page.locator(`.chip[data-state="${state}"]`);
  assert.equal(await chip('busy').locator('b').textContent(), '3');
  await chip('busy').click();
  assert.deepEqual(await order(page), ['103', '110', '117']);
  assert.equal(await chip('busy').getAttribute('aria-pressed'), 'true');
  await chip('ringing').click();
  assert.deepEqual(await order(page), ['102', '103', '110', '117', '121']);
  gateway.set([uri(103), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await chip('busy').locator('b', { hasText: '2' }).waitFor();
  assert.deepEqual(await order(page), ['102', '110', '117', '121'], 'a key leaves when its state does');
  await page.locator('input[type="search"]').fill('nobody of this name');
  assert.equal(await page.locator('.nothing p').textContent(), 'No key matches.');
  await page.getByRole('button', { name: 'Show all' }).click();
  assert.equal((await order(page)).length, 24);

  await page.locator('.sort select').selectOption('name');
  assert.deepEqual((await texts(page, '.key .name')).slice(0, 2), ['Ann Lee', 'Björn Östlund']);
  await page.locator('.sort select').selectOption('longest');
  assert.deepEqual((await order(page)).slice(0, 2), ['107', '117']);
});

test('a_gateway_that_dies_leaves_a_stale_panel_and_comes_back_live', async () => {
  const page = await panel();
  await gateway.stop();
  await phase(page, 'stale');
  assert.match(await page.locator('.connection .words').textContent(), /^Not live: this is the state of \d\d:\d\d:\d\d/);
  assert.equal((await order(page)).length, 24, 'keys are kept');
  const stale = page.locator('.grid.stale .key');
  assert.equal(await stale.count(), 24);
  const hues = await page.locator('.key .lamp .body').evaluateAll((all) => all.map((body) => getComputedStyle(body).fill));
  assert.equal(new Set(hues).size, 1, 'no colour looks live');
  assert.equal(await page.evaluate(() => document.querySelector('blf-panel').shadowRoot.getAnimations().filter(({ animationName }) => animationName === 'swing').length), 0);
  assert.match(await key(page, 102).getAttribute('aria-label'), /last known/);
  const clock = () => key(page, 103).locator('.clock').textContent();
  const stopped = await clock();
  await page.evaluate(() => new Promise((done) => setTimeout(done, 2100)));
  assert.equal(await clock(), stopped, 'time stands still');
  await picture(page, 'panel-stale');

  gateway.set([uri(102), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await gateway.start();
  await page.getByRole('button', { name: 'Try now' }).click({ timeout: 2000 }).catch(() => {}); // it may be quicker by itself
  await phase(page, 'live');
  await page.locator(`.key[data-r="${uri(102)}"][data-state="idle"]`).waitFor();
  const subs = gateway.heard.filter(({ t }) => t === 'sub');
  assert.ok(subs.at(-1).cursor, 'it resumed');
  assert.equal(await page.locator('.grid.stale').count(), 0);
});

test('a_refusal_is_said', async () => {
  const page = await panel();
  gateway.close(4401);
  await phase(page, 'refused');
  assert.match(await page.locator('.connection .words').textContent(), /^Signed out: this is the state of .* Please sign in\.$/);
  assert.equal(await page.locator('.grid.stale').count(), 1);
  await page.getByRole('button', { name: 'Try now' }).click();
  await phase(page, 'live');
});

test('nothing_reported_yet_is_said', async () => {
  const page = await look();
  await page.locator('.nothing', { hasText: 'No phone has reported yet.' }).waitFor();
});

test('texts_reach_4_5_to_1_in_light_and_dark_live_and_stale', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await panel({ colorScheme, reducedMotion: 'reduce' });
    await picture(page, `panel-${colorScheme}`);
    const check = async (where) => {
      const pairs = await page.evaluate(colourPairs);
      assert.ok(pairs.length > 25, `${pairs.length} texts`);
      for (const { text, ink, ground, selector } of pairs) {
        const ratio = contrast(ink, ground);
        assert.ok(ratio >= 4.5, `${where} ${selector} "${text}": ${ink} on ${ground} is ${ratio.toFixed(2)}`);
      }
    };
    await check(colorScheme);
    await page.locator('.chip').nth(1).click();
    await check(`${colorScheme} filtered`);
    await page.locator('.chip').first().click();
    await gateway.stop();
    await phase(page, 'stale');
    await check(`${colorScheme} stale`);
    await gateway.start();
  }
});

test('lamps_stand_out_and_apart_for_every_eye', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await panel({ colorScheme, reducedMotion: 'reduce' });
    const lamps = {};
    for (const state of STATES) {
      const [ink, ground] = await page.locator(`.key[data-state="${state}"]`).first().evaluate((cell) => [
        getComputedStyle(cell.querySelector('.lamp .body')).fill,
        getComputedStyle(cell).backgroundColor,
      ]);
      lamps[state] = { ink, ground };
      assert.ok(contrast(ink, ground) >= 3, `${colorScheme} ${state}`);
    }
    // These are told apart at a glance from across a room; their grounds differ too, and shapes and words for all others.
    const glance = ['idle', 'ringing', 'busy', 'offline'];
    for (const eye of ['normal', 'protan', 'deutan', 'tritan']) {
      for (const [at, one] of glance.entries()) {
        for (const other of glance.slice(at + 1)) {
          const apart = Math.max(...['ink', 'ground'].map((part) => distance(seenWith(eye, lamps[one][part]), seenWith(eye, lamps[other][part]))));
          assert.ok(apart >= 0.04, `${colorScheme} ${eye}: ${one} and ${other} are ${apart.toFixed(3)} apart`);
        }
      }
    }
  }
});

test('themes_are_chosen_and_remembered', async () => {
  const page = await panel({ colorScheme: 'light' });
  const ground = () => page.locator('.panel').evaluate((element) => getComputedStyle(element).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'Settings' }).click();
  await page.getByLabel('Colours').selectOption('light');
  assert.equal(await ground(), light);
  await page.getByLabel('Colours').selectOption('dark');
  assert.notEqual(await ground(), light);
  await page.reload();
  await page.locator('.key').nth(23).waitFor();
  assert.notEqual(await ground(), light);
});

test('forced_colours_and_reduced_motion_are_respected', async () => {
  const page = await panel({ forcedColors: 'active', reducedMotion: 'reduce' });
  const inks = await page.locator('.key .lamp .body').evaluateAll((all) => new Set(all.map((body) => getComputedStyle(body).fill)).size);
  assert.equal(inks, 1, 'the system chooses the colours');
  assert.equal(await page.evaluate(() => document.querySelector('blf-panel').shadowRoot.getAnimations().length), 0);
  await picture(page, 'panel-forced');
  const moving = await panel();
  await moving.waitForFunction(() => document.querySelector('blf-panel').shadowRoot.getAnimations().some(({ animationName }) => animationName === 'swing'));
});

test('axe_finds_nothing_in_light_dark_and_forced_colours', async () => {
  gateway.features = ['pub'];
  gateway.answer('/v1/directory', { people: [], groups: { Sales: [uri(103)] } });
  for (const options of [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { forcedColors: 'active' }]) {
    const page = await panel({ reducedMotion: 'reduce', ...options });
    await page.getByRole('button', { name: 'Sales' }).waitFor();
    assert.deepEqual(await check(page), [], JSON.stringify(options));
    if (options.colorScheme !== 'light') continue;
    for (const name of ['Settings', 'My status', 'Keyboard']) {
      await page.getByRole('button', { name }).click();
      assert.deepEqual(await check(page), [], name);
      await page.keyboard.press('Escape');
    }
    await key(page, 103).click({ button: 'right' });
    assert.deepEqual(await check(page), [], 'menu');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'List' }).click();
    assert.deepEqual(await check(page), [], 'list');
  }
});

test('roles_names_and_positions_are_told', async () => {
  const page = await panel();
  const grid = page.getByRole('grid', { name: 'Keys' });
  const columns = Number(await grid.getAttribute('aria-colcount'));
  assert.equal(Number(await grid.getAttribute('aria-rowcount')), Math.ceil(24 / columns));
  assert.equal(await page.getByRole('gridcell').count(), 24);
  const rows = await page.getByRole('row').evaluateAll((all) => all.map((row) => [row.getAttribute('aria-rowindex'), ...[...row.children].map((cell) => cell.getAttribute('aria-colindex'))].map(Number)));
  rows.forEach(([row, ...cells], at) => {
    assert.equal(row, at + 1, 'rows are in the order of reading');
    assert.deepEqual(cells, cells.map((_, column) => column + 1));
  });
  for (const [role, name] of [['searchbox', 'Search'], ['combobox', 'Sort by'], ['group', 'Filter by state'], ['button', 'Keyboard'], ['status', undefined]]) {
    assert.equal(await page.getByRole(role, { name }).count(), 1, role);
  }
  const nameless = await page.getByRole('button').evaluateAll((all) => all.filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim())).length);
  assert.equal(nameless, 0);
});

test('what_rings_is_announced_but_not_a_snapshot_and_not_too_often', async () => {
  const page = await panel();
  const spoken = [];
  await page.exposeFunction('speak', (text) => spoken.push([Date.now(), text]));
  await page.evaluate(() => {
    const region = document.querySelector('blf-panel').shadowRoot.querySelector('[aria-live]');
    new MutationObserver(() => globalThis.speak(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
  });
  assert.equal(await page.locator('[aria-live]').textContent(), '', 'what rang before we looked is no news');
  const ring = (extension, name) => gateway.set([uri(extension), 'dialog', { lamp: 'ringing', calls: [call('early', 'in', { uri: 'sip:1@c.example', name }, Date.now())], n: 1 }]);
  ring(108, 'Bo');
  await page.locator('[aria-live]', { hasText: 'Hiro Tanaka rings, from Bo' }).waitFor({ state: 'attached' });
  ring(111, 'Cy');
  ring(114, 'Di');
  ring(116, 'Ed');
  gateway.set([uri(116), 'dialog', { lamp: 'idle', calls: [], n: 0 }]);
  await page.locator('[aria-live]', { hasText: '2 phones are ringing' }).waitFor({ state: 'attached' });
  assert.equal(spoken.length, 2);
  assert.ok(spoken[1][0] - spoken[0][0] >= 1900);
});

test('german_is_spoken', async () => {
  const page = await panel({ locale: 'de-DE' });
  assert.equal(await key(page, 102).locator('.word').textContent(), 'Klingelt');
  assert.match(await key(page, 102).getAttribute('aria-label'), /von Helga Brandt/);
  await page.locator('blf-panel').evaluate((element) => element.setAttribute('lang', 'en'));
  await key(page, 102).locator('.word', { hasText: 'Ringing' }).waitFor();
});

test('two_thousand_keys_cost_no_more_than_a_screenful', async () => {
  const many = Array.from({ length: 2000 }, (_, at) => [uri(1000 + at), 'dialog', { lamp: at % 7 ? 'idle' : 'busy', calls: [], n: 0 }]);
  gateway.set(...many);
  const page = await look();
  await page.locator('.chip', { hasText: /2,000/ }).waitFor();
  const grid = page.locator('.grid');
  const bound = async (where) => {
    const { rows, cells, nodes } = await page.evaluate(() => {
      const root = document.querySelector('blf-panel').shadowRoot;
      return { rows: root.querySelectorAll('.row').length, cells: root.querySelectorAll('.key').length, nodes: root.querySelectorAll('*').length };
    });
    assert.ok(rows <= 14 && cells <= 14 * 4 && nodes < 2000, `${where}: ${rows} rows, ${cells} cells, ${nodes} nodes`);
  };
  await bound('at first');
  assert.equal(Number(await grid.getAttribute('aria-rowcount')), 500);
  await grid.evaluate((element) => (element.scrollTop = element.scrollHeight));
  await key(page, 2999).waitFor();
  await bound('at the end');

  await key(page, 2999).focus();
  await grid.evaluate((element) => (element.scrollTop = 0));
  await key(page, 1000).waitFor();
  assert.equal(await focusedKey(page), uri(2999), 'focus does not fall out of the document');
  await bound('at the top again');
  await page.keyboard.press('Control+Home');
  assert.equal(await focusedKey(page), uri(1000));

  // A change of what cannot be seen writes nothing but its count; one of a visible key only to that key.
  await grid.evaluate((element) => {
    globalThis.written = new Set();
    const name = (node) => (node.nodeType === 1 ? node : node.parentElement)?.closest('.key')?.dataset.r;
    new MutationObserver((records) => records.forEach(({ target }) => name(target) && globalThis.written.add(name(target)))).observe(element, {
      attributes: true, characterData: true, childList: true, subtree: true,
    });
  });
  gateway.set([uri(2500), 'dialog', { lamp: 'hold', calls: [], n: 0 }]);
  await page.locator('.chip[data-state="hold"] b', { hasText: '1' }).waitFor();
  assert.deepEqual(await page.evaluate(() => [...globalThis.written]), []);
  gateway.set([uri(1003), 'dialog', { lamp: 'hold', calls: [], n: 0 }]);
  await page.locator('.chip[data-state="hold"] b', { hasText: '2' }).waitFor();
  assert.deepEqual(await page.evaluate(() => [...globalThis.written]), [uri(1003)]);
});

test('the_word_of_a_state_is_never_cut', async () => {
  for (const [locale, width] of [['en-GB', 800], ['de-DE', 800], ['de-DE', 340]]) {
    const page = await panel({ locale, viewport: { width, height: 3000 } });
    const cut = await page.locator('.key .line').evaluateAll((lines) => lines.flatMap((line) => {
      const word = line.querySelector('.word');
      const ends = (element) => element.getBoundingClientRect().right;
      return word && (word.scrollWidth > word.clientWidth + 1 || ends(word) > ends(line) + 1) ? [word.textContent] : [];
    }));
    assert.deepEqual(cut, [], `${locale} ${width}`);
  }
});

test('a_narrow_screen_has_one_column_and_no_sideways_scroll', async () => {
  const page = await panel({ viewport: { width: 360, height: 740 } });
  assert.equal(await page.locator('.grid').getAttribute('aria-colcount'), '1');
  assert.equal(await page.locator('.grid').getAttribute('aria-rowcount'), '24');
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  const [grid, cell] = await Promise.all(['.grid', '.key'].map((selector) => page.locator(selector).first().evaluate((element) => element.scrollWidth - element.clientWidth)));
  assert.deepEqual([grid, cell], [0, 0]);
  await picture(page, 'panel-narrow');
});

/** In the page: each text that can be seen, with its colour and that of what lies under it. */
function colourPairs() {
  const root = document.querySelector('blf-panel').shadowRoot;
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement ?? at.getRootNode().host) {
      const { backgroundColor } = getComputedStyle(at);
      if (!/, 0\)$|^transparent$/.test(backgroundColor)) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const pairs = [];
  for (const element of root.querySelectorAll('*')) {
    const own = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
    if (!own || !element.checkVisibility({ visibilityProperty: true }) || element.closest('.unseen, option, [aria-hidden]')) continue;
    pairs.push({ text: own, ink: getComputedStyle(element).color, ground: groundOf(element), selector: element.className || element.tagName });
  }
  const input = root.querySelector('input');
  pairs.push({ text: 'placeholder', ink: getComputedStyle(input, '::placeholder').color, ground: groundOf(input), selector: 'input' });
  return pairs;
}
