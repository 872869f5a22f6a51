/** What the panel says, per language, and how it writes numbers and times. */

const en = {
  idle: 'Available',
  ringing: 'Ringing',
  dialing: 'Dialing',
  busy: 'Busy',
  hold: 'On hold',
  parked: 'Parked',
  dnd: 'Do not disturb',
  away: 'Away',
  offline: 'Offline',
  unknown: 'Unknown',
  all: 'All',
  search: 'Search',
  search_hint: 'Name, number, note',
  filter: 'Filter by state',
  sort: 'Sort by',
  sort_extension: 'Extension',
  sort_name: 'Name',
  sort_state: 'State',
  sort_longest: 'Longest call',
  theme: 'Colours',
  theme_auto: 'Colours: as the system',
  theme_light: 'Colours: light',
  theme_dark: 'Colours: dark',
  help: 'Keyboard',
  close: 'Close',
  keys: 'Keys',
  live: 'Live',
  live_long: 'Live: every change is shown at once',
  connecting: 'Connecting …',
  stale: 'Not live: this is the state of {time}. Reconnecting …',
  refused: 'The gateway refused the connection. {detail}',
  refused_stale: 'Signed out: this is the state of {time}. {detail}',
  why_unauthenticated: 'Please sign in.',
  why_forbidden: 'You may not see these keys.',
  'why_unsupported-version': 'It speaks another version; please reload this page.',
  why_replaced: 'The panel was opened elsewhere.',
  retry: 'Try now',
  shown: '{shown} of {total}',
  none_yet: 'No phone has reported yet.',
  none_match: 'No key matches.',
  show_all: 'Show all',
  from: 'from {who}',
  to: 'to {who}',
  with: 'with {who}',
  anonymous: 'Anonymous',
  calls: '{n} calls',
  voicemail: '{n} new voice messages',
  voicemail_one: '1 new voice message',
  voicemail_some: 'New voice messages',
  urgent: '{n} urgent',
  since: 'since {time}',
  last_known: 'last known',
  rings: '{who} rings, {from}',
  rings_plain: '{who} rings',
  ring_many: '{n} phones are ringing',
  address: 'Address',
  note: 'Note',
  current_calls: 'Calls',
  messages: 'Voicemail',
  none: 'None',
  dial: 'Call',
  copy: 'Copy the number',
  copied: 'Copied',
  call_early: 'ringing',
  call_trying: 'dialing',
  call_proceeding: 'dialing',
  call_confirmed: 'talking',
  call_hold: 'on hold',
  help_arrows: 'Move from key to key',
  help_ends: 'First and last key of the row; with Ctrl of all',
  help_pages: 'A page up or down',
  help_enter: 'Details of the key',
  help_type: 'Letters and digits: go to a name or number',
  help_search: 'Search',
  help_escape: 'Clear search and filter',
  help_help: 'This page',
  activity_appointment: 'Appointment',
  activity_breakfast: 'At breakfast',
  activity_dinner: 'At dinner',
  activity_holiday: 'Public holiday',
  'activity_in-transit': 'On the way',
  activity_meal: 'Eating',
  activity_meeting: 'In a meeting',
  'activity_permanent-absence': 'No longer here',
  activity_performance: 'At a performance',
  activity_presentation: 'Presenting',
  activity_shopping: 'Shopping',
  activity_sleeping: 'Asleep',
  activity_steering: 'Driving',
  activity_travel: 'Travelling',
  activity_vacation: 'On holiday',
};

