//! Reading calls as JSON: what the feed shows, and simpler forms of it.

use super::{Dialog, Dialogs, Direction, Lamp, Party, Progress};
use crate::node::{Node, document};
use lamplighter_model::package::{BadBody, Reading};
use lamplighter_model::time::Time;
use std::sync::Arc;
use std::time::Duration;

const PROGRESS: [(&str, Progress); 5] = [
    (Progress::Trying.name(), Progress::Trying),
    (Progress::Proceeding.name(), Progress::Proceeding),
    (Progress::Early.name(), Progress::Early),
    (Progress::Confirmed.name(), Progress::Confirmed),
    (Progress::Terminated.name(), Progress::Terminated),
];

const DIRECTIONS: [(&str, Direction); 4] = [
    ("in", Direction::Recipient),
    ("out", Direction::Initiator),
    ("recipient", Direction::Recipient),
    ("initiator", Direction::Initiator),
];

const LAMPS: [(&str, Lamp); 5] = [
    (Lamp::Idle.name(), Lamp::Idle),
    (Lamp::Ringing.name(), Lamp::Ringing),
    (Lamp::Dialing.name(), Lamp::Dialing),
    (Lamp::Busy.name(), Lamp::Busy),
    (Lamp::Hold.name(), Lamp::Hold),
];

/// RFC 3323 section 4.1.1.3: somebody with a name but no address.
const ANONYMOUS: &str = "sip:anonymous@anonymous.invalid";

pub(super) fn read(json: &[u8], reading: Reading<'_>, most: usize) -> Result<Dialogs, BadBody> {
    let value = document(json)?;
    let root = Node::root(&value);
    let partial = root.get("partial", Node::flag)?.unwrap_or(false);
    let mut all: Vec<Arc<Dialog>> = Vec::new();
    let lists = [("calls", None), ("ended", Some(Progress::Terminated))];
    let mut listed = false;
    for (name, progress) in lists {
        let Some(list) = root.member(name) else { continue };
        listed = true;
        for call in list.elements()? {
            call.expect_object()?;
            let dialog = dialog(&call, None, progress, reading)?;
            match all.iter().position(|known| known.same(&dialog)) {
                Some(index) => all[index] = Arc::new(dialog),
                None if all.len() == most => return Err(call.bad("too many dialogs")),
                None => all.push(Arc::new(dialog)),
            }
        }
    }
    if !listed {
        if root.member("state").is_some() {
            all.push(Arc::new(dialog(&root, Some("call"), None, reading)?));
        } else if let Some(lamp) = root.member("lamp") {
            let lamp = lamp.one_of(&LAMPS, "expected idle, ringing, dialing, busy or hold")?;
            all.extend(lit(lamp, reading).map(Arc::new));
        } else {
            return Err(root.bad("expected calls, state or lamp"));
        }
    }
    Ok(Dialogs { full: !(partial && reading.modifies), at: reading.now, all })
}

fn new(id: Box<str>, progress: Progress, now: Time) -> Dialog {
    Dialog {
        id,
        call_id: None,
        local_tag: None,
        remote_tag: None,
        direction: None,
        progress,
        event: None,
        code: None,
        replaces: None,
        referred_by: None,
        local: Party::default(),
        remote: Party::default(),
        extra: Box::default(),
        since: now,
        answered: (progress == Progress::Confirmed).then_some(now),
        ended: (progress == Progress::Terminated).then_some(now),
    }
}

/// A call of which only the lamp is known.
fn lit(lamp: Lamp, reading: Reading<'_>) -> Option<Dialog> {
    let (progress, direction) = match lamp {
        Lamp::Idle => return None,
        Lamp::Ringing => (Progress::Early, Some(Direction::Recipient)),
        Lamp::Dialing => (Progress::Early, Some(Direction::Initiator)),
        Lamp::Busy | Lamp::Hold => (Progress::Confirmed, None),
    };
    let mut dialog = Dialog { direction, ..new("lamp".into(), progress, reading.now) };
    if lamp == Lamp::Hold {
        hold(&mut dialog.local, reading);
    }
    Some(dialog)
}

/// RFC 4235 section 4.1.6.
fn hold(local: &mut Party, reading: Reading<'_>) {
    say(local, "+sip.rendering", "no", reading);
}

