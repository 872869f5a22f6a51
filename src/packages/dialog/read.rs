//! Reading `application/dialog-info+xml`, as phones really write it.

use super::{Dialog, Dialogs, Direction, NAMESPACE, Party, Progress, Replaces};
use crate::xml::{Element, Reader, decode};
use lamplighter_model::package::{BadBody, Reading};
use lamplighter_model::time::Time;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The most parameters of a target that are kept.
const PARAMS: usize = 16;
/// The most bytes of foreign elements of one document that are kept.
const EXTRA: usize = 8 * 1024;

pub(super) fn read(body: &[u8], reading: Reading<'_>, most: usize) -> Result<Dialogs, BadBody> {
    let text = decode(body)?;
    let mut document = Document { xml: Reader::new(&text), room: EXTRA };
    let root = document.xml.root()?;
    if root.name != "dialog-info" || !ours(root) {
        return Err(document.xml.bad("expected dialog-info"));
    }
    let partial = document.xml.attribute("state")?.is_some_and(|state| state.trim() == "partial");
    let mut all: Vec<Arc<Dialog>> = Vec::with_capacity(1);
    while let Some(child) = document.xml.child()? {
        if child.name != "dialog" || !ours(child) {
            document.xml.skip()?;
            continue;
        }
        let dialog = document.dialog(reading.now)?;
        match all.iter().position(|known| known.same(&dialog)) {
            Some(index) => all[index] = Arc::new(dialog),
            None if all.len() == most => return Err(document.xml.bad("too many dialogs")),
            None => all.push(Arc::new(dialog)),
        }
    }
    Ok(Dialogs { full: !(partial && reading.modifies), at: reading.now, all })
}

/// Whether an element is of RFC 4235; some phones forget the namespace.
fn ours(element: Element<'_>) -> bool {
    element.ns == NAMESPACE || element.ns.is_empty()
}

/// A known value: absent when there is nothing in it.
fn known(value: Cow<'_, str>) -> Option<Box<str>> {
    let trimmed = value.trim();
    (!trimmed.is_empty()).then(|| trimmed.into())
}

struct Document<'a> {
    xml: Reader<'a>,
    /// Bytes of foreign elements that may still be kept.
    room: usize,
}

impl<'a> Document<'a> {
    fn dialog(&mut self, now: Time) -> Result<Dialog, BadBody> {
        let mut id = None;
        let mut dialog = Dialog {
            id: Box::default(),
            call_id: None,
            local_tag: None,
            remote_tag: None,
            direction: None,
            progress: Progress::Terminated,
            event: None,
            code: None,
            replaces: None,
            referred_by: None,
            local: Party::default(),
            remote: Party::default(),
            extra: Box::default(),
            since: now,
            answered: None,
            ended: None,
        };
        self.xml.attributes(|name, value| match name {
            "id" => id = known(value),
            "call-id" => dialog.call_id = known(value),
            "local-tag" => dialog.local_tag = known(value),
            "remote-tag" => dialog.remote_tag = known(value),
            "direction" if value.trim().eq_ignore_ascii_case("initiator") => {
                dialog.direction = Some(Direction::Initiator);
            }
            "direction" if value.trim().eq_ignore_ascii_case("recipient") => {
                dialog.direction = Some(Direction::Recipient);
            }
            _ => {}
        })?;
        dialog.id = match (id, &dialog.call_id) {
            (Some(id), _) => id,
            (None, Some(call_id)) => {
                let tag = |tag: &Option<Box<str>>| tag.clone().unwrap_or_default();
                format!("{call_id};{};{}", tag(&dialog.local_tag), tag(&dialog.remote_tag)).into()
            }
            (None, None) => return Err(self.xml.bad("a dialog has neither id nor call-id")),
        };
        let mut progress = None;
        let mut extra = Vec::new();
        while let Some(child) = self.xml.child()? {
            match child.name {
                _ if !ours(child) => self.foreign(child, &mut extra)?,
                "state" => {
                    self.xml.attributes(|name, value| match name {
                        "event" => dialog.event = event(value.trim()),
                        "code" => dialog.code = value.trim().parse().ok().filter(|code| (100..700).contains(code)),
                        _ => {}
                    })?;
                    let text = self.xml.text()?;
                    progress = Some(self.progress(text.trim())?);
                }
                "duration" => {
                    if let Ok(seconds) = self.xml.text()?.trim().parse::<u32>() {
                        dialog.since = now - Duration::from_secs(seconds.into());
                    }
                }
                "replaces" => dialog.replaces = self.replaces()?,
                "referred-by" => {
                    let mut referrer = Party::default();
                    self.name_addr(&mut referrer)?;
                    dialog.referred_by = referrer.identity.is_some().then(|| Box::new(referrer));
                }
                "local" => dialog.local = self.party()?,
                "remote" => dialog.remote = self.party()?,
                _ => self.xml.skip()?,
            }
        }
        dialog.extra = extra.into();
        dialog.progress = progress.ok_or_else(|| self.xml.bad("a dialog has no state"))?;
        match dialog.progress {
            Progress::Confirmed => dialog.answered = Some(now),
            Progress::Terminated => dialog.ended = Some(now),
            Progress::Trying | Progress::Proceeding | Progress::Early => {}
        }
        Ok(dialog)
    }

