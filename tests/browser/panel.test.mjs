/** What the panel shows and says, in a real Chromium, against a gateway that the test plays. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATES } from '../../web/store.js';
import { picture } from './chromium.mjs';
import { contrast, distance, seenWith } from './colour.mjs';
import { call, uri } from './office.mjs';
import { focusedKey, gateway, key, look, order, panel, phase, replaceGateway, texts } from './panel.mjs';

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
  const skew = 3_600_000;
  await replaceGateway({ skew });
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
    if (!own || !element.checkVisibility({ visibilityProperty: true }) || element.closest('.unseen, option')) continue;
    pairs.push({ text: own, ink: getComputedStyle(element).color, ground: groundOf(element), selector: element.className || element.tagName });
  }
  const input = root.querySelector('input');
  pairs.push({ text: 'placeholder', ink: getComputedStyle(input, '::placeholder').color, ground: groundOf(input), selector: 'input' });
  return pairs;
}
