/** The gateway's own page: what its address says becomes the panel's attributes, such as `?view=wallboard&lang=de`. */

import './panel.js';

const ATTRIBUTES = ['view', 'density', 'theme', 'lang', 'subscribe', 'dial', 'locked'];

const { searchParams } = new URL(location.href);
const panel = document.createElement('blf-panel');
for (const name of ATTRIBUTES) {
  const value = searchParams.get(name);
  if (value !== null) panel.setAttribute(name, value);
}
document.body.prepend(panel);
