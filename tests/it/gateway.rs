//! The gateway under test: the built program with a configuration, on addresses of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a story fails.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a start may take, on a machine that is busy with other things.
const START: Duration = Duration::from_secs(60);

/// A running gateway; killed when dropped.
pub struct Gateway {
    /// Where it listens for SIP over UDP and TCP.
    pub sip: SocketAddr,
    /// Where it serves HTTP.
    pub web: SocketAddr,
    /// Its configuration file.
    pub file: PathBuf,
    log: PathBuf,
    child: Child,
}

/// A loopback address that no other story of this machine uses, so that the ports can be the usual ones.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let (process, story) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Ipv4Addr::new(127, 64 | (process >> 8 & 0x3f) as u8, process as u8, story.try_into().expect("few stories"))
}

/// The program that cargo built for this test.
pub fn lamplighter() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lamplighter"));
    command.stdin(Stdio::null());
    command
}

/// A directory of this test run that does not exist yet.
pub fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

/// A file of this test run.
pub fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

impl Gateway {
    /// Starts a gateway for example.com; `more` is added to its configuration.
    pub fn start(more: &str) -> Self {
        let address = own_address();
        let (sip, web) = (SocketAddr::from((address, 5060)), SocketAddr::from((address, 8080)));
        let file = file(&format!("{address}.toml"), &Self::configuration(sip, web, more));
        let log = file.with_extension("log");
        let child = Self::spawn(&file, &log);
        let mut gateway = Self { sip, web, file, log, child };
        gateway.ready();
        gateway
    }

    fn spawn(file: &Path, log: &Path) -> Child {
        let stderr = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = lamplighter();
        command.arg("run").arg("--config").arg(file).stdout(Stdio::null()).stderr(stderr);
        command.spawn().unwrap()
    }

    /// What comes of a start that must not succeed: its exit code, and what it logged.
    pub fn refused(more: &str) -> (Option<i32>, String) {
        let address = own_address();
        let (sip, web) = (SocketAddr::from((address, 5060)), SocketAddr::from((address, 8080)));
        let file = file(&format!("{address}.toml"), &Self::configuration(sip, web, more));
        let log = file.with_extension("log");
        let child = Self::spawn(&file, &log);
        let mut gateway = Self { sip, web, file, log, child };
        (gateway.wait().code(), gateway.log())
    }

    fn ready(&mut self) {
        self.until_within(START, "is ready", |gateway| {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("the gateway has stopped: {status}");
            }
            gateway.try_get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Ends it with SIGKILL: it learns nothing of it.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Starts it again after it has ended, with the configuration as it is now.
    pub fn start_again(&mut self) {
        self.child = Self::spawn(&self.file, &self.log);
        self.ready();
    }

    /// Waits until it has stopped by itself, to be started again.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        self.until("stops", |gateway| {
            status = gateway.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn configuration(sip: SocketAddr, web: SocketAddr, more: &str) -> String {
        let store = if more.contains("store.path") { "" } else { "store.path = \"\"\n" };
        format!(
            "{store}domains = [\"example.com\"]\nsip.listen = [\"udp:{sip}\", \"tcp:{sip}\"]\nweb.listen = \"{web}\"\n{more}"
        )
    }

    /// Writes another configuration, to be read at the next SIGHUP.
    pub fn reconfigure(&self, more: &str) {
        std::fs::write(&self.file, Self::configuration(self.sip, self.web, more)).unwrap();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until something is so.
    pub fn until(&mut self, what: &str, so: impl FnMut(&mut Self) -> bool) {
        self.until_within(PATIENCE, what, so);
    }

    fn until_within(&mut self, patience: Duration, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + patience;
        while !so(self) {
            assert!(Instant::now() < end, "in {patience:?} it did not come about that the gateway {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.web, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.web);
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Asks for a page: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).expect("an answer over HTTP")
    }

    /// The sum of all samples of a metric, whatever their labels.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, page) = self.get("/metrics");
        assert_eq!(status, 200);
        let samples: Vec<f64> = page
            .lines()
            .filter_map(|line| {
                let (sample, value) = line.rsplit_once(' ')?;
                let bare = sample.split('{').next()?;
                (bare == name || bare.strip_prefix("lamplighter_") == Some(name)).then(|| value.parse().unwrap())
            })
            .collect();
        assert!(!samples.is_empty(), "no metric {name} in\n{page}");
        samples.iter().sum()
    }

    /// Runs a subcommand that asks this gateway.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        lamplighter().args(arguments).env("LAMPLIGHTER_URL", format!("http://{}", self.web)).output().unwrap()
    }

    /// Sends a signal by name: `HUP`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.process().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has stopped by itself.
    pub fn stopped(mut self) -> ExitStatus {
        self.wait()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have stopped by itself, and removing files may fail: neither is what a story is about.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "the gateway at {} logged:\n{}",
                self.sip,
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
        let _ = std::fs::remove_file(&self.file);
        let _ = std::fs::remove_file(&self.log);
    }
}
