/** The look of the gateway's page, over that of the panel. */

const css = `
  .admin { block-size: auto; min-block-size: 100dvh; }
  .admin h1 small { font-size: .9375rem; font-weight: 400; color: var(--quiet); }
  .admin main { position: relative; display: grid; gap: 1rem; padding: 1rem; max-inline-size: 84rem; inline-size: 100%; margin-inline: auto; min-block-size: 24rem; align-content: start; }
  .admin section { display: grid; gap: .875rem; padding: 1.125rem 1.25rem 1.25rem; border: 1px solid var(--line); border-radius: .75rem; background: var(--surface); min-inline-size: 0; }
  .admin :is(h3, h4, p) { margin: 0; }
  .admin h4 { margin-block: .75rem .25rem; font-size: .8125rem; font-weight: 600; color: var(--quiet); }
  .admin .hint { margin: 0; }
  .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1.25rem 1.5rem; }
  .chart { margin: 0; display: grid; gap: .375rem; min-inline-size: 0; }
  .chart figcaption { display: flex; align-items: baseline; gap: .5rem; font-size: .875rem; color: var(--quiet); white-space: nowrap; }
  .chart figcaption span:first-child { overflow: hidden; text-overflow: ellipsis; margin-inline-end: auto; }
  .chart figcaption b { color: var(--text); font-variant-numeric: tabular-nums; font-weight: 620; }
  .plot { position: relative; border-block-end: 1px solid var(--control); border-block-start: 1px dashed var(--line); }
  .plot svg { inline-size: 100%; block-size: 4.5rem; overflow: visible; }
  .plot .line { fill: none; stroke: var(--accent); stroke-width: 1.75; vector-effect: non-scaling-stroke; stroke-linejoin: round; stroke-linecap: round; }
  .plot .mark { stroke: var(--control); stroke-width: 1; vector-effect: non-scaling-stroke; }
  .most { font-size: .8125rem; font-variant-numeric: tabular-nums; }
  .ask { display: flex; align-items: center; gap: .75rem; }
  .ask input { flex: 0 1 26rem; padding: .25rem .75rem; min-inline-size: 8rem; }
  .ask h3 { margin-inline-end: auto; }
  .answer { display: grid; gap: 1rem; }
  .answer:not(:empty) { margin-block-start: 1rem; }
  .resource { font-weight: 620; font-size: 1.0625rem; }
  .package { display: grid; gap: .25rem; padding: .875rem 1rem 1rem; border: 1px solid var(--line); border-radius: .625rem; min-inline-size: 0; }
  .package h3 { display: flex; align-items: baseline; flex-wrap: wrap; gap: .25rem .625rem; font-size: 1rem; }
  .kind { padding: .0625rem .5rem; border-radius: .375rem; background: var(--page); border: 1px solid var(--line); font-size: .8125rem; font-weight: 600; }
  .scroll { overflow-x: auto; max-block-size: 24rem; overflow-y: auto; }
  table { inline-size: 100%; border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
  th { position: sticky; inset-block-start: 0; background: var(--surface); text-align: start; font-weight: 500; color: var(--quiet); white-space: nowrap; }
  th, td { padding: .375rem 1rem .375rem 0; vertical-align: top; border-block-end: 1px solid var(--line); }
  td { max-inline-size: 24rem; overflow-wrap: anywhere; text-align: start; }
  tbody tr:last-child td { border-block-end: 0; }
  tr.slow td { color: var(--bad); }
  .answer > h4 { margin-block-end: -.75rem; }
  .pages { display: flex; gap: .5rem; margin-block-start: .75rem; }
  .small { min-block-size: 1.75rem; padding: 0 .625rem; font-size: .8125rem; font-weight: 500; }
  details summary { margin-block-start: .75rem; cursor: pointer; font-size: .875rem; font-weight: 500; color: var(--accent); }
  .trace { margin: .75rem 0 0; padding: 0; list-style: none; max-block-size: 24rem; overflow-y: auto; font-size: .875rem; }
  .trace li { display: grid; grid-template-columns: 6.5rem 9rem minmax(0, 1fr); gap: .75rem; padding: .25rem 0; border-block-end: 1px solid var(--line); }
  .trace time { color: var(--quiet); font-variant-numeric: tabular-nums; }
  .trace span { overflow-wrap: anywhere; }
  .answer + div { margin-block-start: 1.25rem; }
  .admin .signin { position: static; margin-block: 3rem; }
  @media (max-width: 36rem) {
    .trace li { grid-template-columns: 6rem minmax(0, 1fr); }
    .trace span { grid-column: 1 / -1; }
  }
  @media (forced-colors: active) {
    .plot .line { stroke: CanvasText; }
    tr.slow td { text-decoration: underline; }
  }
`;

let sheet;

export function adminSheet() {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
  }
  return sheet;
}
