/** The dialogs of the panel: all about one key, and what the keyboard does. */

import { lamp, setLamp, sign } from './icons.js';
import { duration } from './i18n.js';
import { aboutOf, mailOf, partyOf, sinceOf } from './key.js';
import { addressOf } from './store.js';

function element(tag, members = {}, ...children) {
  const made = Object.assign(document.createElement(tag), members);
  made.append(...children.filter((child) => child !== ''));
  return made;
}

/** A modal dialog that closes by its button, Escape, or a click beside it. */
class Window {
  constructor(root) {
    this.element = element('dialog');
    this.element.addEventListener('click', (event) => {
      if (event.target === this.element || event.target.closest('[data-close]')) this.element.close();
    });
    root.append(this.element);
  }

  fill(language, before, title, under, ...rest) {
    const close = element('button', { className: 'icon', type: 'button', title: language.say('close') }, sign('close'));
    close.dataset.close = '';
    close.setAttribute('aria-label', language.say('close'));
    const heading = element('h2', { id: 'title', textContent: title, dir: 'auto' });
    const words = element('div', {}, heading, under ? element('p', { textContent: under }) : '');
    this.element.setAttribute('aria-labelledby', 'title');
    this.element.replaceChildren(element('div', { className: 'top' }, before, words, close), ...rest);
  }
}

export class HelpWindow extends Window {
  open(language) {
    const rows = [
      [['←', '↑', '→', '↓'], 'arrows'], [['Home', 'End'], 'ends'], [['Page ↑', 'Page ↓'], 'pages'], [['Enter'], 'enter'],
      [['a', '…', '9'], 'type'], [['/'], 'search'], [['Esc'], 'escape'], [['?'], 'help'],
    ];
    const list = element('dl');
    for (const [keys, name] of rows) {
      const caps = keys.flatMap((key) => [element('kbd', { textContent: key }), ' ']);
      list.append(element('dt', {}, ...caps), element('dd', { textContent: language.say(`help_${name}`) }));
    }
    this.fill(language, '', language.say('help'), '', list);
    this.element.close();
    this.element.showModal();
  }
}

export class KeyWindow extends Window {
  #r;
  #clocks = [];
  #lamp = lamp();
  #drawn;

  /** The resource shown, if any. */
  get r() {
    return this.element.open ? this.#r : undefined;
  }

  open(key, look) {
    this.#r = key.r;
    this.draw(key, look);
    this.element.showModal();
  }

  /** Draws what has changed; while someone has their hands on a button, the buttons stay. */
  draw(key, look) {
    const { language, now, nameOf, stale } = look;
    const focused = this.element.getRootNode().activeElement?.dataset?.role;
    this.#clocks = [];
    const list = element('dl');
    const row = (name, ...children) => list.append(element('dt', { textContent: language.say(name) }), element('dd', {}, ...children));
    row('address', key.r);
    row('current_calls', key.calls.length ? element('ul', {}, ...key.calls.map((call) => this.#call(call, look))) : language.say('none'));
    row('messages', mailOf(key, language) || language.say('none'));
    const about = aboutOf(key, language);
    if (about) row('note', element('span', { textContent: about, dir: 'auto' }));
    const word = [language.say(key.state), sinceOf(key, language, now), stale ? language.say('last_known') : ''].filter(Boolean).join(', ');
    this.element.dataset.state = key.state;
    this.element.classList.toggle('stale', stale);
    setLamp(this.#lamp, key.state);
    this.fill(language, this.#lamp, key.name || key.user, word, list, this.#actions(key, language));
    this.#drawn = key;
    if (focused) this.element.querySelector(`[data-role="${focused}"]`)?.focus();
    this.tick(now);
  }

  shows(key) {
    return this.#drawn === key;
  }

  tick(now) {
    for (const { clock, start } of this.#clocks) clock.textContent = duration(now - start);
  }

  #call(call, { language, nameOf }) {
    const clock = element('span', { className: 'clock' });
    const start = call.answered ?? call.since;
    if (start !== undefined) this.#clocks.push({ clock, start });
    const who = partyOf(call.remote, language, nameOf);
    const number = addressOf(call.remote?.uri ?? '').user;
    return element(
      'li',
      {},
      call.dir ? sign(call.dir) : '',
      element('span', { textContent: who || language.say('unknown'), dir: 'auto' }),
      number && number !== who ? element('span', { className: 'calls-in', textContent: number }) : '',
      element('span', { className: 'calls-in', textContent: language.say(`call_${call.hold ? 'hold' : call.state}`) }),
      clock,
    );
  }

  #actions(key, language) {
    const dial = element('a', { className: 'plain first', href: safeLink(key.r), textContent: language.say('dial') });
    dial.dataset.role = 'dial';
    const copy = element('button', { className: 'plain', type: 'button', textContent: language.say('copy') });
    copy.dataset.role = 'copy';
    copy.addEventListener('click', async () => {
      await navigator.clipboard.writeText(key.user);
      copy.textContent = language.say('copied');
    });
    // Browsers give the clipboard to secure pages only.
    return element('div', { className: 'actions' }, dial, navigator.clipboard ? copy : '');
  }
}

/** A resource comes from outside: only schemes that place a call or open a chat become links. */
function safeLink(r) {
  return /^(sips?|tel|xmpp):/i.test(r) ? r : `sip:${encodeURIComponent(r)}`;
}
