//! The other server: a notifier (RFC 6665) of calls and of a list (RFC 4662), and an event state compositor (RFC 3903),
//! with moods.

use super::world::{Calls, Random, header};
use crate::tests::document;
use lamplighter_model::Time;
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The longest lease that it grants while it behaves.
pub const LONGEST: u64 = 300;

/// The list that it keeps.
pub const LIST: &str = "sip:all@example.com";
const PLAIN: &str = "application/dialog-info+xml";
const SEVERAL: &str = "multipart/related;type=\"application/rlmi+xml\";start=\"<list@pbx>\";boundary=\"b\"";

/// How it behaves at the moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mood {
    #[default]
    Good,
    /// Nothing is heard, nothing said.
    Dead,
    /// Answers come up to 45 s late.
    Slow,
    /// Every request gets this answer.
    Refusing(u16),
    /// 3xx to another name of itself, for ever.
    Redirecting,
    /// 423 with this Min-Expires.
    Brief(u64),
    /// Whatever it is asked for, it grants this.
    Grants(u64),
    /// 200 to PUBLISH without an entity-tag.
    Tagless,
    /// Wrong CSeq, tags, Call-ID, or half of the message.
    Lying,
    /// NOTIFYs that make no sense.
    Garbage,
    /// NOTIFYs come in bursts.
    Shouting,
    /// NOTIFYs do not come.
    Silent,
    /// The NOTIFY is there before the 2xx.
    Hasty,
    /// More than one notifier answers each SUBSCRIBE.
    Forking,
    /// Every NOTIFY ends its subscription, with this reason.
    Ending(&'static str),
}

const REASONS: [&str; 9] =
    ["deactivated", "timeout", "probation", "giveup", "noresource", "invariant", "rejected", "made-up", ""];

impl Mood {
    pub fn any(random: &mut Random) -> Self {
        let pick = |random: &mut Random, all: &[u64]| all[random.below(all.len() as u64) as usize];
        match random.below(20) {
            0 | 1 => Self::Dead,
            2 => Self::Slow,
            3 | 4 => {
                let all = [400, 401, 403, 404, 407, 408, 412, 480, 481, 489, 500, 501, 503, 600, 603, 607];
                Self::Refusing(pick(random, &all) as u16)
            }
            5 => Self::Redirecting,
            6 => Self::Brief(pick(random, &[0, 1, 7200, 604_800, 604_801, 4_294_967_295])),
            7 => Self::Grants(pick(random, &[0, 1, 2, 10, 4_294_967_295])),
            8 => Self::Tagless,
            9 | 10 => Self::Lying,
            11 | 12 => Self::Garbage,
            13 => Self::Shouting,
            14 => Self::Silent,
            15 => Self::Hasty,
            16 => Self::Forking,
            17 => Self::Ending(REASONS[random.below(REASONS.len() as u64) as usize]),
            _ => Self::Good,
        }
    }
}

/// One of its subscriptions.
struct Dialog {
    us: String,
    them: String,
    call_id: String,
    contact: String,
    resource: String,
    cseq: u32,
    heard: u32,
    version: u32,
    until: Time,
    /// What they were told of members of the list, and the versions of these documents.
    told: BTreeMap<String, (Option<Calls>, u32)>,
    /// What they were told last, and when to say it again.
    out: Option<(String, Time, u32)>,
    fork: bool,
}

/// One of its publications.
pub struct Publication {
    pub resource: String,
    pub calls: Calls,
    pub until: Time,
}

#[derive(Default)]
pub struct Server {
    pub mood: Mood,
    /// What is true here.
    pub truth: BTreeMap<String, Calls>,
    /// What is true of the members of its list; `None`: somebody has yet to decide whether it may be told.
    pub members: BTreeMap<String, Option<Calls>>,
    dialogs: BTreeMap<(String, String), Dialog>,
    pub publications: BTreeMap<String, Publication>,
    /// Answers by branch: a retransmission gets the same one.
    answers: BTreeMap<String, (Time, Vec<String>)>,
    count: u64,
    /// What it wants to send: after how long, what.
    pub out: Vec<(Duration, Vec<u8>)>,
}

