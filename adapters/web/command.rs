//! Reading what feed clients send.

use crate::config::Limits;
use crate::desk::Order;
use crate::lane::Fields;
use crate::problem::{Kind, Problem};
use lamplighter_model::{Addresses, EntityTag, OwnedAction, OwnedContent, PackageId, Packages};
use lamplighter_port::{BadSelector, Kinds, Selector};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Hello(Hello),
    Sub(Box<Sub>),
    /// More selectors for a subscription.
    Add {
        sub: String,
        picks: Vec<Pick>,
    },
    /// Fewer.
    Del {
        sub: String,
        picks: Vec<Pick>,
    },
    Unsub {
        sub: String,
    },
    Get {
        picks: Vec<Pick>,
        wanted: Wanted,
    },
    /// Publishes, refreshes or withdraws.
    Publish(Box<Publish>),
    Auth {
        token: String,
    },
    /// Something at other servers.
    Remote(Box<Order>),
    Ping,
}

#[derive(Debug)]
pub(crate) struct Hello {
    pub token: Option<String>,
    pub client: String,
    /// The cursor of the first subscription, if that brings none.
    pub resume: Option<String>,
    pub flush: Option<Duration>,
}

#[derive(Debug, Default)]
pub(crate) struct Sub {
    pub sub: String,
    pub picks: Vec<Pick>,
    pub wanted: Wanted,
    /// Every state, not only the newest.
    pub every: bool,
    pub snapshot: bool,
    pub absent: bool,
    pub cursor: Option<String>,
    pub fields: Option<Fields>,
    pub limit: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Publish {
    pub resource: Arc<str>,
    pub package: PackageId,
    pub action: OwnedAction,
    pub expires: Option<Duration>,
}

/// What a list of selectors holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Pick {
    Plain(Selector),
    /// The addresses of a group of the directory.
    Group(Box<str>),
}

/// Packages by their kinds. Kinds are an open set: one that this gateway does not have matches nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub ids: Vec<PackageId>,
    pub unknown: Vec<String>,
    /// The client has named them.
    pub named: bool,
}

impl Wanted {
    pub(crate) fn kinds(&self) -> Kinds {
        Kinds::of(self.ids.iter().copied())
    }
}

/// What frames are read against.
pub(crate) struct Reading<'a> {
    pub addresses: &'a Addresses,
    pub packages: &'a Packages,
    pub limits: &'a Limits,
    /// Who publishes: its sources bear its name.
    pub principal: &'a str,
}

/// Why a frame is refused.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    /// The command's id, if that could be read.
    pub id: Option<u64>,
    pub problem: Problem,
}

/// Reads a text frame.
pub(crate) fn read(text: &str, reading: &Reading<'_>) -> Result<(u64, Command), Refused> {
    let Ok(Value::Object(members)) = serde_json::from_str(text) else {
        return Err(Refused { id: None, problem: Problem::new(Kind::BadJson, "a frame is one JSON object") });
    };
    let id = members.get("id").and_then(Value::as_u64).filter(|id| *id > 0);
    let command = (|| {
        let frame = Frame(&members);
        let command = frame.command(reading)?;
        match id {
            Some(id) => Ok((id, command)),
            None => Err(Problem::at(Kind::InvalidField, "/id", "a positive integer")),
        }
    })();
    command.map_err(|problem| Refused { id, problem })
}

fn wrong(name: &str, expected: &str) -> Problem {
    Problem::at(Kind::InvalidField, format!("/{name}"), expected)
}

/// Reads a selector: `group:NAME` or one of [`Selector::parse`].
pub(crate) fn pick(text: &str, addresses: &Addresses) -> Result<Pick, BadSelector> {
    match text.trim().strip_prefix("group:") {
        Some(name) if name.len() > 512 => Err(BadSelector::TooLong),
        Some(name) => Ok(Pick::Group(name.into())),
        None => Selector::parse(text, addresses).map(Pick::Plain),
    }
}

/// A selector means nothing here.
pub(crate) fn unselected(pointer: &str, bad: BadSelector) -> Problem {
    let kind = match bad {
        BadSelector::NotLocal(lamplighter_model::NotLocal::Foreign) => Kind::NotFound,
        _ => Kind::InvalidField,
    };
    Problem::at(kind, pointer, bad.to_string())
}

