//! The store beneath the running program: stops in order, another number of shards, and stores that cannot be used.

use crate::gateway::{Gateway, directory, file, lamplighter};
use crate::phone::{Dialog, Phone};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const LINES: u32 = 8;

fn line(number: u32) -> String {
    format!("sip:10{number}@example.com")
}

fn with(store: &Path, more: &str) -> String {
    format!("store.path = {store:?}\n{more}")
}

/// A store with a publication and a subscription, as a kill leaves it.
fn killed(name: &str) -> (PathBuf, Gateway) {
    let store = directory(name);
    let mut gateway = Gateway::start(&with(&store, ""));
    Phone::udp(&gateway, "1001").publish_call(&line(0), None, "c", "early");
    Phone::udp(&gateway, "2000").subscribe(&line(0), "dialog", 600);
    gateway.kill();
    (store, gateway)
}

/// The file in which the engine keeps what was written last.
fn journal(store: &Path) -> PathBuf {
    let mut all: Vec<PathBuf> = fs::read_dir(store.join("data")).unwrap().map(|one| one.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|it| it == "jnl"));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// HA-02, DI-08: phones notice nothing of a stop in order, and nothing of another number of shards.
#[test]
fn stopped_with_one_shard_started_with_four_and_back() {
    let store = directory("shards");
    let shards = |number: u32| with(&store, &format!("shards = {number}"));
    let mut gateway = Gateway::start(&shards(1));
    let mut publisher = Phone::udp(&gateway, "pbx");
    let mut watcher = Phone::udp(&gateway, "2000");
    let mut tags: Vec<String> = (0..LINES).map(|one| publisher.publish_call(&line(one), None, "c", "early")).collect();
    let mut dialogs: Vec<(Dialog, u32, u64)> = (0..LINES)
        .map(|one| {
            let (dialog, first) = watcher.subscribe(&line(one), "dialog", 600);
            (dialog, first.cseq(), first.xml("version").parse().unwrap())
        })
        .collect();
    for (round, number) in [4, 1, 3].into_iter().enumerate() {
        gateway.signal("TERM");
        assert!(gateway.wait().success());
        gateway.reconfigure(&shards(number));
        gateway.start_again();
        let state = if round % 2 == 0 { "confirmed" } else { "early" };
        for (one, (tag, (dialog, cseq, version))) in tags.iter_mut().zip(&mut dialogs).enumerate() {
            let line = line(one as u32);
            let before = if round % 2 == 0 { "ringing" } else { "busy" };
            assert!(gateway.get(&format!("/v1/state/{line}/dialog")).1.contains(before), "{line} is not {before}");
            *tag = publisher.publish_call(&line, Some(tag), "c", state);
            watcher.refresh(dialog, 600).expect(200);
            // The newest state, perhaps after an older one, and those of others between them.
            loop {
                let notify = watcher.notify();
                assert_eq!(notify.subscription_state().0, "active", "{notify:#?}");
                if notify.header("Call-ID") != dialog.call_id {
                    continue;
                }
                let (now_is, shown) = (notify.cseq(), notify.xml("version").parse().unwrap());
                assert!(now_is > *cseq && shown > *version, "{cseq} {version}, then {notify:#?}");
                (*cseq, *version) = (now_is, shown);
                if notify.body.contains(&format!("{state}</state>")) {
                    break;
                }
            }
        }
        assert_eq!(gateway.metric("sip_subscriptions"), f64::from(LINES));
    }
    drop(gateway);
    fs::remove_dir_all(&store).unwrap();
}

/// HA-02: two gateways never share a store.
#[test]
fn a_second_start_on_the_same_store_is_refused() {
    let store = directory("shared");
    let gateway = Gateway::start(&with(&store, ""));
    let (code, log) = Gateway::refused(&with(&store, ""));
    assert_eq!(code, Some(75), "{log}");
    assert!(log.contains("another Lamplighter is using it (process "), "{log}");
    let check = lamplighter().args(["store", "check"]).arg(&store).output().unwrap();
    assert_eq!(check.status.code(), Some(75), "{check:?}");
    assert_eq!(gateway.get("/readyz").0, 200, "the first one goes on");
    drop(gateway);
    fs::remove_dir_all(&store).unwrap();
}

