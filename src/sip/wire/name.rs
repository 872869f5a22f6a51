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
        // Few names share a length, so one look at it leaves at most five to compare with.
        let candidates: &[Self] = match name.len() {
            1 => {
                return match name[0].to_ascii_lowercase() {
                    b'v' => Self::Via,
                    b'f' => Self::From,
                    b't' => Self::To,
                    b'i' => Self::CallId,
                    b'm' => Self::Contact,
                    b'l' => Self::ContentLength,
                    b'c' => Self::ContentType,
                    b'e' => Self::ContentEncoding,
                    b'o' => Self::Event,
                    b'u' => Self::AllowEvents,
                    b'k' => Self::Supported,
                    _ => Self::Other,
                };
            }
            2 => &[Self::To],
            3 => &[Self::Via],
            4 => &[Self::From, Self::CSeq],
            5 => &[Self::Event, Self::Allow, Self::Route],
            6 => &[Self::Accept, Self::Server],
            7 => &[Self::CallId, Self::Contact, Self::Expires, Self::Require],
            8 => &[Self::SipETag],
            9 => &[Self::Supported],
            10 => &[Self::UserAgent],
            11 => &[Self::RetryAfter, Self::MinExpires, Self::Unsupported],
            12 => &[Self::MaxForwards, Self::ContentType, Self::RecordRoute, Self::AllowEvents, Self::SipIfMatch],
            13 => &[Self::Authorization, Self::ProxyRequire],
            14 => &[Self::ContentLength],
            15 => &[Self::AcceptEncoding],
            16 => &[Self::ContentEncoding, Self::WwwAuthenticate],
            18 => &[Self::SubscriptionState, Self::ProxyAuthenticate],
            19 => &[Self::ProxyAuthorization],
            _ => &[],
        };
        *candidates.iter().find(|it| it.as_str().as_bytes().eq_ignore_ascii_case(name)).unwrap_or(&Self::Other)
    }
}
