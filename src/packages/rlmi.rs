//! Resource lists: `application/rlmi+xml`, which says whose documents a NOTIFY for a list brings.
//!
//! - RFC 4662 section 5 defines it. Documents are found by Content-ID in the parts beside it.
//! - A resource that is named twice has the instances of both; of one instance the last counts.

use crate::xml::{Element, Reader, decode};
use lamplighter_model::package::BadBody;
use std::collections::BTreeMap;

const NAMESPACE: &str = "urn:ietf:params:xml:ns:rlmi";

/// The most resources of a list; a document with more is refused.
pub const RESOURCES: usize = 1024;
/// The most instances of a resource.
const INSTANCES: usize = 16;
/// The longest URI, name, id and reason, bytes.
const LONGEST: usize = 512;

/// What a document says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct List {
    /// The list.
    pub uri: Box<str>,
    /// Rises with each document of a subscription; `None`: it cannot be read.
    pub version: Option<u32>,
    /// Whether all its resources are named, or those only of which there is something new.
    pub full: bool,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// In the order of the document.
    pub resources: Vec<Resource>,
}

/// A member of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resource {
    /// Its address.
    pub uri: Box<str>,
    /// What people call it.
    pub name: Option<Box<str>>,
    /// The subscriptions that the server has for it; none: nothing is known.
    pub instances: Vec<Instance>,
}

/// How the server's own subscription for a member stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is told the state.
    Active,
    /// Somebody has yet to decide.
    Pending,
    /// It has ended.
    Terminated,
}

impl Standing {
    /// As RFC 4662 writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Terminated => "terminated",
        }
    }
}

/// One subscription of the server for a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// Tells it from others of the same member; some servers choose another one each time.
    pub id: Box<str>,
    /// How it stands.
    pub standing: Standing,
    /// Why it has ended.
    pub reason: Option<Box<str>>,
    /// The Content-ID of its document; `None`: there is none, or none that is new.
    pub cid: Option<Box<str>>,
}

/// Reads a document.
pub fn read(body: &[u8]) -> Result<List, BadBody> {
    let text = decode(body)?;
    let mut xml = Reader::new(&text);
    let root = xml.root()?;
    if root.name != "list" || !ours(root) {
        return Err(xml.bad("expected a list"));
    }
    let mut list = List { uri: Box::default(), version: None, full: false, name: None, resources: Vec::new() };
    let mut full = None;
    xml.attributes(|name, value| match name {
        "uri" => list.uri = value.trim().into(),
        "version" => list.version = value.trim().parse().ok(),
        "fullState" => full = flag(value.trim()),
        _ => {}
    })?;
    list.full = full.ok_or_else(|| xml.bad("expected fullState to be true or false"))?;
    let mut places = BTreeMap::new();
    while let Some(child) = xml.child()? {
        match child.name {
            "name" if ours(child) => list.name = short(&mut xml, list.name)?,
            "resource" if ours(child) => {
                let one = resource(&mut xml)?;
                let Some(&place) = places.get(&one.uri) else {
                    if list.resources.len() == RESOURCES {
                        return Err(xml.bad("too many resources"));
                    }
                    places.insert(one.uri.clone(), list.resources.len());
                    list.resources.push(one);
                    continue;
                };
                let known: &mut Resource = &mut list.resources[place];
                for instance in one.instances {
                    keep(&xml, &mut known.instances, instance)?;
                }
            }
            _ => xml.skip()?,
        }
    }
    Ok(list)
}