/// HA-02: what was acknowledged and is not there any more is told before anybody is served, with file and place.
#[test]
fn damaged_truncated_and_newer_stores_are_refused() {
    let (store, mut gateway) = killed("damaged");
    let refused = |path: &Path, words: &str| {
        let (code, log) = Gateway::refused(&with(&store, ""));
        assert_eq!(code, Some(65), "{log}");
        assert!(log.contains(path.to_str().unwrap()) && log.contains(words), "{words}: {log}");
        let check = lamplighter().args(["store", "check"]).arg(&store).output().unwrap();
        assert_eq!(check.status.code(), Some(65), "{check:?}");
    };
    let journal = journal(&store);
    let whole = fs::read(&journal).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap() as u64;

    let open = fs::File::options().write(true).open(&journal).unwrap();
    open.write_all_at(&[!whole[used as usize / 2]], used / 2).unwrap();
    refused(&journal, ": damaged at byte ");
    open.write_all_at(&[whole[used as usize / 2]], used / 2).unwrap();

    open.set_len(used / 2).unwrap();
    refused(&journal, ": damaged at byte ");
    open.write_all_at(&whole, 0).unwrap();

    for (name, wrong, words) in [
        ("STORE", "lamplighter store\nformat 7\n", "this is format 7, and this Lamplighter knows formats up to 1"),
        ("STORE", "lamplighter store\nformat 1\n", ": damaged: "),
        ("SAFE", "", ": damaged at byte 0: its check fails"),
    ] {
        let path = store.join(name);
        let right = fs::read(&path).unwrap();
        fs::write(&path, wrong).unwrap();
        refused(&path, words);
        fs::write(&path, right).unwrap();
    }

    // Nothing was changed by all that: whoever puts back what was there has everything.
    gateway.start_again();
    assert!(gateway.get(&format!("/v1/state/{}/dialog", line(0))).1.contains("ringing"));
    assert_eq!(gateway.metric("sip_subscriptions"), 1.0);
    drop(gateway);
    fs::remove_dir_all(&store).unwrap();
}

/// PU-04: a write that the kill interrupted was never acknowledged; it is cut off, and nothing else.
#[test]
fn a_torn_tail_is_cut_off() {
    let (store, mut gateway) = killed("torn");
    // As it is, and with the first bytes of a batch behind it.
    for (cut, torn) in [0, 1, 40].into_iter().enumerate() {
        let journal = journal(&store);
        let whole = fs::read(&journal).unwrap();
        let used = whole.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
        let open = fs::File::options().write(true).open(&journal).unwrap();
        open.write_all_at(&whole[..torn], used).unwrap();
        gateway.start_again();
        assert!(gateway.get(&format!("/v1/state/{}/dialog", line(0))).1.contains("ringing"));
        assert_eq!(gateway.metric("sip_subscriptions"), 1.0);
        gateway.kill();
        let log = gateway.log();
        assert_eq!(log.matches("a batch that was never safe is cut off").count(), cut, "{log}");
    }
    drop(gateway);
    fs::remove_dir_all(&store).unwrap();
}

#[test]
fn wrong_paths_are_refused() {
    let other = file("no-store", "this is something else");
    let directory = directory("others");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("letter"), "Dear Ann").unwrap();
    for (path, expected, words) in [
        (other.clone(), 78, "this is a file; choose a directory"),
        (other.join("below"), 74, "Not a directory (os error 20); choose another store.path"),
        (directory.clone(), 78, "this directory holds other things; choose a directory"),
    ] {
        let (code, log) = Gateway::refused(&with(&path, ""));
        assert_eq!(code, Some(expected), "{log}");
        assert!(log.contains(path.to_str().unwrap()) && log.contains(words), "{words}: {log}");
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing was put there");
    fs::remove_file(&other).unwrap();
    fs::remove_dir_all(&directory).unwrap();
}
