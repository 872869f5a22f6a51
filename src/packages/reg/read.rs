//! Reading `application/reginfo+xml`.

use super::{Bindings, CONTACTS, Contact, EVENTS, NAMESPACE};
use crate::thousandths;
use crate::xml::{Element, Reader, decode};
use lamplighter_model::package::{BadBody, Reading};
use lamplighter_model::time::Time;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The most parameters of a contact that are kept.
const PARAMS: usize = 16;
/// The most bytes of foreign elements of one document that are kept.
const EXTRA: usize = 8 * 1024;

pub(super) fn read(body: &[u8], reading: Reading<'_>) -> Result<Bindings, BadBody> {
    let text = decode(body)?;
    let mut document = Document { xml: Reader::new(&text), room: EXTRA };
    let root = document.xml.root()?;
    if root.name != "reginfo" || !ours(root) {
        return Err(document.xml.bad("expected reginfo"));
    }
    let partial = document.xml.attribute("state")?.is_some_and(|state| state.trim() == "partial");
    let (mut all, mut found) = (None, false);
    while let Some(child) = document.xml.child()? {
        if child.name != "registration" || !ours(child) {
            document.xml.skip()?;
            continue;
        }
        let own = document.xml.attribute("aor")?.is_some_and(|aor| address(&aor) == address(reading.presentity));
        if found || (all.is_some() && !own) {
            document.xml.skip()?;
            continue;
        }
        found = own;
        all = Some(document.registration(reading.now)?);
    }
    Ok(Bindings { full: !(partial && reading.modifies), at: reading.now, all: all.unwrap_or_default() })
}

/// What tells addresses apart here: user and host in lower case.
fn address(uri: &str) -> String {
    let uri = uri.trim();
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split([';', '?']).next().unwrap_or_default().to_ascii_lowercase()
}

/// Whether an element is of RFC 3680; some forget the namespace.
fn ours(element: Element<'_>) -> bool {
    element.ns == NAMESPACE || element.ns.is_empty()
}

/// A known value: absent when there is nothing in it.
fn known(value: Cow<'_, str>) -> Option<Box<str>> {
    let trimmed = value.trim();
    (!trimmed.is_empty()).then(|| trimmed.into())
}

pub(super) fn event(text: &str) -> Option<&'static str> {
    EVENTS.into_iter().find(|known| known.eq_ignore_ascii_case(text.trim()))
}

struct Document<'a> {
    xml: Reader<'a>,
    /// Bytes of foreign elements that may still be kept.
    room: usize,
}

impl<'a> Document<'a> {
    fn registration(&mut self, now: Time) -> Result<Vec<Arc<Contact>>, BadBody> {
        let mut all: Vec<Arc<Contact>> = Vec::new();
        while let Some(child) = self.xml.child()? {
            if child.name != "contact" || !ours(child) {
                self.xml.skip()?;
                continue;
            }
            let contact = Arc::new(self.contact(now)?);
            match all.iter().position(|known| known.id == contact.id) {
                Some(index) => all[index] = contact,
                None if all.len() == CONTACTS => return Err(self.xml.bad("too many contacts")),
                None => all.push(contact),
            }
        }
        Ok(all)
    }

    fn contact(&mut self, now: Time) -> Result<Contact, BadBody> {
        let (mut id, mut active, mut said) = (None, None, None);
        let (mut expires, mut registered) = (None, None);
        let mut contact = Contact {
            id: Box::default(),
            uri: Box::default(),
            name: None,
            event: "registered",
            until: None,
            since: now,
            ended: None,
            q: None,
            call_id: None,
            cseq: None,
            user_agent: None,
            received: None,
            params: Vec::new(),
            extra: Box::default(),
        };
        self.xml.attributes(|name, value| match name {
            "id" => id = known(value),
            "state" if value.trim() == "active" => active = Some(true),
            "state" if value.trim() == "terminated" => active = Some(false),
            "event" => said = event(&value),
            "expires" => expires = value.trim().parse::<u32>().ok(),
            "duration-registered" => registered = value.trim().parse::<u32>().ok(),
            "q" => contact.q = thousandths::read(value.trim()),
            "callid" => contact.call_id = known(value),
            "cseq" => contact.cseq = value.trim().parse().ok(),
            "user_agent" => contact.user_agent = known(value),
            "received" => contact.received = known(value),
            _ => {}
        })?;
        let active = active.ok_or_else(|| self.xml.bad("expected the state active or terminated"))?;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        contact.since = now - seconds(registered.unwrap_or(0));
        if active {
            contact.until = expires.map(|expires| now + seconds(expires));
        } else {
            contact.ended = Some(now);
        }
        contact.event = said.unwrap_or(if active { "registered" } else { "unregistered" });
        let mut uri = None;
        let mut extra = Vec::new();
        while let Some(child) = self.xml.child()? {
            match child.name {
                _ if !ours(child) => self.foreign(child, &mut extra)?,
                "uri" => uri = known(self.xml.text()?),
                "display-name" => contact.name = known(self.xml.text()?),
                "unknown-param" if contact.params.len() < PARAMS => {
                    let name = self.xml.attribute("name")?.and_then(known);
                    let content = self.xml.text()?;
                    contact.params.extend(name.map(|name| (name, content.trim().into())));
                }
                _ => self.xml.skip()?,
            }
        }
        contact.extra = extra.into();
        contact.uri = uri.ok_or_else(|| self.xml.bad("a contact has no uri"))?;
        contact.id = id.unwrap_or_else(|| contact.uri.clone());
        Ok(contact)
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
