//! Writing documents for phones and JSON for the feed.

use super::{Activities, DATA_MODEL, Doing, Note, PIDF, Person, RPID, Show, ShownTuple, State, Tuple, VALUES, Value};
use crate::json::{Object, string};
use crate::thousandths;
use crate::xml::{text, value};
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{Cuts, View};
use std::borrow::Cow;

pub(super) fn pidf(presentity: &str, state: &State, view: View, out: &mut Vec<u8>) -> Cuts {
    let start = out.len();
    out.reserve(256 + 256 * state.tuples.len());
    out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"");
    out.extend_from_slice(PIDF.as_bytes());
    let reduced = match view {
        View::Full => None,
        View::Masked => state.person.as_ref().and_then(masked),
        View::Busy => state.show().and_then(busy),
    };
    let seen = if view == View::Full { state.person.as_ref() } else { reduced.as_ref() };
    if seen.is_some() {
        for (prefix, namespace) in [("dm", DATA_MODEL), ("rpid", RPID)] {
            out.extend_from_slice(b"\" xmlns:");
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(b"=\"");
            out.extend_from_slice(namespace.as_bytes());
        }
    }
    out.extend_from_slice(b"\" entity=\"");
    let from = (out.len() - start) as u32;
    value(out, presentity);
    let entity = Some(from..(out.len() - start) as u32);
    out.extend_from_slice(b"\">\n");
    if view == View::Busy {
        if let Some(open) = state.open() {
            out.extend_from_slice(b"<tuple id=\"t\"><status>");
            basic(open, out);
            out.extend_from_slice(b"</status></tuple>\n");
        }
    } else {
        for shown in &state.tuples {
            tuple(&seen_id(shown, view), &shown.tuple, view, out);
        }
    }
    if view == View::Full {
        notes("note", &state.notes, out);
    }
    if let Some(seen) = seen {
        person(seen, out);
    }
    if view == View::Full {
        for device in &state.devices {
            out.extend_from_slice(&device.xml);
            out.push(b'\n');
        }
        out.extend_from_slice(&state.extra);
        values(&state.values, out);
    }
    out.extend_from_slice(b"</presence>\n");
    Cuts { version: None, entity }
}

/// What a person does, and nothing else: notes may name others and their numbers.
fn masked(person: &Person) -> Option<Person> {
    let doing = person.doing.as_ref()?;
    let mut activities = doing.activities;
    if doing.dnd {
        activities.add(Activities::BUSY);
    }
    Some(doing_only(activities))
}

/// How available somebody is, in words of RFC 4480.
fn busy(show: Show) -> Option<Person> {
    show.activity().map(doing_only)
}

fn doing_only(activities: Activities) -> Person {
    Person { id: "person".into(), doing: Some(Doing { activities, ..Doing::default() }), ..Person::default() }
}

/// Ids may be addresses, names of machines and numbers of devices; in their place one that tells tuples apart.
fn seen_id(shown: &ShownTuple, view: View) -> Cow<'_, str> {
    match view {
        View::Full => shown.id().into(),
        View::Masked | View::Busy => {
            format!("d{:016x}", Seed(0, 0).fingerprint(&[shown.id().as_bytes()]) as u64).into()
        }
    }
}

fn values(values: &[Value], out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    out.extend_from_slice(b"<values xmlns=\"");
    out.extend_from_slice(VALUES.as_bytes());
    out.extend_from_slice(b"\">\n");
    for Value { name, json } in values {
        out.extend_from_slice(b"<value name=\"");
        value(out, name);
        out.extend_from_slice(b"\">");
        match serde_json::from_str::<String>(json) {
            Ok(string) => text(out, &string),
            Err(_) => text(out, json),
        }
        out.extend_from_slice(b"</value>\n");
    }
    out.extend_from_slice(b"</values>\n");
}

fn basic(open: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if open { b"<basic>open</basic>" } else { b"<basic>closed</basic>" });
}

