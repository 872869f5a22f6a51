//! What one reader watches: its subscriptions, how far it has come, and the frames that it is owed.
//!
//! Frames are made one by one as the reader takes them: nothing queues up for whoever is slow. The feed over WebSocket
//! and server-sent events are two ways of carrying them.

use crate::app::{App, Reader};
use crate::auth::{Principal, Reads};
use crate::command::{Pick, Sub, Wanted};
use crate::lane::{self, Behind, FRAME, Fields, Lane, Lens, Watched, push_items};
use crate::problem::{Kind, Problem};
use crate::ws::Text;
use lamplighter_model::Time;
use lamplighter_port::{Item, Scope, Selector, Tap, push_json_string};
use serde_json::json;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

/// Frames of one flush before the client's own frames get their turn.
const BURST: usize = 32;
/// Addresses in one `get`.
const GET: usize = 100;

/// A frame on its way to a reader.
pub(crate) struct Out {
    pub text: Text,
    /// Its type.
    pub event: &'static str,
    /// The cursor that it carries.
    pub cursor: Option<u64>,
    changes: Option<(usize, usize, Time)>,
}

impl Out {
    fn new(event: &'static str, text: impl Into<Text>) -> Self {
        Self { text: text.into(), event, cursor: None, changes: None }
    }

    /// Counts it once it has been sent.
    pub(crate) fn observe(&self, app: &App) {
        app.metrics.frames.fetch_add(1, Relaxed);
        app.metrics.bytes.fetch_add(self.text.len() as u64, Relaxed);
        if let Some((items, conflated, oldest)) = self.changes {
            lane::observe(items, conflated, oldest, &app.metrics);
        }
    }
}

pub(crate) struct Watch {
    app: Arc<App>,
    reader: Arc<Reader>,
    principal: Principal,
    subs: Vec<Subscription>,
    /// Everything in scope of all subscriptions up to here has been handed out.
    rev: u64,
    /// The newest cursor that the reader has been told.
    told: u64,
    lane: Option<Arc<Lane>>,
    todo: VecDeque<Todo>,
    /// Frames that the flush under way may still have, and when it began.
    left: usize,
    now: Instant,
}

#[derive(Clone)]
struct Subscription {
    name: String,
    picks: Vec<Pick>,
    wanted: Wanted,
    scope: Scope,
    fields: Option<Fields>,
    /// Every state is wanted, and kept for it.
    tap: Option<Arc<Tap>>,
    matched: usize,
}

/// What the reader is owed before what has changed since.
enum Todo {
    /// What has changed up to this revision, of this lane or of all that is watched.
    CatchUp(u64, Option<Arc<Lane>>),
    Text(Out),
    Snap(Snap),
    /// The subscription holds from this revision on, in place of one of that name if there is one.
    Join(Box<Subscription>, u64),
}

struct Snap {
    sub: String,
    parts: Vec<(Scope, Option<Fields>)>,
    reads: Reads,
    items: Vec<Arc<Item>>,
    /// So many of them have been told.
    at: usize,
    absent: VecDeque<String>,
    rev: u64,
}

impl Watch {
    pub(crate) fn new(app: Arc<App>, reader: Arc<Reader>, principal: Principal) -> Self {
        Self {
            app,
            reader,
            principal,
            subs: Vec::new(),
            rev: 0,
            told: 0,
            lane: None,
            todo: VecDeque::new(),
            left: 0,
            now: Instant::now(),
        }
    }

    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether there is anything that could change.
    pub(crate) fn is_watching(&self) -> bool {
        self.lane.is_some()
    }

    /// Everything in scope up to here has been handed out.
    pub(crate) fn rev(&self) -> u64 {
        self.rev
    }

    /// What has changed since may be handed out now.
    pub(crate) fn flush(&mut self, now: Instant) {
        (self.left, self.now) = (BURST, now);
    }

