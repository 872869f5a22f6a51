/** People and groups as the gateway's directory tells them. A gateway without a directory has nobody. */

/** At most as many as a gateway keeps. */
const PEOPLE_MOST = 50_000;
const GROUPS_MOST = 1000;
const MEMBERS_MOST = 10_000;
const TEXT_MOST = 200;

/**
 * @typedef {{name: string, members: Map<string, number>}} Group `members` by place.
 * @typedef {{people: Map<string, import('./store.js').Person>, groups: Group[]}} Directory
 */

/**
 * @param {unknown} value `{people: [{resource, name, extension, department}], groups: {name: [resource]}}`.
 * @returns {Directory} What of it can be understood.
 */
export function readDirectory(value) {
  const people = new Map();
  for (const entry of list(value?.people).slice(0, PEOPLE_MOST)) {
    const r = text(entry?.resource);
    if (r) people.set(r, { name: text(entry.name), extension: text(entry.extension), department: text(entry.department) });
  }
  const named = value?.groups !== null && typeof value?.groups === 'object' ? Object.entries(value.groups) : [];
  const groups = named.slice(0, GROUPS_MOST).map(([name, members]) => {
    const known = list(members).filter((r) => typeof r === 'string').slice(0, MEMBERS_MOST);
    return { name: text(name), members: new Map(known.map((r, at) => [r, at])) };
  });
  return { people, groups };
}

const list = (value) => (Array.isArray(value) ? value : []);
const text = (value) => (typeof value === 'string' ? value.slice(0, TEXT_MOST) : '');