/// Whether an element is of RFC 4662; some forget the namespace.
fn ours(element: Element<'_>) -> bool {
    element.ns == NAMESPACE || element.ns.is_empty()
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// A name: the first, in whatever language.
fn short(xml: &mut Reader<'_>, known: Option<Box<str>>) -> Result<Option<Box<str>>, BadBody> {
    let text = xml.text()?;
    let text = text.trim();
    Ok(known.or_else(|| (!text.is_empty() && text.len() <= LONGEST).then(|| text.into())))
}

fn resource(xml: &mut Reader<'_>) -> Result<Resource, BadBody> {
    let uri = xml.attribute("uri")?.unwrap_or_default();
    let uri = uri.trim();
    if uri.is_empty() || uri.len() > LONGEST {
        return Err(xml.bad("a resource has no URI, or one that is too long"));
    }
    let mut resource = Resource { uri: uri.into(), name: None, instances: Vec::new() };
    while let Some(child) = xml.child()? {
        match child.name {
            "name" if ours(child) => resource.name = short(xml, resource.name)?,
            "instance" if ours(child) => {
                let one = instance(xml)?;
                keep(xml, &mut resource.instances, one)?;
                xml.skip()?;
            }
            _ => xml.skip()?,
        }
    }
    Ok(resource)
}

fn keep(xml: &Reader<'_>, all: &mut Vec<Instance>, one: Instance) -> Result<(), BadBody> {
    match all.iter().position(|known| known.id == one.id) {
        Some(place) => all[place] = one,
        None if all.len() == INSTANCES => return Err(xml.bad("too many instances")),
        None => all.push(one),
    }
    Ok(())
}

fn instance(xml: &mut Reader<'_>) -> Result<Instance, BadBody> {
    let (mut id, mut standing, mut reason, mut cid) = (Box::default(), None, None, None);
    let mut long = false;
    xml.attributes(|name, value| {
        let value = value.trim();
        long |= value.len() > LONGEST;
        let known = || (!value.is_empty()).then(|| Box::from(value));
        match name {
            "id" => id = value.into(),
            "state" => {
                let all = [Standing::Active, Standing::Pending, Standing::Terminated];
                standing = all.into_iter().find(|one| one.name() == value);
            }
            "reason" => reason = known(),
            "cid" => cid = known(),
            _ => {}
        }
    })?;
    if long {
        return Err(xml.bad("a value is too long"));
    }
    let standing = standing.ok_or_else(|| xml.bad("expected the state active, pending or terminated"))?;
    Ok(Instance { id, standing, reason, cid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Chance, PIECES, mutate};
    use expect_test::{Expect, expect};

    const WHOLE: &str = include_str!("testdata/notified_list.rlmi.xml");

    fn check(body: &str, expected: Expect) {
        let brief = |list: List| {
            let instance = |one: &Instance| {
                format!("{}:{}:{:?}:{:?}", one.id, one.standing.name(), one.reason.as_deref(), one.cid.as_deref())
            };
            let line = |one: &Resource| {
                let all: Vec<_> = one.instances.iter().map(instance).collect();
                format!("\n{} {:?} {}", one.uri, one.name.as_deref().unwrap_or_default(), all.join(" "))
            };
            let lines: String = list.resources.iter().map(line).collect();
            format!("{} {:?} full={} {:?}{lines}", list.uri, list.version, list.full, list.name.as_deref())
        };
        let text = read(body.as_bytes()).map_or_else(|bad| format!("error: {bad}"), brief);
        expected.assert_eq(&text);
    }

    /// QS-14
    #[test]
    fn a_whole_list() {
        check(
            WHOLE,
            expect![[r#"
            sip:everyone@pbx.example Some(7) full=true Some("Everyone")
            sip:200@pbx.example "Ann" juwigmtboe:active:None:Some("newer@pbx.example")
            sip:201@pbx.example "" hqzsuxtfyq:pending:None:None other:terminated:Some("rejected"):None
            sip:nobody@pbx.example "" "#]],
        );
        check("<list fullState='0'/>", expect![" None full=false None"]);
    }

    #[test]
    fn what_cannot_be_read() {
        check("<lists fullState='1'/>", expect!["error: byte 22: expected a list"]);
        check("<list/>", expect!["error: byte 7: expected fullState to be true or false"]);
        check(
            "<list fullState='1'><resource/></list>",
            expect!["error: byte 31: a resource has no URI, or one that is too long"],
        );
        check(
            "<list fullState='1'><resource uri='a'><instance id='1'/></resource></list>",
            expect!["error: byte 56: expected the state active, pending or terminated"],
        );
        check(
            "<list fullState='1' version='99999999999999999999'><resource uri='a'/></list>",
            expect![[r#"
             None full=true None
            a "" "#]],
        );
        let many = |count: usize| {
            let all: String = (0..count).map(|n| format!("<resource uri='sip:{n}'/>")).collect();
            format!("<list fullState='1'>{all}</list>")
        };
        assert_eq!(read(many(RESOURCES).as_bytes()).unwrap().resources.len(), RESOURCES);
        assert_eq!(read(many(RESOURCES + 1).as_bytes()).unwrap_err().problem, "too many resources");
        let one = |n| format!("<resource uri='a'><instance id='{n}' state='active'/></resource>");
        let instances: String = (0..=INSTANCES).map(one).collect();
        let body = format!("<list fullState='1'>{instances}</list>");
        assert_eq!(read(body.as_bytes()).unwrap_err().problem, "too many instances");
    }

    #[test]
    fn mutated_lists_are_read_or_refused() {
        let mut chance = Chance(41);
        let read = (0..4_000).filter(|_| read(&mutate(&mut chance, WHOLE.as_bytes(), &PIECES)).is_ok()).count();
        assert!(read > 100, "only {read} were readable");
    }
}
