//! Reading `application/watcherinfo+xml`.

use super::{EVENTS, NAMESPACE, Status, WATCHERS, Watcher, Watchers};
use crate::xml::{Element, Reader, decode};
use lamplighter_model::package::{BadBody, Reading};
use lamplighter_model::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn read(body: &[u8], reading: Reading<'_>, of: &str) -> Result<Watchers, BadBody> {
    let text = decode(body)?;
    let mut xml = Reader::new(&text);
    let root = xml.root()?;
    if root.name != "watcherinfo" || !ours(root) {
        return Err(xml.bad("expected watcherinfo"));
    }
    let partial = xml.attribute("state")?.is_some_and(|state| state.trim() == "partial");
    let (mut all, mut found) = (None, false);
    while let Some(child) = xml.child()? {
        let list = child.name == "watcher-list" && ours(child);
        let package = xml.attribute("package")?.is_none_or(|package| package.trim() == of);
        let own = xml.attribute("resource")?.is_some_and(|it| address(&it) == address(reading.presentity));
        if !list || !package || found || (all.is_some() && !own) {
            xml.skip()?;
            continue;
        }
        found = own;
        all = Some(watchers(&mut xml, reading.now)?);
    }
    let full = !(partial && reading.modifies);
    let mut all = all.unwrap_or_default();
    if full {
        all.retain(|watcher| watcher.status != Status::Terminated);
    }
    Ok(Watchers { full, all })
}

/// What tells addresses apart here: user and host in lower case.
fn address(uri: &str) -> String {
    let uri = uri.trim();
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split([';', '?']).next().unwrap_or_default().to_ascii_lowercase()
}

/// Whether an element is of RFC 3858; some forget the namespace.
fn ours(element: Element<'_>) -> bool {
    element.ns == NAMESPACE || element.ns.is_empty()
}

pub(super) fn event(text: &str) -> Option<&'static str> {
    EVENTS.into_iter().find(|known| *known == text)
}

fn watchers(xml: &mut Reader<'_>, now: Time) -> Result<Vec<Arc<Watcher>>, BadBody> {
    let (mut all, mut places) = (Vec::new(), BTreeMap::new());
    while let Some(child) = xml.child()? {
        if child.name != "watcher" || !ours(child) {
            xml.skip()?;
            continue;
        }
        let watcher = Arc::new(watcher(xml, now)?);
        // Within one list the last counts.
        match places.get(&watcher.id) {
            Some(&place) => all[place] = watcher,
            None if all.len() == WATCHERS => return Err(xml.bad("too many watchers")),
            None => {
                places.insert(watcher.id.clone(), all.len());
                all.push(watcher);
            }
        }
    }
    Ok(all)
}

fn watcher(xml: &mut Reader<'_>, now: Time) -> Result<Watcher, BadBody> {
    let (mut id, mut status, mut said, mut name, mut for_s) = (None, None, None, None, None);
    xml.attributes(|attribute, value| {
        let value = value.trim();
        let known = || (!value.is_empty()).then(|| Box::from(value));
        match attribute {
            "id" => id = known(),
            "status" => status = Status::read(value),
            "event" => said = event(value),
            "display-name" => name = known(),
            "duration-subscribed" => for_s = value.parse::<u32>().ok(),
            _ => {}
        }
    })?;
    let status = status.ok_or_else(|| xml.bad("expected the status pending, active, waiting or terminated"))?;
    let uri: Box<str> = xml.text()?.trim().into();
    if uri.is_empty() {
        return Err(xml.bad("a watcher has no URI"));
    }
    Ok(Watcher {
        id: id.unwrap_or_else(|| uri.clone()),
        uri,
        name,
        status,
        event: said.unwrap_or(if status == Status::Terminated { "timeout" } else { "subscribe" }),
        since: now - Duration::from_secs(for_s.unwrap_or(0).into()),
    })
}