pub fn calls_of(body: &str) -> Calls {
    body.split("<dialog ")
        .skip(1)
        .filter_map(|one| {
            let id = one.split_once("id=\"")?.1.split('"').next()?;
            let state = one.split_once("<state")?.1.split_once('>')?.1.split('<').next()?;
            (state != "terminated").then(|| (id.to_owned(), state.to_owned()))
        })
        .collect()
}

/// A document of several parts for a list: everything, or what is new in this dialog.
fn roll(
    random: &mut Random,
    mood: Mood,
    members: &BTreeMap<String, Option<Calls>>,
    dialog: &mut Dialog,
    full: bool,
) -> String {
    let (mut resources, mut parts) = (String::new(), String::new());
    let told = std::mem::take(&mut dialog.told);
    // Many servers make up new ids each time.
    let id = if random.percent(20) { format!("i{}", random.below(1000)) } else { "i".to_owned() };
    let lies = |random: &mut Random| mood == Mood::Lying && random.percent(10);
    for (uri, state) in members {
        let before = told.get(uri);
        let version = before.map_or(0, |(_, version)| *version);
        if !full && before.is_some_and(|(said, _)| said == state) {
            dialog.told.insert(uri.clone(), (state.clone(), version));
            continue;
        }
        dialog.told.insert(uri.clone(), (state.clone(), version + 1));
        let Some(calls) = state else {
            resources.push_str(&format!("<resource uri='{uri}'><instance id='{id}' state='pending'/></resource>"));
            continue;
        };
        // A partial document says what is other than before (RFC 4235 section 4.3).
        let old = before.and_then(|(said, _)| said.as_ref()).filter(|_| !full && id == "i" && random.percent(50));
        let ended =
            old.into_iter().flatten().filter(|(id, _)| !calls.contains_key(*id)).map(|(id, _)| (&**id, "terminated"));
        let news = calls.iter().filter(|(id, state)| old.is_none_or(|old| old.get(*id) != Some(*state)));
        let said: Vec<_> = news.map(|(id, state)| (&**id, &**state)).chain(ended).collect();
        let kind = if old.is_some() { "partial" } else { "full" };
        let number = if lies(random) { random.below(9) as u32 } else { version + 1 };
        let body = document(number, kind, &said).replace(crate::tests::OURS, uri);
        let cid = format!("{}@pbx", uri.trim_start_matches("sip:").split('@').next().unwrap_or_default());
        let named = if lies(random) { "nobody@pbx" } else { &*cid };
        let instance = format!("<instance id='{id}' state='active' cid='{named}'/>");
        resources.push_str(&format!("<resource uri='{uri}'>{instance}</resource>"));
        if !lies(random) {
            parts.push_str(&format!("--b\r\nContent-ID: <{cid}>\r\nContent-Type: {PLAIN}\r\n\r\n{body}\r\n"));
        }
    }
    for uri in told.keys().filter(|uri| !full && !members.contains_key(*uri)) {
        let instance = format!("<instance id='{id}' state='terminated' reason='noresource'/>");
        resources.push_str(&format!("<resource uri='{uri}'>{instance}</resource>"));
    }
    let (mut full, mut version) = (full, dialog.version);
    if mood == Mood::Lying {
        match random.below(8) {
            // It says less than it claims.
            0 => full = true,
            // It leaves some out, or goes back.
            1 => {
                dialog.version += 1 + random.below(3) as u32;
                version = dialog.version;
            }
            2 => version = random.below(4) as u32,
            // Strangers, and too many of them.
            3 => (0..30).for_each(|number| resources.push_str(&stranger(number, &mut parts))),
            4 => {
                (0..1100).for_each(|number| resources.push_str(&format!("<resource uri='sip:x{number}@example.com'/>")))
            }
            _ => {}
        }
    }
    format!(
        "--b\r\nContent-ID: <list@pbx>\r\nContent-Type: application/rlmi+xml\r\n\r\n\
         <list xmlns='urn:ietf:params:xml:ns:rlmi' uri='{LIST}' version='{version}' fullState='{full}'>{resources}</list>\r\n\
         {parts}--b--\r\n"
    )
}

