//! What is true when several publications tell of the same presentity's calls.

use super::{Config, Dialog, Dialogs, Progress, Shown, State};
use crate::ids::unique;
use lamplighter_model::hash::Seed;
use lamplighter_model::package::{Composed, Sourced, Stamp};
use lamplighter_model::time::Time;
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The fact of a publication whose body was replaced.
pub(super) fn merge(config: Config, old: &Dialogs, mut new: Dialogs) -> Dialogs {
    for dialog in &mut new.all {
        if let Some(known) = old.all.iter().find(|known| known.same(dialog)) {
            carry(known, Arc::make_mut(dialog));
        }
    }
    if new.full {
        return new;
    }
    let mut all: Vec<Arc<Dialog>> = old
        .all
        .iter()
        .filter(|dialog| dialog.ended.is_none_or(|ended| ended + config.linger > new.at))
        .filter(|dialog| !new.all.iter().any(|newer| newer.same(dialog)))
        .cloned()
        .collect();
    all.append(&mut new.all);
    // The oldest make room, those that are over before those that are not.
    while all.len() > config.dialogs {
        let over = all.iter().position(|dialog| dialog.progress == Progress::Terminated);
        all.remove(over.unwrap_or(0));
    }
    Dialogs { full: true, at: new.at, all }
}

/// `dialog` goes on where `known` was, unless `known` is over and `dialog` is a new call under its id.
fn carry(known: &Dialog, dialog: &mut Dialog) {
    let over = known.progress == Progress::Terminated;
    if over && dialog.progress != Progress::Terminated {
        return;
    }
    dialog.since = known.since;
    dialog.answered = known.answered.or(dialog.answered);
    dialog.ended = known.ended.or(dialog.ended);
}

/// What must outlive `old`: dialogs that are over and of which `new` says nothing any more.
pub(super) fn residue(old: &Dialogs, new: Option<&Dialogs>) -> Option<Dialogs> {
    let gone = |dialog: &Arc<Dialog>| {
        dialog.progress == Progress::Terminated
            && !new.is_some_and(|new| {
                new.all.iter().any(|newer| newer.progress == Progress::Terminated && newer.same(dialog))
            })
    };
    let all: Vec<Arc<Dialog>> = old.all.iter().filter(|dialog| gone(dialog)).cloned().collect();
    (!all.is_empty()).then_some(Dialogs { full: true, at: old.at, all })
}

/// A dialog and who says so.
struct Said<'a> {
    dialog: &'a Arc<Dialog>,
    source: &'a str,
    since: Time,
    stamp: Stamp,
    live: bool,
    shown: bool,
    /// A residue that has lingered long enough.
    lapsed: bool,
}

impl Said<'_> {
    fn over(&self) -> bool {
        self.dialog.progress == Progress::Terminated
    }
}

