//! The directory: who stands behind an address, and groups of addresses. Kept in one file, JSON or TOML by its ending.
//!
//! The file is read at start and on reload; a file with mistakes changes nothing. An administrator may change it over
//! HTTP: then it is written anew, beside the old one, and takes its place at once (comments are lost).

use crate::http::{self, Body, Caller, Object, Parameters, Segments, tagged};
use crate::openapi::Operation;
use crate::problem::{Kind, Problem};
use crate::replies::fingerprint;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lamplighter_model::Addresses;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The longest file, bytes.
const FILE: usize = 16 * 1024 * 1024;
/// People, groups, and members of a group.
const PEOPLE: usize = 50_000;
const GROUPS: usize = 1000;
const MEMBERS: usize = 10_000;

pub(crate) fn operations() -> Vec<Operation> {
    let changed = |operation: Operation| {
        operation
            .header("If-Match", false, "The version that is meant; left out: any")
            .bare(204, "It is written, and every reader sees it")
            .with(204, "ETag", "The directory's version")
            .refuses(&[
                Kind::NotFound,
                Kind::Conflict,
                Kind::PreconditionFailed,
                Kind::InvalidField,
                Kind::UpstreamUnavailable,
            ])
    };
    let read = |operation: Operation| {
        operation
            .header("If-None-Match", false, "Entity-tags that the client has")
            .with(200, "ETag", "The directory's version")
            .bare(304, "Nothing newer")
    };
    let name = |operation: Operation| operation.segment("name", "Name", "The group");
    vec![
        read(Operation::get("/v1/directory", get).answer(200, "Directory", "People and groups"))
            .about("directory", "People, as far as the caller may see them, and groups"),
        changed(Operation::put("/v1/directory", put))
            .body(FILE, true, &["application/json"], "Directory")
            .refuses(&[Kind::BadJson])
            .about("putDirectory", "Replace people and groups"),
        read(Operation::get("/v1/groups", groups).answer(200, "Names", "The groups"))
            .about("groups", "The names of the groups"),
        read(name(Operation::get("/v1/groups/{name}", group).answer(200, "Group", "The group")))
            .refuses(&[Kind::NotFound])
            .about("group", "The members of a group, as far as the caller may see them"),
        changed(name(Operation::put("/v1/groups/{name}", put_group)))
            .body(8 * 1024 * 1024, true, &["application/json"], "Members")
            .refuses(&[Kind::BadJson])
            .about("putGroup", "Create or replace a group"),
        changed(name(Operation::delete("/v1/groups/{name}", delete_group))).about("deleteGroup", "Remove a group"),
    ]
}

/// One entry.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Person {
    resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extension: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    department: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    #[serde(deserialize_with = "http::objects")]
    people: Vec<Person>,
    groups: BTreeMap<String, Vec<String>>,
}

/// People and groups, checked and in canonical form.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    people: Vec<Person>,
    /// For each address, all that is said about it, in lower case.
    words: HashMap<String, String>,
    groups: BTreeMap<String, Arc<[String]>>,
    print: u64,
}

impl Directory {
    /// What a file says; else the file, the place in it, and why.
    pub(crate) fn load(file: &Path, addresses: &Addresses) -> Result<Self, String> {
        let told = |(place, why)| format!("{}: {place}: {why}", file.display());
        Self::new(parse(file)?, addresses).map_err(told)
    }

