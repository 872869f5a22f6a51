//! Names of header fields, in their long and compact forms.

macro_rules! names {
    ($($name:ident $text:literal,)*) => {
        /// A header field that something here asks for.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = concat!("`", $text, "`.")] $name,)*
            /// Any other.
            Other,
        }

        impl Name {
            /// How many there are.
            pub(super) const COUNT: usize = Self::Other as usize + 1;

            /// How it is written; `Other` has no name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other => "",
                }
            }
        }
    };
}

names! {
    Via "Via",
    From "From",
    To "To",
    CallId "Call-ID",
    CSeq "CSeq",
    MaxForwards "Max-Forwards",
    Contact "Contact",
    Route "Route",
    RecordRoute "Record-Route",
    Event "Event",
    Expires "Expires",
    MinExpires "Min-Expires",
    Accept "Accept",
    AcceptEncoding "Accept-Encoding",
    AllowEvents "Allow-Events",
    Allow "Allow",
    Supported "Supported",
    Require "Require",
    ProxyRequire "Proxy-Require",
    ContentType "Content-Type",
    ContentLength "Content-Length",
    ContentEncoding "Content-Encoding",
    SubscriptionState "Subscription-State",
    SipETag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    UserAgent "User-Agent",
    Server "Server",
    RetryAfter "Retry-After",
    Authorization "Authorization",
    ProxyAuthorization "Proxy-Authorization",
    WwwAuthenticate "WWW-Authenticate",
    ProxyAuthenticate "Proxy-Authenticate",
    Unsupported "Unsupported",
}

impl Name {
    /// From a name without blanks around it, in any case; compact forms as IANA registers them.
    pub fn read(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        // Length and first letter leave at most one to compare with, but for two.
        let candidate = match (name.len(), first.to_ascii_lowercase()) {
            (1, b'v') => return Self::Via,
            (1, b'f') => return Self::From,
            (1, b't') => return Self::To,
            (1, b'i') => return Self::CallId,
            (1, b'm') => return Self::Contact,
            (1, b'l') => return Self::ContentLength,
            (1, b'c') => return Self::ContentType,
            (1, b'e') => return Self::ContentEncoding,
            (1, b'o') => return Self::Event,
            (1, b'u') => return Self::AllowEvents,
            (1, b'k') => return Self::Supported,
            (2, b't') => Self::To,
            (3, b'v') => Self::Via,
            (4, b'f') => Self::From,
            (4, b'c') => Self::CSeq,
            (5, b'e') => Self::Event,
            (5, b'a') => Self::Allow,
            (5, b'r') => Self::Route,
            (6, b'a') => Self::Accept,
            (6, b's') => Self::Server,
            (7, b'c') if matches!(name[1], b'o' | b'O') => Self::Contact,
            (7, b'c') => Self::CallId,
            (7, b'e') => Self::Expires,
            (7, b'r') => Self::Require,
            (8, b's') => Self::SipETag,
            (9, b's') => Self::Supported,
            (10, b'u') => Self::UserAgent,
            (11, b'r') => Self::RetryAfter,
            (11, b'm') => Self::MinExpires,
            (11, b'u') => Self::Unsupported,
            (12, b'm') => Self::MaxForwards,
            (12, b'c') => Self::ContentType,
            (12, b'r') => Self::RecordRoute,
            (12, b'a') => Self::AllowEvents,
            (12, b's') => Self::SipIfMatch,
            (13, b'a') => Self::Authorization,
            (13, b'p') => Self::ProxyRequire,
            (14, b'c') => Self::ContentLength,
            (15, b'a') => Self::AcceptEncoding,
            (16, b'c') => Self::ContentEncoding,
            (16, b'w') => Self::WwwAuthenticate,
            (18, b's') => Self::SubscriptionState,
            (18, b'p') => Self::ProxyAuthenticate,
            (19, b'p') => Self::ProxyAuthorization,
            _ => return Self::Other,
        };
        // Most write names as they are registered.
        let text = candidate.as_str().as_bytes();
        if name == text || name.eq_ignore_ascii_case(text) { candidate } else { Self::Other }
    }
}
