/** A line over time, small enough to stand in a row of others. */

import { element } from './window.js';

const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [320, 72];

function svg(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/**
 * A counter's growth per second. A counter that falls was started anew: what it did in between is not known.
 * @param {(number|null)[]} values
 * @param {number} every Seconds between them.
 * @returns {(number|null)[]}
 */
export function rateOf(values, every) {
  return values.map((value, at) => {
    const before = values[at - 1];
    return value === null || before === null || before === undefined || value < before ? null : (value - before) / every;
  });
}

/** The least round number that is not below `value`: 1, 2 or 5 times a power of ten. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

/** Lines of an SVG path through the values, broken where one is not known. */
export function pathOf(values, top, width = WIDTH, height = HEIGHT) {
  let pen = 'M';
  const step = width / Math.max(1, values.length - 1);
  return values.map((value, at) => {
    if (value === null) {
      pen = 'M';
      return '';
    }
    const point = `${pen}${(at * step).toFixed(1)} ${(height - (Math.min(value, top) / top) * height).toFixed(1)}`;
    pen = 'L';
    return point;
  }).join('');
}

export class Chart {
  #line = svg('path', { class: 'line' });
  #mark = svg('line', { class: 'mark', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  #now = element('b');
  #most = element('span', { className: 'most' });
  #values = [];
  #at = 0;
  #every = 1;
  #plot;

  /**
   * @param {string} title
   * @param {(value: number) => string} write A value as people read it.
   */
  constructor(title, write) {
    this.title = title;
    this.write = write;
    this.#plot = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
    this.#plot.append(this.#line, this.#mark);
    this.element = element(
      'figure',
      { className: 'chart' },
      element('figcaption', {}, element('span', { textContent: title }), this.#now, this.#most),
      element('div', { className: 'plot' }, this.#plot),
    );
    this.#plot.addEventListener('pointermove', (event) => this.#point(event));
    this.#plot.addEventListener('pointerleave', () => this.#rest());
  }

  /** @param {(number|null)[]} values Oldest first. @param {number} at When the newest was, ms. @param {number} every Seconds between. */
  draw(values, at, every) {
    [this.#values, this.#at, this.#every] = [values, at, every];
    const known = values.filter((value) => value !== null);
    const highest = Math.max(0, ...known);
    const top = roundUp(highest);
    this.#line.setAttribute('d', pathOf(values, top));
    this.#most.textContent = `max ${this.write(highest)}`;
    this.#rest();
    const now = known.length ? this.write(known.at(-1)) : '–';
    this.#plot.setAttribute('aria-label', `${this.title}: now ${now}, highest of the hour ${this.write(highest)}`);
  }

  #rest() {
    this.#mark.setAttribute('visibility', 'hidden');
    const newest = this.#values.at(-1);
    this.#now.textContent = newest === null || newest === undefined ? '–' : this.write(newest);
    this.#most.hidden = false;
  }

  #point({ offsetX }) {
    const share = Math.max(0, Math.min(1, offsetX / this.#plot.clientWidth));
    const at = Math.round(share * (this.#values.length - 1));
    const value = this.#values[at];
    if (value === undefined) return;
    const x = (at / Math.max(1, this.#values.length - 1)) * WIDTH;
    for (const end of ['x1', 'x2']) this.#mark.setAttribute(end, x);
    this.#mark.setAttribute('visibility', 'visible');
    this.#most.hidden = true;
    const when = new Date(this.#at - (this.#values.length - 1 - at) * this.#every * 1000);
    this.#now.textContent = `${value === null ? '–' : this.write(value)} at ${when.toLocaleTimeString()}`;
  }
}
