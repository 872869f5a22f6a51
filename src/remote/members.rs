//! Lists (RFC 4662): what one subscription says of many addresses, member by member.
//!
//! - With full state a NOTIFY replaces everything that was known, else the members that it names (RFC 4662 section 5.6).
//!   Of a partial list that leaves a version out everything is asked for anew; one whose version goes back is not taken.
//! - A member that is named with an instance that is known keeps its other ones. If all are unknown they replace those
//!   that were there, because many servers make up new ids each time (our choice).
//! - The documents of a member's instances compose into one publication on the bus, which has the subscription's lease.
//! - A list in a list is a member without a document; its own members have its name before theirs.
//! - A NOTIFY that would go beyond [`MOST_MEMBERS`] or [`MOST_BYTES`] changes nothing, and is told.

use super::feed::{Part, plain};
use super::wish::{Document, is_uri, together};
use super::{Due, Remote};
use bytes::Bytes;
use lamplighter_model::package::AnyFact;
use lamplighter_model::remote::{RemoteInstance, RemoteList, RemoteMember};
use lamplighter_model::{Packages, Time, View};
use lamplighter_packages::rlmi::{self, Standing};
use lamplighter_sip::client::{MOST_PARTS, Notification, Order, SubscriptionId, root_attribute};
use lamplighter_sip::wire::multipart::{self, Part as Piece};
use lamplighter_sip::wire::{Uri, media_type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The most members of a list, those of lists inside of it included.
pub(crate) const MOST_MEMBERS: usize = rlmi::RESOURCES;
/// The most bytes of their documents.
const MOST_BYTES: usize = 1 << 20;
/// The most instances of a member; the oldest make room.
const MOST_INSTANCES: usize = 16;
/// How many lists may be inside of one another.
const DEPTH: usize = 4;
/// The whole state is asked for anew this often at most.
const ANEW: Duration = Duration::from_secs(30);
/// What stands between the name of a list and that of its member.
pub(crate) const OF: &str = " / ";

/// What an instance says, since when, and in which format.
pub(crate) type Fact<'a> = (Time, u8, &'a AnyFact);

/// What is known of a list.
#[derive(Debug, Default)]
pub(crate) struct List {
    uri: Box<str>,
    name: Option<Box<str>>,
    version: Option<u32>,
    at: Time,
    /// Why the newest NOTIFY was not taken.
    problem: Option<String>,
    members: BTreeMap<Arc<str>, Member>,
}

#[derive(Debug)]
struct Member {
    uri: Box<str>,
    name: Option<Box<str>>,
    /// The canonical address under which it enters the bus.
    local: Option<Arc<str>>,
    instances: Vec<Instance>,
}

#[derive(Debug)]
struct Instance {
    id: Box<str>,
    standing: Standing,
    reason: Option<Box<str>>,
    document: Option<Document>,
    /// The length of the document as it came.
    bytes: usize,
    /// Its version, if it has one.
    version: Option<u32>,
}

impl List {
    /// The address under which a member enters the bus, and what its instances say; `None`: nothing for the bus.
    pub(crate) fn facts(&self, key: &str) -> Option<(&Arc<str>, Vec<Fact<'_>>)> {
        let member = self.members.get(key)?;
        let facts = member.facts();
        (!facts.is_empty()).then_some((member.local.as_ref()?, facts))
    }

    /// As the API shows it.
    pub(crate) fn row(&self, packages: &Packages, package: lamplighter_model::PackageId) -> RemoteList {
        let package = packages.get(package);
        let instance = |member: &Member, one: &Instance| {
            let document = one.document.as_ref();
            let said = document.and_then(|document| document.fact.as_ref().map(|(_, fact)| (document.at, fact)));
            RemoteInstance {
                id: one.id.clone(),
                standing: one.standing.name(),
                reason: one.reason.clone(),
                at: document.map(|document| document.at),
                content_type: document.map(|document| document.content_type.clone()).unwrap_or_default(),
                state: said.map(|(at, fact)| {
                    let mut out = Vec::new();
                    package.json(&together(package, at, &member.uri, &[(at, fact)]), View::Full, &mut out);
                    out.into()
                }),
                problem: document.and_then(|document| document.problem.clone()),
            }
        };
        let member = |member: &Member| RemoteMember {
            uri: member.uri.clone(),
            name: member.name.clone(),
            local: member.local.clone(),
            instances: member.instances.iter().map(|one| instance(member, one)).collect(),
        };
        RemoteList {
            uri: self.uri.clone(),
            name: self.name.clone(),
            version: self.version,
            at: self.at,
            problem: self.problem.clone(),
            members: self.members.values().map(member).collect(),
        }
    }
}