/// A member that is none.
fn stranger(number: usize, parts: &mut String) -> String {
    let body = document(1, "full", &[("lie", "confirmed")]).replace(crate::tests::OURS, "sip:x@example.com");
    parts.push_str(&format!("--b\r\nContent-ID: <x{number}@pbx>\r\nContent-Type: {PLAIN}\r\n\r\n{body}\r\n"));
    let instance = format!("<instance id='i' state='active' cid='x{number}@pbx'/>");
    format!("<resource uri='sip:x{number}@example.com'>{instance}</resource>")
}

impl Server {
    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// It starts anew and knows nothing of before; even its numbers begin again where they like.
    pub fn restart(&mut self) {
        self.dialogs.clear();
        self.publications.clear();
        self.answers.clear();
    }

    /// From now on it behaves. Notifiers that were no real ones are gone.
    pub fn calm(&mut self) {
        self.mood = Mood::Good;
        self.dialogs.retain(|_, dialog| !dialog.fork);
    }

    pub fn subscriptions(&self) -> Vec<&str> {
        self.dialogs.values().map(|dialog| &*dialog.resource).collect()
    }

    /// Something has changed here: everybody who watches it is told.
    pub fn change(&mut self, now: Time, random: &mut Random, resource: &str, calls: Calls) {
        self.truth.insert(resource.to_owned(), calls);
        self.tell(now, random, resource);
    }

    /// A member of the list has changed, is new, or (`None`) is gone.
    pub fn change_member(&mut self, now: Time, random: &mut Random, member: &str, state: Option<Option<Calls>>) {
        match state {
            Some(state) => _ = self.members.insert(member.to_owned(), state),
            None => _ = self.members.remove(member),
        }
        self.tell(now, random, LIST);
    }

    fn tell(&mut self, now: Time, random: &mut Random, resource: &str) {
        let keys: Vec<_> =
            self.dialogs.iter().filter(|(_, one)| one.resource == resource).map(|it| it.0.clone()).collect();
        for key in keys {
            let full = random.percent(10);
            self.notify(now, random, &key, None, full);
        }
    }

    /// Time has passed: leases end, NOTIFYs are said again.
    pub fn tick(&mut self, now: Time, random: &mut Random) {
        self.publications.retain(|_, one| one.until > now);
        self.answers.retain(|_, (until, _)| *until > now);
        if self.mood == Mood::Dead {
            return;
        }
        let keys: Vec<_> = self.dialogs.keys().cloned().collect();
        for key in keys {
            let Some(dialog) = self.dialogs.get_mut(&key) else { continue };
            match &mut dialog.out {
                Some((_, at, times)) if *at <= now && *times >= 10 => _ = self.dialogs.remove(&key),
                Some((text, at, times)) if *at <= now => {
                    *times += 1;
                    *at = now + (SECOND / 2 * (1 << (*times).min(3)));
                    self.out.push((Duration::ZERO, text.clone().into_bytes()));
                }
                _ if dialog.until <= now => {
                    self.notify(now, random, &key, Some("timeout"), true);
                    self.dialogs.remove(&key);
                }
                _ => {}
            }
        }
    }