    /// The next frame that the reader is owed, if there is one now.
    pub(crate) fn next(&mut self) -> Option<Out> {
        loop {
            let Some(todo) = self.todo.pop_front() else { return self.changes() };
            match todo {
                Todo::Text(out) => return Some(out),
                Todo::CatchUp(rev, lane) => {
                    let Some(watched) = lane.clone().or_else(|| self.lane.clone()) else { continue };
                    if self.rev >= rev {
                        continue;
                    }
                    match watched.encode(&self.app.port, self.rev, rev) {
                        Ok(frame) => {
                            self.todo.push_front(Todo::CatchUp(rev, lane));
                            if let Some(out) = self.update(&frame) {
                                return Some(out);
                            }
                        }
                        Err(behind) => self.begin_afresh(behind),
                    }
                }
                Todo::Snap(mut snap) => {
                    let out = self.snap(&mut snap);
                    if out.cursor.is_none() {
                        self.todo.push_front(Todo::Snap(snap));
                    }
                    return Some(out);
                }
                Todo::Join(sub, rev) => {
                    self.rev = rev;
                    match self.subs.iter_mut().find(|one| one.name == sub.name) {
                        Some(place) => *place = *sub,
                        None => {
                            self.subs.push(*sub);
                            self.app.metrics.subscriptions.fetch_add(1, Relaxed);
                        }
                    }
                    self.relane();
                }
            }
        }
    }

    /// What has changed since the cursor.
    fn changes(&mut self) -> Option<Out> {
        while self.left > 0 {
            self.left -= 1;
            let lane = self.lane.as_ref()?;
            match lane.since(&self.app.port, self.rev, self.now, &self.app.metrics) {
                Ok(frame) => {
                    if !frame.more {
                        self.left = 0;
                    }
                    if let Some(out) = self.update(&frame) {
                        return Some(out);
                    }
                }
                Err(behind) => {
                    self.begin_afresh(behind);
                    return self.next();
                }
            }
        }
        None
    }

    fn update(&mut self, frame: &lane::Frame) -> Option<Out> {
        self.rev = frame.to;
        self.reader.rev.store(frame.to, Relaxed);
        self.reader.conflated.fetch_add(frame.conflated as u64, Relaxed);
        let text = frame.text.clone()?;
        self.told = frame.to;
        Some(Out {
            text,
            event: "upd",
            cursor: Some(frame.to),
            changes: Some((frame.items, frame.conflated, frame.oldest)),
        })
    }

    /// A cursor that has moved on without changes in scope, so that it does not age.
    pub(crate) fn cursor(&mut self) -> Option<Out> {
        if self.lane.is_none() || self.rev <= self.told {
            return None;
        }
        self.told = self.rev;
        let text = format!("{{\"t\":\"upd\",\"items\":[],\"cursor\":\"{}\"}}", self.cursor_text(self.rev));
        Some(Out { cursor: Some(self.rev), ..Out::new("upd", text) })
    }

    fn cursor_text(&self, rev: u64) -> String {
        format!("{}.{rev}", self.app.port.epoch())
    }

    /// What cannot be told change by change is told whole.
    fn begin_afresh(&mut self, behind: Behind) {
        match behind {
            Behind::Forgotten => self.reset("behind", |_| true),
            Behind::Overflow => self.reset("overflow", |sub| sub.tap.is_some()),
        }
    }

    /// These subscriptions begin afresh; what others have missed meanwhile goes before.
    fn reset(&mut self, reason: &'static str, which: impl Fn(&Subscription) -> bool) {
        let rev = self.head();
        let (these, others): (Vec<Subscription>, Vec<_>) = self.subs.iter().cloned().partition(which);
        let mut todo = Vec::new();
        if let Some(watched) = self.watched(&others) {
            todo.push(Todo::CatchUp(
                rev,
                Some(Arc::new(Lane::new(watched, others.iter().find_map(|it| it.tap.clone())))),
            ));
        }
        for mut sub in these {
            self.app.metrics.resets.fetch_add(1, Relaxed);
            let text = json!({ "t": "reset", "sub": sub.name, "reason": reason }).to_string();
            todo.push(Todo::Text(Out::new("reset", text)));
            let items = self.collect(&sub.scope, 0, rev, usize::MAX).unwrap_or_default();
            sub.matched = items.len();
            todo.push(Todo::Snap(self.snapshot(&sub, &sub.scope, items, VecDeque::new(), rev)));
            todo.push(Todo::Join(Box::new(sub), rev));
        }
        for one in todo.into_iter().rev() {
            self.todo.push_front(one);
        }
    }

