/** States of a small office: every state that a key can show, and the texts that make keys awkward. */

const DOMAIN = 'office.example';
const NAMES = [
  'Ann Lee', 'Björn Östlund', 'Carla Mendes', 'Dmitri Volkov', 'Eleni Papadaki', 'Farid Haddad', 'Grace Okafor',
  'Hiro Tanaka', 'Ines Duarte', 'Jonas Weber', 'Kavya Iyer', 'Liam O’Brien', 'Maya Rosen', 'Noah Dubois', 'Olga Nowak',
  'Pedro Alvarez', 'Qiang Liu', 'Rosa Bianchi', 'Sven Halvorsen', 'Tara Singh', 'Ursula Maximiliane von Hohenfels-Brandenburg',
  'Viktor Novák', 'Wen Zhao', 'Yusuf Kaya',
];

export const uri = (extension) => `sip:${extension}@${DOMAIN}`;

export function call(state, dir, remote, since, more = {}) {
  return { id: `c${since}`, state, dir, remote, since, answered: state === 'confirmed' ? since : null, hold: false, ...more };
}

const party = (number, name) => ({ uri: /^\d{3}$/.test(number) ? uri(number) : `sip:${number}@carrier.example`, name });
const dialog = (lamp, ...calls) => ({ lamp, calls, n: calls.length });

/** `[resource, kind, state]` of 24 phones at `now`. */
export function office(now) {
  const ago = (seconds) => now - seconds * 1000;
  const changes = NAMES.map((name, at) => [uri(101 + at), 'presence', { basic: 'open', name }]);
  const presence = (extension, state) => changes.push([uri(extension), 'presence', { name: NAMES[extension - 101], ...state }]);
  const talk = (extension, ...state) => changes.push([uri(extension), 'dialog', dialog(...state)]);
  const mail = (extension, fresh, urgent = 0) =>
    changes.push([uri(extension), 'mwi', { waiting: fresh > 0, voice: { new: fresh, old: 2, urgent_new: urgent, urgent_old: 0 } }]);
  for (let extension = 101; extension <= 124; extension++) talk(extension, 'idle');
  talk(102, 'ringing', call('early', 'in', party('+4930123456', 'Helga Brandt'), ago(6)));
  talk(103, 'busy', call('confirmed', 'out', party('117', 'Qiang Liu'), ago(754)));
  talk(117, 'busy', call('confirmed', 'in', party('103', 'Carla Mendes'), ago(754)));
  talk(105, 'dialing', call('early', 'out', party('+441632960123', ''), ago(4)));
  talk(107, 'hold', call('confirmed', 'in', party('+33140000001', 'Marc Petit'), ago(3911), { hold: true }));
  talk(110, 'busy', call('confirmed', 'in', party('+12025550101', 'Dana'), ago(61)), call('confirmed', 'in', party('114', ''), ago(30), { hold: true }));
  talk(121, 'ringing', call('early', 'in', { uri: 'sip:anonymous@anonymous.invalid', name: '' }, ago(2)));
  talk(119, 'parked', call('confirmed', 'in', party('+4670555', 'Åsa'), ago(95)));
  presence(104, { basic: 'open', show: 'dnd', note: 'Deadline at five', since: ago(3600) });
  presence(106, { basic: 'open', show: 'away', activities: ['meeting'], note: 'Back at 3', since: ago(1500) });
  presence(112, { basic: 'open', activities: ['vacation'], note: 'Back on Monday', since: ago(2 * 86400) });
  presence(109, { basic: 'closed', since: ago(7200) });
  presence(115, { basic: 'closed' });
  presence(113, { basic: 'open', note: 'Ask me about invoices' });
  changes.push([uri(124), 'dialog', dialog('unknown')], [uri(124), 'presence', { name: NAMES[23] }]);
  mail(101, 3, 1);
  mail(103, 1);
  mail(109, 12);
  mail(120, 2);
  return changes;
}
