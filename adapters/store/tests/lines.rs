//! Export and import.

use super::{Rig, WALL, at, loaded, opened, publication, publication_gone, resource, subscription};
use crate::{export, import};
use lamplighter_model::Time;
use std::time::Duration;

#[test]
fn what_is_exported_comes_back_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    let mut rig = Rig::start(opened(&old, WALL).unwrap());
    let until = at(1_700_003_600);
    rig.commit([publication(1, until), publication(2, Time::NEVER), publication(3, until), publication_gone(3)]);
    rig.commit([resource(1, until), subscription("tag \u{1f4a1} \"7\"", until), subscription("", until)]);
    rig.keeper.stop();
    let later = WALL + Duration::from_secs(60);
    let mut lines = Vec::new();
    assert_eq!(export(&old, later, &mut lines).unwrap().records, 5);
    let counts = import(&new, &mut &lines[..]).unwrap();
    assert_eq!((counts.records, counts.publications, counts.resources, counts.subscriptions), (5, 2, 1, 2));
    let mut again = Vec::new();
    export(&new, later, &mut again).unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(lines.clone()).unwrap());
    let (mut one, mut other) = (opened(&old, later).unwrap(), opened(&new, later).unwrap());
    assert_eq!(one.seed(), other.seed());
    assert_eq!(loaded(&mut one), loaded(&mut other));
    assert!(import(&new, &mut &lines[..]).unwrap_err().to_string().contains("import makes a new store"));
}

#[test]
fn wrong_lines_are_named_and_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let head = r#"{"kind":"store","format":1,"seed":"ff","clock":5}"#;
    let publication = r#"{"kind":"publication","resource":"r","package":"p","source":"s","entity_tag":"00000000000000ff","stamp":{"at":1,"counter":2,"node":3},"until":"never","fact":"AAE=","from":"192.0.2.7:5060"}"#;
    let wrong = |text: &str| {
        let error = import(&path, &mut text.as_bytes()).unwrap_err().to_string();
        assert!(!path.exists());
        error
    };
    assert_eq!(wrong(""), "line 1: an export begins with a line of the kind \"store\"; nothing was imported");
    assert!(wrong(publication).starts_with("line 1: an export begins"));
    assert!(wrong(&head.replace(":1,", ":9,")).starts_with("line 1: this is format 9"));
    assert!(wrong(&format!("{head}\n{}", publication.replace("\"r\"", "7"))).starts_with("line 2: "));
    assert!(wrong(&format!("{head}\n{}", publication.replace("ff\"", "FF\""))).contains("no entity-tag of ours"));
    assert!(wrong(&format!("{head}\n{}", publication.replace("fact", "facts"))).contains("unknown field"));
    assert!(
        wrong(&format!("{head}\n{publication}\n{publication}")).contains("line 3: an earlier line is about the same")
    );
    assert_eq!(import(&path, &mut format!("{head}\n{publication}\n").as_bytes()).unwrap().publications, 1);
}
