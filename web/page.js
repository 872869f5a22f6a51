/** The gateway's own page: what its address says becomes the panel's attributes, such as `?view=wallboard&lang=de`. */

import { Language } from './i18n.js';
import { sign } from './icons.js';
import './panel.js';
import { Server } from './server.js';
import { element, nameButton } from './window.js';

const ATTRIBUTES = ['view', 'density', 'theme', 'lang', 'subscribe', 'dial', 'locked'];

const { searchParams } = new URL(location.href);
const panel = document.createElement('blf-panel');
for (const name of ATTRIBUTES) {
  const value = searchParams.get(name);
  if (value !== null) panel.setAttribute(name, value);
}
document.body.prepend(element('main', {}, panel));

// Who runs the gateway finds its page from here.
const server = new Server({ src: '/v1/feed', base: location.href, fetch: (url, init) => fetch(url, init) });
const session = await server.ask('session').catch(() => undefined);
if (session?.admin === true && panel.getAttribute('view') !== 'wallboard') {
  const link = element('a', { slot: 'toolbar', href: './admin.html', className: 'gateway' }, sign('gateway'));
  nameButton(link, new Language(searchParams.has('lang') ? [searchParams.get('lang')] : [...navigator.languages]).say('gateway'));
  panel.append(link);
}
