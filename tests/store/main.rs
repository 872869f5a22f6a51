//! The store on disks that are full, cannot be written or fail, while the gateway runs and when it starts.
//!
//! `tests/store/run` runs this. Where it may mount file systems, the full disk is a small tmpfs, and the one that cannot be
//! written at the start is mounted so. No file system can be made read-only by hand while somebody has a file open for
//! writing; the system does it by itself when a disk fails. What the system answers then is said by `faults.c` in its
//! place, and so is everything where nothing may be mounted.
#![allow(clippy::disallowed_methods, reason = "these tests drive real sockets and processes in real time")]
#![allow(clippy::print_stderr, reason = "what a gateway logged is shown when its story fails")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "gateway and phone are those of tests/it")]

#[path = "../it/gateway.rs"]
mod gateway;
#[path = "../it/phone.rs"]
mod phone;

use gateway::{Gateway, directory};
use nix::errno::Errno;
use phone::{Dialog, Phone, dialog_info};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const LINES: usize = 20;

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?} {}: {output:?}", path.display());
}

/// A disk that is nobody else's.
struct Disk {
    path: PathBuf,
    is_mounted: bool,
}

impl Disk {
    fn new(name: &str) -> Self {
        let path = directory(name);
        fs::create_dir(&path).unwrap();
        let is_mounted = std::env::var_os("STORE_TEST_MOUNT").is_some_and(|may| may == "1");
        if is_mounted {
            run("mount", &["-t", "tmpfs", "-o", "size=48m,mode=0700", "lamplighter"], &path);
        }
        Self { path, is_mounted }
    }

    fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Whoever changes something in the store is told of this error, until [`Self::heal`].
    fn fail(&self, error: Errno) {
        self.be_at_fault(error as i32);
    }

    /// Whoever changes something in the store waits until [`Self::heal`].
    fn hang(&self) {
        self.be_at_fault(-1);
    }