    /// Subscribes; what follows is owed. With `id` it is answered by `ok`.
    pub(crate) fn sub(&mut self, id: Option<u64>, sub: Sub) -> Result<(), Problem> {
        let limits = self.app.config.limits;
        if self.subs.iter().any(|one| one.name == sub.sub) {
            return Err(Problem::at(Kind::Conflict, "/sub", "there is a subscription of that name"));
        }
        if self.subs.len() >= limits.subscriptions {
            let most = format!("at most {} subscriptions in one connection", limits.subscriptions);
            return Err(Problem::new(Kind::TooManySubscriptions, most));
        }
        let selectors = self.selectors(&sub.picks)?;
        let mut wanted = sub.wanted;
        self.permit(&sub.picks, &selectors, &mut wanted)?;
        // From here on every state is kept: none between snapshot and changes is lost.
        let tap = sub.every.then(|| Arc::new(self.app.port.tap()));
        let scope = Scope::new(selectors.iter().cloned(), wanted.kinds());
        let room = self.room(None).min(sub.limit.unwrap_or(usize::MAX));
        let prepared = self.prepare(&scope, sub.cursor.as_deref(), room)?;
        if sub.cursor.is_some() {
            let metrics = &self.app.metrics;
            if prepared.afresh.is_none() { &metrics.resumed } else { &metrics.resume_refused }.fetch_add(1, Relaxed);
        }
        let Prepared { items, rev, matched, afresh } = prepared;
        let resumed = sub.cursor.is_some() && afresh.is_none();
        self.todo.push_back(Todo::CatchUp(rev, None));
        if let Some(id) = id {
            let mut ok = json!({ "t": "ok", "id": id, "sub": sub.sub, "matched": matched, "resumed": resumed });
            if !wanted.unknown.is_empty() {
                ok["unknown_kinds"] = wanted.unknown.clone().into();
            }
            if !sub.snapshot {
                ok["cursor"] = self.cursor_text(rev).into();
            }
            self.todo.push_back(Todo::Text(Out::new("ok", ok.to_string())));
        }
        if let (Some(_), Some(reason)) = (&sub.cursor, afresh) {
            let text = json!({ "t": "reset", "sub": sub.sub, "reason": reason }).to_string();
            self.todo.push_back(Todo::Text(Out::new("reset", text)));
        }
        let new = Subscription { name: sub.sub, picks: sub.picks, wanted, scope, fields: sub.fields, tap, matched };
        if sub.snapshot {
            let absent = if sub.absent { self.absent(&selectors, &new.wanted) } else { VecDeque::new() };
            self.todo.push_back(Todo::Snap(self.snapshot(&new, &new.scope, items, absent, rev)));
        } else {
            self.told = self.told.max(rev);
        }
        self.todo.push_back(Todo::Join(Box::new(new), rev));
        // What has changed since the snapshot would else wait for the next change.
        self.flush(Instant::now());
        Ok(())
    }