    pub fn receive(&mut self, now: Time, random: &mut Random, text: &str) {
        if self.mood == Mood::Dead {
            return;
        }
        if text.starts_with("SIP/2.0") {
            let call_id = header(text, "Call-ID");
            let found = self.dialogs.iter_mut().find(|(_, one)| {
                one.call_id == call_id
                    && one.out.as_ref().is_some_and(|(sent, ..)| header(sent, "CSeq") == header(text, "CSeq"))
            });
            let Some((key, dialog)) = found else { return };
            let key = key.clone();
            match &text[8..11] {
                "200" => dialog.out = None,
                "481" => _ = self.dialogs.remove(&key),
                _ => dialog.out = None,
            }
            return;
        }
        let branch = header(text, "Via").split_once("branch=").map_or("", |it| it.1).to_owned();
        if let Some((_, said)) = self.answers.get(&branch) {
            for one in said.clone() {
                self.out.push((Duration::ZERO, one.into_bytes()));
            }
            return;
        }
        let from = self.out.len();
        match text.split(' ').next() {
            Some("SUBSCRIBE") => self.subscribe(now, random, text),
            Some("PUBLISH") => self.publish(now, random, text),
            other => panic!("{other:?}"),
        }
        let said = self.out[from..].iter().filter(|(_, one)| one.starts_with(b"SIP/2.0"));
        let said = said.map(|(_, one)| String::from_utf8_lossy(one).into_owned()).collect();
        self.answers.insert(branch, (now + SECOND * 32, said));
        let delay = if self.mood == Mood::Slow { random.duration(SECOND * 45) } else { Duration::ZERO };
        self.out[from..].iter_mut().for_each(|(after, _)| *after += delay);
    }

