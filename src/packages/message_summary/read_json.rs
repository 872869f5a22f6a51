//! Reading voicemail as JSON: what the feed shows, and simpler forms of it.

use super::{ACCOUNT, CLASSES, Class, Counts, KNOWN, Summary, is_class};
use crate::node::{Node, document};
use lamplighter_model::package::BadBody;

pub(super) fn read(json: &[u8]) -> Result<Summary, BadBody> {
    let value = document(json)?;
    let root = Node::root(&value);
    let mut summary = Summary::default();
    let account = root.get("account", |account| account.text(ACCOUNT))?.map(str::trim);
    summary.account = account.filter(|account| !account.is_empty()).map(Into::into);
    for (name, _) in KNOWN {
        if let Some(node) = root.member(name.strip_suffix("-message").unwrap_or(name)) {
            summary.classes.push((Class::new(name), counts(&node)?));
        }
    }
    if let Some(other) = root.member("other") {
        for (name, node) in other.members()? {
            if !is_class(name) {
                return Err(other.bad("expected names of message classes"));
            }
            let counts = counts(&node)?;
            let class = Class::new(name);
            match summary.classes.binary_search_by(|(known, _)| known.cmp(&class)) {
                Ok(index) => summary.classes[index].1 = counts,
                Err(_) if summary.classes.len() == CLASSES => return Err(other.bad("too many message classes")),
                Err(index) => summary.classes.insert(index, (class, counts)),
            }
        }
    }
    let waiting = root.get("waiting", Node::flag)?;
    if waiting.is_none() && summary.classes.is_empty() {
        return Err(root.bad("expected waiting or a message class such as voice"));
    }
    summary.waiting = waiting.unwrap_or_else(|| summary.lit());
    Ok(summary)
}

/// `{"new","old","urgent_new","urgent_old"}`, or how many are new.
fn counts(node: &Node<'_>) -> Result<Counts, BadBody> {
    let number = |node: Node<'_>| Ok(u32::try_from(node.whole()?).unwrap_or(u32::MAX));
    if let Ok(new) = number(*node) {
        return Ok(Counts { new, ..Counts::default() });
    }
    node.expect_object().map_err(|_| node.bad("expected counts such as {\"new\":2,\"old\":8}"))?;
    let number = |name| node.get(name, number).map(Option::unwrap_or_default);
    Ok(Counts {
        new: number("new")?,
        old: number("old")?,
        urgent_new: number("urgent_new")?,
        urgent_old: number("urgent_old")?,
    })
}
