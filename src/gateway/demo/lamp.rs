//! What a watching phone shows: NOTIFY bodies read as a phone reads them, and the truth in the same words.

use super::day::{Day, Progress, Side};
use super::documents::Place;
use super::people::Kind;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use std::collections::BTreeSet;
use std::fmt;

/// One call as a lamp shows it.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Shown {
    /// `trying`, `early` or `confirmed`.
    pub state: String,
    /// `initiator` or `recipient`.
    pub direction: String,
    /// Whether it is on hold.
    pub held: bool,
    /// The address and the name of the other end.
    pub remote: (String, String),
}

/// What is known of somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Known {
    /// Nothing yet.
    Nothing,
    /// The calls that are up, in order.
    Calls(Vec<Shown>),
    /// Presence.
    Presence {
        /// Whether any means of communication is open.
        open: bool,
        /// Activities.
        activities: BTreeSet<String>,
        /// Notes.
        notes: BTreeSet<String>,
    },
    /// Voicemail.
    Mailbox {
        /// Whether messages wait.
        waiting: bool,
        /// New and old ones.
        voice: (u32, u32),
    },
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Calls(calls) if calls.is_empty() => f.write_str("no call"),
            Self::Calls(calls) => {
                for (at, Shown { state, direction, held, remote: (address, name) }) in calls.iter().enumerate() {
                    let arrow = if direction == "initiator" { "to" } else { "from" };
                    let (comma, held) = (if at > 0 { ", " } else { "" }, if *held { " on hold" } else { "" });
                    write!(f, "{comma}{state}{held} {arrow} {address} ({name})")?;
                }
                Ok(())
            }
            Self::Presence { open, activities, notes } => {
                write!(f, "{} {activities:?} {notes:?}", if *open { "open" } else { "closed" })
            }
            Self::Mailbox { waiting, voice: (new, old) } => write!(f, "waiting: {waiting}, {new} new, {old} old"),
        }
    }
}

/// The truth about a desk. `on_the_phone`: presence says who talks.
pub fn truth(day: &Day, place: &Place, desk: usize, kind: Kind, on_the_phone: bool) -> Known {
    let lines = day.lines(desk);
    match kind {
        Kind::Dialog => {
            let shown = |line: &super::day::Line| Shown {
                state: match line.progress {
                    Progress::Trying => "trying",
                    Progress::Early => "early",
                    Progress::Confirmed => "confirmed",
                    Progress::Terminated(_) => "terminated",
                }
                .into(),
                direction: if line.side == Side::Caller { "initiator" } else { "recipient" }.into(),
                held: line.held,
                remote: {
                    let (address, name) = place.party(line.remote);
                    (address, name.to_owned())
                },
            };
            let mut calls: Vec<Shown> = lines.iter().map(shown).collect();
            calls.sort_unstable();
            Known::Calls(calls)
        }
        Kind::Presence => {
            let mood = day.desk(desk).mood;
            let talks = on_the_phone && lines.iter().any(|line| line.progress == Progress::Confirmed);
            let activities = mood.activity.into_iter().chain(talks.then_some("on-the-phone"));
            let notes = Some(mood.note).filter(|note| !note.is_empty());
            Known::Presence {
                open: mood.open,
                activities: activities.map(str::to_owned).collect(),
                notes: notes.into_iter().map(str::to_owned).collect(),
            }
        }
        Kind::Voicemail => {
            let voice = day.desk(desk).mailbox;
            Known::Mailbox { waiting: voice.0 > 0, voice }
        }
    }
}

/// What a NOTIFY body says of `entity`.
pub fn read(kind: Kind, body: &[u8], entity: &str) -> Result<Known, String> {
    match kind {
        Kind::Dialog => calls(body, entity),
        Kind::Presence => presence(body, entity),
        Kind::Voicemail => mailbox(body),
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let found = element.try_get_attribute(name).map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(String::new()) };
    let value = found.normalized_value(quick_xml::XmlVersion::Explicit1_0).map_err(|error| error.to_string())?;
    Ok(value.into_owned())
}

/// An element on the way from the root to where the reader is: its namespace and local name.
type Path = Vec<(String, String)>;

/// Walks a document: `visit` is told of each start tag and of each text, with the path from the root.
fn walk(
    body: &[u8],
    mut visit: impl FnMut(&Path, Option<&BytesStart<'_>>, &str) -> Result<(), String>,
) -> Result<(), String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut said) = (Path::new(), String::new());
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        let namespace = match namespace {
            ResolveResult::Bound(Namespace(name)) => name.to_owned(),
            ResolveResult::Unbound | ResolveResult::Unknown(_) => String::new(),
        };
        match event {
            Event::Start(element) => {
                let local = element.local_name().as_ref().to_owned();
                path.push((namespace, local));
                said.clear();
                visit(&path, Some(&element), "")?;
            }
            Event::Text(part) => said.push_str(&part.xml10_content()),
            Event::GeneralRef(name) => {
                let reference = format!("&{};", name.into_inner());
                said.push_str(&quick_xml::escape::unescape(&reference).map_err(|error| error.to_string())?);
            }
            Event::End(_) => {
                visit(&path, None, said.trim())?;
                said.clear();
                path.pop();
            }
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => return Err("the document ends early".into()),
            _ => {}
        }
    }
}

