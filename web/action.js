/** What pressing a key does: the gateway places or fetches the call if it can, else the person's own phone program. */

import { addressOf } from './store.js';

/**
 * @param {import('./store.js').Key} key
 * @returns {'dial'|'pickup'} Pressing a key that rings fetches its call.
 */
export function actionOf(key) {
  return key.state === 'ringing' ? 'pickup' : 'dial';
}

/**
 * A link that calls. A resource comes from outside: only schemes that place a call or open a chat become links.
 * @param {string} r
 * @param {string|null} scheme `tel` for phone programs that know numbers only.
 */
export function linkOf(r, scheme) {
  if (scheme === 'tel') return `tel:${encodeURIComponent(addressOf(r).user)}`;
  return /^(sips?|tel|xmpp):/i.test(r) ? r : `sip:${encodeURIComponent(r)}`;
}

/** Opens a link without leaving the page. */
export function follow(href) {
  const link = document.createElement('a');
  link.href = href;
  link.click();
}

/** @returns {Promise<boolean>} Whether the browser let us. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no secure page, or no leave
  }
}
