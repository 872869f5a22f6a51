//! Writing documents for phones and JSON for the feed.

use super::{Dialog, Direction, Lamp, NAMESPACE, Party, Progress, Shown, State};
use crate::json::Object;
use crate::xml::{text, value};
use lamplighter_model::config::{Idle, Profile};
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{Cuts, View};
use lamplighter_model::time::Time;

pub(super) fn xml(presentity: &str, state: &State, view: View, profile: &Profile, out: &mut Vec<u8>) -> Cuts {
    let start = out.len();
    let place = |out: &Vec<u8>| (out.len() - start) as u32;
    out.reserve(256 + 512 * state.shown.len());
    out.extend_from_slice(b"<?xml version=\"1.0\"?>\n<dialog-info xmlns=\"");
    out.extend_from_slice(NAMESPACE.as_bytes());
    out.extend_from_slice(b"\" version=\"");
    let version = Some(place(out));
    out.extend_from_slice(b"0\" state=\"full\" entity=\"");
    let from = place(out);
    value(out, presentity);
    let entity = Some(from..place(out));
    out.extend_from_slice(b"\">\n");
    if profile.single_dialog {
        // Of equally urgent ones the newest.
        if let Some(shown) = state.shown.iter().max_by_key(|shown| (shown.dialog.progress, shown.stamp)) {
            dialog(presentity, shown, view, out);
        }
    } else {
        for shown in &state.shown {
            dialog(presentity, shown, view, out);
        }
    }
    if state.shown.is_empty() && profile.idle == Idle::Terminated {
        out.extend_from_slice(b"<dialog id=\"");
        value(out, &profile.idle_id);
        out.extend_from_slice(b"\">\n<state>terminated</state>\n</dialog>\n");
    }
    out.extend_from_slice(b"</dialog-info>\n");
    Cuts { version, entity }
}

fn dialog(presentity: &str, shown: &Shown, view: View, out: &mut Vec<u8>) {
    let dialog = &*shown.dialog;
    out.extend_from_slice(b"<dialog");
    if view == View::Full {
        attribute(out, " id", Some(shown.id()));
        attribute(out, " call-id", dialog.call_id.as_deref());
        attribute(out, " local-tag", dialog.local_tag.as_deref());
        attribute(out, " remote-tag", dialog.remote_tag.as_deref());
    } else {
        attribute(out, " id", Some(&hidden_id(shown)));
    }
    // Before somebody answers the direction is what tells ringing from dialing, and so a part of the state.
    if view != View::Busy || !matches!(dialog.progress, Progress::Confirmed | Progress::Terminated) {
        attribute(out, " direction", dialog.direction.map(direction));
    }
    out.extend_from_slice(b">\n<state");
    if view != View::Busy {
        attribute(out, " event", dialog.event);
        if let Some(code) = dialog.code {
            attribute(out, " code", Some(&code.to_string()));
        }
    }
    out.push(b'>');
    out.extend_from_slice(dialog.progress.name().as_bytes());
    out.extend_from_slice(b"</state>\n");
    match view {
        View::Full => whole(dialog, out),
        View::Masked => masked(presentity, dialog, out),
        View::Busy => {}
    }
    out.extend_from_slice(b"</dialog>\n");
}

/// In the order of the schema, RFC 4235 section 4.4.
fn whole(dialog: &Dialog, out: &mut Vec<u8>) {
    if let Some(replaces) = &dialog.replaces {
        out.extend_from_slice(b"<replaces");
        attribute(out, " call-id", Some(&replaces.call_id));
        attribute(out, " local-tag", Some(&replaces.local_tag));
        attribute(out, " remote-tag", Some(&replaces.remote_tag));
        out.extend_from_slice(b"/>\n");
    }
    if let Some(referrer) = &dialog.referred_by {
        out.extend_from_slice(b"<referred-by");
        attribute(out, " display", referrer.display.as_deref());
        out.push(b'>');
        text(out, referrer.identity.as_deref().unwrap_or_default());
        out.extend_from_slice(b"</referred-by>\n");
    }
    party("local", &dialog.local, out);
    party("remote", &dialog.remote, out);
    if !dialog.extra.is_empty() {
        out.extend_from_slice(&dialog.extra);
        out.push(b'\n');
    }
}

fn party(name: &str, party: &Party, out: &mut Vec<u8>) {
    let Party { identity, display, target, params, extra } = party;
    if identity.is_none() && target.is_none() && params.is_empty() && extra.is_empty() {
        return;
    }
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
    if let Some(identity) = identity {
        out.extend_from_slice(b"<identity");
        attribute(out, " display", display.as_deref());
        out.push(b'>');
        text(out, identity);
        out.extend_from_slice(b"</identity>");
    }
    if target.is_some() || !params.is_empty() {
        out.extend_from_slice(b"<target");
        // The schema requires the address; who gave parameters only is reached at the identity.
        attribute(out, " uri", Some(target.as_deref().or(identity.as_deref()).unwrap_or_default()));
        if params.is_empty() {
            out.extend_from_slice(b"/>");
        } else {
            out.push(b'>');
            for (name, content) in params {
                out.extend_from_slice(b"<param");
                attribute(out, " pname", Some(name));
                attribute(out, " pval", Some(content));
                out.extend_from_slice(b"/>");
            }
            out.extend_from_slice(b"</target>");
        }
    }
    out.extend_from_slice(extra);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">\n");
}