    /// More selectors for a subscription: what they add comes as a snapshot.
    pub(crate) fn add(&mut self, id: u64, name: &str, picks: Vec<Pick>) -> Result<(), Problem> {
        let at = self.find(name)?;
        let selectors = self.selectors(&picks)?;
        let mut sub = self.subs[at].clone();
        self.permit(&picks, &selectors, &mut sub.wanted.clone())?;
        let more = Scope::new(selectors, sub.wanted.kinds());
        let picks: Vec<Pick> = picks.into_iter().filter(|pick| !sub.picks.contains(pick)).collect();
        sub.picks.extend(picks);
        sub.scope = Scope::new(self.selectors(&sub.picks)?, sub.wanted.kinds());
        let room = self.room(Some(at));
        let Prepared { items, rev, .. } = self.prepare(&more, None, room)?;
        sub.matched = self.count(&sub.scope, room.saturating_add(1));
        if sub.matched > room || sub.scope.named() > room {
            return Err(full(room));
        }
        self.todo.push_back(Todo::CatchUp(rev, None));
        let ok = json!({ "t": "ok", "id": id, "sub": name, "matched": sub.matched });
        self.todo.push_back(Todo::Text(Out::new("ok", ok.to_string())));
        self.todo.push_back(Todo::Snap(self.snapshot(&sub, &more, items, VecDeque::new(), rev)));
        self.todo.push_back(Todo::Join(Box::new(sub), rev));
        self.flush(Instant::now());
        Ok(())
    }

    /// Fewer selectors for a subscription. The client forgets by itself what it no longer watches.
    pub(crate) fn del(&mut self, id: u64, name: &str, picks: &[Pick]) -> Result<(), Problem> {
        let at = self.find(name)?;
        let mut sub = self.subs[at].clone();
        if let Some(index) = picks.iter().position(|pick| !sub.picks.contains(pick)) {
            let detail = "the subscription has no such selector";
            return Err(Problem::at(Kind::NotFound, format!("/r/{index}"), detail));
        }
        sub.picks.retain(|pick| !picks.contains(pick));
        sub.scope = Scope::new(self.selectors(&sub.picks)?, sub.wanted.kinds());
        sub.matched = self.count(&sub.scope, usize::MAX);
        let ok = json!({ "t": "ok", "id": id, "sub": name, "matched": sub.matched });
        self.todo.push_back(Todo::Text(Out::new("ok", ok.to_string())));
        self.subs[at] = sub;
        self.relane();
        Ok(())
    }

    pub(crate) fn unsub(&mut self, id: u64, name: &str) -> Result<(), Problem> {
        let at = self.find(name)?;
        self.subs.remove(at);
        self.app.metrics.subscriptions.fetch_sub(1, Relaxed);
        self.relane();
        self.todo.push_back(Todo::Text(Out::new("ok", json!({ "t": "ok", "id": id, "sub": name }).to_string())));
        Ok(())
    }

    /// States of named addresses, once.
    pub(crate) fn get(&mut self, id: u64, picks: &[Pick], mut wanted: Wanted) -> Result<(), Problem> {
        let selectors = self.selectors(picks)?;
        let names: Option<Vec<Arc<str>>> = selectors.iter().map(exact).collect();
        let names = names.filter(|names| names.len() <= GET).ok_or_else(|| {
            Problem::at(Kind::InvalidField, "/r", format!("at most {GET} addresses; patterns are for sub"))
        })?;
        self.permit(picks, &selectors, &mut wanted)?;
        let lens = self.lens(&[]);
        let mut text = format!("{{\"t\":\"ok\",\"id\":{id},\"items\":[");
        let mut comma = false;
        for name in &names {
            for &package in &wanted.ids {
                let Some(item) = self.app.port.get(name, package) else { continue };
                let Some(json) = lens.json(&item) else { continue };
                text.push_str(if comma { "," } else { "" });
                text.push_str(&json);
                comma = true;
            }
        }
        text.push_str("]}");
        self.todo.push_back(Todo::Text(Out::new("ok", text)));
        Ok(())
    }

    /// Another token has taken the place of the first. What it may not see any more is told to be forgotten.
    pub(crate) fn authorize(&mut self, principal: Principal) {
        let same = principal.grants() == self.principal.grants();
        self.principal = principal;
        if same {
            return;
        }
        let subs = std::mem::take(&mut self.subs);
        for mut sub in subs {
            let selectors = self.selectors(&sub.picks).unwrap_or_default();
            if self.permit(&sub.picks, &selectors, &mut sub.wanted).is_ok() {
                sub.scope = Scope::new(selectors, sub.wanted.kinds());
                self.subs.push(sub);
                continue;
            }
            let text = json!({ "t": "reset", "sub": sub.name, "reason": "forbidden" }).to_string();
            self.todo.push_back(Todo::Text(Out::new("reset", text)));
            self.app.metrics.subscriptions.fetch_sub(1, Relaxed);
        }
        self.relane();
        self.reset("rights_changed", |_| true);
    }

