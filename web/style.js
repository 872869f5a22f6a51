/** The look of the panel around its keys; `theme.js` has the colours and the keys. */

const css = `
  :host { min-block-size: 12rem; }
  .panel { position: relative; display: flex; flex-direction: column; block-size: 100%; min-block-size: 0; background: var(--page); }
  .unseen { position: absolute; inline-size: 1px; block-size: 1px; margin: -1px; padding: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

  /* Head */
  header { flex: none; background: var(--surface); border-block-end: 1px solid var(--line); }
  .bar { display: flex; align-items: center; gap: .5rem; padding: .75rem 1rem .5rem; }
  h1 { display: flex; align-items: center; gap: .5rem; margin: 0; margin-inline-end: auto; font-size: 1.0625rem; font-weight: 650; letter-spacing: -.01em; white-space: nowrap; }
  h1 svg { inline-size: 1.75rem; block-size: 1.75rem; margin-inline: -.25rem; }
  h1 path { fill: light-dark(#c77700, #ffb454); }
  h1 path + path { fill: light-dark(#16202b, #e9edf2); }
  .finder { position: relative; flex: 0 1 19rem; min-inline-size: 7rem; }
  .finder .sign { position: absolute; inset-block: 0; inset-inline-start: .625rem; margin-block: auto; inline-size: 1.0625rem; block-size: 1.0625rem; color: var(--quiet); pointer-events: none; }
  input, select, button { font: inherit; color: inherit; }
  input:not([type="radio"], [type="checkbox"], [type="range"]), select, .icon, .plain { min-block-size: 2.25rem; border: 1px solid var(--control); border-radius: .5rem; background: var(--surface); }
  input:is([type="radio"], [type="checkbox"], [type="range"]) { accent-color: var(--accent); }
  input:is([type="radio"], [type="checkbox"]) { inline-size: 1.125rem; block-size: 1.125rem; margin: 0; flex: none; }
  .finder input { inline-size: 100%; padding: .25rem 2.25rem; }
  input::placeholder { color: var(--quiet); opacity: 1; }
  input::-webkit-search-cancel-button { display: none; }
  kbd { font: 600 .75rem/1 ui-monospace, "Liberation Mono", monospace; padding: .1875rem .375rem; border: 1px solid var(--line); border-radius: .25rem; color: var(--quiet); background: var(--page); white-space: nowrap; }
  .finder kbd { position: absolute; inset-block: 0; inset-inline-end: .5rem; margin-block: auto; block-size: fit-content; pointer-events: none; }
  .finder input:focus ~ kbd { visibility: hidden; }
  select { padding: .25rem .5rem; max-inline-size: 11rem; }
  label.sort { display: flex; align-items: center; gap: .5rem; margin-inline-start: .25rem; color: var(--quiet); white-space: nowrap; }
  label.sort select { color: var(--text); }
  button { cursor: pointer; }
  .icon { display: grid; place-items: center; flex: none; inline-size: 2.25rem; padding: 0; }
  .icon:hover, .plain:hover { background: var(--page); }
  .plain { padding: .25rem .875rem; font-weight: 600; text-decoration: none; color: inherit; display: inline-flex; align-items: center; gap: .5rem; }
  .plain.first { background: var(--accent); border-color: var(--accent); color: var(--surface); }
  .plain.first:hover { background: color-mix(in oklab, var(--accent) 88%, var(--text)); }
  .plain:disabled { opacity: .6; cursor: default; }
  .me { --ground: var(--surface); max-inline-size: 12rem; padding-inline: .625rem .75rem; overflow: hidden; white-space: nowrap; font-weight: 500; }
  time.wall { display: none; font-variant-numeric: tabular-nums; font-size: 1.375rem; font-weight: 600; }

  /* Pages and filters */
  .tabs { display: flex; gap: .25rem; padding: 0 .75rem; overflow-x: auto; scrollbar-width: none; border-block-end: 1px solid var(--line); margin-block-end: .625rem; }
  .tab { display: flex; align-items: center; gap: .375rem; flex: none; min-block-size: 2.25rem; padding: .25rem .625rem; border: 0; border-block-end: 3px solid transparent; border-radius: .25rem .25rem 0 0; background: none; color: var(--quiet); font-weight: 500; white-space: nowrap; }
  .tab:hover { color: var(--text); background: var(--page); }
  .tab:focus-visible { outline-offset: -3px; }
  .tab[aria-pressed="true"] { color: var(--text); border-color: var(--accent); font-weight: 620; }
  .tab.target { background: var(--page); outline: 2px dashed var(--accent); outline-offset: -2px; }
  .tab svg { inline-size: 1rem; block-size: 1rem; }
  .chips { display: flex; gap: .375rem; padding: .125rem 1rem .75rem; overflow-x: auto; scrollbar-width: none; }
  .chip { --ground: var(--surface); display: flex; align-items: center; gap: .3125rem; flex: none; min-block-size: 1.875rem; padding: .125rem .5625rem .125rem .4375rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--surface); font-size: .8125rem; white-space: nowrap; }
  .chip:focus-visible { outline-offset: -3px; }
  .chip.every { padding-inline: .75rem; }
  .chip svg { inline-size: 1rem; block-size: 1rem; }
  .chip b { font-weight: 650; font-variant-numeric: tabular-nums; min-inline-size: 1ch; text-align: end; }
  .chip:hover { border-color: var(--control); }
  .chip[data-count="0"]:not([aria-pressed="true"]) { color: var(--quiet); --hue: var(--control); }
  .chip[aria-pressed="true"] { background: var(--text); border-color: var(--text); color: var(--page); --ground: var(--text); --hue: var(--page); }

  /* Connection */
  .connection { display: flex; align-items: center; gap: .625rem; flex: none; min-block-size: 2.25rem; padding: .125rem 1rem; font-size: .875rem; color: var(--quiet); }
  .connection .said { display: flex; align-items: center; gap: .5rem; min-inline-size: 0; }
  .connection .beacon { flex: none; inline-size: .625rem; block-size: .625rem; border-radius: 50%; border: 2px solid currentColor; }
  .connection .count { margin-inline-start: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
  .connection .plain { min-block-size: 1.75rem; padding: 0 .75rem; background: transparent; border-color: currentColor; color: inherit; white-space: nowrap; }
  .connection[data-phase="live"] .beacon { background: light-dark(#0a7d63, #3fc3a0); border-color: transparent; }
  .connection[data-phase="stale"] { color: var(--warn); background: var(--warn-ground); font-weight: 600; }
  .connection[data-phase="refused"] { color: var(--bad); background: var(--bad-ground); font-weight: 600; }

  /* Keys */
  .stage { position: relative; display: flex; flex: 1 1 auto; min-block-size: 0; }
  .grid { position: relative; flex: 1 1 auto; min-inline-size: 0; overflow: hidden auto; padding: .5rem 1rem 1rem; overscroll-behavior: contain; font-size: calc(.9375rem * var(--blf-scale, 1)); }
  .grid:focus-visible { outline-offset: -3px; }
  .sizer { position: relative; }
  .probe { position: absolute; visibility: hidden; inline-size: calc(var(--key-least) + var(--gap)); block-size: calc(var(--key-height) + var(--gap)); column-gap: var(--gap); }
  .row { position: absolute; inset-inline: 0; inset-block-start: 0; display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: var(--gap); block-size: var(--key-height); }
  .panel:not(.locked) .key:hover > .more { display: block; }
  .panel.locked .key { cursor: default; }
  .key.target { outline: 2px dashed var(--accent); outline-offset: 2px; }
  .panel[data-density="compact"] { --gap: var(--blf-gap, .4375em); --key-least: var(--blf-key-width, 12.5em); --key-height: var(--blf-key-height, 4.9375em); }
  .panel[data-density="compact"] .grid { font-size: calc(.8125rem * var(--blf-scale, 1)); }
  .panel[data-density="large"] .grid { font-size: calc(1.1875rem * var(--blf-scale, 1)); }

  /* A line a key */
  .panel[data-view="list"] { --key-least: 100%; --key-height: 2.625em; --gap: .25em; --radius: .5em; }
  .panel[data-view="list"] .key { padding-block: 0; }
  .panel[data-view="list"] .key > .lamp { inline-size: 1.5em; block-size: 1.5em; }
  .panel[data-view="list"] .text { grid-template: 1fr / minmax(8em, 2.5fr) minmax(11em, 2fr) minmax(8em, 4fr); column-gap: 1.5em; align-items: center; padding-inline-end: 1.25em; }
  .panel[data-view="list"] .extension { flex: none; inline-size: 5em; text-align: end; }

  /* From across the room: nothing to press, no pointer, all keys at once */
  .panel[data-view="wallboard"] { cursor: none; user-select: none; }
  .panel[data-view="wallboard"] :is(.finder, label.sort, .bar button, .tabs, .chip[data-count="0"]) { display: none; }
  .panel[data-view="wallboard"] :is(.chip, .key) { cursor: none; pointer-events: none; }
  .panel[data-view="wallboard"] header { display: flex; align-items: center; justify-content: space-between; gap: 1rem; }
  .panel[data-view="wallboard"] .bar { flex: none; gap: 1.25rem; padding: .75rem 1rem; }
  .panel[data-view="wallboard"] .chips { padding-block: .75rem; font-size: 1.125rem; }
  .panel[data-view="wallboard"] .chip { font-size: 1.0625rem; border-color: transparent; background: none; color: var(--text); }
  .panel[data-view="wallboard"] .chip.every { display: none; }
  .panel[data-view="wallboard"] .chip svg { inline-size: 1.375rem; block-size: 1.375rem; }
  .panel[data-view="wallboard"] time.wall { display: block; }
  .panel[data-view="wallboard"] .connection[data-phase="live"] { display: none; }
  .panel[data-view="wallboard"] .connection { font-size: 1.25rem; min-block-size: 3rem; }
  .panel[data-view="wallboard"] .grid { padding-block-start: 1rem; scrollbar-width: none; }

  @media (prefers-reduced-motion: no-preference) {
    .connection[data-phase="connecting"] .beacon, .connection[data-phase="stale"] .beacon { animation: breathe 2s ease-in-out infinite; }
    .bones i { animation: breathe 2s ease-in-out infinite; }
  }
  @keyframes breathe { 50% { opacity: .35; } }

  /* Nothing to show */
  .bones { position: absolute; inset: 0; overflow: hidden; padding: .5rem 1rem; display: grid; grid-template-columns: repeat(auto-fill, minmax(15.47rem, 1fr)); grid-auto-rows: 5.39rem; gap: .5859rem; align-content: start; }
  .bones i { border: 1px solid var(--line); border-radius: .75rem; background: var(--surface); opacity: .7; }
  .nothing { position: absolute; inset: 0; display: grid; place-content: center; justify-items: center; gap: .75rem; padding: 1rem; color: var(--quiet); text-align: center; pointer-events: none; }
  .nothing p { margin: 0; max-inline-size: 28rem; }
  .nothing button { pointer-events: auto; }

  /* Windows, cards, menus */
  dialog, .card, .menu, .toast, .signin { border: 1px solid var(--line); background: var(--surface); color: var(--text); --ground: var(--surface); }
  dialog { inline-size: min(26rem, calc(100vw - 2rem)); max-block-size: calc(100dvh - 2rem); padding: 1.25rem; border-radius: 1rem; box-shadow: 0 1rem 3rem #0005; overscroll-behavior: contain; }
  dialog::backdrop { background: #0b0f146b; }
  .top { display: flex; align-items: center; gap: .75rem; margin-block-end: 1rem; }
  .top .lamp { inline-size: 2.25rem; block-size: 2.25rem; }
  .top p { margin: 0; color: var(--hue); font-size: .875rem; font-weight: 600; }
  .top .icon { margin-inline-start: auto; border-color: transparent; }
  h2 { margin: 0; font-size: 1.125rem; overflow-wrap: anywhere; }
  h3 { margin: 0; font-size: .9375rem; }
  dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .5rem 1rem; margin: 0; }
  dt { color: var(--quiet); }
  dd { margin: 0; overflow-wrap: anywhere; }
  dd ul { margin: 0; padding: 0; list-style: none; display: grid; gap: .375rem; }
  dd li { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .375rem; --ground: var(--surface); }
  dd li svg { inline-size: 1rem; block-size: 1rem; align-self: center; }
  dd .clock, dd .calls-in { color: var(--quiet); font-size: .875rem; }
  .actions { display: flex; flex-wrap: wrap; gap: .5rem; }
  dialog > .actions { margin-block-start: 1.25rem; }
  .form { display: grid; gap: .75rem; }
  section.form { margin-block-start: 1.25rem; padding-block-start: 1.25rem; border-block-start: 1px solid var(--line); }
  .field { display: grid; grid-template-columns: minmax(7rem, 2fr) 3fr; align-items: center; gap: .5rem 1rem; }
  .field > :is(input, select) { inline-size: 100%; max-inline-size: none; padding-inline: .625rem; }
  .field > span, .hint { color: var(--quiet); }
  .hint { margin: -.375rem 0 0; font-size: .875rem; }
  .option { display: flex; align-items: center; gap: .625rem; min-block-size: 2rem; }
  fieldset { margin: 0; padding: 0; border: 0; }
  legend { padding: 0; color: var(--quiet); margin-block-end: .25rem; }
  .quiet { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem; }
  .quiet > .option { flex: 1 1 100%; }
  .hour { display: flex; align-items: center; gap: .375rem; color: var(--quiet); }
  .hour input { color: var(--text); padding-inline: .375rem; }
  .fault { margin: 0; color: var(--bad); font-weight: 600; }
  .fault:empty { display: none; }
  .card { position: fixed; inset: auto; margin: 0; inline-size: max-content; max-inline-size: min(22rem, calc(100vw - 1rem)); padding: .875rem 1rem; border-radius: .75rem; box-shadow: 0 .5rem 1.5rem #0004; pointer-events: none; font-size: .875rem; }
  .card .top { margin-block-end: .625rem; gap: .625rem; }
  .card .top .lamp { inline-size: 1.75rem; block-size: 1.75rem; }
  .menu { position: fixed; inset: auto; margin: 0; min-inline-size: 12rem; max-inline-size: min(24rem, calc(100vw - 1rem)); max-block-size: calc(100dvh - 1rem); overflow-y: auto; padding: .375rem; border-radius: .75rem; box-shadow: 0 .5rem 1.5rem #0004; }
  .menu button { display: block; inline-size: 100%; padding: .4375rem .75rem; border: 0; border-radius: .4375rem; background: none; text-align: start; overflow-wrap: anywhere; }
  .menu button:is(:hover, :focus) { background: var(--page); outline: none; }
  .menu button:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
  .menu .rule { margin: .375rem .75rem; border-block-start: 1px solid var(--line); }
  .toast { position: fixed; inset: auto auto 1.5rem 50%; translate: -50% 0; margin: 0; padding: .75rem 1.25rem; border-color: transparent; border-radius: .75rem; background: var(--text); color: var(--page); box-shadow: 0 .5rem 1.5rem #0004; font-weight: 500; }
  .signin { position: absolute; inset: 0; inline-size: min(24rem, calc(100% - 2rem)); block-size: fit-content; margin: auto; display: grid; gap: .875rem; padding: 1.75rem; border-radius: 1rem; box-shadow: 0 .5rem 2rem #0002; }
  .panel.outside :is(.finder, label.sort, button.view, .tabs, .chips, .connection) { display: none; }
  .panel.outside .bar { padding-block-end: .75rem; }
  .signin p { margin: 0; color: var(--quiet); }
  .signin .field { grid-template-columns: 1fr; gap: .25rem; }
  .signin .fault { color: var(--bad); }
  .signin .plain { justify-content: center; }

  @media (max-width: 52rem) {
    .bar { flex-wrap: wrap; padding-inline: .75rem; }
    .finder { order: 1; flex: 1 1 10rem; }
    label.sort { order: 2; margin: 0; }
    label.sort span { display: none; }
    .chips, .connection { padding-inline: .75rem; }
    .chips:dir(ltr) { mask-image: linear-gradient(to right, #000 calc(100% - 2.5rem), #0003); padding-inline-end: 2.5rem; }
    .grid, .bones { padding-inline: .75rem; }
    .panel[data-view="list"] .text { grid-template: 1fr / minmax(0, 3fr) auto minmax(0, 2fr); column-gap: .75em; padding-inline-end: 0; }
    .panel[data-view="list"] .extension { display: none; }
  }
  @media (max-width: 36rem) {
    .connection { flex-wrap: wrap; padding-block: .375rem; }
    .me { max-inline-size: 8rem; }
  }

  @media (forced-colors: active) {
    .chip[aria-pressed="true"] { forced-color-adjust: none; background: Highlight; color: HighlightText; --hue: HighlightText; --ground: Highlight; }
    .chip[aria-pressed="true"] .lamp .body { fill: HighlightText; }
    .chip[aria-pressed="true"] .lamp .mark { stroke: Highlight; }
    .tab[aria-pressed="true"] { border-color: Highlight; }
    .connection:is([data-phase="stale"], [data-phase="refused"]) { border-block: 2px solid CanvasText; }
    .connection[data-phase="live"] .beacon { background: CanvasText; }
    .menu button:focus { background: Highlight; color: HighlightText; }
  }
`;

let sheet;

export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
  }
  return sheet;
}
