/** Tables and numbers of the gateway's page. */

import { element } from './window.js';

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const span = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });
const UNITS = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000], ['second', 1000]];

export function count(value) {
  return Number.isFinite(value) ? number.format(value) : '–';
}

export function bytes(value) {
  const [unit, size] = value >= 1e9 ? ['GB', 1e9] : value >= 1e6 ? ['MB', 1e6] : ['kB', 1e3];
  return `${number.format(value / size)} ${unit}`;
}

/** How long ago, or in how long. @param {number} at Milliseconds since the epoch. */
export function ago(at) {
  if (!Number.isFinite(at)) return '–';
  const ms = at - Date.now();
  const [unit, size] = UNITS.find(([, size]) => Math.abs(ms) >= size) ?? UNITS.at(-1);
  return span.format(Math.round(ms / size), unit);
}

/**
 * @param {string} name What it lists, to those who hear it.
 * @param {string[]} head
 * @param {{cells: (string|Node)[], slow?: boolean}[]} rows `slow` ones stand out.
 * @param {string} none What is said when there are no rows.
 */
export function table(name, head, rows, none) {
  if (rows.length === 0) return element('p', { className: 'hint', textContent: none });
  const names = element('tr', {}, ...head.map((text) => Object.assign(element(text ? 'th' : 'td', { textContent: text }), text && { scope: 'col' })));
  const made = rows.map(({ cells, slow }) => element('tr', { className: slow ? 'slow' : '' }, ...cells.map((cell) => {
    const td = element('td', {}, cell ?? '');
    if (typeof cell === 'string') td.dir = 'auto';
    return td;
  })));
  const scroll = element('div', { className: 'scroll', tabIndex: 0 }, element('table', {}, element('thead', {}, names), element('tbody', {}, ...made)));
  scroll.setAttribute('role', 'region');
  scroll.setAttribute('aria-label', name);
  return scroll;
}
