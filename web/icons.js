/**
 * One shape per state, so that nobody needs colours to tell them apart; drawn on 24 by 24.
 * `body` is filled with the state's colour, `mark` is stroked over it.
 */

const CIRCLE = 'M12 2a10 10 0 1 1 0 20a10 10 0 0 1 0-20z';
const RING = `${CIRCLE}M12 4.4a7.6 7.6 0 1 0 0 15.2a7.6 7.6 0 0 0 0-15.2z`;
const DOTTED = Array.from({ length: 10 }, (_, at) => {
  const angle = (at * Math.PI) / 5;
  const [x, y] = [12 + 9 * Math.sin(angle), 12 - 9 * Math.cos(angle)].map((n) => n.toFixed(2));
  return `M${x} ${y}m-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0z`;
}).join('');

export const LAMPS = {
  idle: { body: CIRCLE, mark: 'M7.6 12.4l3 3l5.8-6.2' },
  ringing: {
    body: 'M12 1.6a1.7 1.7 0 0 0-1.7 1.7v.5A6.6 6.6 0 0 0 5.4 10.2v3.6l-2.2 3.3a1.1 1.1 0 0 0 .9 1.7h15.8a1.1 1.1 0 0 0 .9-1.7l-2.2-3.3v-3.6a6.6 6.6 0 0 0-4.9-6.4v-.5A1.7 1.7 0 0 0 12 1.6zM9 20.2a3 3 0 0 0 6 0z',
    mark: '',
  },
  dialing: {
    body: 'M10.6 1.9a2 2 0 0 1 2.8 0l8.7 8.7a2 2 0 0 1 0 2.8l-8.7 8.7a2 2 0 0 1-2.8 0l-8.7-8.7a2 2 0 0 1 0-2.8z',
    mark: 'M9 15l6-6M10 8.8h5.2V14',
  },
  busy: {
    body: 'M6.5 2h11A4.5 4.5 0 0 1 22 6.5v11a4.5 4.5 0 0 1-4.5 4.5h-11A4.5 4.5 0 0 1 2 17.5v-11A4.5 4.5 0 0 1 6.5 2z',
    mark: 'M9.7 6.7l-2.2 1.5c-.6 4.2 4.1 8.9 8.3 8.3l1.5-2.2M9.7 6.7l1 2.3M17.3 14.3l-2.3-1',
  },
  hold: {
    body: 'M6.6 2.5h1.8a2.1 2.1 0 0 1 2.1 2.1v14.8a2.1 2.1 0 0 1-2.1 2.1H6.6a2.1 2.1 0 0 1-2.1-2.1V4.6a2.1 2.1 0 0 1 2.1-2.1zM15.6 2.5h1.8a2.1 2.1 0 0 1 2.1 2.1v14.8a2.1 2.1 0 0 1-2.1 2.1h-1.8a2.1 2.1 0 0 1-2.1-2.1V4.6a2.1 2.1 0 0 1 2.1-2.1z',
    mark: '',
  },
  parked: {
    body: 'M5 2.5h14a2.2 2.2 0 0 1 2.2 2.2V13c0 4.6-4.7 7.2-9.2 9.2c-4.5-2-9.2-4.6-9.2-9.2V4.7A2.2 2.2 0 0 1 5 2.5z',
    mark: 'M9.8 16.5V7h3a2.8 2.8 0 0 1 0 5.6h-3',
  },
  dnd: {
    body: 'M8.3 2h7.4a1.5 1.5 0 0 1 1.1.45l4.75 4.75a1.5 1.5 0 0 1 .45 1.1v7.4a1.5 1.5 0 0 1-.45 1.1l-4.75 4.75a1.5 1.5 0 0 1-1.1.45H8.3a1.5 1.5 0 0 1-1.1-.45L2.45 16.8a1.5 1.5 0 0 1-.45-1.1V8.3a1.5 1.5 0 0 1 .45-1.1L7.2 2.45A1.5 1.5 0 0 1 8.3 2z',
    mark: 'M7.2 12h9.6',
  },
  away: { body: RING, mark: 'M12 7.2V12l3.2 2.2' },
  offline: { body: RING, mark: 'M6.2 17.8L17.8 6.2' },
  unknown: { body: DOTTED, mark: 'M9.6 9.7a2.4 2.4 0 1 1 3.7 2c-.9.6-1.3 1-1.3 2M12 16.4v.1' },
};

export const SIGNS = {
  in: 'M17 7L7 17M7 9v8h8',
  out: 'M7 17L17 7M9 7h8v8',
  voicemail: 'M3.5 6h17v12h-17zM4 6.5l8 6.5l8-6.5',
  search: 'M10.5 4a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13zM15.5 15.5L20 20',
  theme: 'M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16',
  help: 'M9.2 9a2.9 2.9 0 1 1 4.5 2.4c-1.1.8-1.7 1.3-1.7 2.6M12 17.8v.1',
  star: 'M12 3.5l2.6 5.4l5.9 .8l-4.3 4.1l1 5.9l-5.2-2.8l-5.2 2.8l1-5.9l-4.3-4.1l5.9-.8z',
  bell: 'M6.5 17V11a5.5 5.5 0 0 1 11 0v6M4.5 17h15M10.5 20.2h3',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4',
  grid: 'M4 4h6.5v6.5H4zM13.5 4H20v6.5h-6.5zM4 13.5h6.5V20H4zM13.5 13.5H20V20h-6.5z',
  list: 'M4 6h16M4 12h16M4 18h16',
  gateway: 'M4 5h16v5.5H4zM4 13.5h16V19H4zM7.5 7.75h.01M7.5 16.25h.01',
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
};

const SVG = 'http://www.w3.org/2000/svg';

/** An `svg` element of class `name` with `count` empty paths, hidden from assistive technology. */
export function drawing(name, count = 1) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', name);
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  for (let at = 0; at < count; at++) svg.append(document.createElementNS(SVG, 'path'));
  return svg;
}

/** A stroked sign. */
export function sign(name) {
  const svg = drawing('sign');
  svg.firstChild.setAttribute('d', SIGNS[name]);
  return svg;
}

/** A lamp; `setLamp` gives it the shape of a state. */
export function lamp(state) {
  const svg = drawing('lamp', 2);
  svg.children[0].setAttribute('class', 'body');
  svg.children[0].setAttribute('fill-rule', 'evenodd');
  svg.children[1].setAttribute('class', 'mark');
  if (state) setLamp(svg, state);
  return svg;
}

export function setLamp(svg, state) {
  svg.children[0].setAttribute('d', LAMPS[state].body);
  svg.children[1].setAttribute('d', LAMPS[state].mark);
}

/** A street lamp. */
export function logo() {
  const svg = drawing('logo', 2);
  svg.children[0].setAttribute('d', 'M8.2 7.5h7.6L14.5 14.5h-5z');
  svg.children[1].setAttribute('d', 'M12 1.5l5.2 4.4v1.2H6.8V5.9zM9.2 15.2h5.6v1.6h-2v4.2h2.7v1.5H8.5V21h2.7v-4.2h-2z');
  return svg;
}
