//! Reading registrations as JSON: what the feed shows, and simpler forms of it.

use super::{Bindings, CONTACTS, Contact};
use crate::node::{Node, TEXT, document};
use lamplighter_model::package::{BadBody, Reading};
use lamplighter_model::time::Time;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn read(json: &[u8], reading: Reading<'_>) -> Result<Bindings, BadBody> {
    let value = document(json)?;
    let root = Node::root(&value);
    let partial = root.get("partial", Node::flag)?.unwrap_or(false);
    let registered = root.get("registered", Node::flag)?;
    let mut all: Vec<Arc<Contact>> = Vec::new();
    match root.member("contacts") {
        Some(contacts) => {
            for one in contacts.elements()? {
                let contact = Arc::new(contact(&one, reading.now)?);
                match all.iter().position(|known| known.id == contact.id) {
                    Some(index) => all[index] = contact,
                    None if all.len() == CONTACTS => return Err(one.bad("too many contacts")),
                    None => all.push(contact),
                }
            }
        }
        None if registered == Some(false) => {}
        None => return Err(root.bad("expected contacts, or registered to be false")),
    }
    Ok(Bindings { full: !(partial && reading.modifies), at: reading.now, all })
}

/// An object, or the address alone.
fn contact(node: &Node<'_>, now: Time) -> Result<Contact, BadBody> {
    let alone = node.as_string().is_some();
    if !alone {
        node.expect_object().map_err(|_| node.bad("expected an object or a URI"))?;
    }
    let uri = if alone { Some(node.uri()?) } else { node.get("uri", Node::uri)? };
    let uri = uri.ok_or_else(|| node.bad("a contact has no uri"))?;
    let known = |name| node.get(name, Node::known).map(Option::flatten);
    let active = node.get("state", |state| {
        state.one_of(&[("active", true), ("terminated", false)], "expected active or terminated")
    })?;
    let active = active.unwrap_or(true);
    let event = node.get("event", |event| {
        super::read::event(event.text(TEXT)?).ok_or_else(|| event.bad("not an event of RFC 3680 section 5.2.1"))
    })?;
    let since = node.get("since", |since| since.time(now))?.unwrap_or(now);
    let until = match node.get("expires_s", Node::whole)? {
        Some(seconds) => Some(now + Duration::from_secs(seconds.min(u32::MAX.into()))),
        None => node.get("until", |until| Ok(Time::from_micros(until.whole()?.saturating_mul(1000))))?,
    };
    Ok(Contact {
        id: known("id")?.unwrap_or_else(|| uri.clone()),
        uri,
        name: known("name")?,
        event: event.unwrap_or(if active { "registered" } else { "unregistered" }),
        until: until.filter(|_| active),
        since,
        ended: (!active).then_some(now),
        q: node.get("q", Node::thousandths)?,
        call_id: None,
        cseq: None,
        user_agent: known("ua")?,
        received: known("received")?,
        params: Vec::new(),
        extra: Box::default(),
    })
}
