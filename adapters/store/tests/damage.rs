//! Torn tails, damaged bytes, missing files, wrong paths: what is refused and in which words, and what is salvaged.

use super::{Dice, Rig, WALL, at, held, loaded, opened, publication, put, refused, subscription};
use crate::backend::{Backend as _, Put};
use crate::disk::home::Safe;
use crate::disk::journal::journals;
use crate::disk::{Disk, verify};
use crate::error::OpenError;
use crate::{check, salvage};
use bytes::BytesMut;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const UNTIL: u64 = 1_700_003_600;

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    copy_into(from, to);
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_into(&entry.path(), &to)
        } else {
            drop(fs::copy(entry.path(), to))
        }
    }
}

/// A file of the store with one byte changed.
fn flip(file: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x24], offset).unwrap();
}

/// All files that say something, below `path`.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if !entry.file_name().eq_ignore_ascii_case("lock") {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn truncate(file: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

fn journal(path: &Path) -> PathBuf {
    journals(&path.join("data")).unwrap().pop().unwrap()
}

/// The bytes of a journal that say something.
fn written(path: &Path) -> u64 {
    crate::disk::journal::Journal::read(&journal(path)).unwrap().bytes.len() as u64
}

/// HA-02: whatever the machine leaves of what was not safe yet, all that was safe is there, and no half batch.
#[test]
fn a_torn_tail_is_cut_off_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (path, torn) = (directory.path().join("store"), directory.path().join("torn"));
    let mut disk = Disk::open(&path).unwrap();
    disk.mark(false).unwrap();
    disk.write(&[put("a", Some("safe")), put("b", Some("safe"))]).unwrap();
    disk.sync().unwrap();
    let safe = written(&path);
    disk.write(&[put("a", Some("second")), put("c", Some("second"))]).unwrap();
    let second = written(&path);
    disk.write(&[put("b", None), put("d", Some("third"))]).unwrap();
    let third = written(&path);
    drop(disk);
    truncate(&journal(&path), third);
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    let expected = |whole: u64| match whole {
        _ if whole >= third => text(&[("a", "second"), ("c", "second"), ("d", "third")]),
        _ if whole >= second => text(&[("a", "second"), ("b", "safe"), ("c", "second")]),
        _ => text(&[("a", "safe"), ("b", "safe")]),
    };
    for length in (safe..=third).rev().step_by(2) {
        copy(&path, &torn);
        let file = journal(&torn);
        truncate(&file, length);
        // The rest is not there, or not written, or something else.
        let filler = [None, Some(0), Some(0xff)][length as usize % 3];
        if let Some(filler) = filler {
            fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&[filler; 300], length).unwrap();
        }
        assert_eq!(held(&mut Disk::open(&torn).unwrap()), expected(length), "{length} bytes, then {filler:?}");
        if length % 5 == 0 {
            let (damages, tail) = verify(&torn.join("data"), Safe { batch: 1, clean: true }).unwrap();
            assert_eq!((damages, tail), (Vec::new(), None), "once cut, it is whole");
        }
    }
    for offset in (safe..third).step_by(3) {
        copy(&path, &torn);
        flip(&journal(&torn), offset);
        // A change of a sequence number that changes no order is not noticed, and changes nothing.
        let held = held(&mut Disk::open(&torn).unwrap());
        assert!([safe, second, third].map(expected).contains(&held), "byte {offset}: {held:?}");
    }
    for length in (0..safe).step_by(7) {
        copy(&path, &torn);
        truncate(&journal(&torn), length);
        let error = refused(&torn).to_string();
        assert!(error.contains("damaged"), "{length} of {safe} bytes: {error}");
    }
    // Nothing tells the sequence number of the very first batch, at 5 to 12.
    for offset in (0..5).chain(13..safe) {
        copy(&path, &torn);
        flip(&journal(&torn), offset);
        let error = refused(&torn).to_string();
        assert!(error.contains(".jnl: damaged at byte "), "byte {offset} of {safe}: {error}");
    }
}

/// A store with tables and a journal as a kill leaves it, all of it safe, with what it holds.
fn whole(path: &Path) -> BTreeMap<String, String> {
    let mut disk = Disk::open(path).unwrap();
    disk.mark(false).unwrap();
    disk.write(&crate::era::Eras::read(&[], WALL).unwrap().begin(false, at(1), WALL)).unwrap();
    for number in 0..120 {
        let record = |number: u64| {
            let (mut key, mut value) = (BytesMut::new(), BytesMut::new());
            let record = subscription(&format!("tag{number}"), at(UNTIL + number));
            crate::codec::write_key(&record, &mut key);
            crate::codec::write_value(&record, 1, &mut value);
            Put { key: key.freeze(), value: Some(value.freeze()) }
        };
        disk.write(&[record(number), record(number + 1000)]).unwrap();
        if number % 5 == 0 {
            disk.write(&[Put { value: None, ..record(number) }]).unwrap();
        }
        if number == 50 || number == 100 {
            disk.make_table();
        }
    }
    disk.sync().unwrap();
    let held = held(&mut disk);
    drop(disk);
    // The room that a journal is made with takes long to copy.
    truncate(&journal(path), written(path));
    held
}