const de = {
  idle: 'Frei',
  ringing: 'Klingelt',
  dialing: 'Wählt',
  busy: 'Besetzt',
  hold: 'Gehalten',
  parked: 'Geparkt',
  dnd: 'Nicht stören',
  away: 'Abwesend',
  offline: 'Offline',
  unknown: 'Unbekannt',
  all: 'Alle',
  search: 'Suchen',
  search_hint: 'Name, Nummer, Notiz',
  filter: 'Nach Zustand filtern',
  sort: 'Sortieren nach',
  sort_extension: 'Nebenstelle',
  sort_name: 'Name',
  sort_state: 'Zustand',
  sort_longest: 'Längstes Gespräch',
  theme: 'Farben',
  theme_auto: 'Farben: wie das System',
  theme_light: 'Farben: hell',
  theme_dark: 'Farben: dunkel',
  help: 'Tastatur',
  close: 'Schließen',
  keys: 'Tasten',
  live: 'Live',
  live_long: 'Live: jede Änderung erscheint sofort',
  connecting: 'Verbindung wird aufgebaut …',
  stale: 'Nicht live: das ist der Stand von {time}. Neue Verbindung wird gesucht …',
  refused: 'Das Gateway hat die Verbindung abgelehnt. {detail}',
  refused_stale: 'Abgemeldet: das ist der Stand von {time}. {detail}',
  why_unauthenticated: 'Bitte anmelden.',
  why_forbidden: 'Diese Tasten sind für Sie nicht freigegeben.',
  'why_unsupported-version': 'Es spricht eine andere Version; bitte diese Seite neu laden.',
  why_replaced: 'Das Panel wurde anderswo geöffnet.',
  retry: 'Jetzt versuchen',
  shown: '{shown} von {total}',
  none_yet: 'Noch hat sich kein Telefon gemeldet.',
  none_match: 'Keine Taste passt.',
  show_all: 'Alle zeigen',
  from: 'von {who}',
  to: 'an {who}',
  with: 'mit {who}',
  anonymous: 'Anonym',
  calls: '{n} Gespräche',
  voicemail: '{n} neue Sprachnachrichten',
  voicemail_one: '1 neue Sprachnachricht',
  voicemail_some: 'Neue Sprachnachrichten',
  urgent: '{n} dringend',
  since: 'seit {time}',
  last_known: 'zuletzt bekannt',
  rings: '{who} klingelt, {from}',
  rings_plain: '{who} klingelt',
  ring_many: '{n} Telefone klingeln',
  address: 'Adresse',
  note: 'Notiz',
  current_calls: 'Gespräche',
  messages: 'Anrufbeantworter',
  none: 'Keine',
  dial: 'Anrufen',
  copy: 'Nummer kopieren',
  copied: 'Kopiert',
  call_early: 'klingelt',
  call_trying: 'wählt',
  call_proceeding: 'wählt',
  call_confirmed: 'im Gespräch',
  call_hold: 'gehalten',
  help_arrows: 'Von Taste zu Taste',
  help_ends: 'Erste und letzte Taste der Zeile; mit Strg von allen',
  help_pages: 'Eine Seite hinauf oder hinunter',
  help_enter: 'Einzelheiten der Taste',
  help_type: 'Buchstaben und Ziffern: zu Name oder Nummer springen',
  help_search: 'Suchen',
  help_escape: 'Suche und Filter leeren',
  help_help: 'Diese Seite',
  activity_appointment: 'Termin',
  activity_breakfast: 'Beim Frühstück',
  activity_dinner: 'Beim Abendessen',
  activity_holiday: 'Feiertag',
  'activity_in-transit': 'Unterwegs',
  activity_meal: 'Beim Essen',
  activity_meeting: 'In einer Besprechung',
  'activity_permanent-absence': 'Nicht mehr hier',
  activity_performance: 'In einer Vorstellung',
  activity_presentation: 'Hält einen Vortrag',
  activity_shopping: 'Beim Einkaufen',
  activity_sleeping: 'Schläft',
  activity_steering: 'Am Steuer',
  activity_travel: 'Auf Reisen',
  activity_vacation: 'Im Urlaub',
};

export const CATALOGUES = { en, de };

export class Language {
  /** @param {string[]} wanted Language tags, the dearest first; English if none is spoken. */
  constructor(wanted) {
    const tag = wanted.find((one) => one.split('-')[0].toLowerCase() in CATALOGUES) ?? 'en';
    this.tag = tag;
    this.#texts = CATALOGUES[tag.split('-')[0].toLowerCase()];
    this.#number = new Intl.NumberFormat(tag);
    this.#time = new Intl.DateTimeFormat(tag, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
    this.#minute = new Intl.DateTimeFormat(tag, { hour: '2-digit', minute: '2-digit' });
    this.#day = new Intl.DateTimeFormat(tag, { weekday: 'short', hour: '2-digit', minute: '2-digit' });
    this.compare = new Intl.Collator(tag, { numeric: true, sensitivity: 'base' }).compare;
  }

  #texts;
  #number;
  #time;
  #minute;
  #day;

  /** @returns {string} The text `name` with its `{places}` filled in; empty if there is no such text. */
  say(name, places = {}) {
    const fill = (_, place) => (typeof places[place] === 'number' ? this.number(places[place]) : (places[place] ?? ''));
    return (this.#texts[name] ?? '').replace(/\{(\w+)\}/g, fill).trim();
  }

  number(n) {
    return this.#number.format(n);
  }

  /** A moment of today, to the second. */
  time(ms) {
    return this.#time.format(ms);
  }

  /** When something began, to the minute, with the day unless it is of the last twelve hours. */
  moment(ms, now) {
    return (Math.abs(now - ms) < 12 * 3_600_000 ? this.#minute : this.#day).format(ms);
  }
}

/** `m:ss`, or `h:mm:ss` from an hour on. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