    fn progress(&self, text: &str) -> Result<Progress, BadBody> {
        use Progress::{Confirmed, Early, Proceeding, Terminated, Trying};
        let known = [Early, Confirmed, Terminated, Trying, Proceeding];
        known
            .into_iter()
            .find(|progress| text.eq_ignore_ascii_case(progress.name()))
            .ok_or_else(|| self.xml.bad("expected trying, proceeding, early, confirmed or terminated"))
    }

    fn replaces(&mut self) -> Result<Option<Replaces>, BadBody> {
        let mut replaces = Replaces::default();
        self.xml.attributes(|name, value| match name {
            "call-id" => replaces.call_id = value.into(),
            "local-tag" => replaces.local_tag = value.into(),
            "remote-tag" => replaces.remote_tag = value.into(),
            _ => {}
        })?;
        self.xml.skip()?;
        Ok((!replaces.call_id.is_empty()).then_some(replaces))
    }

    fn party(&mut self) -> Result<Party, BadBody> {
        let mut party = Party::default();
        let mut extra = Vec::new();
        while let Some(child) = self.xml.child()? {
            match child.name {
                _ if !ours(child) => self.foreign(child, &mut extra)?,
                "identity" => self.name_addr(&mut party)?,
                "target" => {
                    party.target = self.xml.attribute("uri")?.and_then(known);
                    while let Some(param) = self.xml.child()? {
                        if param.name == "param" && ours(param) && party.params.len() < PARAMS {
                            self.param(&mut party.params)?;
                        }
                        self.xml.skip()?;
                    }
                }
                // Session descriptions and sequence numbers are nobody's business.
                _ => self.xml.skip()?,
            }
        }
        party.extra = extra.into();
        Ok(party)
    }

    /// RFC 4235 names the value `pval` in its schema; older phones write `pvalue`.
    fn param(&self, params: &mut Vec<(Box<str>, Box<str>)>) -> Result<(), BadBody> {
        let (mut pname, mut pval) = (None, None);
        self.xml.attributes(|name, value| match name {
            "pname" => pname = known(value),
            "pval" | "pvalue" => pval = Some(value.trim().into()),
            _ => {}
        })?;
        if let Some(name) = pname {
            params.push((name, pval.unwrap_or_default()));
        }
        Ok(())
    }

    /// Display name and address; some write `"Ann" <sip:ann@example.com>` as the text.
    fn name_addr(&mut self, party: &mut Party) -> Result<(), BadBody> {
        party.display = self.xml.attribute("display")?.and_then(known);
        let text = self.xml.text()?;
        if let Some((name, rest)) = text.split_once('<')
            && let Some((address, _)) = rest.split_once('>')
            && let Some(address) = known(address.into())
        {
            party.identity = Some(address);
            if party.display.is_none() {
                party.display = known(name.trim().trim_matches('"').into());
            }
        } else {
            party.identity = known(text);
        }
        Ok(())
    }

    /// Keeps an element of another namespace; from the first that there is no room for, they are left out.
    fn foreign(&mut self, element: Element<'a>, extra: &mut Vec<u8>) -> Result<(), BadBody> {
        if self.room == 0 {
            return self.xml.skip();
        }
        let before = extra.len();
        let fits = self.xml.copy(element, extra, before + self.room)?;
        self.room = if fits { self.room - (extra.len() - before) } else { 0 };
        Ok(())
    }
}

/// RFC 4235 section 4.1.2; others are not passed on.
pub(super) fn event(text: &str) -> Option<&'static str> {
    const EVENTS: [&str; 7] = ["cancelled", "rejected", "replaced", "local-bye", "remote-bye", "error", "timeout"];
    EVENTS.into_iter().find(|known| known.eq_ignore_ascii_case(text))
}
