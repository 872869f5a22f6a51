//! What programs have published at other servers: documents of their own, which are on no bus of ours.

use super::wish::{LONGEST, good_headers, is_token, is_uri, together};
use super::{Due, Remote};
use bytes::Bytes;
use lamplighter_model::package::Reading;
use lamplighter_model::remote::RemotePublication;
use lamplighter_model::{
    Content, PackageId, Profile, RemoteAnswer, RemoteContent, RemoteRecord, RemoteThing, Rendering, Time,
};
use lamplighter_sip::client::{self, Body, PublicationId, Row, State, Usage};
use lamplighter_sip::wire::Uri;
use std::time::Duration;

/// The longest document, bytes: it must fit into a datagram with its headers.
const LONGEST_BODY: usize = 60 * 1024;
/// The most bytes of all documents together.
const MOST_BYTES: usize = 64 << 20;
/// How long it is remembered how a removal went.
const REMEMBERED: Duration = Duration::from_secs(60);

/// One publication that somebody inside has asked for.
#[derive(Debug)]
pub(crate) struct Own {
    /// With an empty content: that is in `body`.
    pub record: RemoteRecord,
    pub content_type: Box<str>,
    pub body: Body,
    /// It is in the store.
    pub kept: bool,
    /// `None`: it has been removed.
    pub publication: Option<PublicationId>,
    /// The last final status, for when the agent has forgotten it.
    status: u16,
    sent: u64,
}

/// Whose they are, and how their owners name them.
pub(crate) type OwnKey = (Box<str>, Box<str>, Option<Box<str>>, PackageId, Box<str>);

fn key(record: &RemoteRecord) -> Option<OwnKey> {
    let RemoteRecord { owner, resource, publisher, package, id, .. } = record;
    Some((owner.clone(), resource.clone(), publisher.clone(), *package, id.clone()?))
}

impl Remote {
    /// Publishes, or replaces what the owner has published under the same name.
    pub(crate) fn publish_own(&mut self, now: Time, mut record: RemoteRecord) -> RemoteAnswer {
        if !self.settings.elsewhere {
            return RemoteAnswer::Off;
        }
        if let Some(what) = invalid(&record) {
            return RemoteAnswer::Invalid(what);
        }
        let content = std::mem::replace(&mut record.content, RemoteContent::State(Bytes::new()));
        let (content_type, body) = match self.render(now, &record, content) {
            Ok(rendered) => rendered,
            Err(answer) => return answer,
        };
        let old = key(&record).and_then(|key| self.own_by_key.get(&key).copied());
        let bytes = old.and_then(|old| self.own.get(&old)).map_or(0, |old| old.body.bytes.len());
        let full = old.is_none() && self.subs.len() + self.own.len() >= self.settings.most;
        if full || self.stopping || self.own_bytes - bytes + body.bytes.len() > MOST_BYTES {
            return RemoteAnswer::Full;
        }
        let number = old.unwrap_or(self.next_own);
        if !self.publish_as(now, number, record, content_type, body) {
            return RemoteAnswer::Full;
        }
        self.next_own = self.next_own.max(number + 1);
        self.own_answer(number, old.is_none())
    }

    /// Publishes under a number that no other has, or replaces what has it. False: there is no room.
    pub(crate) fn publish_as(
        &mut self,
        now: Time,
        number: u64,
        record: RemoteRecord,
        content_type: Box<str>,
        body: Body,
    ) -> bool {
        let sent = self.agent_record(number, &record, &content_type, &body);
        let Some(publication) = self.agent.publish(now, sent, &mut self.told) else { return false };
        self.published_own.insert(publication, number);
        self.own_bytes += body.bytes.len();
        match self.own.get_mut(&number) {
            Some(own) => {
                self.own_bytes -= own.body.bytes.len();
                (own.record, own.content_type, own.body) = (record, content_type, body);
                own.publication = Some(publication);
            }
            None => {
                if let Some(key) = key(&record) {
                    self.own_by_key.insert(key, number);
                }
                let publication = Some(publication);
                let own = Own { record, content_type, body, kept: false, publication, status: 0, sent: 0 };
                self.own.insert(number, own);
            }
        }
        self.keep_publication(number);
        true
    }

    /// It is in the store from now on.
    pub(crate) fn mark_own_kept(&mut self, number: u64) {
        self.own.get_mut(&number).into_iter().for_each(|own| own.kept = true);
    }