    /// Whether the groups of the subscriptions still have the same members; those that have not begin afresh.
    pub(crate) fn regroup(&mut self) {
        let mut changed = Vec::new();
        for at in 0..self.subs.len() {
            if !self.subs[at].picks.iter().any(|pick| matches!(pick, Pick::Group(_))) {
                continue;
            }
            // A group that is no more has no members.
            let picks = self.subs[at].picks.iter();
            let selectors = picks.flat_map(|pick| self.expand(pick).unwrap_or_default()).collect::<Vec<_>>();
            let scope = Scope::new(selectors, self.subs[at].wanted.kinds());
            if scope != self.subs[at].scope {
                self.subs[at].scope = scope;
                changed.push(self.subs[at].name.clone());
            }
        }
        if !changed.is_empty() {
            self.reset("group_changed", |sub| changed.contains(&sub.name));
        }
    }

    fn find(&self, name: &str) -> Result<usize, Problem> {
        let at = self.subs.iter().position(|sub| sub.name == name);
        at.ok_or_else(|| Problem::at(Kind::NotFound, "/sub", "there is no subscription of that name"))
    }

    /// The selectors of a pick; `None`: there is no such group.
    fn expand(&self, pick: &Pick) -> Option<Vec<Selector>> {
        match pick {
            Pick::Plain(selector) => Some(vec![selector.clone()]),
            Pick::Group(name) => {
                let members = self.app.group(name)?;
                Some(members.iter().map(|member| Selector::Exact(member.as_str().into())).collect())
            }
        }
    }

    fn selectors(&self, picks: &[Pick]) -> Result<Vec<Selector>, Problem> {
        let mut all = Vec::new();
        for (index, pick) in picks.iter().enumerate() {
            let absent = || Problem::at(Kind::NotFound, format!("/r/{index}"), "there is no such group");
            all.extend(self.expand(pick).ok_or_else(absent)?);
        }
        Ok(all)
    }

    /// Whether the principal may read what is asked for. Kinds that were not named are left out where it may not; every
    /// selector must select something that it may read, and every kind that was named must be readable there.
    fn permit(&self, picks: &[Pick], selectors: &[Selector], wanted: &mut Wanted) -> Result<(), Problem> {
        if self.principal.uniform_view().is_some() {
            return Ok(());
        }
        let (reads, packages) = (self.principal.grants(), self.app.port.packages());
        let reaches = |selector: &Selector, id| reads.reaches(selector, packages.get(id).kind());
        if !wanted.named {
            wanted.ids.retain(|id| selectors.iter().any(|selector| reaches(selector, *id)));
        }
        for (index, pick) in picks.iter().enumerate() {
            let of = self.expand(pick).unwrap_or_default();
            let readable = |id: &_| of.iter().any(|selector| reaches(selector, *id));
            let refused = match wanted.named {
                true => wanted.ids.iter().find(|id| !readable(id)).map(|id| format!("`{}`", packages.get(*id).kind())),
                false => (!wanted.ids.iter().any(readable)).then(|| "anything".to_owned()),
            };
            if let Some(what) = refused.filter(|_| !of.is_empty()) {
                let detail = format!("the token grants no reading of {what} of this selector");
                return Err(Problem::at(Kind::Forbidden, format!("/r/{index}"), detail));
            }
        }
        Ok(())
    }

    /// States and addresses that may still be watched, by the subscription at `but` or a new one.
    fn room(&self, but: Option<usize>) -> usize {
        let others = self.subs.iter().enumerate().filter(|(at, _)| Some(*at) != but);
        let taken: usize = others.map(|(_, sub)| sub.matched.max(sub.scope.named())).sum();
        self.app.config.limits.resources.saturating_sub(taken)
    }

