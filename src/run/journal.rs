//! The write-ahead journal of one lab: intent is on disk (fdatasync) before a step runs.
//!
//! What is *owned* is read from the marks on the objects; the journal says on which hosts to search, how they are
//! connected, and what was in progress. A damaged journal loses nothing else: its last good record counts, and the
//! rest is observed.
//!
//! The file: a first line `netlab-journal 1`, then one record a line, `<first 16 hex digits of the SHA-256 of the
//! JSON> <JSON>`. A line that does not match its sum ends the journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::failpoint;
use super::past::Past;
use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{Connect, HostName};
use crate::plan::Step;

/// The format this netlab writes. A journal with a higher number was written by a newer netlab and is not touched.
const VERSION: u32 = 1;
const MAGIC: &str = "netlab-journal ";
/// What a rollback calls itself in [`Record::Began`].
pub const ROLLBACK: &str = "rollback";

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// A run began; these hosts may hold something of the lab from here on.
    Began {
        /// Its command, or [`ROLLBACK`] for the rollback of the run before.
        what: String,
        /// Every host that may hold something, and how it is connected.
        hosts: BTreeMap<HostName, Connect>,
        /// When, in seconds since 1970-01-01 00:00 UTC; for display only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
        /// The lab file that the lab came up with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<LabFile>,
    },
    /// These steps are about to run on this host.
    Intent {
        /// Where.
        host: HostName,
        /// What.
        steps: Vec<Step>,
    },
    /// Steps begun on this host have ended.
    Ended {
        /// Where.
        host: HostName,
        /// How many steps.
        steps: usize,
        /// The first of them.
        #[serde(default)]
        first: String,
        /// Why they failed, if they did.
        error: Option<String>,
    },
    /// The run reached its end; only these hosts hold something now.
    Finished {
        /// Hosts that still hold something of the lab.
        hosts: BTreeMap<HostName, Connect>,
        /// Since when each of them runs, by the kernel's name for that time.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        boots: BTreeMap<HostName, String>,
    },
}

impl Record {
    /// A run reached its end, and no host holds anything.
    pub fn nothing_left() -> Self {
        Self::Finished {
            hosts: BTreeMap::new(),
            boots: BTreeMap::new(),
        }
    }
}

/// A lab file: which one, and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// The first 16 hex digits of the SHA-256 of its content.
    pub digest: String,
    /// The absolute path of the folder at which its relative paths start, where that is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

impl LabFile {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> io::Result<Self> {
        let content = std::fs::read(path)?;
        Ok(Self::of(path.canonicalize()?, &content))
    }

    /// Returns the file at `path`, an absolute path, that has this content.
    pub fn of(path: PathBuf, content: &[u8]) -> Self {
        let digest = sum(content);
        Self {
            path,
            digest,
            folder: None,
        }
    }
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Written by a newer netlab.
    #[error(
        "{} was written by a newer netlab (journal format {found}; this netlab knows {VERSION}); nothing was changed",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format number.
        found: u32,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl JournalError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "use the newer netlab for this lab, or take the lab down with it first",
            Self::Io { .. } => "check free space and permissions of the state folder (NETLAB_STATE_DIR)",
        }
    }
}