    /// What the agent is to keep published.
    fn agent_record(&self, number: u64, record: &RemoteRecord, content_type: &str, body: &Body) -> client::Record {
        let RemoteRecord { resource, publisher, package, id, target, outbound_proxy, headers, expires, owner, .. } =
            record;
        // Found again after a restart, where the owner has given it a name.
        let key = match id {
            Some(id) => format!("api:{owner}:{id}"),
            None => format!("api #{number}"),
        };
        client::Record {
            key: key.into(),
            resource: resource.clone(),
            publisher: publisher.clone().or_else(|| Some(resource.clone())),
            target: target.clone(),
            event: self.config.packages.get(*package).name().into(),
            content_type: content_type.into(),
            expires: *expires,
            proxy: outbound_proxy.clone(),
            headers: headers.clone(),
            body: body.clone(),
        }
    }

    /// What is said, as it is sent.
    fn render(
        &self,
        now: Time,
        record: &RemoteRecord,
        content: RemoteContent,
    ) -> Result<(Box<str>, Body), RemoteAnswer> {
        let (content_type, body) = match content {
            RemoteContent::Document { content_type, body } => (content_type, Body::plain(body)),
            RemoteContent::State(json) => {
                let package = self.config.packages.get(record.package);
                let reading = Reading { presentity: &record.resource, now, modifies: false };
                let fact = package.read(Content::Json(&json), reading).map_err(RemoteAnswer::BadBody)?;
                let state = together(package, now, &record.resource, &[(now, &fact)]);
                let content_type = package.formats().first().map_or_else(Box::default, |it| it.content_type.clone());
                (content_type, write(package, &record.resource, &state))
            }
        };
        let plain = !content_type.is_empty()
            && content_type.len() <= LONGEST
            && content_type.contains('/')
            && content_type.bytes().all(|byte| (b' '..0x7f).contains(&byte));
        match () {
            () if !plain => Err(RemoteAnswer::Invalid("content_type")),
            () if body.bytes.is_empty() || body.bytes.len() > LONGEST_BODY => Err(RemoteAnswer::Invalid("body")),
            () => Ok((content_type, body)),
        }
    }

