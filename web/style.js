/**
 * The look of the panel. Every colour stands once here, as a pair for light and dark. Texts reach a contrast of 4.5:1
 * on their grounds; the hues of the states stay apart under the common defects of colour vision, and each state has
 * its own shape and word as well.
 */

/** Per state: colour of lamp and word, ground and edge of the key; light and dark each. */
const HUES = {
  idle: ['#0a7d63', '#3fc3a0', '#ffffff', '#1d232b', '#dfe3e8', '#2c343e'],
  ringing: ['#a34800', '#ffb454', '#ffe9c7', '#47300c', '#eda03c', '#c98a2f'],
  dialing: ['#155fb0', '#7db8ff', '#e6f0fc', '#16293f', '#a9cbf0', '#2b5688'],
  busy: ['#b3172b', '#ff8a8a', '#fdeced', '#391d22', '#f0b9bf', '#74353d'],
  hold: ['#653bad', '#c3a2ff', '#f1ebfc', '#2a2140', '#cfbcf0', '#553f86'],
  parked: ['#0b6a80', '#6fd0e6', '#e2f4f8', '#12303a', '#a3d5e0', '#24606f'],
  dnd: ['#96156a', '#f592cf', '#fbeaf4', '#361a2e', '#eab9d8', '#72365f'],
  away: ['#735a00', '#e3c552', '#fbf5de', '#2c2815', '#e2d49a', '#5c522a'],
  offline: ['#596370', '#97a2af', '#f3f4f6', '#191e25', '#dfe3e8', '#272e37'],
  unknown: ['#596370', '#97a2af', '#f3f4f6', '#191e25', '#c3c9d1', '#3b4450'],
};

const hues = Object.entries(HUES).map(([state, [hue, darkHue, ground, darkGround, edge, darkEdge]]) => `
  [data-state="${state}"] {
    --hue: light-dark(${hue}, ${darkHue});
    --ground: light-dark(${ground}, ${darkGround});
    --edge: light-dark(${edge}, ${darkEdge});
  }`).join('');

