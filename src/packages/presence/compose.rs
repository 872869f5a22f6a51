//! What is true when several publications, and the presentity's calls, tell of the same presentity.

use super::{Activities, Doing, Person, Presence, ShownTuple, State, Tuple, Value};
use crate::ids::unique;
use lamplighter_model::hash::Seed;
use lamplighter_model::package::Sourced;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) fn compose(sources: &[Sourced<'_, Presence>]) -> State {
    let mut newest_first: SmallVec<[Sourced<'_, Presence>; 4]> =
        sources.iter().filter(|one| one.live && !one.fact.derived).copied().collect();
    newest_first.sort_by(|a, b| (b.stamp, b.source).cmp(&(a.stamp, a.source)));
    let calls = sources.iter().filter(|one| one.live && one.fact.derived).map(|one| one.fact.since).max();

    let mut person = person(&newest_first);
    if calls.is_some() {
        let person = person.get_or_insert_with(Person::default);
        let doing = person.doing.get_or_insert_with(Doing::default);
        let mut against = Activities::UNKNOWN;
        against.add(Activities::PERMANENT_ABSENCE);
        if !doing.activities.any(against) {
            doing.activities.add(Activities::ON_THE_PHONE);
        }
    }
    let tuples = tuples(&newest_first);
    if let Some(person) = &mut person
        && (person.id.is_empty() || tuples.iter().any(|shown| *shown.id() == *person.id))
    {
        person.id = "person".into();
        while tuples.iter().any(|shown| *shown.id() == *person.id) {
            person.id = format!("{}-", person.id).into();
        }
    }
    let mut devices = Vec::new();
    let mut seen = BTreeSet::new();
    for device in newest_first.iter().flat_map(|one| &one.fact.devices) {
        if seen.insert(&device.id) {
            devices.push(device.clone());
        }
    }
    devices.sort_by(|a, b| a.id.cmp(&b.id));
    let facts = || newest_first.iter().map(|one| one.fact);
    State {
        tuples,
        person,
        devices,
        notes: facts().find(|fact| !fact.notes.is_empty()).map(|fact| fact.notes.clone()).unwrap_or_default(),
        extra: facts().find(|fact| !fact.extra.is_empty()).map(|fact| fact.extra.clone()).unwrap_or_default(),
        values: values(&newest_first),
        since: facts().map(|fact| fact.since).max().or(calls),
    }
}

fn values(newest_first: &[Sourced<'_, Presence>]) -> Vec<Value> {
    let mut all: BTreeMap<&str, &Value> = BTreeMap::new();
    for value in newest_first.iter().flat_map(|one| &one.fact.values) {
        all.entry(&value.name).or_insert(value);
    }
    all.into_values().cloned().collect()
}

fn tuples(newest_first: &[Sourced<'_, Presence>]) -> Vec<ShownTuple> {
    let mut all: Vec<(&Arc<Tuple>, &str)> = Vec::new();
    for one in newest_first {
        all.extend(one.fact.tuples.iter().map(|tuple| (tuple, one.source)));
    }
    if newest_first.len() > 1 {
        let mut seen = BTreeSet::new();
        all.retain(|(tuple, _)| seen.insert((&tuple.id, &tuple.contact)));
    }
    all.sort_by(|(a, source_a), (b, source_b)| {
        let key = |tuple: &Tuple| (tuple.open != Some(true), std::cmp::Reverse(tuple.priority));
        key(a).cmp(&key(b)).then_with(|| (&a.id, source_a, &a.contact).cmp(&(&b.id, source_b, &b.contact)))
    });
    // Which of two keeps the id must not depend on which of them is open.
    let mut by_source: SmallVec<[usize; 8]> = (0..all.len()).collect();
    by_source.sort_by(|&a, &b| (all[a].1, &all[a].0.contact).cmp(&(all[b].1, &all[b].0.contact)));
    let ids: SmallVec<[&str; 8]> = by_source.iter().map(|&index| &*all[index].0.id).collect();
    let made = unique(&ids, |index| {
        let (tuple, source) = all[by_source[index]];
        let parts = [source, tuple.contact.as_deref().unwrap_or_default()].map(str::as_bytes);
        Seed(0, 0).fingerprint(&parts) as u32
    });
    let mut shown: Vec<ShownTuple> =
        all.iter().map(|&(tuple, _)| ShownTuple { tuple: tuple.clone(), id: None }).collect();
    for (index, id) in by_source.into_iter().zip(made) {
        shown[index].id = id;
    }
    shown
}

/// One person of all: each part from the newest that has it.
fn person(newest_first: &[Sourced<'_, Presence>]) -> Option<Person> {
    // Within one document the last counts as the newest.
    let mut persons = newest_first.iter().flat_map(|one| one.fact.persons.iter().rev());
    let mut person = (**persons.next()?).clone();
    for older in persons {
        if person.doing.is_none() {
            person.doing.clone_from(&older.doing);
        }
        if person.notes.is_empty() {
            person.notes.clone_from(&older.notes);
        }
        if person.id.is_empty() {
            person.id.clone_from(&older.id);
        }
        let known = person.extras.len();
        for extra in &older.extras {
            if !person.extras[..known].iter().any(|newer| newer.ns == extra.ns && newer.name == extra.name) {
                person.extras.push(extra.clone());
            }
        }
    }
    Some(person)
}

pub(super) fn is_change(old: &State, new: &State) -> bool {
    let same_tuples = old.tuples.len() == new.tuples.len()
        && old.tuples.iter().zip(&new.tuples).all(|(one, two)| one.id == two.id && one.tuple.looks_like(&two.tuple));
    let same_person = match (&old.person, &new.person) {
        (Some(one), Some(two)) => one.looks_like(two),
        (None, None) => true,
        _ => false,
    };
    let same_rest = old.devices == new.devices && old.notes == new.notes && old.extra == new.extra;
    !(same_tuples && same_person && same_rest && old.values == new.values)
}