/// In the order of the schema, RFC 3863 section 4.4.
fn tuple(id: &str, tuple: &Tuple, view: View, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<tuple id=\"");
    value(out, id);
    out.extend_from_slice(b"\">\n<status>");
    if let Some(open) = tuple.open {
        basic(open, out);
    }
    if let Some(show) = tuple.show {
        out.extend_from_slice(b"<show xmlns=\"jabber:client\">");
        out.extend_from_slice(show.name().as_bytes());
        out.extend_from_slice(b"</show>");
    }
    if view == View::Full {
        out.extend_from_slice(&tuple.status_extra);
    }
    out.extend_from_slice(b"</status>\n");
    if view == View::Full {
        if let Some(name) = &tuple.name {
            // Written again from what was understood.
            out.extend_from_slice(b"<c:display-name xmlns:c=\"urn:ietf:params:xml:ns:pidf:cipid\">");
            text(out, name);
            out.extend_from_slice(b"</c:display-name>\n");
        }
        if !tuple.extra.is_empty() {
            out.extend_from_slice(&tuple.extra);
            out.push(b'\n');
        }
        if let Some(contact) = &tuple.contact {
            out.extend_from_slice(b"<contact");
            if let Some(priority) = tuple.priority {
                out.extend_from_slice(b" priority=\"");
                thousandths::write(priority, out);
                out.push(b'"');
            }
            out.push(b'>');
            text(out, contact);
            out.extend_from_slice(b"</contact>\n");
        }
    }
    if view == View::Full {
        notes("note", &tuple.notes, out);
        if let Some(timestamp) = &tuple.timestamp {
            element("timestamp", timestamp, out);
        }
    }
    out.extend_from_slice(b"</tuple>\n");
}

/// In the order of the schema, RFC 4479 section 6: other elements, then notes, then the timestamp.
fn person(person: &Person, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<dm:person id=\"");
    value(out, &person.id);
    out.extend_from_slice(b"\">\n");
    if let Some(doing) = &person.doing {
        activities(doing, out);
    }
    for extra in &person.extras {
        out.extend_from_slice(&extra.xml);
        out.push(b'\n');
    }
    notes("dm:note", &person.notes, out);
    if let Some(timestamp) = &person.timestamp {
        element("dm:timestamp", timestamp, out);
    }
    out.extend_from_slice(b"</dm:person>\n");
}

fn activities(doing: &Doing, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<rpid:activities>");
    notes("rpid:note", &doing.notes, out);
    for name in doing.activities.names() {
        out.extend_from_slice(b"<rpid:");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(&doing.extra);
    out.extend_from_slice(b"</rpid:activities>\n");
}

fn notes(name: &str, notes: &[Note], out: &mut Vec<u8>) {
    for note in notes {
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        if let Some(lang) = &note.lang {
            out.extend_from_slice(b" xml:lang=\"");
            value(out, lang);
            out.push(b'"');
        }
        out.push(b'>');
        text(out, &note.text);
        out.extend_from_slice(b"</");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b">\n");
    }
}

fn element(name: &str, content: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
    text(out, content);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">\n");
}

pub(super) fn json(state: &State, view: View, out: &mut Vec<u8>) {
    let mut object = Object::new(out);
    if let Some(open) = state.open() {
        object.string("basic", if open { "open" } else { "closed" });
    }
    if let Some(show) = state.show() {
        object.string("show", show.name());
    }
    if view == View::Full
        && let Some(name) = state.tuples.iter().find_map(|shown| shown.tuple.name.as_deref())
    {
        object.string("name", name);
    }
    if view != View::Busy
        && let Some(doing) = state.person.as_ref().and_then(|person| person.doing.as_ref())
    {
        object.array("activities", doing.activities.names(), string);
    }
    if view == View::Full {
        let notes = state.notes();
        if let Some(note) = notes.first() {
            object.string("note", note.text.trim());
            if let Some(lang) = &note.lang {
                object.string("lang", lang);
            }
        }
        if notes.len() > 1 {
            object.array("notes", notes, |out, note| {
                let mut object = Object::new(out);
                object.string("note", note.text.trim());
                if let Some(lang) = &note.lang {
                    object.string("lang", lang);
                }
                object.end();
            });
        }
    }
    if let Some(since) = state.since {
        object.number("since", since.as_millis());
    }
    if view != View::Busy {
        object.array("devices", &state.tuples, |out, shown| device(shown, view, out));
    }
    if view == View::Full && !state.values.is_empty() {
        let mut extra = Object::new(object.member("extra"));
        for Value { name, json } in &state.values {
            extra.member(name).extend_from_slice(json.as_bytes());
        }
        extra.end();
    }
    object.end();
}

fn device(shown: &ShownTuple, view: View, out: &mut Vec<u8>) {
    let tuple = &*shown.tuple;
    let mut object = Object::new(out);
    object.string("id", &seen_id(shown, view));
    if let Some(open) = tuple.open {
        object.string("basic", if open { "open" } else { "closed" });
    }
    if let Some(show) = tuple.show {
        object.string("show", show.name());
    }
    if view == View::Full {
        if let Some(contact) = &tuple.contact {
            object.string("contact", contact);
            if let Some(priority) = tuple.priority {
                thousandths::write(priority, object.member("priority"));
            }
        }
        if let Some(note) = tuple.notes.first() {
            object.string("note", note.text.trim());
        }
    }
    object.end();
}