    fn answer(&mut self, random: &mut Random, request: &str, status: u16, tag: &str, more: &str) {
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            lines.insert(name, header(request, name).to_owned());
        }
        if !lines["To"].contains("tag=") {
            lines.get_mut("To").unwrap().push_str(&format!(";tag={tag}"));
        }
        if self.mood == Mood::Lying {
            match random.below(8) {
                0 => _ = lines.insert("CSeq", format!("{} SUBSCRIBE", random.below(1 << 32))),
                1 => _ = lines.insert("CSeq", "1 INVITE".into()),
                2 => _ = lines.insert("To", format!("<sip:else@example.com>;tag={}", random.below(99))),
                3 => _ = lines.insert("To", "<sip:else@example.com>".into()),
                4 => _ = lines.insert("From", "<sip:else@example.com>;tag=x".into()),
                5 => _ = lines.insert("Call-ID", "made-up".into()),
                6 => {
                    _ = lines.insert("Via", "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKc000000010000000000000000".into())
                }
                _ => {}
            }
        }
        let lines: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut text = format!("SIP/2.0 {status} Because\r\n{lines}{more}Content-Length: 0\r\n\r\n");
        if self.mood == Mood::Lying && random.percent(10) {
            text.truncate(random.below(text.len() as u64) as usize);
        }
        self.out.push((Duration::ZERO, text.into_bytes()));
    }

    /// Answers in a bad mood; false: it has not answered.
    fn sulks(&mut self, random: &mut Random, text: &str) -> bool {
        match self.mood {
            Mood::Refusing(status) => {
                let more = match random.below(4) {
                    0 => format!("Retry-After: {}\r\n", [0_u64, 1, 60, 3600, 4_294_967_295][random.below(5) as usize]),
                    _ if status == 401 => "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n".into(),
                    _ => String::new(),
                };
                self.answer(random, text, status, "refuser", &more);
            }
            Mood::Redirecting => {
                let contact = format!("Contact: <sip:{}@192.0.2.9:5060>\r\n", random.below(9));
                self.answer(random, text, 302, "redirector", &contact);
            }
            Mood::Brief(least) if header(text, "Expires") != "0" => {
                self.answer(random, text, 423, "brief", &format!("Min-Expires: {least}\r\n"));
            }
            _ => return false,
        }
        true
    }

    fn lease(&self, text: &str) -> (u64, u64) {
        let asked: u64 = header(text, "Expires").parse().unwrap();
        let good = asked.min(LONGEST);
        match self.mood {
            _ if asked == 0 => (0, 0),
            Mood::Grants(lease) => (lease, lease.min(asked)),
            _ => (good, good),
        }
    }

    fn subscribe(&mut self, now: Time, random: &mut Random, text: &str) {
        if self.sulks(random, text) {
            return;
        }
        let call_id = header(text, "Call-ID").to_owned();
        let cseq: u32 = header(text, "CSeq").split(' ').next().unwrap().parse().unwrap();
        let (said, lease) = self.lease(text);
        let to = header(text, "To");
        let tag = match to.split_once("tag=") {
            Some((_, tag)) => tag.to_owned(),
            None => format!("t{}", self.number()),
        };
        let key = (call_id.clone(), tag.clone());
        if to.contains("tag=") {
            match self.dialogs.get_mut(&key) {
                None => return self.answer(random, text, 481, &tag, ""),
                Some(dialog) if cseq <= dialog.heard => return self.answer(random, text, 500, &tag, ""),
                Some(dialog) => dialog.heard = cseq,
            }
        }
        let resource = text.split(' ').nth(1).unwrap().to_owned();
        let resource = header(text, "To").trim_start_matches('<').split('>').next().map_or(resource, str::to_owned);
        let contact = header(text, "Contact").trim_matches(['<', '>']).to_owned();
        let dialog = self.dialogs.entry(key.clone()).or_insert_with(|| Dialog {
            us: format!("<{resource}>;tag={tag}"),
            them: header(text, "From").to_owned(),
            call_id: call_id.clone(),
            contact,
            resource: resource.clone(),
            cseq: 0,
            heard: cseq,
            version: 0,
            until: now,
            told: BTreeMap::new(),
            out: None,
            fork: false,
        });
        dialog.until = now + SECOND * lease as u32;
        let more = format!("Contact: <sip:192.0.2.9:5060>\r\nExpires: {said}\r\n");
        if self.mood == Mood::Hasty {
            self.notify(now, random, &key, (lease == 0).then_some("timeout"), true);
            let from = self.out.len();
            self.answer(random, text, 200, &tag, &more);
            self.out[from].0 = Duration::from_millis(1 + random.below(3000));
        } else {
            self.answer(random, text, 200, &tag, &more);
            self.notify(now, random, &key, (lease == 0).then_some("timeout"), true);
        }
        if lease == 0 {
            self.dialogs.remove(&key);
        } else if self.mood == Mood::Forking && !to.contains("tag=") {
            for _ in 0..random.below(12) {
                let tag = format!("f{}", self.number());
                let key = (call_id.clone(), tag.clone());
                let fork = Dialog {
                    us: format!("<{resource}>;tag={tag}"),
                    them: header(text, "From").to_owned(),
                    call_id: call_id.clone(),
                    contact: "sip:lamplighter@192.0.2.1:5070".into(),
                    resource: resource.clone(),
                    cseq: 0,
                    heard: 0,
                    version: 0,
                    until: now + SECOND * lease as u32,
                    told: BTreeMap::new(),
                    out: None,
                    fork: true,
                };
                self.dialogs.insert(key.clone(), fork);
                self.notify(now, random, &key, None, true);
            }
        }
    }

    /// `full`: of a list everything is said, and not just what is new in this dialog.
    fn notify(&mut self, now: Time, random: &mut Random, key: &(String, String), end: Option<&str>, full: bool) {
        if self.mood == Mood::Silent || self.mood == Mood::Dead {
            return;
        }
        let times = if self.mood == Mood::Shouting { 1 + random.below(50) } else { 1 };
        for _ in 0..times {
            let Some(dialog) = self.dialogs.get_mut(key) else { return };
            dialog.cseq += 1;
            dialog.version += 1;
            let calls = self.truth.get(&dialog.resource).cloned().unwrap_or_default();
            let calls: Vec<_> = calls.iter().map(|(id, state)| (&**id, &**state)).collect();
            let mut body = document(dialog.version, "full", &calls).replace(crate::tests::OURS, &dialog.resource);
            let mut kind = PLAIN;
            if dialog.resource == LIST && !(self.mood == Mood::Lying && random.percent(10)) {
                (kind, body) = (SEVERAL, roll(random, self.mood, &self.members, dialog, full));
            }
            let left = dialog.until.since(now).as_secs();
            let reason = |reason: &str| if reason.is_empty() { String::new() } else { format!(";reason={reason}") };
            let mut state = match (end, self.mood) {
                (Some(end), _) => format!("terminated{}", reason(end)),
                (None, Mood::Ending(end)) => format!("terminated{}", reason(end)),
                (None, Mood::Grants(lease)) => format!("active;expires={lease}"),
                _ => format!("active;expires={left}"),
            };
            let (mut us, mut them, mut call_id) = (dialog.us.clone(), dialog.them.clone(), dialog.call_id.clone());
            let (mut cseq, mut more, mut event) = (dialog.cseq, "", "dialog");
            if self.mood == Mood::Lying {
                match random.below(8) {
                    0 => us = format!("<sip:else@example.com>;tag={}", random.below(4)),
                    1 => them.push('0'),
                    2 => call_id.push('x'),
                    3 => cseq = random.below(5) as u32,
                    // A version that none after it will reach.
                    4 => body = body.replace("version=\"1.0\"", "").replacen("version=\"", "version=\"40000", 1),
                    5 => state = String::new(),
                    6 => event = "presence",
                    _ => more = "Content-Encoding: gzip\r\n",
                }
            }
            if self.mood == Mood::Garbage {
                body = match random.below(6) {
                    0 => "<".repeat(60_000),
                    1 => "<a>".repeat(15_000),
                    2 => body[..random.below(body.len() as u64) as usize].into(),
                    3 => "\u{0}\u{1}\u{2}".into(),
                    4 => format!("<dialog-info {}/>", "a=\"b\" ".repeat(5000)),
                    _ => body.replace("dialog-info", "other"),
                };
            }
            let branch = {
                self.count += 1;
                self.count
            };
            let dialog = &self.dialogs[key];
            let text = format!(
                "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKs{branch}\r\nFrom: {us}\r\n\
                 To: {them}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} NOTIFY\r\nEvent: {event}\r\n\
                 Subscription-State: {state}\r\nContact: <sip:192.0.2.9:5060>\r\n{more}\
                 Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
                dialog.contact,
                body.len()
            );
            self.out.push((Duration::ZERO, text.clone().into_bytes()));
            if let Some(dialog) = self.dialogs.get_mut(key) {
                dialog.out = Some((text, now + SECOND / 2, 0));
            }
        }
        if let Mood::Ending(_) = self.mood {
            self.dialogs.remove(key);
        }
    }

    fn publish(&mut self, now: Time, random: &mut Random, text: &str) {
        if self.sulks(random, text) {
            return;
        }
        let (said, lease) = self.lease(text);
        let resource = header(text, "To").trim_start_matches('<').split('>').next().unwrap().to_owned();
        let named = text.contains("\r\nSIP-If-Match: ").then(|| header(text, "SIP-If-Match").to_owned());
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let held = match &named {
            None => None,
            Some(tag) => match self.publications.remove(tag) {
                None => return self.answer(random, text, 412, "", ""),
                held => held,
            },
        };
        let calls = match held {
            Some(held) if body.is_empty() => held.calls,
            _ => calls_of(body),
        };
        let tag = format!("e{}", self.number());
        if lease > 0 {
            self.publications.insert(tag.clone(), Publication { resource, calls, until: now + SECOND * lease as u32 });
        }
        let tag = if self.mood == Mood::Tagless { String::new() } else { format!("SIP-ETag: {tag}\r\n") };
        self.answer(random, text, 200, "compositor", &format!("{tag}Expires: {said}\r\n"));
    }
}
