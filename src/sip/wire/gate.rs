//! What every message must have before anything else looks at it (RFC 3261 section 8.1.1).

use super::address::NameAddr;
use super::index::{Message, Reject, Start};
use super::lex::{blank, number, token, trim};
use super::name::Name;
use super::params::Params;
use super::uri::Uri;
use super::via::Via;

/// The headers that every message has, read.
#[derive(Clone, Copy, Debug)]
pub struct Essentials<'a> {
    /// The topmost Via.
    pub via: Via<'a>,
    /// From.
    pub from: NameAddr<'a>,
    /// To.
    pub to: NameAddr<'a>,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// The number of CSeq, below 2^31.
    pub cseq: u32,
    /// The method of CSeq; that of the request.
    pub cseq_method: &'a [u8],
    /// Max-Forwards.
    pub max_forwards: Option<u8>,
}

impl<'a> Message<'a> {
    /// Reads the headers that every message has, and refuses with 400 a message where one is missing, unreadable, or
    /// there twice, or where CSeq and method differ. So too a request whose URI is unreadable, or where Event, Expires,
    /// Max-Forwards, Content-Type, SIP-If-Match or Subscription-State is there twice: no guess which one is meant.
    pub fn essentials(&self) -> Result<Essentials<'a>, Reject<'a>> {
        self.gate().map_err(|problem| self.reject(400, problem))
    }

    fn gate(&self) -> Result<Essentials<'a>, &'static str> {
        for (name, problem) in [
            (Name::From, "not exactly one From"),
            (Name::To, "not exactly one To"),
            (Name::CallId, "not exactly one Call-ID"),
            (Name::CSeq, "not exactly one CSeq"),
        ] {
            if self.count(name) != 1 {
                return Err(problem);
            }
        }
        let mut vias = self.list(Name::Via).map(Via::read);
        let via = vias.next().ok_or("no Via")?.ok_or("unreadable Via")?;
        if !vias.all(|via| via.is_some()) {
            return Err("unreadable Via below the first");
        }
        let from = self.first(Name::From).and_then(NameAddr::read).filter(|it| sound(it.params));
        let to = self.first(Name::To).and_then(NameAddr::read).filter(|it| sound(it.params));
        let call_id = self.first(Name::CallId).filter(|it| !it.is_empty() && !it.iter().any(|&byte| blank(byte)));
        let (cseq, cseq_method) = self.first(Name::CSeq).and_then(cseq).ok_or("unreadable CSeq")?;
        let mut max_forwards = None;
        if let Start::Request { method, uri } = self.start() {
            if Uri::read(uri).is_none() {
                return Err("unreadable Request-URI");
            }
            if method != cseq_method {
                return Err("CSeq of another method");
            }
            for (name, problem) in [
                (Name::MaxForwards, "more than one Max-Forwards"),
                (Name::Event, "more than one Event"),
                (Name::Expires, "more than one Expires"),
                (Name::ContentType, "more than one Content-Type"),
                (Name::SipIfMatch, "more than one SIP-If-Match"),
                (Name::SubscriptionState, "more than one Subscription-State"),
            ] {
                if self.count(name) > 1 {
                    return Err(problem);
                }
            }
            if let Some(value) = self.first(Name::MaxForwards) {
                let hops = number(value).and_then(|hops| u8::try_from(hops).ok());
                max_forwards = Some(hops.ok_or("unreadable Max-Forwards")?);
            }
        }
        Ok(Essentials {
            via,
            from: from.ok_or("unreadable From")?,
            to: to.ok_or("unreadable To")?,
            call_id: call_id.ok_or("unreadable Call-ID")?,
            cseq,
            cseq_method,
            max_forwards,
        })
    }
}

/// A tag is a token; another one could not be echoed and found again.
fn sound(params: Params<'_>) -> bool {
    params.get(b"tag").is_none_or(token)
}

/// A number below 2^31, and a method.
fn cseq(value: &[u8]) -> Option<(u32, &[u8])> {
    let gap = value.iter().position(|&byte| blank(byte))?;
    let number = number(&value[..gap]).and_then(|number| u32::try_from(number).ok()).filter(|it| it >> 31 == 0)?;
    let method = trim(&value[gap..]);
    token(method).then_some((number, method))
}
