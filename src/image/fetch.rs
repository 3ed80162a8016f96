//! Fetches an image: every mirror in turn, each checked before anything is used.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use super::decompress::{UnpackError, Unpacked};
use super::digest::{self, same_kind};
use super::qcow2::{self, Qcow2Error};
use super::transfer::{self, Part};
use crate::event::Events;
use crate::lab::{Digest, DigestKind, Download, Format, Location};

/// How patient a fetch is.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a server may be silent.
    pub stall: Duration,
    /// Requests in a row that get no further before the next mirror is tried, at least 1.
    pub attempts: u32,
    /// Requests of one fetch altogether.
    pub requests: u32,
    /// Pause before the first repeated request; longer before each further one.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            attempts: 3,
            requests: 50,
            pause: Duration::from_secs(1),
        }
    }
}

/// One image to be fetched.
#[derive(Debug)]
pub struct Job<'a> {
    /// What it is called in events.
    pub what: String,
    /// From where, and what it must be.
    pub download: &'a Download,
    /// The file to be made; it does not exist.
    pub target: PathBuf,
    /// What a download's unfinished file begins with: folder and first part of the name.
    pub parts: PathBuf,
    /// How patient to be.
    pub limits: Limits,
    /// Requests left of those that the limits allow.
    pub(super) attempts_left: AtomicI64,
    /// Set when the run is to stop.
    pub cancel: Option<&'static AtomicBool>,
    /// Who is told.
    pub events: Events,
}

/// An image that has been fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The place it came from.
    pub source: Location,
    /// SHA-256 of the download, in hex.
    pub download: String,
    /// SHA-256 of the unpacked file, in hex.
    pub content: String,
    /// Bytes of the unpacked file.
    pub size: u64,
}

/// Why a place gave no image.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server's answer.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// An error page that claims to be the file.
    #[error("the server sends a web page instead of the image")]
    WebPage,
    /// Silence.
    #[error("nothing came for {0} seconds")]
    Stalled(f64),
    /// The connection ended early.
    #[error("the download was cut after {got} bytes{}", of.map(|of| format!(" of {of}")).unwrap_or_default())]
    Cut {
        /// Bytes that came, those of earlier attempts included.
        got: u64,
        /// Bytes that should have come, where the server said.
        of: Option<u64>,
    },
    /// Anything else about the connection.
    #[error("{0}")]
    Transport(String),
    /// A path that leads nowhere.
    #[error("{0}")]
    NoFile(String),
    /// The wrong file.
    #[error("the {what} should be {wanted} and is {found}")]
    Differs {
        /// Which file: the download or what it unpacks to.
        what: &'static str,
        /// As the entry says.
        wanted: Digest,
        /// As found.
        found: Digest,
    },
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A base that must not be used.
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
    /// The run is to stop.
    #[error("stopped")]
    Cancelled,
}

impl FetchError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::Unpack(if source.kind() == std::io::ErrorKind::StorageFull {
            UnpackError::NoSpace { path }
        } else {
            UnpackError::Io { path, source }
        })
    }

    pub(super) fn transport(error: &reqwest::Error) -> Self {
        // reqwest's own line is the address again; the cause is in its sources.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Transport(cause.to_string())
    }

    /// Whether the same server may do better at the next request.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 408 | 429 | 500..),
            Self::Stalled(_) | Self::Cut { .. } | Self::Transport(_) => true,
            _ => false,
        }
    }

    /// Whether no other mirror can help.
    pub fn is_final(&self) -> bool {
        self.is_full() || matches!(self, Self::Cancelled | Self::Unpack(UnpackError::Io { .. }))
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Unpack(UnpackError::NoSpace { .. }))
    }
}

/// Fetches, or gives every place that was tried with the reason. What a cut download left is kept for the next run,
/// all else is gone.
pub async fn fetch(job: &Job<'_>) -> Result<Fetched, Vec<(Location, FetchError)>> {
    let mut failed = Vec::new();
    for mirror in &job.download.mirrors {
        let part = Part::new(part_path(&job.parts, mirror));
        let result = from_mirror(job, mirror, &part).await;
        if result.is_err() {
            let _ = std::fs::remove_file(&job.target);
        }
        match result {
            Ok(fetched) => {
                for mirror in &job.download.mirrors {
                    Part::new(part_path(&job.parts, mirror)).remove();
                }
                return Ok(fetched);
            }
            Err(error) => {
                let (last, full) = (error.is_final(), error.is_full());
                failed.push((mirror.clone(), error));
                if full {
                    part.remove();
                }
                if last {
                    break;
                }
            }
        }
    }
    Err(failed)
}

/// A part's name tells the address: the halves of two mirrors are never joined.
fn part_path(parts: &Path, mirror: &Location) -> PathBuf {
    use sha2::Digest as _;
    let name = parts.file_name().unwrap_or_default().to_string_lossy();
    let hex = digest::hex(&sha2::Sha256::digest(mirror.to_string()));
    parts.with_file_name(format!("{name}.{}.part", hex.get(..12).unwrap_or_default()))
}

async fn from_mirror(job: &Job<'_>, mirror: &Location, part: &Part) -> Result<Fetched, FetchError> {
    let mut again = true;
    loop {
        let had = part.path().exists();
        let result = match mirror {
            Location::File(path) => transfer::from_file(job, path).await,
            Location::Url(url) => transfer::from_url(job, url, part).await,
        };
        let result = result.and_then(|unpacked| check(job, mirror, &unpacked));
        let wrong = matches!(
            result,
            Err(FetchError::Differs { .. } | FetchError::Qcow2(_) | FetchError::Unpack(_))
        );
        if wrong && !result.as_ref().is_err_and(FetchError::is_final) {
            part.remove();
            let _ = std::fs::remove_file(&job.target);
            // What an earlier run left may be the wrong half: once more from the start.
            if had && again {
                again = false;
                continue;
            }
        }
        return result;
    }
}

/// The last look before a file is used.
fn check(job: &Job<'_>, mirror: &Location, unpacked: &Unpacked) -> Result<Fetched, FetchError> {
    let download = job.download;
    if let Some(wanted) = &download.digest {
        // The download itself is gone once it is unpacked, but then it was hashed on its way.
        let part = match mirror {
            Location::File(path) => path.clone(),
            Location::Url(_) => part_path(&job.parts, mirror),
        };
        let path = if part.exists() { part } else { job.target.clone() };
        compare("download", wanted, &unpacked.download, &path)?;
    }
    if let Some(wanted) = &download.unpacked {
        compare("unpacked file", wanted, &unpacked.content, &job.target)?;
    }
    if download.format == Format::Qcow2 {
        qcow2::check_file(&job.target).map_err(|source| FetchError::io(&job.target, source))??;
    }
    Ok(Fetched {
        source: mirror.clone(),
        download: unpacked.download.0.clone(),
        content: unpacked.content.0.clone(),
        size: unpacked.size,
    })
}

fn compare(
    what: &'static str,
    wanted: &Digest,
    passed: &(String, Option<String>),
    path: &Path,
) -> Result<(), FetchError> {
    let found = same_kind(wanted, passed, path).map_err(|source| FetchError::io(path, source))?;
    if found == *wanted {
        return Ok(());
    }
    let wanted = wanted.clone();
    Err(FetchError::Differs { what, wanted, found })
}

/// The line that pins a download: its key and SHA-256.
pub fn pin(fetched: &Fetched) -> String {
    format!("{} = \"{}\"", DigestKind::Sha256.word(), fetched.download)
}