/// Bytes of a token.
const TOKEN: usize = 16 * 1024;

struct Frame<'a>(&'a Map<String, Value>);

impl<'a> Frame<'a> {
    fn command(&self, reading: &Reading<'_>) -> Result<Command, Problem> {
        let kind = self.0.get("t").and_then(Value::as_str).ok_or_else(|| wrong("t", "a string"))?;
        match kind {
            "hello" => Ok(Command::Hello(Hello {
                token: self.text("token", TOKEN)?.map(Into::into),
                client: self.text("client", 64)?.unwrap_or_default().into(),
                resume: self.text("resume", 128)?.map(Into::into),
                flush: self.number("flush_ms")?.map(|ms| Duration::from_millis(ms.min(10_000))),
            })),
            "sub" => self.sub(reading).map(|sub| Command::Sub(Box::new(sub))),
            "sub_add" => Ok(Command::Add { sub: self.name()?, picks: self.picks(reading)? }),
            "sub_del" => Ok(Command::Del { sub: self.name()?, picks: self.picks(reading)? }),
            "unsub" => Ok(Command::Unsub { sub: self.name()? }),
            "get" => Ok(Command::Get { picks: self.picks(reading)?, wanted: self.wanted(reading)? }),
            "pub" => self.publish(reading).map(|publish| Command::Publish(Box::new(publish))),
            "unpub" => self.withdraw(reading).map(|publish| Command::Publish(Box::new(publish))),
            "auth" => {
                let token = self.text("token", TOKEN)?.ok_or_else(|| wrong("token", "a token"))?;
                Ok(Command::Auth { token: token.into() })
            }
            "remote_sub" => Ok(Command::Remote(Box::new(Order::Subscribe(self.0.clone())))),
            "remote_pub" => Ok(Command::Remote(Box::new(Order::Publish(self.0.clone())))),
            "remote_unsub" => Ok(Command::Remote(Box::new(Order::Unsubscribe(self.thing()?)))),
            "remote_unpub" => Ok(Command::Remote(Box::new(Order::Withdraw(self.thing()?)))),
            "act" => Err(Problem::new(Kind::NotSupported, "this gateway controls no calls; see `features`")),
            "ping" => Ok(Command::Ping),
            _ => Err(Problem::at(Kind::UnknownType, "/t", "no such frame")),
        }
    }

    /// The number of something at another server.
    fn thing(&self) -> Result<u64, Problem> {
        self.number("number")?.ok_or_else(|| wrong("number", "the number that `ok` gave"))
    }

    fn sub(&self, reading: &Reading<'_>) -> Result<Sub, Problem> {
        let every = match self.text("mode", 16)? {
            None | Some("latest") => false,
            Some("all") => true,
            Some(_) => return Err(wrong("mode", "`latest` or `all`")),
        };
        let fields = match self.list("fields", reading)? {
            None => None,
            Some(paths) => Some(Fields::new(&paths).map_err(|at| wrong(&format!("fields/{at}"), "a path like `a.b`"))?),
        };
        Ok(Sub {
            sub: self.name()?,
            picks: self.picks(reading)?,
            wanted: self.wanted(reading)?,
            every,
            snapshot: self.flag("snapshot")?.unwrap_or(true),
            absent: self.flag("absent")?.unwrap_or(false),
            cursor: self.text("cursor", 128)?.map(Into::into),
            fields,
            limit: self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        })
    }

    /// One address and one kind.
    fn place(&self, reading: &Reading<'_>) -> Result<(Arc<str>, PackageId), Problem> {
        let address = self.text("r", 512)?.ok_or_else(|| wrong("r", "an address"))?;
        let resource = reading.addresses.parse(address).map_err(|bad| unselected("/r", BadSelector::NotLocal(bad)))?;
        let kind = self.text("kind", 128)?.ok_or_else(|| wrong("kind", "a kind of state"))?;
        let package = reading.packages.find_kind(kind);
        let package = package.ok_or_else(|| Problem::at(Kind::NotFound, "/kind", "there is no such kind here"))?;
        Ok((resource.into(), package))
    }

