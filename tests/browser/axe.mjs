/** Accessibility by axe-core: WCAG 2.2 A and AA, and best practices. */

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const SOURCE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * A key shows a running clock, which its name leaves out: a name that changes each second would be read again and again.
 * The visible label, in the sense of WCAG 2.5.3, is the name and number that its accessible name begins with.
 */
const isClock = (id, target) => id === 'label-content-name-mismatch' && JSON.stringify(target).includes('data-r=');

/**
 * What axe finds wrong in a page, shadow roots included. It runs outside of the page's own policy, as a debugger does.
 * @returns {Promise<string[]>}
 */
export async function check(page) {
  await page.evaluate(SOURCE);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => ({ id, target, failureSummary })));
  });
  return found.filter(({ id, target }) => !isClock(id, target)).map((one) => JSON.stringify(one));
}