#[test]
fn damage_is_noticed_named_and_survived() {
    let directory = tempfile::tempdir().unwrap();
    let (path, bad) = (directory.path().join("store"), directory.path().join("bad"));
    let all = whole(&path);
    let keys = |store: &BTreeMap<String, String>| -> HashSet<String> { store.keys().cloned().collect() };
    let mut dice = Dice(0x9e37_79b9);
    let mut seen = HashSet::new();
    for file in files(&path) {
        let name = file.strip_prefix(&path).unwrap();
        let is_journal = name.extension().is_some_and(|it| it == "jnl");
        let length = if is_journal { written(&path) } else { fs::metadata(&file).unwrap().len() };
        for round in 0..if length > 0 { 5 } else { 0 } {
            let offset = dice.below(length);
            copy(&path, &bad);
            flip(&bad.join(name), offset);
            let error = match Disk::open(&bad) {
                // fjall does not look at every byte of its own small files.
                Ok(mut disk) => {
                    assert!(is_small(name) && held(&mut disk) == all, "{} byte {offset} of {length}", name.display());
                    continue;
                }
                Err(error) => error.to_string(),
            };
            let what = format!("{} with byte {offset} of {length} changed: {error}", name.display());
            // What only fjall understands, it does not name.
            let named = error.contains(name.to_str().unwrap()) || error.contains("/data: damaged: fjall");
            assert!(named, "{what}");
            seen.insert((name.to_owned(), error.contains(name.to_str().unwrap())));
            if round % 3 == 0 && !error.contains("this is format") {
                assert!(!check(&bad, WALL).unwrap().damages.is_empty(), "{what}");
                let salvaged = salvage(&bad, WALL).unwrap();
                assert!(is_small(name) || !salvaged.missing.is_empty(), "{what}");
                let kept = held(&mut Disk::open(&bad).unwrap());
                for (key, value) in &kept {
                    assert_eq!(Some(value), all.get(key), "{what}: {key}");
                }
                let lost = keys(&all).difference(&keys(&kept)).count();
                // A block of a table holds some ten records; older ones of others between them are not believed either.
                assert!(lost <= 80, "{what}: {lost} of {} are lost: {:?}", all.len(), salvaged.missing);
                fs::remove_dir_all(&salvaged.old).unwrap();
            }
        }
    }
    let journals_and_records =
        |name: &Path| name.extension().is_some_and(|it| it == "jnl") || name.starts_with("data/keyspaces/1/tables");
    assert!(seen.iter().filter(|(name, named)| journals_and_records(name) && *named).count() >= 3, "{seen:?}");
}

/// HA-02: a kill leaves tables that are half written, or of which nothing is needed any more.
#[test]
fn tables_that_do_not_count_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("store"), directory.path().join("other"));
    let all = whole(&path);
    let mut disk = Disk::open(&other).unwrap();
    disk.write(&[put("what has ended", Some("value"))]).unwrap();
    disk.make_table();
    drop(disk);
    let tables = |path: &Path| path.join("data/keyspaces/1/tables");
    let of_others = files(&tables(&other)).pop().unwrap();
    let bytes = fs::read(&of_others).unwrap();
    let leave = || {
        fs::copy(&of_others, tables(&path).join("900")).unwrap();
        for (name, bytes) in [("901", &bytes[..0]), ("902", &bytes[..bytes.len() / 2]), ("903", b"something else")] {
            fs::write(tables(&path).join(name), bytes).unwrap();
        }
    };
    leave();
    assert_eq!(check(&path, WALL).unwrap().damages, []);
    leave();
    assert_eq!(held(&mut Disk::open(&path).unwrap()), all);
    leave();
    assert_eq!(salvage(&path, WALL).unwrap().missing, []);
    assert_eq!(held(&mut Disk::open(&path).unwrap()), all);
}

#[test]
fn missing_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let (path, bad) = (directory.path().join("store"), directory.path().join("bad"));
    let all = whole(&path);
    for file in files(&path) {
        let name = file.strip_prefix(&path).unwrap();
        copy(&path, &bad);
        fs::remove_file(bad.join(name)).unwrap();
        let error = match Disk::open(&bad) {
            Ok(mut disk) => {
                let empty = fs::metadata(&file).unwrap().len() == 0;
                assert!((is_small(name) || empty) && held(&mut disk) == all, "{}", name.display());
                continue;
            }
            Err(error) => error.to_string(),
        };
        assert!(error.contains("/bad/") && !error.contains("File exists"), "{}: {error}", name.display());
    }
}

/// Whether this is one of fjall's own small files, which say which tables there are.
fn is_small(name: &Path) -> bool {
    name.starts_with("data") && !name.to_str().unwrap().contains("tables") && name.extension().is_none()
}