    /// What the client has to be told of `scope`, from a cursor or from nothing.
    fn prepare(&self, scope: &Scope, cursor: Option<&str>, room: usize) -> Result<Prepared, Problem> {
        if scope.named() > room {
            return Err(full(room));
        }
        let (port, rev) = (&self.app.port, self.head());
        let afresh = match cursor.map(|cursor| self.resumable(cursor)) {
            Some(Ok(from)) => {
                let items = self.collect(scope, from, rev, usize::MAX).unwrap_or_default();
                let matched = self.count(scope, room.saturating_add(1));
                if matched > room {
                    return Err(full(room));
                }
                // Unless tombstones were forgotten meanwhile.
                if port.can_resume(port.epoch(), from) {
                    return Ok(Prepared { items, rev, matched, afresh: None });
                }
                Some("cursor_too_old")
            }
            Some(Err(reason)) => Some(reason),
            None => None,
        };
        let items = self.collect(scope, 0, rev, room).ok_or_else(|| full(room))?;
        Ok(Prepared { matched: items.len(), items, rev, afresh })
    }

    /// The newest revision, or the one that the reader has come to.
    fn head(&self) -> u64 {
        self.rev.max(*self.app.port.head().borrow())
    }

    /// The revision of a cursor from which one can go on, or why one cannot.
    fn resumable(&self, cursor: &str) -> Result<u64, &'static str> {
        let port = &self.app.port;
        let (epoch, rev) = cursor.rsplit_once('.').ok_or("cursor_invalid")?;
        let rev = rev.parse().map_err(|_| "cursor_invalid")?;
        match (epoch == port.epoch(), port.can_resume(epoch, rev)) {
            (_, true) => Ok(rev),
            (false, _) => Err("epoch_changed"),
            (true, false) if rev > *port.head().borrow() => Err("cursor_invalid"),
            (true, false) => Err("cursor_too_old"),
        }
    }

    /// What has changed in `scope` with `from < rev <= upto` and may be seen; from 0, only what has a state. `None`: it
    /// is more than `most`.
    fn collect(&self, scope: &Scope, from: u64, upto: u64, most: usize) -> Option<Vec<Arc<Item>>> {
        let lens = self.lens(&[]);
        let (mut items, mut rev) = (Vec::new(), from);
        loop {
            let old = items.len();
            let cursor = self.app.port.between(rev, upto, scope, 1024, &mut items);
            let mut index = 0;
            items.retain(|item| {
                index += 1;
                index <= old || (from > 0 || item.state.is_some()) && lens.sees(item)
            });
            if items.len() > most {
                return None;
            }
            if !cursor.more {
                return Some(items);
            }
            rev = cursor.rev;
        }
    }

    /// How many states in `scope` may be seen, counted up to `most`.
    fn count(&self, scope: &Scope, most: usize) -> usize {
        if self.principal.uniform_view().is_some() {
            return self.app.port.count(scope, most);
        }
        let lens = self.lens(&[]);
        let (mut items, mut rev, mut count) = (Vec::new(), 0, 0);
        loop {
            let cursor = self.app.port.since(rev, scope, 1024, &mut items);
            count += items.drain(..).filter(|item: &Arc<Item>| item.state.is_some() && lens.sees(item)).count();
            rev = cursor.rev;
            if !cursor.more || count >= most {
                return count.min(most);
            }
        }
    }

    fn lens<'a>(&'a self, parts: &'a [(Scope, Option<Fields>)]) -> Lens<'a> {
        Lens { packages: self.app.port.packages(), reads: self.principal.grants(), parts }
    }

    /// Words for addresses that were asked for by name and have no state.
    fn absent(&self, selectors: &[Selector], wanted: &Wanted) -> VecDeque<String> {
        let (mut absent, packages) = (VecDeque::new(), self.app.port.packages());
        for name in selectors.iter().filter_map(exact) {
            for &package in &wanted.ids {
                let kind = packages.get(package).kind();
                if self.principal.view(&name, kind).is_some() && self.app.port.get(&name, package).is_none() {
                    let mut text = String::from("{\"r\":");
                    push_json_string(&mut text, &name);
                    text.push_str(",\"k\":");
                    push_json_string(&mut text, kind);
                    text.push_str(",\"absent\":true}");
                    absent.push_back(text);
                }
            }
        }
        absent
    }

    fn snapshot(
        &self,
        sub: &Subscription,
        scope: &Scope,
        items: Vec<Arc<Item>>,
        absent: VecDeque<String>,
        rev: u64,
    ) -> Snap {
        let parts = sub.fields.iter().map(|fields| (scope.clone(), Some(fields.clone()))).collect();
        Snap { sub: sub.name.clone(), parts, reads: self.principal.grants().clone(), items, at: 0, absent, rev }
    }

    /// The next `snap` frame; the last one has the cursor.
    fn snap(&mut self, snap: &mut Snap) -> Out {
        let mut text = Text::begin("{\"t\":\"snap\",\"sub\":");
        push_json_string(&mut text, &snap.sub);
        text.push_str(",\"items\":[");
        let lens = Lens { packages: self.app.port.packages(), reads: &snap.reads, parts: &snap.parts };
        let (taken, pushed) = push_items(&mut text, lens, &snap.items[snap.at..]);
        snap.at += taken;
        let mut comma = pushed > 0;
        if snap.at == snap.items.len() {
            while text.len() < FRAME
                && let Some(one) = snap.absent.pop_front()
            {
                text.push_str(if comma { "," } else { "" });
                text.push_str(&one);
                comma = true;
            }
        }
        self.app.metrics.items.fetch_add(pushed as u64, Relaxed);
        if snap.at < snap.items.len() || !snap.absent.is_empty() {
            text.push_str("],\"more\":true}");
            return Out::new("snap", Text::seal(text));
        }
        let _ = write!(text, "],\"more\":false,\"cursor\":\"{}\"}}", self.cursor_text(snap.rev));
        self.told = self.told.max(snap.rev);
        Out { cursor: Some(snap.rev), ..Out::new("snap", Text::seal(text)) }
    }

    /// What these subscriptions watch together, if there are any.
    fn watched(&self, subs: &[Subscription]) -> Option<Watched> {
        if subs.is_empty() {
            return None;
        }
        let parts = match subs.iter().any(|sub| sub.fields.is_some()) {
            true => subs.iter().map(|sub| (sub.scope.clone(), sub.fields.clone())).collect(),
            false => Vec::new(),
        };
        Some(Watched {
            scope: Scope::union(subs.iter().map(|sub| &sub.scope)),
            parts,
            reads: self.principal.grants().clone(),
            every: subs.iter().any(|sub| sub.tap.is_some()),
        })
    }

    /// Watches what all subscriptions together include.
    fn relane(&mut self) {
        let tap = self.subs.iter().find_map(|sub| sub.tap.clone());
        self.lane = self.watched(&self.subs).map(|watched| self.app.lane(watched, tap));
        self.reader.rev.store(self.rev, Relaxed);
        self.reader.subscriptions.store(self.subs.len() as u64, Relaxed);
        self.reader.subscriptions.store(self.subs.len() as u64, Relaxed);
        *self.reader.lane.lock().unwrap_or_else(PoisonError::into_inner) = self.lane.clone();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.app.metrics.subscriptions.fetch_sub(self.subs.len() as u64, Relaxed);
    }
}

struct Prepared {
    items: Vec<Arc<Item>>,
    rev: u64,
    matched: usize,
    /// Why a cursor that was brought is of no use.
    afresh: Option<&'static str>,
}

fn full(room: usize) -> Problem {
    Problem::new(Kind::TooManyResources, format!("more than {room} states or addresses match"))
}

fn exact(selector: &Selector) -> Option<Arc<str>> {
    match selector {
        Selector::Exact(name) => Some(Arc::clone(name)),
        _ => None,
    }
}