    /// In canonical form; else where it is wrong, as a JSON pointer, and why.
    fn new(content: Content, addresses: &Addresses) -> Result<Self, (String, String)> {
        let Content { mut people, groups } = content;
        bound("/people", "people", people.len(), PEOPLE)?;
        bound("/groups", "groups", groups.len(), GROUPS)?;
        let mut words = HashMap::new();
        for (index, person) in people.iter_mut().enumerate() {
            let place = |member: &str| format!("/people/{index}/{member}");
            person.resource = addresses.parse(&person.resource).map_err(|bad| (place("resource"), bad.to_string()))?;
            let Person { resource, name, extension, department, picture, note } = &*person;
            let texts = [
                ("name", name, 256),
                ("extension", extension, 64),
                ("department", department, 256),
                ("picture", picture, 2048),
                ("note", note, 1024),
            ];
            let long = |text: &&(_, &Option<String>, usize)| text.1.as_ref().is_some_and(|one| one.len() > text.2);
            if let Some((member, _, most)) = texts.iter().find(long) {
                return Err((place(member), format!("at most {most} bytes")));
            }
            let bad = |picture: &&String| {
                !["https://", "http://", "/", "data:image/"].iter().any(|with| picture.starts_with(with))
            };
            if picture.as_ref().filter(bad).is_some() {
                return Err((place("picture"), "a URL that begins with https://, http://, / or data:image/".into()));
            }
            let said = [name, extension, department, note].into_iter().flatten().map(|text| text.to_lowercase());
            let said = said.collect::<Vec<_>>().join("\n");
            if words.insert(resource.clone(), said).is_some() {
                return Err((place("resource"), "named twice".into()));
            }
        }
        let mut checked = BTreeMap::new();
        for (name, members) in groups {
            if name.is_empty() || name.len() > 64 || name.contains(['/', ',']) || name.chars().any(char::is_control) {
                return Err(("/groups".into(), "a name is 1 to 64 bytes without slash and comma".into()));
            }
            let place = |index| format!("/groups/{}/{index}", name.replace('~', "~0"));
            bound(&format!("/groups/{name}"), "members", members.len(), MEMBERS)?;
            let parse =
                |(index, text): (usize, &String)| addresses.parse(text).map_err(|bad| (place(index), bad.to_string()));
            let mut members = members.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
            members.sort_unstable();
            members.dedup();
            checked.insert(name, members.into());
        }
        let mut directory = Self { people, words, groups: checked, print: 0 };
        let text = serde_json::to_string(&directory.content()).unwrap_or_default();
        directory.print = fingerprint([text.as_bytes()].into_iter());
        Ok(directory)
    }

    fn content(&self) -> Content {
        let groups = self.groups.iter().map(|(name, members)| (name.clone(), members.to_vec()));
        Content { people: self.people.clone(), groups: groups.collect() }
    }

    fn tag(&self) -> String {
        format!("\"{:016x}\"", self.print)
    }

    /// Whether these words, in lower case, are part of an address or of what is said about it.
    pub(crate) fn mentions(&self, resource: &str, words: &str) -> bool {
        resource.to_lowercase().contains(words) || self.words.get(resource).is_some_and(|said| said.contains(words))
    }

    /// The members of a group, canonical addresses in rising order.
    pub(crate) fn group(&self, name: &str) -> Option<Arc<[String]>> {
        self.groups.get(name).cloned()
    }
}

fn bound(place: &str, what: &str, count: usize, most: usize) -> Result<(), (String, String)> {
    if count > most { Err((place.to_owned(), format!("at most {most} {what}"))) } else { Ok(()) }
}

/// The directory as it is now, and the file that it is kept in.
#[derive(Default)]
pub(crate) struct Shelf {
    file: Option<PathBuf>,
    now: RwLock<Arc<Directory>>,
    /// Held while the file is written: one change at a time, each on top of the one before.
    writing: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// Reads the file, if there is one.
    pub(crate) fn open(file: Option<PathBuf>, addresses: &Addresses) -> Result<Self, String> {
        let now = file.as_deref().map_or_else(|| Ok(Directory::default()), |file| Directory::load(file, addresses))?;
        Ok(Self { file, now: RwLock::new(Arc::new(now)), writing: tokio::sync::Mutex::default() })
    }

    pub(crate) fn now(&self) -> Arc<Directory> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file again. Nothing changes when it is wrong.
    pub(crate) fn reload(&self, addresses: &Addresses) -> Result<(), String> {
        if let Some(file) = &self.file {
            self.set(Directory::load(file, addresses)?);
        }
        Ok(())
    }

    fn set(&self, directory: Directory) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
    }
}

fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|end| end.eq_ignore_ascii_case("toml"))
}