    /// With content and without `etag` it creates or replaces the publication of this principal and `source`; with
    /// both it replaces the one that is meant; with `etag` alone it refreshes it.
    fn publish(&self, reading: &Reading<'_>) -> Result<Publish, Problem> {
        let (resource, package) = self.place(reading)?;
        let action = match (self.tag()?, self.content(reading, package)?) {
            (Some(tag), Some(content)) => OwnedAction::Modify(tag, content),
            (Some(tag), None) => OwnedAction::Refresh(tag),
            (None, Some(content)) => {
                let source = self.text("source", 64)?.unwrap_or("default");
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                if source.is_empty() || !source.bytes().all(plain) {
                    return Err(wrong("source", "1 to 64 letters, digits, dots, underscores and hyphens"));
                }
                OwnedAction::Put(format!("api:{}/{source}", reading.principal).into(), content)
            }
            (None, None) => return Err(wrong("state", "a state, or a body with its content_type, or an etag")),
        };
        let expires = self.number("expires")?.map(|seconds| Duration::from_secs(seconds.min(u64::from(u32::MAX))));
        if expires.is_some_and(|expires| expires.is_zero()) {
            return Err(wrong("expires", "seconds, at least one; unpub withdraws"));
        }
        Ok(Publish { resource, package, action, expires })
    }

    fn withdraw(&self, reading: &Reading<'_>) -> Result<Publish, Problem> {
        let (resource, package) = self.place(reading)?;
        let needed = || Problem::at(Kind::PreconditionRequired, "/etag", "the etag that `pub` was answered");
        let action = OwnedAction::Withdraw(self.tag()?.ok_or_else(needed)?);
        Ok(Publish { resource, package, action, expires: None })
    }

    fn tag(&self) -> Result<Option<EntityTag>, Problem> {
        let Some(text) = self.text("etag", 64)? else { return Ok(None) };
        let unknown = || Problem::at(Kind::PreconditionFailed, "/etag", "no publication has this entity-tag");
        EntityTag::read(text.as_bytes()).map(Some).ok_or_else(unknown)
    }

    fn content(&self, reading: &Reading<'_>, package: PackageId) -> Result<Option<OwnedContent>, Problem> {
        let (kind, body) = (self.text("content_type", 128)?, self.text("body", reading.limits.frame)?);
        let state = self.0.get("state").filter(|state| !state.is_null());
        match (state, kind, body) {
            (None, None, None) => Ok(None),
            (Some(state), None, None) if state.is_object() => Ok(Some(OwnedContent::Json(state.to_string().into()))),
            (Some(_), None, None) => Err(wrong("state", "an object")),
            (None, Some(kind), Some(body)) => {
                let plain = kind.split(';').next().unwrap_or_default().trim();
                let formats = reading.packages.get(package).formats();
                let format = formats.iter().position(|format| format.content_type.eq_ignore_ascii_case(plain));
                let unread = || Problem::at(Kind::UnsupportedMediaType, "/content_type", "not a format of this kind");
                let format = u8::try_from(format.ok_or_else(unread)?).map_err(|_| unread())?;
                Ok(Some(OwnedContent::Document { format, body: body.to_owned().into() }))
            }
            (None, Some(_), None) => Err(wrong("body", "the document, as content_type says")),
            (None, None, Some(_)) => Err(wrong("content_type", "what body is")),
            (Some(_), ..) => Err(wrong("state", "either a state or a body")),
        }
    }

    fn name(&self) -> Result<String, Problem> {
        let name = self.text("sub", 64)?.filter(|name| !name.is_empty());
        name.map(Into::into).ok_or_else(|| wrong("sub", "a name of 1 to 64 bytes"))
    }

    fn picks(&self, reading: &Reading<'_>) -> Result<Vec<Pick>, Problem> {
        let list = self.list("r", reading)?.ok_or_else(|| wrong("r", "a list of selectors"))?;
        if list.is_empty() {
            return Err(wrong("r", "at least one selector"));
        }
        let read = |(index, text): (usize, &str)| {
            pick(text, reading.addresses).map_err(|bad| unselected(&format!("/r/{index}"), bad))
        };
        list.into_iter().enumerate().map(read).collect()
    }