impl Member {
    fn facts(&self) -> Vec<Fact<'_>> {
        let documents = self.instances.iter().filter_map(|one| one.document.as_ref());
        documents.filter_map(|one| one.fact.as_ref().map(|(format, fact)| (one.at, *format, fact))).collect()
    }

    fn bytes(&self) -> usize {
        self.instances.iter().map(|one| one.bytes).sum()
    }
}

/// What a NOTIFY says.
struct Told<'a> {
    list: rlmi::List,
    /// What the names of members of lists that are said in full begin with.
    wholes: Vec<String>,
    members: BTreeMap<Arc<str>, Said<'a>>,
    /// Parts that may still come.
    left: usize,
}

/// What it says of a member.
struct Said<'a> {
    uri: Box<str>,
    name: Option<Box<str>>,
    instances: Vec<(rlmi::Instance, Found<'a>)>,
    /// Its list is said in full.
    whole: bool,
}

/// The document of an instance.
enum Found<'a> {
    /// None, or none that is new.
    Nothing,
    /// It is a list, whose members are told beside it.
    List,
    Document {
        content_type: Box<str>,
        body: &'a [u8],
    },
    Bad(&'static str),
}

impl<'a> Told<'a> {
    fn read(content_type: &[u8], body: &'a [u8]) -> Result<Self, String> {
        let nothing = rlmi::List { uri: Box::default(), version: None, full: false, name: None, resources: Vec::new() };
        let mut told = Self { list: nothing, wholes: Vec::new(), members: BTreeMap::new(), left: MOST_PARTS };
        told.list = told.read_list("", content_type, body, DEPTH)?;
        Ok(told)
    }

    fn read_list(
        &mut self,
        prefix: &str,
        content_type: &[u8],
        body: &'a [u8],
        depth: usize,
    ) -> Result<rlmi::List, String> {
        let several = is_multipart(content_type);
        let parts = if several { multipart::parts(content_type, body, self.left) } else { Ok(Vec::new()) };
        let parts = parts.map_err(|bad| bad.to_string())?;
        self.left -= parts.len();
        let root =
            if several { multipart::root(content_type, &parts) } else { Some(Piece { body, ..Piece::default() }) };
        let root = root.filter(|root| !root.encoded).ok_or("the part that names the members is missing")?;
        let mut list = rlmi::read(root.body).map_err(|bad| bad.to_string())?;
        if list.full {
            self.wholes.push(prefix.to_owned());
        }
        // A part is the document of one instance, so that what is read is never more than what came.
        let mut by_id: BTreeMap<&[u8], Piece<'a>> = parts.iter().map(|part| (part.content_id, *part)).collect();
        for resource in std::mem::take(&mut list.resources) {
            let name = plain(&resource.uri).unwrap_or_else(|| resource.uri.split_whitespace().collect());
            let key = format!("{prefix}{name}");
            let mut instances = Vec::new();
            for instance in resource.instances {
                let cid = instance.cid.as_deref().map(|cid| cid.trim_start_matches('<').trim_end_matches('>'));
                let found = match cid.map(|cid| by_id.remove(cid.as_bytes())) {
                    None => Found::Nothing,
                    Some(None) => Found::Bad("its document is missing"),
                    Some(Some(part)) if part.encoded => Found::Bad("its document is encoded"),
                    Some(Some(part)) if is_multipart(part.content_type) => {
                        if depth == 0 {
                            return Err("there are too many lists in lists".to_owned());
                        }
                        self.read_list(&format!("{key}{OF}"), part.content_type, part.body, depth - 1)?;
                        Found::List
                    }
                    Some(Some(part)) => {
                        let content_type = String::from_utf8_lossy(media_type(part.content_type));
                        Found::Document { content_type: content_type.to_ascii_lowercase().into(), body: part.body }
                    }
                };
                instances.push((instance, found));
            }
            let said = self.members.entry(key.into()).or_insert_with(|| Said {
                uri: resource.uri,
                name: resource.name,
                instances: Vec::new(),
                whole: list.full,
            });
            said.instances.extend(instances);
            said.instances.truncate(MOST_INSTANCES);
        }
        Ok(list)
    }