fn parse(file: &Path) -> Result<Content, String> {
    let told = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let mut text = String::new();
    let open = fs::File::open(file).map_err(|error| told(&error))?;
    open.take(FILE as u64 + 1).read_to_string(&mut text).map_err(|error| told(&error))?;
    if text.len() > FILE {
        return Err(told(&format!("longer than {FILE} bytes")));
    }
    match is_toml(file) {
        true => toml::from_str(&text).map_err(|bad| told(&bad)),
        false => serde_json::from_str(&text).map_err(|bad| told(&bad)),
    }
}

/// Writes the file anew; whoever reads it meanwhile sees the old one or the new one, whole.
fn save(file: &Path, content: &Content) -> std::io::Result<()> {
    let text = match is_toml(file) {
        true => toml::to_string(content).map_err(std::io::Error::other)?,
        false => serde_json::to_string_pretty(content)? + "\n",
    };
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut new = fs::File::create(&beside)?;
    if let Ok(old) = fs::metadata(file) {
        new.set_permissions(old.permissions())?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    // The name is safe only when its folder is.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

/// Changes the directory and its file.
async fn change(
    caller: &Caller,
    headers: &HeaderMap,
    change: impl FnOnce(&mut Content) -> Result<(), Problem>,
) -> Result<Response, Problem> {
    let shelf = &caller.app.shelf;
    let Some(file) = shelf.file.clone() else {
        return Err(Problem::new(Kind::Conflict, "there is no file to keep it in; see web.directory"));
    };
    let _writing = shelf.writing.lock().await;
    let now = shelf.now();
    if let Some(wanted) = headers.get(header::IF_MATCH) {
        let wanted = wanted.to_str().unwrap_or_default();
        if wanted.split(',').all(|one| one.trim() != "*" && one.trim() != now.tag()) {
            return Err(Problem::new(Kind::PreconditionFailed, "the directory has been changed since"));
        }
    }
    let mut content = now.content();
    change(&mut content)?;
    let directory = Directory::new(content, &caller.app.port.addresses());
    let directory = directory.map_err(|(place, why)| Problem::at(Kind::InvalidField, place, why))?;
    let content = directory.content();
    let tag = directory.tag();
    // Once begun it is finished, even if the client leaves.
    let app = Arc::clone(&caller.app);
    let saved = tokio::task::spawn_blocking(move || {
        save(&file, &content)?;
        app.shelf.set(directory);
        Ok::<_, std::io::Error>(())
    });
    match saved.await {
        Ok(Ok(())) => Ok((StatusCode::NO_CONTENT, [(header::ETAG, tag)]).into_response()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the directory cannot be written");
            Err(Problem::new(Kind::UpstreamUnavailable, "the file cannot be written; the log says why").later(5000))
        }
        Err(_) => Err(Problem::new(Kind::Internal, "writing has failed")),
    }
}

/// Whether the caller may see anything of this address.
fn sees(caller: &Caller, resource: &str) -> bool {
    let packages = caller.app.port.packages();
    caller.principal.is_admin()
        || packages.ids().any(|id| caller.principal.view(resource, packages.get(id).kind()).is_some())
}

async fn get(caller: Caller, headers: HeaderMap) -> Response {
    let now = caller.app.shelf.now();
    let mut content = now.content();
    content.people.retain(|person| sees(&caller, &person.resource));
    for members in content.groups.values_mut() {
        members.retain(|member| sees(&caller, member));
    }
    content.groups.retain(|_, members| caller.principal.is_admin() || !members.is_empty());
    let text = serde_json::to_string(&content).unwrap_or_default();
    // Those who see less have another text of the same version.
    let tag = format!("\"{:016x}\"", fingerprint([text.as_bytes()].into_iter()));
    let tag = if text == serde_json::to_string(&now.content()).unwrap_or_default() { now.tag() } else { tag };
    tagged(&headers, tag, text)
}

async fn put(
    caller: Caller,
    parameters: Parameters,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    parameters.only(&[])?;
    caller.admin()?;
    let Object::<Content>(new) = http::read(&body)?;
    change(&caller, &headers, |content| {
        *content = new;
        Ok(())
    })
    .await
}

async fn groups(caller: Caller, headers: HeaderMap) -> Response {
    let now = caller.app.shelf.now();
    let seen = |members: &[String]| caller.principal.is_admin() || members.iter().any(|one| sees(&caller, one));
    let names: Vec<_> = now.groups.iter().filter(|(_, members)| seen(members)).map(|(name, _)| name).collect();
    let text = json!({ "groups": names }).to_string();
    tagged(&headers, format!("\"{:016x}\"", fingerprint([text.as_bytes()].into_iter())), text)
}

async fn group(caller: Caller, Segments(name): Segments<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let now = caller.app.shelf.now();
    let members = now.group(&name).ok_or_else(|| Problem::new(Kind::NotFound, "there is no such group"))?;
    let members: Vec<_> = members.iter().filter(|member| sees(&caller, member)).collect();
    if members.is_empty() && !caller.principal.is_admin() {
        return Err(Problem::new(Kind::NotFound, "there is no such group"));
    }
    let text = json!({ "name": name, "members": members }).to_string();
    Ok(tagged(&headers, format!("\"{:016x}\"", fingerprint([text.as_bytes()].into_iter())), text))
}

async fn put_group(
    caller: Caller,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    caller.admin()?;
    let members: Vec<String> = http::read(&body)?;
    change(&caller, &headers, |content| {
        content.groups.insert(name, members);
        Ok(())
    })
    .await
}

async fn delete_group(
    caller: Caller,
    Segments(name): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.admin()?;
    change(&caller, &headers, |content| match content.groups.remove(&name) {
        Some(_) => Ok(()),
        None => Err(Problem::new(Kind::NotFound, "there is no such group")),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::new(["example.com"], [], [("boss", "1")])
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        let directory = Directory::new(serde_json::from_str(text).unwrap(), &addresses());
        let got = directory.map(|one| serde_json::to_string(&one.content()).unwrap()).map_err(|(place, _)| place);
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn addresses_become_canonical_and_mistakes_are_named() {
        check(
            r#"{"people":[{"resource":"1","name":"Ann"}],"groups":{"desk":["2","boss","1"]}}"#,
            Ok(concat!(
                r#"{"people":[{"resource":"sip:1@example.com","name":"Ann"}],"#,
                r#""groups":{"desk":["sip:1@example.com","sip:2@example.com"]}}"#
            )),
        );
        check(r#"{"people":[{"resource":"1"},{"resource":"boss"}]}"#, Err("/people/1/resource"));
        check(r#"{"people":[{"resource":"1@elsewhere.org"}]}"#, Err("/people/0/resource"));
        check(r#"{"people":[{"resource":"1","picture":"javascript:x"}]}"#, Err("/people/0/picture"));
        check(&format!(r#"{{"people":[{{"resource":"1","name":"{}"}}]}}"#, "x".repeat(257)), Err("/people/0/name"));
        check(r#"{"groups":{"":["1"]}}"#, Err("/groups"));
        check(r#"{"groups":{"desk":["1","@"]}}"#, Err("/groups/desk/1"));
        let many: Vec<_> = (0..=MEMBERS).map(|number| number.to_string()).collect();
        check(&json!({ "groups": { "desk": many } }).to_string(), Err("/groups/desk"));
    }

    #[test]
    fn what_is_written_is_read_again_in_both_forms() {
        let content: Content = serde_json::from_str(
            r#"{"people":[{"resource":"1","name":"Ann \"A\" Lee","note":"x\ny"}],"groups":{"front desk":["1"],"none":[]}}"#,
        )
        .unwrap();
        let directory = Directory::new(content, &addresses()).unwrap();
        for end in ["json", "toml"] {
            let file = std::env::temp_dir().join(format!("lamplighter-{}-directory.{end}", std::process::id()));
            save(&file, &directory.content()).unwrap();
            let again = Directory::load(&file, &addresses()).unwrap();
            assert_eq!((again.content(), again.tag()), (directory.content(), directory.tag()));
            let shelf = Shelf::open(Some(file.clone()), &addresses()).unwrap();
            fs::write(&file, "people = 7").unwrap();
            assert!(shelf.reload(&addresses()).unwrap_err().contains("directory"));
            assert!(shelf.now().mentions("sip:1@example.com", "ann"), "a bad file changes nothing");
            fs::remove_file(&file).unwrap();
        }
    }
}
