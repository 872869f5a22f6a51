//! Reading presence as JSON: what the feed shows, and simpler forms of it.

use super::read::{EXTRA, EXTRAS, NOTES, TUPLES};
use super::{ACTIVITIES, Activities, Doing, Note, Person, Presence, Show, Tuple, Value, compose};
use crate::each;
use crate::node::{Node, document};
use lamplighter_model::package::{BadBody, Sourced, Stamp};
use lamplighter_model::time::Time;
use std::sync::Arc;

const BASIC: [(&str, bool); 2] = [("open", true), ("closed", false)];

const SHOWS: [(&str, Show); 5] = [
    (Show::Chat.name(), Show::Chat),
    (Show::Away.name(), Show::Away),
    (Show::Xa.name(), Show::Xa),
    (Show::Dnd.name(), Show::Dnd),
    (Show::OnThePhone.name(), Show::OnThePhone),
];

/// The longest name of a value of our own, bytes.
const NAME: usize = 64;

pub(super) fn read(json: &[u8], now: Time) -> Result<Presence, BadBody> {
    let value = document(json)?;
    let root = Node::root(&value);
    let mut presence = Presence { since: now, ..Presence::default() };
    if let Some(since) = root.get("since", |since| since.time(now))? {
        presence.since = since;
    }
    let notes = notes(&root)?;
    let open = root.get("basic", basic)?;
    let show = root.get("show", availability)?;
    let name = root.get("name", Node::known)?.flatten();
    let devices = root.member("devices");
    let mut tuples: Vec<Tuple> = Vec::new();
    if let Some(devices) = &devices {
        for (index, device) in devices.elements()?.enumerate() {
            if index == TUPLES {
                return Err(device.bad("too many devices"));
            }
            let tuple = tuple(&device, index)?;
            match tuples.iter_mut().find(|known| known.id == tuple.id && known.contact == tuple.contact) {
                Some(known) => *known = tuple,
                None => tuples.push(tuple),
            }
        }
    }
    if tuples.is_empty() && (open.is_some() || show.is_some() || name.is_some()) {
        // Who does not disturb, is away or talks can be reached, unless he says otherwise.
        let open = open.or(show.map(|_| true));
        tuples.push(Tuple { id: "main".into(), open, notes: notes.clone(), ..Tuple::default() });
    }
    if let (Some(name), Some(tuple)) = (name, tuples.first_mut()) {
        tuple.name = Some(name);
    }
    presence.tuples = each(tuples, Arc::new);

    let doing = match root.member("activities") {
        Some(activities) => Some(doing(&activities)?),
        None => show.and_then(Show::activity).map(|activities| Doing { activities, ..Doing::default() }),
    };
    let person = Person { doing, notes, ..Person::default() };
    if person != Person::default() {
        presence.persons.push(Arc::new(person));
    }
    if let Some(extra) = root.member("extra") {
        presence.values = values(&extra)?;
    }
    if let Some(show) = show {
        show_as(&mut presence, show);
    }
    if devices.is_none() && presence.tuples.is_empty() && presence.persons.is_empty() && presence.values.is_empty() {
        return Err(root.bad("expected basic, show, activities, note, devices or extra"));
    }
    Ok(presence)
}

fn basic(node: Node<'_>) -> Result<bool, BadBody> {
    node.one_of(&BASIC, "expected open or closed")
}

fn availability(node: Node<'_>) -> Result<Show, BadBody> {
    node.one_of(&SHOWS, "expected chat, away, xa, dnd or on-the-phone")
}

/// Has every device that can be reached and says nothing itself show this, unless the activities do.
fn show_as(presence: &mut Presence, show: Show) {
    let alone = Sourced { source: "", stamp: Stamp::default(), live: true, fact: &*presence };
    if compose::compose(&[alone]).show() == Some(show) || show == Show::OnThePhone {
        return;
    }
    for tuple in &mut presence.tuples {
        if tuple.show.is_none() && tuple.open != Some(false) {
            Arc::make_mut(tuple).show = Some(show);
        }
    }
}

/// `notes`, else `note` and `lang`.
fn notes(root: &Node<'_>) -> Result<Vec<Note>, BadBody> {
    let Some(list) = root.member("notes") else { return Ok(note(root)?.into_iter().collect()) };
    let mut notes = Vec::new();
    for (index, one) in list.elements()?.enumerate() {
        if index == NOTES {
            return Err(one.bad("too many notes"));
        }
        notes.extend(if one.as_string().is_some() {
            text(one)?.map(|text| Note { lang: None, text })
        } else {
            note(&one)?
        });
    }
    Ok(notes)
}

fn note(node: &Node<'_>) -> Result<Option<Note>, BadBody> {
    node.expect_object()?;
    let lang = node.get("lang", Node::known)?.flatten();
    Ok(node.get("note", text)?.flatten().map(|text| Note { lang, text }))
}

fn text(node: Node<'_>) -> Result<Option<Box<str>>, BadBody> {
    let text = node.text(crate::xml::TEXT)?.trim();
    Ok((!text.is_empty()).then(|| text.into()))
}

fn tuple(device: &Node<'_>, index: usize) -> Result<Tuple, BadBody> {
    device.expect_object()?;
    Ok(Tuple {
        id: device.get("id", Node::known)?.flatten().unwrap_or_else(|| format!("t{index}").into()),
        open: device.get("basic", basic)?,
        show: device.get("show", |node| {
            let show = availability(node)?;
            if show == Show::OnThePhone { Err(node.bad("expected chat, away, xa or dnd")) } else { Ok(show) }
        })?,
        contact: device.get("contact", Node::known)?.flatten(),
        priority: device.get("priority", Node::thousandths)?,
        notes: note(device)?.into_iter().collect(),
        ..Tuple::default()
    })
}

fn doing(list: &Node<'_>) -> Result<Doing, BadBody> {
    let mut doing = Doing::default();
    for (index, one) in list.elements()?.enumerate() {
        if index > ACTIVITIES.len() {
            return Err(one.bad("too many activities"));
        }
        let activity = Activities::named(one.text(NAME)?);
        doing.activities.add(activity.ok_or_else(|| one.bad("not an activity of RFC 4480 section 3.2"))?);
    }
    Ok(doing)
}

/// Anything a publisher likes to tell: names and values.
fn values(extra: &Node<'_>) -> Result<Vec<Value>, BadBody> {
    let mut values = Vec::new();
    let mut room = EXTRA;
    for (name, node) in extra.members()? {
        if name.is_empty() || name.len() > NAME {
            return Err(extra.bad("a name is empty or too long"));
        }
        if values.len() == EXTRAS {
            return Err(extra.bad("too many values"));
        }
        let json = node.compact();
        room = room.checked_sub(name.len() + json.len()).ok_or_else(|| extra.bad("the values are too long"))?;
        values.push(Value { name: name.into(), json: json.into() });
    }
    values.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(values)
}
