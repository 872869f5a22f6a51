//! Reading `application/pidf+xml`.

use super::{Activities, CIPID, DATA_MODEL, Device, Doing, Extra, Note, PIDF, Person, Presence, RPID, Show, Tuple};
use crate::thousandths;
use crate::xml::{Element, Reader, decode};
use lamplighter_model::package::BadBody;
use lamplighter_model::time::Time;
use std::sync::Arc;

/// The most tuples, persons and devices of one publication; a document with more is refused.
pub(super) const TUPLES: usize = 32;
const PERSONS: usize = 8;
const DEVICES: usize = 16;
/// The most notes in one place and other elements of one person; more are left out.
pub(super) const NOTES: usize = 8;
pub(super) const EXTRAS: usize = 32;
/// The most bytes of foreign elements of one document that are kept.
pub(super) const EXTRA: usize = 16 * 1024;

pub(super) fn read(body: &[u8], now: Time) -> Result<Presence, BadBody> {
    let text = decode(body)?;
    let mut document = Document { xml: Reader::new(&text), room: EXTRA };
    let root = document.xml.root()?;
    if root.name != "presence" || !pidf(root) {
        return Err(document.xml.bad("expected presence"));
    }
    let mut presence = Presence { since: now, ..Presence::default() };
    let mut extra = Vec::new();
    while let Some(child) = document.xml.child()? {
        match child.name {
            "tuple" if pidf(child) => {
                if presence.tuples.len() == TUPLES {
                    return Err(document.xml.bad("too many tuples"));
                }
                let tuple = document.tuple(presence.tuples.len())?;
                match presence.tuples.iter_mut().find(|known| known.id == tuple.id && known.contact == tuple.contact) {
                    Some(known) => *known = Arc::new(tuple),
                    None => presence.tuples.push(Arc::new(tuple)),
                }
            }
            "note" if pidf(child) => document.note(&mut presence.notes)?,
            "person" if model(child) => {
                if presence.persons.len() == PERSONS {
                    return Err(document.xml.bad("too many persons"));
                }
                let person = document.person()?;
                presence.persons.push(Arc::new(person));
            }
            "device" if model(child) => {
                if presence.devices.len() == DEVICES {
                    return Err(document.xml.bad("too many devices"));
                }
                let id = document.xml.attribute("id")?.unwrap_or_default().into();
                let mut xml = Vec::new();
                document.foreign(child, &mut xml)?;
                if !xml.is_empty() {
                    presence.devices.push(Arc::new(Device { id, xml: xml.into() }));
                }
            }
            _ if pidf(child) => document.xml.skip()?,
            _ => document.foreign(child, &mut extra)?,
        }
    }
    presence.extra = extra.into();
    Ok(presence)
}

/// Whether an element is of RFC 3863; some phones forget the namespace.
fn pidf(element: Element<'_>) -> bool {
    element.ns == PIDF || element.ns.is_empty()
}

/// Whether an element is of RFC 4479 or the drafts before it.
fn model(element: Element<'_>) -> bool {
    element.ns == DATA_MODEL || element.ns == "urn:ietf:params:xml:ns:pidf:person" || pidf(element)
}

/// Whether an element is of RFC 4480 or the drafts before it, `urn:ietf:params:xml:ns:pidf:status:rpid` and so on.
fn rpid(element: Element<'_>) -> bool {
    element.ns == RPID || (element.ns.starts_with(PIDF) && element.ns.contains(":rpid"))
}

struct Document<'a> {
    xml: Reader<'a>,
    /// Bytes of foreign elements that may still be kept.
    room: usize,
}

