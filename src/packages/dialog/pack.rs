//! Dialogs as the store keeps them: protobuf messages to which fields are only ever added.

use super::{Dialog, Dialogs, Direction, Party, Progress, Replaces};
use crate::each;
use lamplighter_model::time::Time;
use prost::Message;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
struct PackedDialogs {
    #[prost(bool, tag = "1")]
    partial: bool,
    #[prost(fixed64, tag = "2")]
    at: u64,
    #[prost(message, repeated, tag = "3")]
    all: Vec<PackedDialog>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedDialog {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, optional, tag = "2")]
    call_id: Option<String>,
    #[prost(string, optional, tag = "3")]
    local_tag: Option<String>,
    #[prost(string, optional, tag = "4")]
    remote_tag: Option<String>,
    /// 1: initiator, 2: recipient.
    #[prost(uint32, tag = "5")]
    direction: u32,
    /// See [`PROGRESS`].
    #[prost(uint32, tag = "6")]
    progress: u32,
    #[prost(string, optional, tag = "7")]
    event: Option<String>,
    #[prost(uint32, optional, tag = "8")]
    code: Option<u32>,
    #[prost(message, optional, tag = "9")]
    replaces: Option<PackedReplaces>,
    #[prost(message, optional, tag = "10")]
    referred_by: Option<PackedParty>,
    /// Absent: nothing is known of it.
    #[prost(message, optional, tag = "11")]
    local: Option<PackedParty>,
    #[prost(message, optional, tag = "12")]
    remote: Option<PackedParty>,
    #[prost(bytes = "vec", tag = "13")]
    extra: Vec<u8>,
    #[prost(fixed64, tag = "14")]
    since: u64,
    #[prost(fixed64, optional, tag = "15")]
    answered: Option<u64>,
    #[prost(fixed64, optional, tag = "16")]
    ended: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedParty {
    #[prost(string, optional, tag = "1")]
    identity: Option<String>,
    #[prost(string, optional, tag = "2")]
    display: Option<String>,
    #[prost(string, optional, tag = "3")]
    target: Option<String>,
    #[prost(message, repeated, tag = "4")]
    params: Vec<PackedParam>,
    #[prost(bytes = "vec", tag = "5")]
    extra: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PackedParam {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct PackedReplaces {
    #[prost(string, tag = "1")]
    call_id: String,
    #[prost(string, tag = "2")]
    local_tag: String,
    #[prost(string, tag = "3")]
    remote_tag: String,
}

/// What the numbers from 1 stand for; new ones are added at the end.
const PROGRESS: [Progress; 5] =
    [Progress::Terminated, Progress::Trying, Progress::Proceeding, Progress::Confirmed, Progress::Early];

pub(super) fn pack(dialogs: &Dialogs, out: &mut Vec<u8>) {
    let all = dialogs.all.iter().map(|dialog| packed(dialog)).collect();
    let packed = PackedDialogs { partial: !dialogs.full, at: dialogs.at.as_micros(), all };
    packed.encode(out).expect("a vector takes every byte");
}

pub(super) fn unpack(bytes: &[u8]) -> Option<Dialogs> {
    let PackedDialogs { partial, at, all } = Message::decode(bytes).ok()?;
    let all = each(all, |packed| unpacked(packed).map(Arc::new)).into_iter().collect::<Option<_>>()?;
    Some(Dialogs { full: !partial, at: Time::from_micros(at), all })
}

fn text(text: &Option<Box<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

fn packed(dialog: &Dialog) -> PackedDialog {
    PackedDialog {
        id: dialog.id.as_ref().to_owned(),
        call_id: text(&dialog.call_id),
        local_tag: text(&dialog.local_tag),
        remote_tag: text(&dialog.remote_tag),
        direction: match dialog.direction {
            None => 0,
            Some(Direction::Initiator) => 1,
            Some(Direction::Recipient) => 2,
        },
        progress: PROGRESS.iter().position(|known| *known == dialog.progress).map_or(0, |index| index as u32 + 1),
        event: dialog.event.map(str::to_owned),
        code: dialog.code.map(u32::from),
        replaces: dialog.replaces.as_ref().map(|replaces| PackedReplaces {
            call_id: replaces.call_id.as_ref().to_owned(),
            local_tag: replaces.local_tag.as_ref().to_owned(),
            remote_tag: replaces.remote_tag.as_ref().to_owned(),
        }),
        referred_by: dialog.referred_by.as_deref().map(packed_party),
        local: known(&dialog.local),
        remote: known(&dialog.remote),
        extra: dialog.extra.to_vec(),
        since: dialog.since.as_micros(),
        answered: dialog.answered.map(Time::as_micros),
        ended: dialog.ended.map(Time::as_micros),
    }
}

fn known(party: &Party) -> Option<PackedParty> {
    (*party != Party::default()).then(|| packed_party(party))
}

fn packed_party(party: &Party) -> PackedParty {
    let param = |(name, value): &(Box<str>, Box<str>)| PackedParam {
        name: name.as_ref().to_owned(),
        value: value.as_ref().to_owned(),
    };
    PackedParty {
        identity: text(&party.identity),
        display: text(&party.display),
        target: text(&party.target),
        params: party.params.iter().map(param).collect(),
        extra: party.extra.to_vec(),
    }
}

fn unpacked(packed: PackedDialog) -> Option<Dialog> {
    Some(Dialog {
        id: packed.id.into(),
        call_id: packed.call_id.map(Into::into),
        local_tag: packed.local_tag.map(Into::into),
        remote_tag: packed.remote_tag.map(Into::into),
        direction: match packed.direction {
            1 => Some(Direction::Initiator),
            2 => Some(Direction::Recipient),
            _ => None,
        },
        progress: *PROGRESS.get((packed.progress as usize).checked_sub(1)?)?,
        event: packed.event.as_deref().and_then(super::read::event),
        code: packed.code.and_then(|code| u16::try_from(code).ok()),
        replaces: packed.replaces.map(|replaces| Replaces {
            call_id: replaces.call_id.into(),
            local_tag: replaces.local_tag.into(),
            remote_tag: replaces.remote_tag.into(),
        }),
        referred_by: packed.referred_by.map(|party| Box::new(unpacked_party(party))),
        local: packed.local.map(unpacked_party).unwrap_or_default(),
        remote: packed.remote.map(unpacked_party).unwrap_or_default(),
        extra: packed.extra.into(),
        since: Time::from_micros(packed.since),
        answered: packed.answered.map(Time::from_micros),
        ended: packed.ended.map(Time::from_micros),
    })
}

fn unpacked_party(packed: PackedParty) -> Party {
    Party {
        identity: packed.identity.map(Into::into),
        display: packed.display.map(Into::into),
        target: packed.target.map(Into::into),
        params: each(packed.params, |param| (param.name.into(), param.value.into())),
        extra: packed.extra.into(),
    }
}