fn calls(body: &[u8], entity: &str) -> Result<Known, String> {
    let mut calls: Vec<Shown> = Vec::new();
    walk(body, |path, start, said| {
        let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
        if path.iter().any(|(namespace, _)| namespace != "urn:ietf:params:xml:ns:dialog-info") {
            return Ok(());
        }
        match (&names[..], start) {
            (["dialog-info"], Some(root)) => {
                let (of, state) = (attribute(root, "entity")?, attribute(root, "state")?);
                if of != entity || state != "full" {
                    return Err(format!("{state} state of {of:?}"));
                }
            }
            (["dialog-info", "dialog"], Some(dialog)) => {
                if attribute(dialog, "id")?.is_empty() {
                    return Err("a dialog without an id".into());
                }
                calls.push(Shown { direction: attribute(dialog, "direction")?, ..Shown::default() });
            }
            (["dialog-info", "dialog", rest @ ..], at) => {
                let call = calls.last_mut().ok_or("no dialog")?;
                match (rest, at) {
                    (["state"], None) => call.state = said.to_owned(),
                    (["remote", "identity"], Some(identity)) => call.remote.1 = attribute(identity, "display")?,
                    (["remote", "identity"], None) => call.remote.0 = said.to_owned(),
                    (["local", "target", "param"], Some(param)) => {
                        let name = attribute(param, "pname")?;
                        call.held |= name == "+sip.rendering" && attribute(param, "pval")? == "no";
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    calls.retain(|call| call.state != "terminated");
    calls.sort_unstable();
    Ok(Known::Calls(calls))
}

fn presence(body: &[u8], entity: &str) -> Result<Known, String> {
    let (mut open, mut activities, mut notes) = (false, BTreeSet::new(), BTreeSet::new());
    walk(body, |path, start, said| {
        let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
        match (&names[..], start) {
            (["presence"], Some(root)) => {
                let of = attribute(root, "entity")?;
                if of != entity {
                    return Err(format!("presence of {of:?}"));
                }
            }
            (["presence", "tuple", "status", "basic"], None) => open |= said == "open",
            (["presence", "person", "activities", activity], None) if *activity != "note" => {
                activities.insert((*activity).to_owned());
            }
            ([.., "note"], None) => {
                notes.insert(said.to_owned());
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Known::Presence { open, activities, notes })
}

fn mailbox(body: &[u8]) -> Result<Known, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let waiting = match field("Messages-Waiting:") {
        Some("yes") => true,
        Some("no") => false,
        other => return Err(format!("Messages-Waiting: {other:?}")),
    };
    let counts = field("Voice-Message:").and_then(|value| {
        let (new, old) = value.split(' ').next()?.split_once('/')?;
        Some((new.parse().ok()?, old.parse().ok()?))
    });
    Ok(Known::Mailbox { waiting, voice: counts.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::super::people::PEOPLE;
    use super::*;
    use lamplighter_model::Time;

    /// What a phone publishes of itself, a phone that is told exactly this shows truly.
    #[test]
    fn what_phones_write_is_what_lamps_read() {
        let now = Time::from_micros(1_800_000_000_000_000);
        let phones = (0..PEOPLE.len()).map(|desk| format!("127.0.0.1:{}", 40_000 + desk).into()).collect();
        let place = Place { domain: "office.example".into(), phones };
        let (mut day, mut changed) = (Day::new(now, 5), Vec::new());
        let mut calls = 0;
        for _ in 0..300 {
            day.handle_timeout(day.deadline(), &mut changed);
            for desk in 0..PEOPLE.len() {
                for kind in [Kind::Dialog, Kind::Presence, Kind::Voicemail] {
                    let body = place.document(&day, desk, kind, 1);
                    let told = read(kind, &body, &place.address(desk)).expect("our own document");
                    let truth = truth(&day, &place, desk, kind, false);
                    calls += usize::from(matches!(&truth, Known::Calls(calls) if !calls.is_empty()));
                    assert_eq!(told, truth, "{}", String::from_utf8_lossy(&body));
                }
            }
        }
        assert!(calls > 100);
    }

    #[test]
    fn documents_about_others_and_broken_ones_are_refused() {
        let of = |entity: &str| {
            format!(
                "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' version='0' state='full' entity='{entity}'/>"
            )
        };
        assert_eq!(read(Kind::Dialog, of("sip:a@b").as_bytes(), "sip:a@b"), Ok(Known::Calls(vec![])));
        assert!(read(Kind::Dialog, of("sip:a@b").as_bytes(), "sip:x@b").is_err());
        assert!(read(Kind::Dialog, b"<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info'>", "").is_err());
        assert!(read(Kind::Presence, b"<presence entity='sip:a@b'><tuple></presence>", "sip:a@b").is_err());
        assert!(read(Kind::Voicemail, b"", "").is_err());
    }
}