impl<'a> Document<'a> {
    fn tuple(&mut self, index: usize) -> Result<Tuple, BadBody> {
        let id = self.xml.attribute("id")?.filter(|id| !id.trim().is_empty());
        let mut tuple =
            Tuple { id: id.map_or_else(|| format!("t{index}").into(), |id| id.trim().into()), ..Tuple::default() };
        let (mut extra, mut status_extra) = (Vec::new(), Vec::new());
        while let Some(child) = self.xml.child()? {
            match child.name {
                "display-name" if child.ns == CIPID => {
                    let name = self.xml.text()?;
                    tuple.name = Some(name.trim()).filter(|name| !name.is_empty()).map(Into::into);
                }
                _ if !pidf(child) => self.foreign(child, &mut extra)?,
                "status" => {
                    while let Some(child) = self.xml.child()? {
                        if pidf(child) && child.name == "basic" {
                            let basic = self.xml.text()?;
                            tuple.open = Some(match basic.trim() {
                                open if open.eq_ignore_ascii_case("open") => true,
                                closed if closed.eq_ignore_ascii_case("closed") => false,
                                _ => return Err(self.xml.bad("expected open or closed")),
                            });
                        } else if pidf(child) {
                            self.xml.skip()?;
                        } else if child.ns == "jabber:client" && child.name == "show" {
                            // Written again from what was understood.
                            tuple.show = show(self.xml.text()?.trim());
                        } else {
                            self.foreign(child, &mut status_extra)?;
                        }
                    }
                }
                "contact" => {
                    tuple.priority = self.xml.attribute("priority")?.and_then(|value| thousandths::read(value.trim()));
                    let contact = self.xml.text()?;
                    let contact = contact.trim();
                    tuple.contact = (!contact.is_empty()).then(|| contact.into());
                }
                "note" => self.note(&mut tuple.notes)?,
                "timestamp" => tuple.timestamp = Some(self.xml.text()?.trim().into()),
                _ => self.xml.skip()?,
            }
        }
        tuple.extra = extra.into();
        tuple.status_extra = status_extra.into();
        Ok(tuple)
    }

    fn person(&mut self) -> Result<Person, BadBody> {
        let id = self.xml.attribute("id")?.unwrap_or_default();
        let mut person = Person { id: id.trim().into(), ..Person::default() };
        while let Some(child) = self.xml.child()? {
            match child.name {
                "activities" if rpid(child) => person.doing = Some(self.doing()?),
                "note" if model(child) => self.note(&mut person.notes)?,
                "timestamp" if model(child) => person.timestamp = Some(self.xml.text()?.trim().into()),
                _ if person.extras.len() == EXTRAS => self.xml.skip()?,
                _ => {
                    let mut xml = Vec::new();
                    self.foreign(child, &mut xml)?;
                    if !xml.is_empty() {
                        person.extras.push(Extra { ns: child.ns.into(), name: child.name.into(), xml: xml.into() });
                    }
                }
            }
        }
        Ok(person)
    }

    fn doing(&mut self) -> Result<Doing, BadBody> {
        let mut doing = Doing::default();
        let mut extra = Vec::new();
        while let Some(child) = self.xml.child()? {
            match Activities::named(child.name) {
                Some(activity) if rpid(child) => {
                    doing.activities.add(activity);
                    self.xml.skip()?;
                }
                None if child.name == "note" && (rpid(child) || model(child)) => self.note(&mut doing.notes)?,
                _ => {
                    let name = child.name;
                    doing.dnd |= ["dnd", "do-not-disturb"].iter().any(|dnd| dnd.eq_ignore_ascii_case(name));
                    self.foreign(child, &mut extra)?;
                }
            }
        }
        doing.extra = extra.into();
        Ok(doing)
    }

    fn note(&mut self, notes: &mut Vec<Note>) -> Result<(), BadBody> {
        let lang = self.xml.attribute("xml:lang")?.map(Into::into);
        let text = self.xml.text()?;
        if notes.len() < NOTES && !text.trim().is_empty() {
            notes.push(Note { lang, text: text.into() });
        }
        Ok(())
    }

    /// Keeps an element of another namespace; from the first that there is no room for, they are left out.
    fn foreign(&mut self, element: Element<'a>, extra: &mut Vec<u8>) -> Result<(), BadBody> {
        if self.room == 0 {
            return self.xml.skip();
        }
        let before = extra.len();
        let fits = self.xml.copy(element, extra, before + self.room)?;
        self.room = if fits { self.room - (extra.len() - before) } else { 0 };
        Ok(())
    }
}

fn show(text: &str) -> Option<Show> {
    match text {
        "chat" => Some(Show::Chat),
        "away" => Some(Show::Away),
        "xa" => Some(Show::Xa),
        "dnd" => Some(Show::Dnd),
        _ => None,
    }
}
