//! Writing documents, and JSON for the feed.

use super::{NAMESPACE, State, Status, Watcher};
use crate::json::Object;
use crate::xml::{text, value};
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{Cuts, View};
use std::borrow::Cow;

pub(super) fn xml(presentity: &str, of: &str, state: &State, view: View, out: &mut Vec<u8>) -> Cuts {
    let start = out.len();
    let place = |out: &Vec<u8>| (out.len() - start) as u32;
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\n<watcherinfo xmlns=\"");
    out.extend_from_slice(NAMESPACE.as_bytes());
    out.extend_from_slice(b"\" version=\"");
    let version = Some(place(out));
    out.extend_from_slice(b"0\" state=\"full\">\n<watcher-list resource=\"");
    let from = place(out);
    value(out, presentity);
    let entity = Some(from..place(out));
    attribute(out, "\" package", of);
    out.extend_from_slice(b">\n");
    if view != View::Busy {
        for watcher in &state.all {
            out.extend_from_slice(b"<watcher");
            attribute(out, " id", &seen_id(watcher, view));
            attribute(out, " status", watcher.status.name());
            attribute(out, " event", watcher.event);
            if view == View::Full {
                attribute(out, " duration-subscribed", &state.at.since(watcher.since).as_secs().to_string());
                if let Some(name) = &watcher.name {
                    attribute(out, " display-name", name);
                }
            }
            out.push(b'>');
            text(out, if view == View::Full { &watcher.uri } else { "sip:anonymous@anonymous.invalid" });
            out.extend_from_slice(b"</watcher>\n");
        }
    }
    out.extend_from_slice(b"</watcher-list>\n</watcherinfo>\n");
    Cuts { version, entity }
}

fn attribute(out: &mut Vec<u8>, name: &str, content: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    value(out, content);
    out.push(b'"');
}

/// Ids may be addresses; in their place one that tells watchers apart.
fn seen_id(watcher: &Watcher, view: View) -> Cow<'_, str> {
    match view {
        View::Full => (&*watcher.id).into(),
        View::Masked | View::Busy => {
            format!("w{:016x}", Seed(0, 0).fingerprint(&[watcher.id.as_bytes()]) as u64).into()
        }
    }
}

pub(super) fn json(of: &str, state: &State, view: View, out: &mut Vec<u8>) {
    let mut object = Object::new(out);
    object.string("package", of);
    object.number("n", state.count(Status::Active));
    object.number("pending", state.count(Status::Pending));
    object.number("waiting", state.count(Status::Waiting));
    if view != View::Busy {
        object.array("watchers", &state.all, |out, watcher| {
            let mut object = Object::new(out);
            object.string("id", &seen_id(watcher, view));
            object.string("status", watcher.status.name());
            object.string("event", watcher.event);
            object.number("since", watcher.since.as_millis());
            if view == View::Full {
                object.string("uri", &watcher.uri);
                if let Some(name) = &watcher.name {
                    object.string("name", name);
                }
            }
            object.end();
        });
    }
    object.end();
}
