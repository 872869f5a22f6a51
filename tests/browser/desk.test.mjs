/** What people do with the panel, and where: actions, pages, status, wallboards, pages of others. */

import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { check } from './axe.mjs';
import { picture } from './chromium.mjs';
import { call, office, uri } from './office.mjs';
import { focusedKey, gateway, key, look, order, panel, phase, texts } from './panel.mjs';

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
  // Focus comes back.
  await page.waitForFunction((r) => document.querySelector('blf-panel').shadowRoot.activeElement?.dataset.r === r, uri(103));
  assert.equal(await menu.count(), 0);
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