    /// Whether what was known of a member, and is not said again, still holds.
    fn keeps(&self, key: &str, ended: &[String]) -> bool {
        !self.members.contains_key(key)
            && !self.wholes.iter().chain(ended).any(|prefix| key.starts_with(prefix.as_str()))
    }

    /// What the names of members of lists begin with that are lists no more.
    fn ended(&self) -> Vec<String> {
        let list = |(one, found): &(rlmi::Instance, Found<'_>)| {
            one.standing == Standing::Active && matches!(found, Found::List | Found::Nothing)
        };
        let ended = self.members.iter().filter(|(_, said)| !said.instances.iter().any(list));
        ended.map(|(key, _)| format!("{key}{OF}")).collect()
    }

    fn bytes(&self) -> usize {
        let found = self.members.values().flat_map(|said| &said.instances).map(|(_, found)| found);
        found.map(|found| if let Found::Document { body, .. } = found { body.len() } else { 0 }).sum()
    }
}

impl Remote {
    /// A NOTIFY for a list was accepted.
    pub(crate) fn listed(&mut self, now: Time, id: SubscriptionId, notification: &Notification) {
        if let Err(problem) = self.take_list(now, id, notification)
            && let Some(line) = self.lines.get_mut(&id)
        {
            let list = line.list.get_or_insert_default();
            (list.at, list.problem) = (now, Some(problem));
            self.bad_bodies += 1;
        }
        self.prolong(now, id);
    }

    fn take_list(&mut self, now: Time, id: SubscriptionId, notification: &Notification) -> Result<(), String> {
        let mut told = Told::read(&notification.content_type_raw, &notification.body)?;
        let leaving = self.leaving(id);
        let Some(line) = self.lines.get_mut(&id) else { return Ok(()) };
        let known = line.list.as_ref();
        let incomplete = match notification.order {
            _ if told.list.full => false,
            Order::Stale => {
                self.ask_anew(now, id);
                return Err("a partial list whose version is not higher than the last one".to_owned());
            }
            order => matches!(order, Order::Gap | Order::First) || known.is_none(),
        };
        let ended = told.ended();
        let (mut stay, mut bytes, mut go) = (told.members.len(), told.bytes(), 0);
        for (key, member) in known.iter().flat_map(|list| &list.members) {
            if told.keeps(key, &ended) {
                (stay, bytes) = (stay + 1, bytes + member.bytes());
            } else if !told.members.contains_key(key) {
                go += 1;
            }
        }
        let problem = match () {
            () if stay > MOST_MEMBERS => Some(format!("the list has more than {MOST_MEMBERS} members")),
            () if bytes > MOST_BYTES => Some(format!("its documents are longer than {MOST_BYTES} bytes together")),
            () if leaving + go > MOST_MEMBERS => Some("members change faster than they can leave".to_owned()),
            () => None,
        };
        if let Some(problem) = problem {
            self.ask_anew(now, id);
            return Err(problem);
        }
        let mut list = List {
            uri: std::mem::take(&mut told.list.uri),
            name: told.list.name.take(),
            version: told.list.version,
            at: now,
            ..List::default()
        };
        let (mut gone, mut before) = (Vec::new(), BTreeMap::new());
        for (key, member) in line.list.take().unwrap_or_default().members {
            if told.keeps(&key, &ended) {
                list.members.insert(key, member);
            } else if told.members.contains_key(&key) {
                before.insert(key, member.instances);
            } else {
                gone.push(key);
            }
        }
        let news: Vec<_> = told.members.keys().cloned().collect();
        let mut missed = false;
        let package = self.config.packages.get(line.wish.package);
        for (key, mut said) in std::mem::take(&mut told.members) {
            let instances = std::mem::take(&mut said.instances);
            let uri = said.uri.clone();
            let read = |content_type, body: &[u8], old| {
                Document::read(package, &uri, now, content_type, Bytes::copy_from_slice(body), old)
            };
            let instances =
                merge(before.remove(&key).unwrap_or_default(), instances, said.whole, now, read, &mut missed);
            let Said { uri, name, .. } = said;
            list.members.insert(key, Member { uri, name, local: None, instances });
        }
        let plain: Vec<_> = line.documents.keys().copied().collect();
        line.list = Some(list);
        plain.into_iter().for_each(|fork| self.forget(id, fork));
        gone.into_iter().for_each(|key| self.withdraw(id, Part::Member(key)));
        self.place(id, news);
        if incomplete || missed {
            self.ask_anew(now, id);
        }
        Ok(())
    }