/// A store with records, damaged, is refused, salvaged, and opened; the damaged one stands beside it.
#[test]
fn what_is_salvaged_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let (live, path) = (directory.path().join("live"), directory.path().join("store"));
    let mut rig = Rig::start(opened(&live, WALL).unwrap());
    rig.commit([publication(1, at(UNTIL))]);
    rig.commit([subscription("first", at(UNTIL))]);
    rig.commit([subscription("second", at(UNTIL))]);
    // As a kill leaves it: a stop would empty the journal.
    copy(&live, &path);
    rig.keeper.stop();
    let seed = opened(&path, WALL).unwrap().seed();
    let file = journal(&path);
    let bytes = fs::read(&file).unwrap();
    let spot = bytes.windows(5).position(|window| window == b"first").unwrap() as u64;
    // Inside the value, behind the key.
    flip(&file, spot + 60);
    let error = refused(&path);
    let OpenError::Damaged(damage) = &error else { panic!("{error}") };
    assert!(damage.file == file && damage.offset.is_some_and(|offset| offset < spot), "{error}");
    assert!(error.to_string().contains("store check --salvage"), "{error}");
    let checked = check(&path, WALL).unwrap();
    assert_eq!(checked.damages.len(), 1, "{:?}", checked.damages);
    let salvaged = salvage(&path, WALL).unwrap();
    assert_eq!(salvaged.missing[1].what, "lost: subscription first");
    assert_eq!(salvaged.old, directory.path().canonicalize().unwrap().join("store.damaged"));
    assert_eq!(salvaged.loaded.records, 2);
    assert!(salvaged.old.join("STORE").exists());
    let mut store = opened(&path, WALL).unwrap();
    assert_eq!(loaded(&mut store), [publication(1, at(UNTIL)), subscription("second", at(UNTIL))]);
    assert_eq!(store.seed(), seed, "devices are still known");
}

#[test]
fn a_whole_store_passes_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut rig = Rig::start(opened(&path, WALL).unwrap());
    rig.commit([publication(1, at(UNTIL)), subscription("first", at(UNTIL))]);
    let error = check(&path, WALL).unwrap_err();
    assert!(error.to_string().contains("another Lamplighter is using it"), "{error}");
    rig.keeper.stop();
    let checked = check(&path, WALL).unwrap();
    assert_eq!((checked.damages.len(), checked.loaded.records, checked.bytes > 0), (0, 2, true));
    assert!(matches!(check(&directory.path().join("nowhere"), WALL), Err(OpenError::Missing { .. })));
}

#[test]
fn only_one_may_have_it_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = opened(&path, WALL).unwrap();
    let error = refused(&path);
    assert_eq!(
        error.to_string(),
        format!(
            "{}: another Lamplighter is using it (process {}); stop that one first, or choose another store.path",
            path.display(),
            std::process::id()
        )
    );
    drop(store);
    opened(&path, WALL).unwrap();
}

#[test]
fn nobody_else_may_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/store");
    drop(opened(&path, WALL).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap();
        let mode = if file.metadata().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode, "{:?}", file.path());
    }
}

#[test]
fn wrong_paths_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "hello").unwrap();
    assert!(refused(&file).to_string().contains("file: this is a file; choose a directory that is empty"));
    assert!(refused(&file.join("below")).to_string().contains("choose another store.path"));
    assert!(refused(directory.path()).to_string().contains("this directory holds other things"));
    assert_eq!(files(directory.path()), [file], "nothing was put there");
}

/// A start that was ended before the store existed is simply made again.
#[test]
fn a_half_made_store_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(opened(&path, WALL).unwrap());
    fs::remove_file(path.join("data/version")).unwrap();
    drop(opened(&path, WALL).unwrap());
    fs::remove_dir_all(path.join("data")).unwrap();
    fs::remove_file(path.join("STORE")).unwrap();
    drop(opened(&path, WALL).unwrap());
    fs::remove_file(path.join("STORE")).unwrap();
    assert!(
        refused(&path).to_string().contains("STORE: damaged: the file is missing"),
        "a store is not made over another"
    );
}

#[test]
fn newer_formats_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(opened(&path, WALL).unwrap());
    let store = path.join("STORE");
    let text = fs::read_to_string(&store).unwrap();
    fs::write(&store, text.replace("format 1", "format 7")).unwrap();
    let error = refused(&path).to_string();
    assert!(error.contains("STORE: this is format 7, and this Lamplighter knows formats up to 1"), "{error}");
    fs::write(&store, text).unwrap();
    // One record of a newer format is enough.
    let mut disk = Disk::open(&path).unwrap();
    disk.write(&[put("stag", Some("\u{2}from the future"))]).unwrap();
    drop(disk);
    let mut opened = opened(&path, WALL).unwrap();
    let error = opened.load(|_| ()).unwrap_err().to_string();
    assert!(error.contains("this is format 2"), "{error}");
}
