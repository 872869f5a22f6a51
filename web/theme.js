/**
 * Colours, and the look of one key. Every colour stands once here, as a pair for light and dark. Texts reach a contrast
 * of 4.5:1 on their grounds; the hues of the states stay apart under the common defects of colour vision, and each
 * state has its own shape and word as well. Sizes of a key are in `em`, so that it grows as a whole.
 *
 * Pages may set: --blf-font, --blf-page, --blf-surface, --blf-text, --blf-accent, --blf-radius, --blf-gap,
 * --blf-key-width, --blf-key-height, and --blf-STATE for the colour of a lamp.
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
    --hue: var(--blf-${state}, light-dark(${hue}, ${darkHue}));
    --ground: light-dark(${ground}, ${darkGround});
    --edge: light-dark(${edge}, ${darkEdge});
  }`).join('');

const css = `
  :host {
    display: block;
    font: 400 .9375rem/1.35 var(--blf-font, system-ui, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif);
    -webkit-text-size-adjust: 100%;
  }
  :host([hidden]) { display: none; }
  .themed {
    color-scheme: light dark;
    --page: var(--blf-page, light-dark(#f5f6f8, #12161b));
    --surface: var(--blf-surface, light-dark(#ffffff, #1a2027));
    --text: var(--blf-text, light-dark(#16202b, #e9edf2));
    --quiet: light-dark(#55606d, #a3aeba);
    --line: light-dark(#dfe3e8, #2c343e);
    --control: light-dark(#87919d, #66717e);
    --accent: var(--blf-accent, light-dark(#155fb0, #7db8ff));
    --warn: light-dark(#5c3800, #ffdca3);
    --warn-ground: light-dark(#ffe2ae, #4a340f);
    --bad: light-dark(#8c1020, #ffc2c2);
    --bad-ground: light-dark(#fbdcdf, #4a1d24);
    --gap: var(--blf-gap, .625em);
    --key-least: var(--blf-key-width, 16.5em);
    --key-height: var(--blf-key-height, 5.75em);
    --radius: var(--blf-radius, .75em);
    color: var(--text);
  }
  .themed[data-theme="light"] { color-scheme: light; }
  .themed[data-theme="dark"] { color-scheme: dark; }
  *, *::before { box-sizing: border-box; }
  [hidden] { display: none !important; }
  ${hues}

  :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
  svg { display: block; flex: none; inline-size: 1.25em; block-size: 1.25em; }
  .lamp .body { fill: var(--hue); }
  .lamp .mark { fill: none; stroke: var(--ground); stroke-width: 2.3; stroke-linecap: round; stroke-linejoin: round; }
  :is([data-state="away"], [data-state="offline"], [data-state="unknown"]) > .lamp .mark { stroke: var(--hue); }
  .sign { fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }

  .key { position: relative; display: grid; grid-template-columns: auto minmax(0, 1fr); column-gap: .75em; align-items: center; overflow: hidden; padding: .375em .875em .375em 1em; border: 1px solid var(--edge); border-radius: var(--radius); background: var(--ground); cursor: pointer; user-select: none; }
  .key::before { content: ""; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: .25em; background: var(--hue); }
  .key:is([data-state="idle"], [data-state="offline"], [data-state="unknown"])::before { content: none; }
  .key[data-state="unknown"] { border-style: dashed; }
  .key[data-state="ringing"] { box-shadow: 0 0 0 1px var(--edge); }
  .key:hover { border-color: var(--control); }
  .key:focus-visible { outline-offset: 1px; }
  .key > .lamp { inline-size: 1.875em; block-size: 1.875em; }
  .key:is([data-state="offline"], [data-state="unknown"]) .name { color: var(--quiet); }
  .text { display: grid; grid-template-rows: repeat(3, 1.4375em); min-inline-size: 0; }
  .line { display: flex; align-items: center; gap: .5em; min-inline-size: 0; white-space: nowrap; }
  .line > :empty { display: none; }
  .line > span { line-height: 1.35; }
  .name { flex: 0 1 auto; overflow: hidden; text-overflow: ellipsis; font-weight: 620; font-size: 1.0667em; letter-spacing: -.005em; }
  .bell, .star { color: var(--quiet); margin-inline-start: -.125em; }
  .bell .sign, .star .sign { inline-size: .8667em; block-size: .8667em; stroke-width: 2.4; }
  .star .sign { fill: light-dark(#c77700, #ffb454); color: light-dark(#c77700, #ffb454); }
  .extension { margin-inline-start: auto; color: var(--quiet); font-size: .9333em; font-variant-numeric: tabular-nums; }
  .word { flex: none; color: var(--hue); font-size: .9333em; font-weight: 600; }
  [data-state="idle"] .word { font-weight: 500; }
  .clock { overflow: hidden; text-overflow: ellipsis; font-size: .9333em; font-variant-numeric: tabular-nums; }
  .key:is([data-state="dnd"], [data-state="away"], [data-state="offline"], [data-state="unknown"]) .clock { color: var(--quiet); }
  .several, .also { padding: 0 .5em; border: 1px solid var(--edge); border-radius: .667em; font-size: .8em; font-weight: 600; }
  .detail { display: flex; align-items: center; gap: .25em; min-inline-size: 0; font-size: .9333em; }
  .detail .sign { inline-size: 1.0667em; block-size: 1.0667em; color: var(--hue); stroke-width: 2.6; }
  .detail .who { overflow: hidden; text-overflow: ellipsis; }
  .detail.about { color: var(--quiet); }
  .mail { display: flex; align-items: center; gap: .25em; margin-inline-start: auto; font-size: .9333em; font-weight: 600; font-variant-numeric: tabular-nums; color: var(--accent); }
  .mail .sign { inline-size: 1.1333em; block-size: 1.1333em; }
  .slots { display: flex; align-items: center; gap: .5em; flex: none; }
  .slots::after { content: attr(data-more); font-size: .8em; color: var(--quiet); }
  .slot { display: flex; align-items: center; gap: .1875em; --ground: light-dark(#ffffff, #1d232b); }
  .slot .lamp { inline-size: .9333em; block-size: .9333em; }
  .slot .label { font-size: .8em; font-weight: 600; font-variant-numeric: tabular-nums; color: var(--text); }
  .more { position: absolute; inset-block-end: .25em; inset-inline-end: .375em; display: none; padding: .125em .25em; border-radius: .5em; background: var(--ground); color: var(--quiet); }
  .more .sign { stroke-width: 3; }
  .more:hover { color: var(--text); }

  @media (prefers-reduced-motion: no-preference) {
    .key.moved { transition: background-color .18s, border-color .18s; }
    .key[data-state="ringing"] > .lamp { animation: swing 1.6s ease-in-out infinite; transform-origin: 50% 10%; }
  }
  @keyframes swing { 0%, 50%, 100% { rotate: 0deg; } 10%, 30% { rotate: 11deg; } 20%, 40% { rotate: -11deg; } }

  /* What is not live must not look live. */
  .stale .key, .stale .slot { --hue: var(--quiet); --ground: light-dark(#eceef1, #171b20); --edge: light-dark(#bcc3cb, #39414b); transition: none; }
  .stale .key { border-style: dashed; }
  .stale .key[data-state="ringing"] { box-shadow: none; }
  :is(.stale, .calm) .key[data-state="ringing"] > .lamp { animation: none; }
  .stale :is(.name, .clock, .who, .mail) { color: var(--quiet); }
  .stale .star .sign { fill: none; color: var(--quiet); }

  @media (forced-colors: active) {
    .lamp .body { fill: CanvasText; }
    .sign, .detail .sign { color: CanvasText; }
    .lamp .mark { stroke: Canvas; }
    :is([data-state="away"], [data-state="offline"], [data-state="unknown"]) > .lamp .mark { stroke: CanvasText; }
    .key[data-state="ringing"] { border: 3px solid Highlight; padding: .25em .75em .25em .875em; }
    .key::before { background: CanvasText; }
    .stale .key { border-color: GrayText; }
    .star .sign { fill: CanvasText; }
    :focus-visible { outline-color: Highlight; }
  }
`;

/** Built at first use, for this module can be read where there is no document. */
let sheet;

export function themeSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
  }
  return sheet;
}