/// A parameter of the own end's target.
fn say(local: &mut Party, name: &str, value: &str, reading: Reading<'_>) {
    if local.identity.is_none() {
        local.target = Some(reading.presentity.into());
    }
    local.params.push((name.into(), value.into()));
}

/// `id` and `progress` stand in for what is not said.
fn dialog(
    call: &Node<'_>,
    id: Option<&str>,
    progress: Option<Progress>,
    reading: Reading<'_>,
) -> Result<Dialog, BadBody> {
    let now = reading.now;
    let name = |name| call.get(name, Node::known).map(Option::flatten);
    let state = call
        .get("state", |state| state.one_of(&PROGRESS, "expected trying, proceeding, early, confirmed or terminated"))?;
    let progress = state.or(progress).ok_or_else(|| call.bad("a call has no state"))?;
    let mut dialog = new(Box::default(), progress, now);
    // As the feed has them: what a Replaces header sent to the presentity says (RFC 3891 section 3).
    if let Some(replaces) = call.member("replaces") {
        replaces.expect_object()?;
        let name = |name| replaces.get(name, Node::known).map(Option::flatten);
        (dialog.call_id, dialog.local_tag, dialog.remote_tag) = (name("call_id")?, name("to_tag")?, name("from_tag")?);
    }
    dialog.call_id = name("call_id")?.or(dialog.call_id);
    dialog.local_tag = name("local_tag")?.or(dialog.local_tag);
    dialog.remote_tag = name("remote_tag")?.or(dialog.remote_tag);
    let id = name("id")?.or_else(|| dialog.call_id.clone()).or_else(|| id.map(Into::into));
    dialog.id = id.ok_or_else(|| call.bad("a call has neither id nor call_id"))?;
    dialog.direction = call.get("dir", |dir| dir.one_of(&DIRECTIONS, "expected in or out"))?;
    if let Some(remote) = call.member("remote") {
        dialog.remote = party(&remote)?;
    }
    if let Some(local) = call.member("local") {
        dialog.local = party(&local)?;
    }
    if let Some(name) = name("local_name")? {
        dialog.local.identity.get_or_insert_with(|| reading.presentity.into());
        dialog.local.display = Some(name);
    }
    dialog.event = call.get("event", |event| {
        super::read::event(event.text(crate::node::TEXT)?)
            .ok_or_else(|| event.bad("not an event of RFC 4235 section 4.1.2"))
    })?;
    dialog.code = call.get("code", |code| {
        let status = code.whole()?;
        u16::try_from(status)
            .ok()
            .filter(|code| (100..700).contains(code))
            .ok_or_else(|| code.bad("expected a status code"))
    })?;
    dialog.since = call.get("since", |since| since.time(now))?.unwrap_or(now);
    if let Some(answered) = call.get("answered", |answered| answered.time(now))? {
        dialog.answered = Some(answered);
    }
    if let Some(millis) = call.get("duration_ms", Node::whole)?
        && progress == Progress::Terminated
    {
        dialog.ended = Some((dialog.since + Duration::from_millis(millis)).min(now));
    }
    if call.get("hold", Node::flag)? == Some(true) && progress == Progress::Confirmed {
        hold(&mut dialog.local, reading);
    }
    let appearance = call.get("appearance", |number| {
        let from_zero = number.whole()?.checked_sub(1).filter(|from_zero| *from_zero < u32::MAX.into());
        from_zero.ok_or_else(|| number.bad("expected a number from 1"))
    })?;
    if let Some(from_zero) = appearance {
        say(&mut dialog.local, "x-line-id", &from_zero.to_string(), reading);
    }
    Ok(dialog)
}

/// `{"uri","name"}`, or the address alone.
fn party(node: &Node<'_>) -> Result<Party, BadBody> {
    if node.as_string().is_some() {
        return Ok(Party { identity: Some(node.uri()?), ..Party::default() });
    }
    node.expect_object().map_err(|_| node.bad("expected an object or a URI"))?;
    let display = node.get("name", Node::known)?.flatten();
    let identity = node.get("uri", Node::uri)?;
    let identity = identity.or_else(|| display.is_some().then(|| ANONYMOUS.into()));
    Ok(Party { identity, display, ..Party::default() })
}
