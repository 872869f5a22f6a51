//! The people of the simulated office, and who watches whom.

/// Somebody with a phone on the desk.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The user part of the address.
    pub extension: &'static str,
    /// The display name.
    pub name: &'static str,
    /// Colleagues of one department watch each other.
    pub department: Department,
}

/// A part of the office.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Department {
    /// Watches everybody.
    Reception,
    /// Talks with customers.
    Sales,
    /// Talks with customers even more.
    Support,
    /// Prefers not to talk.
    Development,
    /// Counts.
    Finance,
    /// Is in meetings.
    Management,
}

use Department::{Development, Finance, Management, Reception, Sales, Support};

const fn person(extension: &'static str, name: &'static str, department: Department) -> Person {
    Person { extension, name, department }
}

/// Everybody.
pub const PEOPLE: [Person; 28] = [
    person("101", "Ann Lee", Reception),
    person("102", "Björn Östlund", Reception),
    person("103", "Carla Mendes", Sales),
    person("104", "Dmitri Volkov", Sales),
    person("105", "Eleni Papadaki", Sales),
    person("106", "Farid Haddad", Sales),
    person("107", "Grace Okafor", Sales),
    person("108", "Hiro Tanaka", Sales),
    person("109", "Inês Duarte", Support),
    person("110", "Jonas Weber", Support),
    person("111", "Kavya Iyer", Support),
    person("112", "Liam O'Brien", Support),
    person("113", "Maya Rosen", Support),
    person("114", "Noah Dubois", Support),
    person("115", "Olga Nowak", Support),
    person("116", "Pedro Álvarez", Development),
    person("117", "Qiang Liu", Development),
    person("118", "Rosa Bianchi", Development),
    person("119", "Sven Halvorsen", Development),
    person("120", "Tara Singh", Development),
    person("121", "Uma & Co. (lab)", Development),
    person("122", "Viktor Novák", Finance),
    person("123", "Wen Zhao", Finance),
    person("124", "Ximena Ruiz", Finance),
    person("125", "Yusuf Kaya", Finance),
    person("126", "Zoë Laurent", Management),
    person("127", "Amir Rahimi", Management),
    person("128", "Beatrice Conti", Management),
];

/// People elsewhere who call and are called; the numbers are of ranges kept for fiction.
pub const OUTSIDERS: [(&str, &str); 8] = [
    ("+12025550143", "Dana Whitfield"),
    ("+12025550178", "Northwind Traders"),
    ("+441632960123", "Marcus Hale"),
    ("+441632960987", ""),
    ("+493023125042", "Helga Brandt"),
    ("+33199005512", "Marc Petit"),
    ("+61491570156", "Ruby Chen"),
    ("+46317406033", "Åsa Lindqvist"),
];

/// What a phone subscribes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interest {
    /// A place in [`PEOPLE`].
    pub person: usize,
    /// Which of their states.
    pub kind: Kind,
}

/// An event package that the office uses.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Calls.
    Dialog,
    /// Where somebody is.
    Presence,
    /// Messages that wait.
    Voicemail,
}

impl Kind {
    /// The value of Event.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Dialog => "dialog",
            Self::Presence => "presence",
            Self::Voicemail => "message-summary",
        }
    }

    /// The type of the body.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Dialog => "application/dialog-info+xml",
            Self::Presence => "application/pidf+xml",
            Self::Voicemail => "application/simple-message-summary",
        }
    }
}

/// What the phone of `watcher` subscribes to: its own voicemail, the lamps and the presence of its department, of
/// everybody for the reception; the reception also minds the voicemail of the management.
pub fn interests(watcher: usize) -> Vec<Interest> {
    let me = PEOPLE[watcher].department;
    let mut all = vec![Interest { person: watcher, kind: Kind::Voicemail }];
    for (person, Person { department, .. }) in PEOPLE.iter().enumerate().filter(|(person, _)| *person != watcher) {
        if *department == me || me == Reception {
            all.extend([Kind::Dialog, Kind::Presence].map(|kind| Interest { person, kind }));
        }
        if *department == Management && me == Reception {
            all.push(Interest { person, kind: Kind::Voicemail });
        }
    }
    all
}
