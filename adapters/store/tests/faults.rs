//! Real disks that are full or cannot be written. `tests/store/run` mounts what these need and runs them.

use super::{Rig, WALL, at, loaded, opened, publication, refused};
use lamplighter_model::Durability;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

const UNTIL: u64 = 1_700_003_600;

/// A file system of 24 MB that is nobody else's.
fn mounted() -> PathBuf {
    let path = std::env::var_os("LAMPLIGHTER_TEST_MOUNT").expect("tests/store/run runs this");
    PathBuf::from(path)
}

fn remount(how: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(mounted()).status();
    assert!(status.unwrap().success(), "remount {how}");
}

/// Takes all the room there is.
fn fill() -> PathBuf {
    let path = mounted().join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    path
}

#[test]
#[ignore = "needs a file system of its own"]
fn a_full_disk_is_loud_and_loses_nothing() {
    let path = mounted().join("full");
    let mut rig = Rig::start(opened(&path, WALL).unwrap());
    rig.commit((0..100).map(|number| publication(number, at(UNTIL))));
    let filler = fill();
    // What is left of a page that was begun takes a little more.
    let last = loop {
        let from = rig.number;
        let last = rig.save(Durability::Commit, (from..from + 500).map(|number| publication(number, at(UNTIL + 1))));
        rig.until("answered", |progress| progress.failing || progress.committed >= last);
        if rig.port.progress().failing {
            break last;
        }
    };
    let status = rig.keeper.status().unwrap_err();
    assert!(status.contains("No space left on device") || status.contains("want of room"), "{status}");
    assert!(rig.port.progress().committed < last);
    let last = rig.save(Durability::Commit, [publication(1, at(UNTIL + 2))]);
    fs::remove_file(filler).unwrap();
    rig.until("working", |progress| !progress.failing && progress.committed == last);
    assert_eq!(rig.keeper.status(), Ok(()));
    rig.keeper.stop();
    let records = loaded(&mut opened(&path, WALL).unwrap());
    assert_eq!(records.len() as u64, last - 1, "one was saved twice, after the first hundred with other numbers");
    assert!(records.contains(&publication(1, at(UNTIL + 2))));
    fs::remove_dir_all(&path).unwrap();
    // A start without room says so.
    let filler = fill();
    let error = refused(&path).to_string();
    assert!(error.contains("No space left on device (os error 28); make room on that disk"), "{error}");
    fs::remove_file(filler).unwrap();
}

#[test]
#[ignore = "needs a file system of its own"]
fn a_disk_that_cannot_be_written_is_loud_and_loses_nothing() {
    let path = mounted().join("read-only");
    let mut rig = Rig::start(opened(&path, WALL).unwrap());
    rig.commit([publication(1, at(UNTIL))]);
    rig.keeper.stop();
    remount("ro");
    let error = refused(&path).to_string();
    assert!(error.contains("Read-only file system (os error 30); mount it for writing"), "{error}");
    remount("rw");
    let mut store = opened(&path, WALL).unwrap();
    assert_eq!(loaded(&mut store), [publication(1, at(UNTIL))]);
    drop(store);
    fs::remove_dir_all(&path).unwrap();
}