fn masked(presentity: &str, dialog: &Dialog, out: &mut Vec<u8>) {
    if dialog.held() {
        out.extend_from_slice(b"<local><target");
        attribute(out, " uri", Some(presentity));
        out.extend_from_slice(b"><param pname=\"+sip.rendering\" pval=\"no\"/></target></local>\n");
    }
    if let Some(identity) = &dialog.remote.identity {
        out.extend_from_slice(b"<remote><identity>");
        text(out, &masked_address(identity));
        out.extend_from_slice(b"</identity></remote>\n");
    }
}

fn attribute(out: &mut Vec<u8>, name: &str, content: Option<&str>) {
    if let Some(content) = content {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        value(out, content);
        out.push(b'"');
    }
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Initiator => "initiator",
        Direction::Recipient => "recipient",
    }
}

/// An id may be a Call-ID, which is enough to take a call; this one is of no use but to tell dialogs apart.
fn hidden_id(shown: &Shown) -> String {
    let call_id = shown.dialog.call_id.as_deref().unwrap_or_default();
    let number = Seed(0, 0).fingerprint(&[shown.id().as_bytes(), call_id.as_bytes()]) as u64;
    format!("d{number:016x}")
}

/// The last three digits of a number of more than three, else nothing.
fn masked_address(address: &str) -> String {
    let rest = address.split_once(':').map_or(address, |(_, rest)| rest);
    let user = rest.split(['@', ';', '?']).next().unwrap_or_default();
    let number = user.strip_prefix('+').unwrap_or(user);
    if number.len() > 3 && number.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("sip:***{}@anonymous.invalid", &number[number.len() - 3..])
    } else {
        "sip:anonymous@anonymous.invalid".to_owned()
    }
}

pub(super) fn json(state: &State, view: View, out: &mut Vec<u8>) {
    let (ended, calls): (Vec<&Shown>, Vec<&Shown>) =
        state.shown.iter().partition(|shown| shown.dialog.progress == Progress::Terminated);
    let mut object = Object::new(out);
    object.string("lamp", state.lamp().name());
    object.number("n", calls.len());
    if view != View::Busy {
        object.array("calls", &calls, |out, shown| call(shown, view, out));
        if !ended.is_empty() {
            object.array("ended", &ended, |out, shown| over(shown, view, out));
        }
    }
    object.end();
}

fn call(shown: &Shown, view: View, out: &mut Vec<u8>) {
    let dialog = &*shown.dialog;
    let mut object = Object::new(out);
    who(&mut object, shown, view);
    object.string("state", dialog.progress.name());
    object.number("since", shown.since.as_millis());
    time(&mut object, "answered", dialog.answered);
    object.flag("hold", Lamp::of(dialog) == Lamp::Hold);
    if let Some(appearance) = dialog.appearance() {
        object.number("appearance", appearance);
    }
    if view == View::Full
        && let (Some(call_id), Some(local), Some(remote)) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag)
    {
        // As a Replaces header has it: its to-tag is the tag of whom it is sent to (RFC 3891 section 3).
        let mut replaces = Object::new(object.member("replaces"));
        replaces.string("call_id", call_id);
        replaces.string("to_tag", local);
        replaces.string("from_tag", remote);
        replaces.end();
    }
    object.end();
}

fn over(shown: &Shown, view: View, out: &mut Vec<u8>) {
    let dialog = &*shown.dialog;
    let mut object = Object::new(out);
    who(&mut object, shown, view);
    match dialog.event {
        Some(event) => object.string("event", event),
        None => object.null("event"),
    }
    if let Some(code) = dialog.code {
        object.number("code", code);
    }
    object.number("since", shown.since.as_millis());
    time(&mut object, "answered", dialog.answered);
    if let Some(ended) = dialog.ended {
        object.number("duration_ms", ended.since(shown.since).as_millis());
    }
    object.end();
}

fn who(object: &mut Object<'_>, shown: &Shown, view: View) {
    let dialog = &*shown.dialog;
    match view {
        View::Full => object.string("id", shown.id()),
        View::Masked | View::Busy => object.string("id", &hidden_id(shown)),
    }
    match dialog.direction {
        Some(Direction::Initiator) => object.string("dir", "out"),
        Some(Direction::Recipient) => object.string("dir", "in"),
        None => {}
    }
    if let Some(identity) = &dialog.remote.identity {
        let mut remote = Object::new(object.member("remote"));
        if view == View::Full {
            remote.string("uri", identity);
            if let Some(display) = &dialog.remote.display {
                remote.string("name", display);
            }
        } else {
            remote.string("uri", &masked_address(identity));
        }
        remote.end();
    }
    if view == View::Full
        && let Some(local) = &dialog.local.identity
    {
        object.string("local", local);
        if let Some(display) = &dialog.local.display {
            object.string("local_name", display);
        }
    }
}

fn time(object: &mut Object<'_>, name: &str, time: Option<Time>) {
    match time {
        Some(time) => object.number(name, time.as_millis()),
        None => object.null(name),
    }
}
