//! The directory of a store and the two small files in it: who it is, and how far it is safe.

use crate::error::{Damage, Fault, OpenError};
use bytes::{Buf as _, BufMut as _};
use nix::fcntl::{Flock, FlockArg};
use siphasher::sip::SipHasher13;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The format of the whole, and the newest that is known.
pub(crate) const FORMAT: u64 = 1;
const LOCK: &str = "LOCK";
pub(crate) const STORE: &str = "STORE";
pub(crate) const SAFE: &str = "SAFE";
/// Is there only while the disk is tried.
const PROBE: &str = "PROBE";
const MAGIC: &[u8; 8] = b"lampsafe";
const SAFE_LENGTH: usize = 32;
/// The directory of the engine.
pub(crate) const DATA: &str = "data";

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    _lock: Flock<File>,
}

/// What the file `STORE` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The key of fingerprints.
    pub(crate) seed: (u64, u64),
    /// The key of checks.
    pub(crate) key: Key,
}

/// What the file `SAFE` says. It is written after each sync, so what it says is safe is on the disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Safe {
    /// All batches up to this number are safe.
    pub(crate) batch: u64,
    /// The last stop was in order: there is nothing behind that.
    pub(crate) clean: bool,
}

/// How a directory is found.
pub(crate) enum Found {
    /// There is a store in it.
    Store,
    /// There is nothing in it, or only what a start left behind that did not come far.
    Nothing,
}

impl Home {
    /// Takes the directory, or makes it if `make`.
    pub(crate) fn take(path: &Path, make: bool) -> Result<(Self, Found), OpenError> {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(OpenError::NotAStore { path: path.to_owned(), what: "this is a file" });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !make {
                    return Err(OpenError::Missing { path: path.to_owned() });
                }
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(Fault::of(path, "create"))?;
            }
            Err(error) => return Err(Fault::of(path, "look at")(error).into()),
        }
        // Nothing is put into a directory of others.
        look(path, make)?;
        let lock = path.join(LOCK);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let file = file.map_err(Fault::of(&lock, "open"))?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
            if errno != nix::errno::Errno::EWOULDBLOCK {
                return Fault::of(&lock, "lock")(errno.into()).into();
            }
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            OpenError::Busy { path: path.to_owned(), pid: pid.trim().parse().ok() }
        })?;
        // Now nobody else changes it.
        let found = look(path, make)?;
        // Only for whoever finds it locked.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok((Self { path: path.to_owned(), _lock: file }, found))
    }

    /// The directory of the engine.
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Makes names in the directory safe.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        sync_directory(&self.path)
    }

    /// Writes who the store is: with this it exists.
    pub(crate) fn found(&self, identity: &Identity) -> Result<(), Fault> {
        let (new, path) = (self.path.join("STORE.new"), self.path.join(STORE));
        let mut file = create(&new, true)?;
        file.write_all(identity.write().as_bytes()).map_err(Fault::of(&new, "write"))?;
        file.sync_all().map_err(Fault::of(&new, "sync"))?;
        fs::rename(&new, &path).map_err(Fault::of(&path, "create"))?;
        self.sync()
    }

    pub(crate) fn identity(&self) -> Result<Identity, OpenError> {
        let path = self.path.join(STORE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Damage::new(&path, None, "the file is missing").into());
            }
            Err(error) => return Err(Fault::of(&path, "read")(error).into()),
        };
        Identity::read(&path, &String::from_utf8_lossy(&text))
    }

    /// Finds out whether the disk takes `length` bytes.
    pub(crate) fn probe(&self, length: usize) -> Result<(), Fault> {
        let path = self.path.join(PROBE);
        let mut file = create(&path, true)?;
        let zeros = [0; 64 << 10];
        let mut write = || {
            for _ in 0..length.div_ceil(zeros.len()) {
                file.write_all(&zeros)?;
            }
            file.sync_data()
        };
        let result = write().map_err(Fault::of(&path, "write"));
        self.end_probe();
        result
    }

    /// Removes what a probe may have left behind.
    pub(crate) fn end_probe(&self) {
        // If it cannot be removed now, it can be the next time.
        let _ = fs::remove_file(self.path.join(PROBE));
    }

    /// The file that says how far the store is safe, open for writing.
    pub(crate) fn open_safe(&self) -> Result<File, Fault> {
        let path = self.path.join(SAFE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.map_err(Fault::of(&path, "open"))
    }

    pub(crate) fn safe(&self, key: Key) -> Result<Safe, OpenError> {
        let path = self.path.join(SAFE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Damage::new(&path, None, "the file is missing").into());
            }
            Err(error) => return Err(Fault::of(&path, "read")(error).into()),
        };
        Safe::read(key, &bytes).ok_or_else(|| Damage::new(&path, 0, "its check fails").into())
    }

    pub(crate) fn write_safe(&self, file: &File, key: Key, safe: Safe) -> Result<(), Fault> {
        let path = || self.path.join(SAFE);
        file.write_all_at(&safe.write(key), 0).map_err(|error| Fault::of(&path(), "write")(error))
    }
}