    /// See `faults.c`.
    fn be_at_fault(&self, how: i32) {
        let (new, path) = (self.path.join("fault.new"), self.path.join("fault"));
        fs::write(&new, how.to_string()).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn heal(&self) {
        fs::remove_file(self.path.join("fault")).unwrap();
    }

    /// Takes all the room there is.
    fn fill(&self) {
        if !self.is_mounted {
            return self.fail(Errno::ENOSPC);
        }
        let mut file = fs::File::create(self.path.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        if !self.is_mounted {
            return self.heal();
        }
        fs::remove_file(self.path.join("filler")).unwrap();
    }

    fn be_read_only(&self) {
        if !self.is_mounted {
            return self.fail(Errno::EROFS);
        }
        run("mount", &["-o", "remount,ro"], &self.path);
    }

    fn be_writable(&self) {
        if !self.is_mounted {
            return self.heal();
        }
        run("mount", &["-o", "remount,rw"], &self.path);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Bytes of memory that it uses.
fn resident(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn line(number: usize) -> String {
    format!("sip:10{number}@example.com")
}

/// What its publisher knows of a line.
struct Line {
    tag: String,
    /// The number of the call that was acknowledged last, and of one behind it for which there was no room: that is
    /// shown as well, as long as it is the newest that is known.
    acknowledged: u64,
    refused: Option<u64>,
}

/// Publishers and a watcher who know what was acknowledged.
struct Office {
    gateway: Gateway,
    store: PathBuf,
    phone: Phone,
    watcher: Phone,
    dialog: Dialog,
    lines: Vec<Line>,
    next: u64,
}

impl Office {
    fn open(store: &Path) -> Self {
        let more = format!("store.path = {store:?}\nlimits.publications = 1000\n");
        let gateway = Gateway::start(&more);
        let mut phone = Phone::udp(&gateway, "pbx");
        let mut watcher = Phone::udp(&gateway, "2000");
        let (dialog, _) = watcher.subscribe("sip:quiet@example.com", "dialog", 600);
        let lines = (0..LINES).map(|number| {
            let tag = phone.publish_call(&line(number), None, "k0", "early");
            Line { tag, acknowledged: 0, refused: None }
        });
        let lines = lines.collect();
        Self { gateway, store: store.to_owned(), phone, watcher, dialog, lines, next: 0 }
    }

    /// Says something new about a line; whether that was acknowledged.
    fn publish(&mut self, number: usize) -> Result<(), phone::Message> {
        self.next += 1;
        let known = &mut self.lines[number];
        let tag = &known.tag;
        let headers = ["Expires: 600", "Content-Type: application/dialog-info+xml", &format!("SIP-If-Match: {tag}")];
        let body = dialog_info(&line(number), &format!("k{}", self.next), "confirmed");
        let answer = self.phone.publish(&line(number), "dialog", &headers, &body);
        match answer.status() {
            200 => {
                known.tag = answer.header("SIP-ETag").to_owned();
                (known.acknowledged, known.refused) = (self.next, None);
                Ok(())
            }
            _ => Err(answer),
        }
    }

    /// Publishes until that is refused.
    fn until_refused(&mut self) -> phone::Message {
        for round in 0..100_000 {
            if let Err(refusal) = self.publish(round % LINES) {
                self.lines[round % LINES].refused = Some(self.next);
                return refusal;
            }
        }
        panic!("the disk never failed");
    }

    fn refresh(&mut self) -> u16 {
        let answer = self.watcher.refresh(&mut self.dialog, 600).status();
        if answer == 200 {
            self.watcher.notify();
        }
        answer
    }

    /// What a store that fails looks like from all sides.
    fn is_failing(&mut self, refusal: &phone::Message, words: &[&str]) {
        assert_eq!(refusal.status(), 503, "{refusal:#?}");
        refusal.header("Retry-After");
        let (status, page) = self.gateway.get("/readyz");
        assert_eq!(status, 503, "{page}");
        assert!(words.iter().any(|word| page.contains(word)), "{words:?}: {page}");
        assert_eq!(self.gateway.metric("store_failing"), 1.0);
        assert_eq!(self.gateway.metric("store_failures_total"), 1.0);
        let log = self.gateway.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("the store fails")).collect();
        assert!(lines.len() == 1 && words.iter().any(|word| lines[0].contains(word)), "{words:?}: {log}");
        assert!(lines[0].contains(self.store.to_str().unwrap()), "{log}");
        // Nothing new is promised, again and again; the lamps that are lit go on.
        let mut stranger = Phone::udp(&self.gateway, "2001");
        let mut fresh = stranger.dialog(&line(0), "dialog");
        stranger.refresh(&mut fresh, 600).expect(503);
        for number in 0..LINES {
            self.publish(number).unwrap_err().expect(503);
        }
        self.are_lit();
        assert_eq!(self.refresh(), 200);
    }

    /// The fault is gone: it works by itself, and everything acknowledged survives the end of the process.
    fn works_again(&mut self) {
        self.gateway
            .until("works again", |gateway| gateway.get("/readyz").0 == 200 && gateway.metric("store_failing") == 0.0);
        assert_eq!(self.gateway.metric("store_failures_total"), 1.0, "it worked for a moment in between");
        self.gateway.until("keeps nothing back", |gateway| gateway.metric("store_kept_records") == 0.0);
        assert_eq!(self.gateway.metric("store_forgotten_total"), 0.0);
        assert!(self.gateway.log().contains("the store works again"));
        self.survives();
        for number in 0..LINES {
            self.publish(number).unwrap();
        }
        self.survives();
    }

    /// Everything acknowledged is served.
    fn are_lit(&self) {
        for (number, Line { acknowledged, refused, .. }) in self.lines.iter().enumerate() {
            let (status, state) = self.gateway.get(&format!("/v1/state/{}/dialog", line(number)));
            let shows = |said: &u64| state.contains(&format!("\"k{said}@story\""));
            let is_so = status == 200 && (shows(acknowledged) || refused.as_ref().is_some_and(shows));
            assert!(is_so, "k{acknowledged} or {refused:?}: {status} {state}");
        }
    }

    fn survives(&mut self) {
        self.gateway.kill();
        self.gateway.start_again();
        self.are_lit();
        assert_eq!(self.gateway.metric("sip_subscriptions"), 1.0);
        self.watcher.notify();
        assert_eq!(self.refresh(), 200);
    }
}

/// HA-02, PU-04
#[test]
fn a_disk_that_fills_up_is_loud_loses_nothing_and_is_used_again() {
    let disk = Disk::new("full");
    let mut office = Office::open(&disk.store());
    for round in 0..3 * LINES {
        office.publish(round % LINES).unwrap();
    }
    disk.fill();
    // What is left of a page that was begun takes a little more.
    let refusal = office.until_refused();
    office.is_failing(&refusal, &["No space left on device", "want of room"]);
    // However long it lasts and whatever is asked, no more is kept than there are records.
    let before = (resident(&office.gateway), office.gateway.metric("store_kept_records"));
    for round in 0..5000 {
        if round % 2 == 0 {
            office.publish(round % LINES).unwrap_err();
        } else {
            assert_eq!(office.refresh(), 200);
        }
    }
    let after = (resident(&office.gateway), office.gateway.metric("store_kept_records"));
    assert!(after.0 < before.0 + (8 << 20), "{before:?} bytes and records, then {after:?}");
    assert!(after.1 < 200.0, "{before:?} bytes and records, then {after:?}");
    disk.make_room();
    office.works_again();
    drop(office);
    // A start without room says so.
    fs::remove_dir_all(disk.store()).unwrap();
    disk.fill();
    let (code, log) = Gateway::refused(&format!("store.path = {:?}", disk.store()));
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("No space left on device (os error 28); make room on that disk"), "{log}");
}

/// HA-02, PU-04
#[test]
fn a_disk_that_becomes_read_only_or_fails_is_loud_loses_nothing_and_is_used_again() {
    for (error, words) in [(Errno::EROFS, "Read-only file system"), (Errno::EIO, "Input/output error")] {
        let disk = Disk::new(&format!("{error:?}"));
        let mut office = Office::open(&disk.store());
        disk.fail(error);
        let refusal = office.until_refused();
        office.is_failing(&refusal, &[words]);
        disk.heal();
        office.works_again();
    }
}

/// HA-02, PU-04
#[test]
fn a_disk_that_does_not_answer_is_loud_loses_nothing_and_is_used_again() {
    let disk = Disk::new("stuck");
    let mut office = Office::open(&disk.store());
    disk.hang();
    let refusal = office.until_refused();
    office.is_failing(&refusal, &["the disk has not answered for "]);
    disk.heal();
    office.works_again();
}

/// HA-02
#[test]
fn a_start_on_a_disk_that_cannot_be_written_is_refused() {
    let disk = Disk::new("read-only");
    let mut office = Office::open(&disk.store());
    office.gateway.signal("TERM");
    assert!(office.gateway.wait().success());
    disk.be_read_only();
    let (code, log) = Gateway::refused(&format!("store.path = {:?}", disk.store()));
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("Read-only file system (os error 30); mount it for writing"), "{log}");
    disk.be_writable();
    office.gateway.start_again();
    office.survives();
}