pub(super) fn compose(config: Config, now: Time, sources: &[Sourced<'_, Dialogs>]) -> Composed<State> {
    let mut again: Option<Time> = None;
    let mut said: Vec<Said<'_>> = Vec::with_capacity(sources.iter().map(|source| source.fact.all.len()).sum());
    for &Sourced { source, stamp, live, fact } in sources {
        for dialog in &fact.all {
            let mut shown = true;
            if dialog.progress == Progress::Terminated {
                let leaves = dialog.ended.unwrap_or(stamp.at) + config.linger;
                shown = leaves > now;
                if shown {
                    again = Some(again.map_or(leaves, |again| again.min(leaves)));
                }
            }
            let lapsed = !shown && !live;
            said.push(Said { dialog, source, since: dialog.since, stamp, live, shown, lapsed });
        }
    }
    if said.len() > 1 {
        hide_superseded(&mut said);
        hide_doubles(&mut said);
        hide_vague_doubles(&mut said);
    }
    said.retain(|said| said.shown);
    said.sort_by(|a, b| {
        let key = |said: &Said<'_>| (said.since, said.stamp);
        key(a)
            .cmp(&key(b))
            .then_with(|| (a.source, &a.dialog.id, a.dialog.call()).cmp(&(b.source, &b.dialog.id, b.dialog.call())))
    });
    let ids: SmallVec<[&str; 4]> = said.iter().map(|said| &*said.dialog.id).collect();
    let ids = unique(&ids, |index| {
        let (call, one, other) = said[index].dialog.call().unwrap_or_default();
        Seed(0, 0).fingerprint(&[said[index].source, call, one, other].map(str::as_bytes)) as u32
    });
    let shown = said.iter().zip(ids).map(|(said, id)| {
        let &Said { dialog, since, stamp, .. } = said;
        Shown { dialog: dialog.clone(), id, since, stamp }
    });
    Composed { state: State { shown: shown.collect() }, again }
}

/// Within one source a newer document rules: residue is hidden where its id is used again, and of several residues
/// under one id the newest is shown.
fn hide_superseded(said: &mut [Said<'_>]) {
    if said.iter().all(|said| said.live) {
        return;
    }
    said.sort_by(|a, b| {
        (a.source, &a.dialog.id).cmp(&(b.source, &b.dialog.id)).then((b.live, b.stamp).cmp(&(a.live, a.stamp)))
    });
    for group in said.chunk_by_mut(|a, b| a.source == b.source && a.dialog.id == b.dialog.id) {
        let anew = group[0].live || group[0].shown;
        for later in &mut group[1..] {
            later.shown &= later.live || !anew;
        }
    }
}

/// Across sources a call is shown once: what is over anywhere is over everywhere, else the newest wins. It began when
/// the first knew of it; one that is over may have been another under the same name. A residue that has lingered long
/// enough is right about what is older only.
fn hide_doubles(said: &mut [Said<'_>]) {
    said.sort_by(|a, b| {
        a.dialog.call().cmp(&b.dialog.call()).then_with(|| (b.stamp, b.source).cmp(&(a.stamp, a.source)))
    });
    for group in said.chunk_by_mut(|a, b| a.dialog.call() == b.dialog.call()) {
        if group.len() == 1 || group[0].dialog.call().is_none() {
            continue;
        }
        // Who says it is over: nobody, one source, or several.
        let mut over = group.iter().filter(|said| said.over() && !said.lapsed).map(|said| said.source);
        let first = over.next();
        let several = first.is_some_and(|first| over.any(|source| source != first));
        let began = group.iter().filter(|said| !said.over()).map(|said| said.since).min();
        let (mut winner, mut lapsed) = (None, Sources::default());
        for said in group {
            said.since = began.map_or(said.since, |began| began.min(said.since));
            let beaten = !said.over()
                && (first.is_some_and(|first| several || first != said.source) || lapsed.have_other_than(said.source));
            if said.lapsed {
                lapsed.add(said.source);
            }
            said.shown &= !beaten && winner.is_none_or(|winner| winner == said.source);
            if said.shown {
                winner = Some(said.source);
            }
        }
    }
}

/// Whose word there is.
#[derive(Default)]
struct Sources<'a> {
    one: Option<&'a str>,
    several: bool,
}

impl<'a> Sources<'a> {
    fn add(&mut self, source: &'a str) {
        self.several |= self.one.is_some_and(|one| one != source);
        self.one = Some(source);
    }

    fn have_other_than(&self, source: &str) -> bool {
        self.several || self.one.is_some_and(|one| one != source)
    }
}

/// A server that does not know its entity-tag yet publishes a call anew, and may leave out tags before an answer and at
/// the end (pua_dialoginfo does both). So where tags are missing, what has the same id, Call-ID and direction is one
/// call, and the newest source wins.
fn hide_vague_doubles(said: &mut [Said<'_>]) {
    if !said.iter().any(|said| said.dialog.is_vague()) {
        return;
    }
    said.sort_by(|a, b| {
        let keys = a.dialog.vague_key().cmp(&b.dialog.vague_key());
        keys.then_with(|| (b.stamp, b.source).cmp(&(a.stamp, a.source)))
    });
    for group in said.chunk_by_mut(|a, b| a.dialog.vague_key() == b.dialog.vague_key()) {
        if group.len() == 1 || !group.iter().any(|said| said.dialog.is_vague()) {
            continue;
        }
        let began = group.iter().filter(|said| !said.over()).map(|said| said.since).min();
        let (mut all, mut vague) = (Sources::default(), Sources::default());
        for said in group {
            let newer = if said.dialog.is_vague() { &all } else { &vague };
            said.shown &= !newer.have_other_than(said.source);
            said.since = began.map_or(said.since, |began| began.min(said.since));
            all.add(said.source);
            if said.dialog.is_vague() {
                vague.add(said.source);
            }
        }
    }
}

/// Whether `live` says, of a call that `over` knows to have ended, that it goes on.
pub(super) fn contradicts(over: &Dialogs, live: &Dialogs) -> bool {
    over.all.iter().filter(|over| over.progress == Progress::Terminated).any(|over| {
        live.all.iter().filter(|live| live.progress != Progress::Terminated).any(|live| {
            match (over.call(), live.call()) {
                (Some(over), Some(live)) => over == live,
                _ => over.call_id.is_some() && over.vague_key() == live.vague_key(),
            }
        })
    })
}

/// Dialogs that have ended leave without anyone being told; whatever else differs is a change.
pub(super) fn is_change(old: &State, new: &State) -> bool {
    let ended = |dialog: &&Dialog| dialog.progress == Progress::Terminated;
    let mut before = old.dialogs().filter(|dialog| !ended(dialog));
    let mut after = new.dialogs().filter(|dialog| !ended(dialog));
    loop {
        match (before.next(), after.next()) {
            (None, None) => break,
            (Some(one), Some(two)) if one.looks_like(two) => {}
            _ => return true,
        }
    }
    let known: BTreeSet<_> = old.dialogs().filter(ended).map(|dialog| (&dialog.id, dialog.call())).collect();
    new.dialogs().filter(ended).any(|dialog| !known.contains(&(&dialog.id, dialog.call())))
}
