//! Reading what feed clients send.

use crate::config::Limits;
use crate::problem::{Kind, Problem};
use lamplighter_model::{Addresses, PackageId, Packages};
use lamplighter_port::{BadSelector, Kinds, Selector};
use serde_json::{Map, Value};
use std::time::Duration;

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Hello { client: String, flush: Option<Duration> },
    Sub(Sub),
    Unsub { sub: String },
    Get { selectors: Vec<Selector>, wanted: Wanted },
    Ping,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Sub {
    pub sub: String,
    pub selectors: Vec<Selector>,
    pub wanted: Wanted,
    pub snapshot: bool,
    pub absent: bool,
    pub cursor: Option<String>,
    pub limit: Option<usize>,
}

/// Packages by their kinds. Kinds are an open set: one that this gateway does not have matches nothing.
#[derive(Debug, PartialEq)]
pub(crate) struct Wanted {
    pub ids: Vec<PackageId>,
    pub unknown: Vec<String>,
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

struct Frame<'a>(&'a Map<String, Value>);

impl<'a> Frame<'a> {
    fn command(&self, reading: &Reading<'_>) -> Result<Command, Problem> {
        let kind = self.0.get("t").and_then(Value::as_str).ok_or_else(|| wrong("t", "a string"))?;
        match kind {
            "hello" => Ok(Command::Hello {
                client: self.text("client", 64)?.unwrap_or_default().into(),
                flush: self.number("flush_ms")?.map(|ms| Duration::from_millis(ms.min(10_000))),
            }),
            "sub" => self.sub(reading).map(Command::Sub),
            "unsub" => Ok(Command::Unsub { sub: self.name()? }),
            "get" => Ok(Command::Get { selectors: self.selectors(reading)?, wanted: self.wanted(reading)? }),
            "ping" => Ok(Command::Ping),
            "sub_add" | "sub_del" | "pub" | "unpub" | "auth" | "act" => {
                Err(Problem::new(Kind::NotSupported, format!("`{kind}` is not offered here; see `features`")))
            }
            _ => Err(Problem::at(Kind::UnknownType, "/t", "no such frame")),
        }
    }

    fn sub(&self, reading: &Reading<'_>) -> Result<Sub, Problem> {
        match self.text("mode", 16)? {
            None | Some("latest") => {}
            Some("all") => return Err(Problem::at(Kind::NotSupported, "/mode", "only `latest` is offered")),
            Some(_) => return Err(wrong("mode", "`latest`")),
        }
        if self.0.contains_key("fields") {
            return Err(Problem::at(Kind::NotSupported, "/fields", "states are sent whole"));
        }
        Ok(Sub {
            sub: self.name()?,
            selectors: self.selectors(reading)?,
            wanted: self.wanted(reading)?,
            snapshot: self.flag("snapshot")?.unwrap_or(true),
            absent: self.flag("absent")?.unwrap_or(false),
            cursor: self.text("cursor", 128)?.map(Into::into),
            limit: self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        })
    }

    fn name(&self) -> Result<String, Problem> {
        let name = self.text("sub", 64)?.filter(|name| !name.is_empty());
        name.map(Into::into).ok_or_else(|| wrong("sub", "a name of 1 to 64 bytes"))
    }

    fn selectors(&self, reading: &Reading<'_>) -> Result<Vec<Selector>, Problem> {
        let list = self.list("r", reading)?.ok_or_else(|| wrong("r", "a list of selectors"))?;
        if list.is_empty() {
            return Err(wrong("r", "at least one selector"));
        }
        let read = |(index, text): (usize, &str)| {
            Selector::parse(text, reading.addresses).map_err(|bad| match bad {
                BadSelector::NotLocal(lamplighter_model::NotLocal::Foreign) => {
                    Problem::at(Kind::NotFound, format!("/r/{index}"), bad.to_string())
                }
                _ => Problem::at(Kind::InvalidField, format!("/r/{index}"), bad.to_string()),
            })
        };
        list.into_iter().enumerate().map(read).collect()
    }

    fn wanted(&self, reading: &Reading<'_>) -> Result<Wanted, Problem> {
        let Some(list) = self.list("kinds", reading)? else {
            return Ok(Wanted { ids: reading.packages.ids().collect(), unknown: vec![] });
        };
        let mut wanted = Wanted { ids: vec![], unknown: vec![] };
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
        let got = match read(text, &Reading { addresses: &addresses, packages: &packages, limits: &limits }) {
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
        check(r#"{"t":"hello","id":1,"flush_ms":50}"#, r#"1 Hello { client: "", flush: Some(50ms) }"#);
        check(r#"{"t":"unsub","id":1,"sub":"a"}"#, r#"1 Unsub { sub: "a" }"#);
        check(
            r#"{"t":"get","id":2,"r":["1"],"kinds":["mwi"]}"#,
            r#"2 Get { selectors: [Exact("sip:1@example.com")], wanted: Wanted { ids: [], unknown: ["mwi"] } }"#,
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
        check(r#"{"t":"pub","id":1}"#, "Some(1) not-supported ");
        check(r#"{"t":"sub","id":1,"r":["*"]}"#, "Some(1) invalid-field /sub");
        check(r#"{"t":"sub","id":1,"sub":"a"}"#, "Some(1) invalid-field /r");
        check(r#"{"t":"sub","id":1,"sub":"a","r":[]}"#, "Some(1) invalid-field /r");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*",7]}"#, "Some(1) invalid-field /r/1");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*","2@elsewhere.example.org"]}"#, "Some(1) not-found /r/1");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["1","2","3"]}"#, "Some(1) too-many-resources /r");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"mode":"all"}"#, "Some(1) not-supported /mode");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"fields":[]}"#, "Some(1) not-supported /fields");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"snapshot":1}"#, "Some(1) invalid-field /snapshot");
        check(r#"{"t":"sub","id":1,"sub":"a","r":["*"],"limit":-1}"#, "Some(1) invalid-field /limit");
    }
}
