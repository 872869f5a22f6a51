//! Writing documents for watchers and JSON for the feed.

use super::{NAMESPACE, Shown, State};
use crate::json::Object;
use crate::thousandths;
use crate::xml::{text, value};
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{Cuts, View};
use std::borrow::Cow;

pub(super) fn xml(presentity: &str, state: &State, view: View, out: &mut Vec<u8>) -> Cuts {
    let start = out.len();
    let place = |out: &Vec<u8>| (out.len() - start) as u32;
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\n<reginfo xmlns=\"");
    out.extend_from_slice(NAMESPACE.as_bytes());
    out.extend_from_slice(b"\" version=\"");
    let version = Some(place(out));
    out.extend_from_slice(b"0\" state=\"full\">\n<registration aor=\"");
    let from = place(out);
    value(out, presentity);
    let entity = Some(from..place(out));
    // RFC 3680 section 5.1: init, before anything is bound.
    let registration = match state.registered() {
        Some(true) => "active",
        Some(false) if !state.shown.is_empty() => "terminated",
        Some(false) | None => "init",
    };
    attribute(out, "\" id=\"r\" state", registration);
    out.extend_from_slice(b">\n");
    if view != View::Busy {
        for shown in &state.shown {
            contact(shown, view, out);
        }
    }
    out.extend_from_slice(b"</registration>\n</reginfo>\n");
    Cuts { version, entity }
}

fn contact(shown: &Shown, view: View, out: &mut Vec<u8>) {
    let contact = &*shown.contact;
    out.extend_from_slice(b"<contact");
    attribute(out, " id", &seen_id(shown, view));
    attribute(out, " state", state(shown));
    attribute(out, " event", contact.event);
    if view != View::Full {
        out.extend_from_slice(b">\n<uri>sip:anonymous@anonymous.invalid</uri>\n</contact>\n");
        return;
    }
    if let Some(q) = contact.q {
        out.extend_from_slice(b" q=\"");
        thousandths::write(q, out);
        out.push(b'"');
    }
    if let Some(call_id) = &contact.call_id {
        attribute(out, " callid", call_id);
    }
    if let Some(cseq) = contact.cseq {
        attribute(out, " cseq", &cseq.to_string());
    }
    out.extend_from_slice(b">\n<uri>");
    text(out, &contact.uri);
    out.extend_from_slice(b"</uri>\n");
    if let Some(name) = &contact.name {
        out.extend_from_slice(b"<display-name>");
        text(out, name);
        out.extend_from_slice(b"</display-name>\n");
    }
    for (name, content) in &contact.params {
        out.extend_from_slice(b"<unknown-param");
        attribute(out, " name", name);
        out.push(b'>');
        text(out, content);
        out.extend_from_slice(b"</unknown-param>\n");
    }
    if !contact.extra.is_empty() {
        out.extend_from_slice(&contact.extra);
        out.push(b'\n');
    }
    out.extend_from_slice(b"</contact>\n");
}

fn attribute(out: &mut Vec<u8>, name: &str, content: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    value(out, content);
    out.push(b'"');
}

fn state(shown: &Shown) -> &'static str {
    if shown.contact.ended.is_some() { "terminated" } else { "active" }
}

/// Ids may be addresses; in their place one that tells contacts apart.
fn seen_id(shown: &Shown, view: View) -> Cow<'_, str> {
    match view {
        View::Full => shown.id().into(),
        View::Masked | View::Busy => {
            format!("d{:016x}", Seed(0, 0).fingerprint(&[shown.id().as_bytes()]) as u64).into()
        }
    }
}

pub(super) fn json(state: &State, view: View, out: &mut Vec<u8>) {
    let mut object = Object::new(out);
    if let Some(registered) = state.registered() {
        object.flag("registered", registered);
    }
    if view != View::Busy {
        object.array("contacts", &state.shown, |out, shown| one(shown, view, out));
    }
    object.end();
}

fn one(shown: &Shown, view: View, out: &mut Vec<u8>) {
    let contact = &*shown.contact;
    let mut object = Object::new(out);
    object.string("id", &seen_id(shown, view));
    object.string("state", state(shown));
    object.string("event", contact.event);
    object.number("since", contact.since.as_millis());
    match contact.ended.or(contact.until) {
        Some(until) => object.number("until", until.as_millis()),
        None => object.null("until"),
    }
    if view == View::Full {
        object.string("uri", &contact.uri);
        let more = [("name", &contact.name), ("ua", &contact.user_agent), ("received", &contact.received)];
        for (name, content) in more {
            if let Some(content) = content {
                object.string(name, content);
            }
        }
        if let Some(q) = contact.q {
            thousandths::write(q, object.member("q"));
        }
    }
    object.end();
}