    fn wanted(&self, reading: &Reading<'_>) -> Result<Wanted, Problem> {
        let Some(list) = self.list("kinds", reading)? else {
            return Ok(Wanted { ids: reading.packages.ids().collect(), unknown: vec![], named: false });
        };
        let mut wanted = Wanted { named: true, ..Wanted::default() };
        for kind in list {
            match reading.packages.find_kind(kind) {
                Some(id) => wanted.ids.push(id),
                None => wanted.unknown.push(kind.into()),
            }
        }
        wanted.ids.sort_unstable();
        wanted.ids.dedup();
        Ok(wanted)
    }

    fn list(&self, name: &str, reading: &Reading<'_>) -> Result<Option<Vec<&'a str>>, Problem> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| wrong(name, "a list"))?;
        if list.len() > reading.limits.list {
            let most = format!("at most {} entries in one list", reading.limits.list);
            return Err(Problem::at(Kind::TooManyResources, format!("/{name}"), most));
        }
        let text = |(index, value): (usize, &'a Value)| {
            value.as_str().ok_or_else(|| wrong(&format!("{name}/{index}"), "a string"))
        };
        list.iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    }

    fn text(&self, name: &str, most: usize) -> Result<Option<&'a str>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() <= most => Ok(Some(text)),
            Some(_) => Err(wrong(name, &format!("a string of at most {most} bytes"))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| wrong(name, "a whole number")),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| wrong(name, "true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let addresses = Addresses::new(["example.com"], [], []);
        let packages = Packages::new(vec![], |_, expires| expires);
        let limits = Limits { list: 2, ..Limits::default() };
        let reading = Reading { addresses: &addresses, packages: &packages, limits: &limits, principal: "crm" };
        let got = match read(text, &reading) {
            Ok((id, command)) => format!("{id} {command:?}"),
            Err(Refused { id, problem: Problem { kind, pointer, .. } }) => {
                format!("{id:?} {} {}", kind.slug(), pointer.unwrap_or_default())
            }
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn commands() {
        check(r#"{"t":"ping","id":3,"later":[]}"#, "3 Ping");
        check(
            r#"{"t":"hello","id":1,"flush_ms":50}"#,
            r#"1 Hello(Hello { token: None, client: "", resume: None, flush: Some(50ms) })"#,
        );
        check(r#"{"t":"unsub","id":1,"sub":"a"}"#, r#"1 Unsub { sub: "a" }"#);
        check(
            r#"{"t":"get","id":2,"r":["1"],"kinds":["mwi"]}"#,
            r#"2 Get { picks: [Plain(Exact("sip:1@example.com"))], wanted: Wanted { ids: [], unknown: ["mwi"], named: true } }"#,
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("{", "None bad-json ");
        check("[]", "None bad-json ");
        check(&"[".repeat(60_000), "None bad-json ");
        check("{}", "None invalid-field /t");
        check(r#"{"t":"ping"}"#, "None invalid-field /id");
        check(r#"{"t":"ping","id":0}"#, "None invalid-field /id");
        check(r#"{"t":"ping","id":"1"}"#, "None invalid-field /id");
        check(r#"{"t":"dance","id":1}"#, "Some(1) unknown-type /t");
        check(r#"{"t":"act","id":1}"#, "Some(1) not-supported ");
        check(r#"{"t":"pub","id":1}"#, "Some(1) invalid-field /r");
        check(r#"{"t":"pub","id":1,"r":"1","kind":"tea"}"#, "Some(1) not-found /kind");
        check(r#"{"t":"auth","id":1}"#, "Some(1) invalid-field /token");
        check(r#"{"t":"sub_add","id":1,"r":["1"]}"#, "Some(1) invalid-field /sub");
        check(r#"{"t":"sub","id":1,"r":["*"]}"#, "Some(1) invalid-field /sub");
        check(r#"{"t":"sub","id":1,"sub":"a"}"#, "Some(1) invalid-field /r");
        check(r#"{"t":"sub","id":1,"sub":"a","r":[]}"#, "Some(1) invalid-field /r");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*",7]}"#, "Some(1) invalid-field /r/1");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*","2@elsewhere.example.org"]}"#, "Some(1) not-found /r/1");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["1","2","3"]}"#, "Some(1) too-many-resources /r");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"mode":"some"}"#, "Some(1) invalid-field /mode");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"fields":["a","b..c"]}"#, "Some(1) invalid-field /fields/1");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"snapshot":1}"#, "Some(1) invalid-field /snapshot");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"limit":-1}"#, "Some(1) invalid-field /limit");
    }
}