/// Creates a file that nobody else may read; with `again`, over one that is there.
pub(crate) fn create(path: &Path, again: bool) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).create_new(!again).truncate(again).mode(0o600);
    options.open(path).map_err(Fault::of(path, "create"))
}

pub(crate) fn sync_directory(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Fault::of(path, "sync"))
}

fn names(path: &Path) -> Result<Vec<String>, Fault> {
    let read = || -> io::Result<Vec<String>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    read().map_err(Fault::of(path, "read"))
}

/// What is in the directory? Others' things are left alone.
fn look(path: &Path, make: bool) -> Result<Found, OpenError> {
    let names = names(path)?;
    if names.iter().any(|name| name == STORE) {
        return Ok(Found::Store);
    }
    if !make {
        let ours = names.iter().any(|name| name == DATA);
        // Without its file it is a damaged one.
        return if ours { Ok(Found::Store) } else { Err(OpenError::Missing { path: path.to_owned() }) };
    }
    for name in names {
        match name.as_str() {
            LOCK | SAFE | "STORE.new" | "data.new" | "lost+found" => {}
            DATA => return Err(Damage::new(&path.join(STORE), None, "the file is missing").into()),
            _ => {
                let what = "this directory holds other things";
                return Err(OpenError::NotAStore { path: path.to_owned(), what });
            }
        }
    }
    Ok(Found::Nothing)
}

impl Identity {
    /// A new one, from the system's randomness.
    pub(crate) fn random() -> Result<Self, Fault> {
        let path = Path::new("/dev/urandom");
        let mut bytes = [0; 32];
        File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Fault::of(path, "read"))?;
        let mut rest = &bytes[..];
        let [a, b, c, d] = std::array::from_fn(|_| rest.get_u64());
        Ok(Self { seed: (a, b), key: Key(c, d) })
    }

    fn write(&self) -> String {
        let Self { seed, key } = self;
        let lines = format!(
            "lamplighter store\nformat {FORMAT}\nseed {:016x}{:016x}\nkey {:016x}{:016x}\n",
            seed.0, seed.1, key.0, key.1
        );
        let check = Key(0, 0).check(lines.as_bytes());
        format!("{lines}check {check:016x}\n")
    }

    fn read(path: &Path, text: &str) -> Result<Self, OpenError> {
        let damage = |what: &str| OpenError::from(Damage::new(path, None, what));
        let rest = text.strip_prefix("lamplighter store\nformat ").ok_or_else(|| damage("it is not what it was"))?;
        let format = rest.lines().next().and_then(|format| format.parse::<u64>().ok());
        let format = format.ok_or_else(|| damage("it has no format"))?;
        if format > FORMAT {
            return Err(OpenError::Newer { file: path.to_owned(), found: format, known: FORMAT });
        }
        let numbers = |name: &str| {
            let line = rest.lines().find_map(|line| line.strip_prefix(name))?;
            let whole = u128::from_str_radix(line, 16).ok()?;
            Some(((whole >> 64) as u64, whole as u64))
        };
        let (Some(seed), Some(key)) = (numbers("seed "), numbers("key ")) else {
            return Err(damage("it is not what it was"));
        };
        let identity = Self { seed, key: Key(key.0, key.1) };
        if identity.write() != text {
            return Err(damage("its check fails"));
        }
        Ok(identity)
    }
}

impl Safe {
    fn write(self, key: Key) -> Vec<u8> {
        let mut out = Vec::with_capacity(SAFE_LENGTH);
        out.put_slice(MAGIC);
        out.put_u64_le(self.batch);
        out.put_u64_le(self.clean.into());
        out.put_u64_le(key.check(&out));
        out
    }

    fn read(key: Key, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() == SAFE_LENGTH)?;
        let [batch, clean, check] = std::array::from_fn(|_| rest.get_u64_le());
        (key.check(&bytes[..SAFE_LENGTH - 8]) == check).then_some(Self { batch, clean: clean == 1 })
    }
}

/// The key of the checks of our own files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Key(pub(crate) u64, pub(crate) u64);

impl Key {
    fn check(self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.0, self.1).hash(bytes)
    }
}