    /// Members have something to say, or nothing any more.
    fn place(&mut self, id: SubscriptionId, members: Vec<Arc<str>>) {
        for key in members {
            let Some(line) = self.lines.get_mut(&id) else { return };
            let Some(member) = line.list.as_mut().and_then(|list| list.members.get_mut(&key)) else { continue };
            let uri = Some(&*member.uri).filter(|uri| line.own && is_uri(uri));
            let local = uri.and_then(|uri| match &line.domain {
                Some(domain) => {
                    let user = Uri::read(uri.as_bytes())?.user;
                    let user = std::str::from_utf8(user).ok().filter(|user| !user.is_empty())?;
                    self.config.addresses.parse(&format!("sip:{user}@{domain}")).ok()
                }
                None => self.config.addresses.parse(uri).ok(),
            });
            member.local = local.map(Into::into);
            let says = member.local.is_some() && !member.facts().is_empty();
            let part = Part::Member(key);
            if says {
                self.put(id, part);
            } else {
                self.withdraw(id, part);
            }
        }
    }

    /// Whoever shares this subscription now is the gateway itself: what it knows enters the bus.
    pub(crate) fn place_all(&mut self, id: SubscriptionId) {
        let list = self.lines.get(&id).and_then(|line| line.list.as_ref());
        let members = list.map(|list| list.members.keys().cloned().collect()).unwrap_or_default();
        self.place(id, members);
    }

    /// How many publications of a subscription are on their way out.
    fn leaving(&self, id: SubscriptionId) -> usize {
        self.orphans.range((id, Part::Notifier(0))..).take_while(|((one, _), _)| *one == id).count()
    }

    /// Something was lost on the way: everything is asked for again, now or when it may be.
    pub(crate) fn ask_anew(&mut self, now: Time, id: SubscriptionId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.anew <= now {
            line.anew = now + ANEW;
            self.agent.retry(now, id, &mut self.told);
        } else {
            self.due.insert((line.anew, Due::Anew(id)));
        }
    }
}

/// The instances of a member after a NOTIFY. `missed`: a partial document does not follow the one before it.
fn merge<'a>(
    mut before: Vec<Instance>,
    said: Vec<(rlmi::Instance, Found<'a>)>,
    whole: bool,
    now: Time,
    read: impl Fn(Box<str>, &'a [u8], Option<Document>) -> Document,
    missed: &mut bool,
) -> Vec<Instance> {
    before.retain(|one| one.standing != Standing::Terminated);
    let ids: BTreeSet<&str> = before.iter().map(|one| &*one.id).collect();
    let replaces = whole || !said.iter().any(|(one, _)| ids.contains(&*one.id));
    let alone = said.len() == 1 && before.len() == 1;
    let mut after = Vec::new();
    for (one, found) in said {
        let place = before.iter().position(|old| alone || old.id == one.id);
        let old = place.map(|place| before.remove(place));
        let (mut bytes, mut version) = old.as_ref().map_or((0, None), |old| (old.bytes, old.version));
        let old = old.and_then(|old| old.document);
        let document = match found {
            _ if one.standing != Standing::Active => None,
            Found::Nothing if whole => None,
            Found::Nothing => old,
            Found::List => None,
            Found::Bad(problem) => Some(Document::damaged(old, now, problem)),
            Found::Document { content_type, body } => {
                let number = root_attribute(body, b"version");
                let number = number.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u32>().ok());
                let partial = root_attribute(body, b"state").is_some_and(|state| state == b"partial");
                let next = version.map(|old: u32| old.wrapping_add(1));
                *missed |= partial && number.is_some() && number != next;
                (bytes, version) = (body.len(), number);
                Some(Document { body: Bytes::new(), ..read(content_type, body, old) })
            }
        };
        if document.is_none() {
            (bytes, version) = (0, None);
        }
        let rlmi::Instance { id, standing, reason, .. } = one;
        after.push(Instance { id, standing, reason, document, bytes, version });
    }
    if !replaces {
        before.append(&mut after);
        after = before;
    }
    after.drain(..after.len().saturating_sub(MOST_INSTANCES));
    after
}

fn is_multipart(content_type: &[u8]) -> bool {
    media_type(content_type).eq_ignore_ascii_case(b"multipart/related")
}