const css = `
  :host {
    color-scheme: light dark;
    --page: light-dark(#f5f6f8, #12161b);
    --surface: light-dark(#ffffff, #1a2027);
    --text: light-dark(#16202b, #e9edf2);
    --quiet: light-dark(#55606d, #a3aeba);
    --line: light-dark(#dfe3e8, #2c343e);
    --control: light-dark(#87919d, #66717e);
    --accent: light-dark(#155fb0, #7db8ff);
    --warn: light-dark(#5c3800, #ffdca3);
    --warn-ground: light-dark(#ffe2ae, #4a340f);
    --bad: light-dark(#8c1020, #ffc2c2);
    --bad-ground: light-dark(#fbdcdf, #4a1d24);
    --gap: .625rem;
    --key-least: 15.5rem;
    --key-height: 5.5rem;
    display: block;
    min-block-size: 12rem;
    font: 400 .9375rem/1.35 system-ui, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
    color: var(--text);
    background: var(--page);
    -webkit-text-size-adjust: 100%;
  }
  :host([hidden]) { display: none; }
  :host([theme="light"]) { color-scheme: light; }
  :host([theme="dark"]) { color-scheme: dark; }
  *, *::before { box-sizing: border-box; }
  ${hues}

  .panel { display: flex; flex-direction: column; block-size: 100%; min-block-size: 0; }
  .unseen { position: absolute; inline-size: 1px; block-size: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }

  /* Lamps and signs */
  svg { display: block; flex: none; inline-size: 1.25em; block-size: 1.25em; }
  .lamp .body { fill: var(--hue); }
  .lamp .mark { fill: none; stroke: var(--ground); stroke-width: 2.3; stroke-linecap: round; stroke-linejoin: round; }
  :is([data-state="away"], [data-state="offline"], [data-state="unknown"]) .lamp .mark { stroke: var(--hue); }
  .sign { fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }

  /* Head */
  header { flex: none; background: var(--surface); border-block-end: 1px solid var(--line); }
  .bar { display: flex; align-items: center; gap: .75rem; padding: .75rem 1rem .5rem; }
  h1 { display: flex; align-items: center; gap: .5rem; margin: 0; margin-inline-end: auto; font-size: 1.0625rem; font-weight: 650; letter-spacing: -.01em; white-space: nowrap; }
  h1 svg { inline-size: 1.75rem; block-size: 1.75rem; margin-inline: -.25rem; }
  h1 path { fill: light-dark(#c77700, #ffb454); }
  h1 path + path { fill: light-dark(#16202b, #e9edf2); }
  .finder { position: relative; flex: 0 1 19rem; min-inline-size: 7rem; }
  .finder .sign { position: absolute; inset-block: 0; inset-inline-start: .625rem; margin-block: auto; inline-size: 1.0625rem; block-size: 1.0625rem; color: var(--quiet); pointer-events: none; }
  input, select, button { font: inherit; color: inherit; }
  input, select, .icon, .plain { min-block-size: 2.25rem; border: 1px solid var(--control); border-radius: .5rem; background: var(--surface); }
  input { inline-size: 100%; padding: .25rem 2.25rem; }
  input::placeholder { color: var(--quiet); opacity: 1; }
  input::-webkit-search-cancel-button { display: none; }
  kbd { font: 600 .75rem/1 ui-monospace, "Liberation Mono", monospace; padding: .1875rem .375rem; border: 1px solid var(--line); border-radius: .25rem; color: var(--quiet); background: var(--page); white-space: nowrap; }
  .finder kbd { position: absolute; inset-block: 0; inset-inline-end: .5rem; margin-block: auto; block-size: fit-content; pointer-events: none; }
  .finder input:focus ~ kbd { visibility: hidden; }
  select { padding: .25rem .5rem; max-inline-size: 11rem; }
  label.sort { display: flex; align-items: center; gap: .5rem; color: var(--quiet); white-space: nowrap; }
  label.sort select { color: var(--text); }
  button { cursor: pointer; }
  .icon { display: grid; place-items: center; flex: none; inline-size: 2.25rem; padding: 0; }
  .icon:hover, .plain:hover { background: var(--page); }
  .plain { padding: .25rem .875rem; font-weight: 600; text-decoration: none; color: inherit; display: inline-flex; align-items: center; gap: .5rem; }

  .chips { display: flex; gap: .375rem; padding: .125rem 1rem .75rem; overflow-x: auto; scrollbar-width: none; }
  .chip { --ground: var(--surface); display: flex; align-items: center; gap: .3125rem; flex: none; min-block-size: 1.875rem; padding: .125rem .5625rem .125rem .4375rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--surface); font-size: .8125rem; white-space: nowrap; }
  .chip[hidden] { display: none; }
  .chip:focus-visible { outline-offset: -3px; }
  .chip.every { padding-inline: .75rem; }
  .chip svg { inline-size: 1rem; block-size: 1rem; }
  .chip b { font-weight: 650; font-variant-numeric: tabular-nums; min-inline-size: 1ch; text-align: end; }
  .chip:hover { border-color: var(--control); }
  .chip[data-count="0"]:not([aria-pressed="true"]) { color: var(--quiet); }
  .chip[data-count="0"]:not([aria-pressed="true"]) .lamp { --hue: var(--control); }
  .chip[aria-pressed="true"] { background: var(--text); border-color: var(--text); color: var(--page); --ground: var(--text); --hue: var(--page); }

  /* Connection */
  .connection { display: flex; align-items: center; gap: .625rem; flex: none; min-block-size: 2.25rem; padding: .125rem 1rem; font-size: .875rem; color: var(--quiet); }
  .connection .said { display: flex; align-items: center; gap: .5rem; min-inline-size: 0; }
  .connection .beacon { flex: none; inline-size: .625rem; block-size: .625rem; border-radius: 50%; border: 2px solid currentColor; }
  .connection .count { margin-inline-start: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
  .connection .plain { min-block-size: 1.75rem; padding: 0 .75rem; background: transparent; border-color: currentColor; color: inherit; white-space: nowrap; }
  .connection .plain[hidden] { display: none; }
  .connection[data-phase="live"] .beacon { background: light-dark(#0a7d63, #3fc3a0); border-color: transparent; }
  .connection[data-phase="stale"] { color: var(--warn); background: var(--warn-ground); font-weight: 600; }
  .connection[data-phase="refused"] { color: var(--bad); background: var(--bad-ground); font-weight: 600; }

  /* Keys */
  .grid { position: relative; flex: 1 1 auto; min-block-size: 0; overflow: hidden auto; padding: .5rem 1rem 1rem; overscroll-behavior: contain; }
  .grid:focus-visible { outline-offset: -3px; }
  .sizer { position: relative; }
  .probe { position: absolute; visibility: hidden; inline-size: calc(var(--key-least) + var(--gap)); block-size: calc(var(--key-height) + var(--gap)); column-gap: var(--gap); }
  .row { position: absolute; inset-inline: 0; inset-block-start: 0; display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: var(--gap); block-size: var(--key-height); }
  .key { position: relative; display: grid; grid-template-columns: auto minmax(0, 1fr); column-gap: .75rem; align-items: center; overflow: hidden; padding: .375rem .875rem .375rem 1rem; border: 1px solid var(--edge); border-radius: .75rem; background: var(--ground); cursor: pointer; user-select: none; }
  .key::before { content: ""; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: .25rem; background: var(--hue); }
  .key:is([data-state="idle"], [data-state="offline"], [data-state="unknown"])::before { content: none; }
  .key[data-state="unknown"] { border-style: dashed; }
  .key[data-state="ringing"] { box-shadow: 0 0 0 1px var(--edge); }
  .key:hover { border-color: var(--control); }
  .key:focus-visible { outline-offset: 1px; }
  .key > .lamp { inline-size: 1.875rem; block-size: 1.875rem; }
  .key:is([data-state="offline"], [data-state="unknown"]) .name { color: var(--quiet); }
  .text { display: grid; grid-template-rows: repeat(3, 1.4375rem); min-inline-size: 0; }
  .line { display: flex; align-items: center; gap: .5rem; min-inline-size: 0; white-space: nowrap; }
  .line > :empty, .line > [hidden] { display: none; }
  .name { flex: 0 1 auto; overflow: hidden; text-overflow: ellipsis; font-weight: 620; font-size: 1rem; letter-spacing: -.005em; }
  .extension { margin-inline-start: auto; color: var(--quiet); font-size: .875rem; font-variant-numeric: tabular-nums; }
  .word { flex: none; color: var(--hue); font-size: .875rem; font-weight: 600; }
  [data-state="idle"] .word { font-weight: 500; }
  .clock { overflow: hidden; text-overflow: ellipsis; font-size: .875rem; font-variant-numeric: tabular-nums; }
  .key:is([data-state="dnd"], [data-state="away"], [data-state="offline"], [data-state="unknown"]) .clock { color: var(--quiet); }
  .several, .also { padding: 0 .375rem; border: 1px solid var(--edge); border-radius: .5rem; font-size: .75rem; font-weight: 600; line-height: 1.125rem; }
  .detail { display: flex; align-items: center; gap: .25rem; min-inline-size: 0; font-size: .875rem; }
  .detail .sign { inline-size: 1rem; block-size: 1rem; color: var(--hue); stroke-width: 2.6; }
  .detail .who { overflow: hidden; text-overflow: ellipsis; }
  .detail.about { color: var(--quiet); }
  .mail { display: flex; align-items: center; gap: .25rem; margin-inline-start: auto; font-size: .875rem; font-weight: 600; font-variant-numeric: tabular-nums; color: var(--accent); }
  .mail .sign { inline-size: 1.0625rem; block-size: 1.0625rem; }

  @media (prefers-reduced-motion: no-preference) {
    .key { transition: background-color .18s, border-color .18s; }
    .grid:not(.stale) .key[data-state="ringing"] > .lamp { animation: swing 1.6s ease-in-out infinite; transform-origin: 50% 10%; }
    .connection[data-phase="connecting"] .beacon, .connection[data-phase="stale"] .beacon { animation: breathe 2s ease-in-out infinite; }
  }
  @keyframes swing { 0%, 50%, 100% { rotate: 0deg; } 10%, 30% { rotate: 11deg; } 20%, 40% { rotate: -11deg; } }
  @keyframes breathe { 50% { opacity: .35; } }

  /* What is not live must not look live. */
  .stale .key { --hue: var(--quiet); --ground: light-dark(#eceef1, #171b20); --edge: light-dark(#bcc3cb, #39414b); border-style: dashed; transition: none; }
  .stale .key[data-state="ringing"] { box-shadow: none; }
  .stale :is(.name, .clock, .who, .mail) { color: var(--quiet); }

  .nothing { position: absolute; inset: 0; display: grid; place-content: center; justify-items: center; gap: .75rem; padding: 1rem; color: var(--quiet); text-align: center; }
  .nothing[hidden] { display: none; }
  .nothing .plain[hidden] { display: none; }

  /* Details and help */
  dialog { inline-size: min(26rem, calc(100vw - 2rem)); max-block-size: calc(100dvh - 2rem); padding: 1.25rem; border: 1px solid var(--line); border-radius: 1rem; background: var(--surface); color: var(--text); box-shadow: 0 1rem 3rem #0005; }
  dialog::backdrop { background: #0b0f146b; }
  dialog .top { display: flex; align-items: center; gap: .75rem; margin-block-end: 1rem; --ground: var(--surface); }
  dialog .top .lamp { inline-size: 2.25rem; block-size: 2.25rem; }
  dialog h2 { margin: 0; font-size: 1.125rem; overflow-wrap: anywhere; }
  dialog .top p { margin: 0; color: var(--hue); font-size: .875rem; font-weight: 600; }
  dialog .top .icon { margin-inline-start: auto; border-color: transparent; }
  dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .5rem 1rem; margin: 0; }
  dt { color: var(--quiet); }
  dd { margin: 0; overflow-wrap: anywhere; }
  dd ul { margin: 0; padding: 0; list-style: none; display: grid; gap: .375rem; }
  dd li { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .375rem; }
  dd li .sign { inline-size: 1rem; block-size: 1rem; align-self: center; }
  dd .clock, dd .calls-in { color: var(--quiet); font-size: .875rem; }
  dialog .actions { display: flex; flex-wrap: wrap; gap: .5rem; margin-block-start: 1.25rem; }
  dialog .actions .first { background: var(--accent); border-color: var(--accent); color: var(--surface); }

  @media (max-width: 46rem) {
    .bar { flex-wrap: wrap; gap: .5rem; padding-inline: .75rem; }
    .finder { order: 1; flex: 1 1 10rem; }
    label.sort { order: 2; }
    label.sort span { display: none; }
    .chips, .connection { padding-inline: .75rem; }
    .chips:dir(ltr) { mask-image: linear-gradient(to right, #000 calc(100% - 2.5rem), #0003); padding-inline-end: 2.5rem; }
    .grid { padding-inline: .75rem; }
  }
  @media (max-width: 36rem) {
    .connection { flex-wrap: wrap; padding-block: .375rem; }
  }

  @media (forced-colors: active) {
    .lamp .body { fill: CanvasText; }
    .sign { color: CanvasText; }
    .detail .sign { color: CanvasText; }
    .lamp .mark { stroke: Canvas; }
    :is([data-state="away"], [data-state="offline"], [data-state="unknown"]) .lamp .mark { stroke: CanvasText; }
    .key[data-state="ringing"] { border: 3px solid Highlight; padding: .25rem .75rem .25rem .875rem; }
    .key::before { background: CanvasText; }
    .chip[aria-pressed="true"] { forced-color-adjust: none; background: Highlight; color: HighlightText; --hue: HighlightText; --ground: Highlight; }
    .chip[aria-pressed="true"] .lamp .body { fill: HighlightText; }
    .chip[aria-pressed="true"] .lamp .mark { stroke: Highlight; }
    .stale .key { border-color: GrayText; }
    .connection:is([data-phase="stale"], [data-phase="refused"]) { border-block: 2px solid CanvasText; }
    .connection[data-phase="live"] .beacon { background: CanvasText; }
    :focus-visible { outline-color: Highlight; }
  }
`;

/** Built at first use, for this module can be read where there is no document. */
let sheet;

export function styleSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
  }
  return sheet;
}