/// An open journal, to which records are added.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Returns what the journal in `folder` says, up to its first unreadable record. No journal is an empty past.
    pub fn read(folder: &Path) -> Result<Past, JournalError> {
        let path = folder.join("journal");
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Past::default()),
            Err(source) => {
                return Err(JournalError::Io {
                    doing: "read",
                    path,
                    source,
                });
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        match first.strip_prefix(MAGIC).and_then(|number| number.parse::<u32>().ok()) {
            Some(VERSION) => {}
            Some(found) if found > VERSION => return Err(JournalError::Newer { path, found }),
            _ => {
                return Ok(Past {
                    damaged: true,
                    unfinished: true,
                    ..Past::default()
                });
            }
        }
        let mut past = Past::default();
        for line in rest.split_inclusive('\n') {
            let Some(record) = parse(line) else {
                past.damaged = true;
                past.unfinished = true;
                break;
            };
            past.add(record);
        }
        Ok(past)
    }

    /// Begins a new run: replaces the journal in `folder` (atomically, and on disk before this returns) by one that
    /// says that `what` is in progress on `hosts`; `file` is the one that the lab came up with.
    pub fn begin(
        folder: &Path,
        what: &str,
        hosts: &BTreeMap<HostName, Connect>,
        file: Option<LabFile>,
    ) -> Result<Self, JournalError> {
        let path = folder.join("journal");
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { doing, path, source }
        };
        Folders::make(folder).map_err(io("create", folder))?;
        let record = Record::Began {
            what: what.to_owned(),
            hosts: hosts.clone(),
            at: now(),
            file,
        };
        let text = format!("{MAGIC}{VERSION}\n{}", line(&record));
        let file = atomic_file::replace(&path, 0o600, text.as_bytes()).map_err(io("replace", &path))?;
        Ok(Self { file, path })
    }

    /// Adds a record; it is on disk when this returns. The end of steps is on disk with the next record: without it they
    /// were interrupted, for a reader, and the next run observes what they did.
    pub fn add(&mut self, record: &Record) -> Result<(), JournalError> {
        if matches!(record, Record::Ended { .. }) {
            failpoint::reached(); // executed, but not recorded
        }
        let written = self.file.write_all(line(record).as_bytes());
        let result = match record {
            Record::Ended { .. } => written,
            _ => written.and_then(|()| self.file.sync_data()),
        };
        if matches!(record, Record::Intent { .. }) {
            failpoint::reached(); // recorded, but not executed
        }
        result.map_err(|source| JournalError::Io {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// The time of day, which people read and nothing is computed from.
#[expect(clippy::disallowed_methods, reason = "a journal says when a run began")]
fn now() -> Option<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().map(|since| since.as_secs())
}

fn line(record: &Record) -> String {
    // A record is strings, numbers and maps with string keys: it always serialises.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{} {json}\n", sum(&json))
}

fn parse(line: &str) -> Option<Record> {
    let (found, json) = line.strip_suffix('\n')?.split_once(' ')?;
    (found == sum(json)).then(|| serde_json::from_str(json).ok()).flatten()
}

fn sum(content: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(content);
    format!(
        "{:016x}",
        digest
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> BTreeMap<HostName, Connect> {
        names
            .iter()
            .map(|name| (name.parse().unwrap(), Connect::Emulated))
            .collect()
    }

    fn finished(names: &[&str]) -> Record {
        Record::Finished {
            hosts: hosts(names),
            boots: BTreeMap::new(),
        }
    }

    /// The hosts, and whether the journal is unfinished and damaged.
    fn read(folder: &Path) -> (BTreeMap<HostName, Connect>, bool, bool) {
        let past = Journal::read(folder).unwrap();
        (past.hosts, past.unfinished, past.damaged)
    }

    fn intent(host: &str) -> Record {
        Record::Intent {
            host: host.parse().unwrap(),
            steps: vec![Step::CreateMachine(host.parse().unwrap())],
        }
    }

    #[test]
    fn a_finished_run_leaves_only_the_hosts_that_hold_something() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(folder.path(), "up", &hosts(&["a", "b"]), None).unwrap();
        journal.add(&intent("a")).unwrap();
        assert_eq!(read(folder.path()), (hosts(&["a", "b"]), true, false));
        journal.add(&finished(&["b"])).unwrap();
        assert_eq!(read(folder.path()), (hosts(&["b"]), false, false));
    }

    #[test]
    fn a_journal_cut_at_any_byte_still_names_its_hosts_or_says_that_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(folder.path(), "up", &hosts(&["a"]), None).unwrap();
        let first_record_ends = std::fs::metadata(folder.path().join("journal")).unwrap().len();
        journal.add(&intent("a")).unwrap();
        journal.add(&finished(&["a"])).unwrap();
        let whole = std::fs::read(folder.path().join("journal")).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(folder.path().join("journal"), &whole[..cut]).unwrap();
            let past = Journal::read(folder.path()).unwrap();
            if cut as u64 >= first_record_ends {
                assert_eq!(past.hosts, hosts(&["a"]), "cut at {cut}");
            }
            assert!(
                past.unfinished || past.damaged || past.hosts.is_empty(),
                "cut at {cut}: {past:?}"
            );
        }
    }

    #[test]
    fn garbage_in_a_journal_ends_it_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(folder.path(), "up", &hosts(&["a"]), None).unwrap();
        journal.add(&finished(&[])).unwrap();
        let path = folder.path().join("journal");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 10;
        bytes[at] ^= 0x55;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(folder.path()), (hosts(&["a"]), true, true));
        std::fs::write(&path, b"\xff\xfe\0garbage").unwrap();
        assert!(Journal::read(folder.path()).unwrap().damaged);
    }

    #[test]
    fn a_journal_of_a_newer_netlab_is_refused_and_left_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "netlab-journal 2\nwhatever\n").unwrap();
        assert!(matches!(
            Journal::read(folder.path()),
            Err(JournalError::Newer { found: 2, .. })
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "netlab-journal 2\nwhatever\n");
    }
}