    /// Says something new, or the same for longer.
    pub(crate) fn modify_own(
        &mut self,
        now: Time,
        number: u64,
        content: Option<RemoteContent>,
        expires: Option<Duration>,
    ) -> RemoteAnswer {
        let Some(own) = self.own.get(&number) else { return RemoteAnswer::Unknown };
        let Some(publication) = own.publication.filter(|_| !self.stopping) else { return RemoteAnswer::Unknown };
        let rendered = content.map(|content| self.render(now, &own.record, content)).transpose();
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(answer) => return answer,
        };
        let same = rendered.as_ref().is_none_or(|(_, body)| *body == own.body);
        let bytes = rendered.as_ref().map_or(own.body.bytes.len(), |(_, body)| body.bytes.len());
        let all = self.own_bytes - own.body.bytes.len() + bytes;
        if all > MOST_BYTES {
            return RemoteAnswer::Full;
        }
        self.own_bytes = all;
        if let Some(own) = self.own.get_mut(&number) {
            if let Some((content_type, body)) = rendered {
                (own.content_type, own.body) = (content_type, body);
            }
            own.record.expires = expires.or(own.record.expires);
        }
        if let Some(own) = self.own.get(&number) {
            let record = self.agent_record(number, &own.record, &own.content_type, &own.body);
            self.agent.publish(now, record, &mut self.told);
        }
        if same {
            self.agent.forgive(now, Usage::Publication(publication));
            self.agent.refresh(now, publication, &mut self.told);
        }
        self.keep_publication(number);
        self.own_answer(number, false)
    }

    /// Removes it.
    pub(crate) fn withdraw_own(&mut self, now: Time, number: u64) -> RemoteAnswer {
        let Some(own) = self.own.get(&number) else { return RemoteAnswer::Unknown };
        if let Some(key) = key(&own.record).filter(|key| self.own_by_key.get(key) == Some(&number)) {
            // The same name again is a new one.
            self.own_by_key.remove(&key);
        }
        if let Some(publication) = own.publication {
            self.agent.withdraw(now, publication, &mut self.told);
        }
        if self.own.get_mut(&number).is_some_and(|own| std::mem::take(&mut own.kept)) {
            self.forget_publication(number);
        }
        self.own_answer(number, false)
    }

    /// A request of a publication got its final answer.
    pub(crate) fn own_was_answered(&mut self, id: PublicationId, status: u16) {
        let own = self.published_own.get(&id).and_then(|number| self.own.get_mut(number));
        if let Some(own) = own {
            own.status = status;
            own.sent += 1;
        }
        if let Some(number) = self.published_own.get(&id) {
            self.news.publication(*number);
        }
    }

    /// The agent knows nothing of it any more.
    pub(crate) fn own_has_ended(&mut self, now: Time, id: PublicationId) {
        let Some(number) = self.published_own.remove(&id) else { return };
        if let Some(own) = self.own.get_mut(&number).filter(|own| own.publication == Some(id)) {
            own.publication = None;
            self.own_bytes -= own.body.bytes.len();
            own.body = Body::default();
            self.due.insert((now + REMEMBERED, Due::Forget(number)));
            self.news.publication(number);
        }
    }

    /// The time in which somebody could have asked how it went is over.
    pub(crate) fn forget_own(&mut self, number: u64) {
        if self.own.get(&number).is_none_or(|own| own.publication.is_some()) {
            return;
        }
        self.news.ended(RemoteThing::Publication(number));
        if let Some(own) = self.own.remove(&number)
            && let Some(key) = key(&own.record).filter(|key| self.own_by_key.get(key) == Some(&number))
        {
            self.own_by_key.remove(&key);
        }
    }

    pub(crate) fn own_answer(&self, number: u64, new: bool) -> RemoteAnswer {
        match self.own.get(&number) {
            Some(own) => RemoteAnswer::Publication(Box::new(self.own_row(number, own)), new),
            None => RemoteAnswer::Unknown,
        }
    }

    pub(crate) fn own_row(&self, number: u64, own: &Own) -> RemotePublication {
        let Own { record, content_type, publication, status, sent, .. } = own;
        let row = publication.and_then(|id| self.agent.publication(id));
        let server = record.outbound_proxy.as_ref().or(record.target.as_ref()).unwrap_or(&record.resource).clone();
        let (state, status, sent) = (State::Terminated.name(), *status, *sent);
        let gone = || RemotePublication { state, status, sent, ..RemotePublication::default() };
        RemotePublication {
            number: Some(number),
            owner: record.owner.clone(),
            id: record.id.clone(),
            resource: record.resource.as_ref().into(),
            publisher: record.publisher.clone(),
            package: record.package,
            server,
            content_type: content_type.clone(),
            ..row.map_or_else(gone, progress)
        }
    }
}

/// How a publication stands, whoever wants it.
pub(crate) fn progress(row: Row) -> RemotePublication {
    RemotePublication {
        state: row.state.name(),
        reason: row.cause.as_ref().map(ToString::to_string),
        status: row.last_status,
        until: row.until,
        next: row.next,
        entity_tag: row.entity_tag,
        sent: row.sent,
        ..RemotePublication::default()
    }
}

/// A state in the package's first format, for a version that the agent writes anew each time.
pub(crate) fn write(
    package: &dyn lamplighter_model::package::AnyPackage,
    resource: &str,
    state: &lamplighter_model::AnyState,
) -> Body {
    let mut body = Vec::new();
    let cuts = package.write(resource, state, Rendering::default(), &Profile::default(), &mut body);
    // The version is one digit wide in what packages write.
    if let Some(at) = cuts.version {
        body.remove(at as usize);
    }
    Body { bytes: body.into(), version_at: cuts.version }
}

/// What of a record makes no sense.
fn invalid(record: &RemoteRecord) -> Option<&'static str> {
    let RemoteRecord { resource, publisher, id, target, outbound_proxy, headers, .. } = record;
    let good = |uri: &Option<Box<str>>| uri.as_deref().is_none_or(is_uri);
    let user = |uri: &str| Uri::read(uri.as_bytes()).is_some_and(|uri| !uri.user.is_empty());
    match () {
        () if !is_uri(resource) || !user(resource) => Some("resource"),
        () if !good(publisher) || !publisher.as_deref().is_none_or(user) => Some("publisher"),
        () if !id.as_deref().is_none_or(is_token) => Some("id"),
        () if !good(target) => Some("target"),
        () if !good(outbound_proxy) => Some("outbound_proxy"),
        () if !good_headers(headers) => Some("headers"),
        () => None,
    }
}
