//! Fetches an image: from one mirror after the other; every download is verified before it is used.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::decompress::{UnpackError, Unpacked};
use super::detect::{self, Content, Layer, Mismatch, Wanted};
use super::digest::{self, same_kind};
use super::part::Part;
use super::qcow2::{self, Qcow2Error};
use super::transfer;
use crate::event::{Cancel, Events};
use crate::lab::{Compression, Digest, DigestKind, Download, Format, Location};

/// The limits of a fetch.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a server may send nothing.
    pub stall: Duration,
    /// Requests in a row without progress before the next mirror is tried, at least 1.
    pub attempts: u32,
    /// Requests of one fetch in total.
    pub requests: u32,
    /// Pause before the first repeated request; longer before each following one.
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

/// One image to fetch.
#[derive(Debug)]
pub struct Job<'a> {
    /// Its name in events.
    pub what: String,
    /// The mirrors and the expected content.
    pub download: &'a Download,
    /// What the unpacked file must be.
    pub wanted: Wanted,
    /// The file to create; it does not exist.
    pub target: PathBuf,
    /// The beginning of a partial file's path: folder and first part of the name.
    pub parts: PathBuf,
    /// Its limits.
    pub limits: Limits,
    /// Remaining requests of those that the limits allow.
    pub(super) attempts_left: AtomicI64,
    /// Set when the run is to stop.
    pub cancel: Cancel,
    /// The receiver of progress events.
    pub events: Events,
}

/// An image that has been fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The mirror.
    pub source: Location,
    /// SHA-256 of the download, in hex.
    pub download: String,
    /// SHA-256 of the unpacked file, in hex.
    pub content: String,
    /// Bytes of the unpacked file.
    pub size: u64,
}

/// Why a mirror provided no image. `Display` includes the cause; there is no `source()`.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// An HTTP status other than success.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// An HTML page in place of the file.
    #[error("the server sent a web page instead of the image")]
    WebPage,
    /// No data for so many seconds.
    #[error("no data was received for {0} seconds")]
    Stalled(f64),
    /// The connection ended early.
    #[error("the download was interrupted after {got} bytes{}", of.map(|of| format!(" of {of}")).unwrap_or_default())]
    Cut {
        /// Received bytes, including those of earlier attempts.
        got: u64,
        /// Expected bytes, if the server announced them.
        of: Option<u64>,
    },
    /// The file is complete and more follows.
    #[error("the server sends more than the file")]
    Excess,
    /// A successful answer without content.
    #[error("the server sent nothing")]
    Empty,
    /// Another error of the connection. reqwest's own text is the URL again; the cause is in its sources.
    #[error("{}", innermost(.0))]
    Connection(reqwest::Error),
    /// A path that cannot be read.
    #[error("{0}")]
    NoFile(std::io::Error),
    /// A path of a folder or a device.
    #[error("it is {0}, not a file")]
    NotAFile(&'static str),
    /// A digest differs.
    #[error("the {what} should be {wanted} and is {found}")]
    Differs {
        /// The file: the download or its unpacked content.
        what: &'static str,
        /// The digest in the entry.
        wanted: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// The digest that the entry has for the download is that of what is in it.
    #[error("{digest} is the digest of the unpacked file, not of the download")]
    OfUnpacked {
        /// The digest.
        digest: Digest,
    },
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It is not what the entry states.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A qcow2 file that must not be used as a base.
    #[error(transparent)]
    Qcow2(#[from] Qcow2Error),
    /// The user stopped the run.
    #[error("stopped")]
    Cancelled,
}

/// The text of the last cause of an error.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl FetchError {
    /// What a path is that is no regular file.
    pub(super) fn not_a_file(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = found.file_type();
        Self::NotAFile(if kind.is_dir() {
            "a folder"
        } else if kind.is_fifo() {
            "a named pipe"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        })
    }

    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        Self::Unpack(if source.kind() == std::io::ErrorKind::StorageFull {
            UnpackError::NoSpace { path }
        } else {
            UnpackError::Io { path, error: source }
        })
    }

    /// Whether the next request to the same server may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 408 | 429 | 500..),
            Self::Connection(error) => !error.is_redirect(),
            Self::Stalled(_) | Self::Cut { .. } | Self::Excess => true,
            _ => false,
        }
    }

    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Status(404 | 410) => {
                "check the URL of the mirror, or add another one; publishers remove old releases: where the URL has a date, \
                 `netlab image update` shows newer ones"
            }
            Self::Status(_) | Self::WebPage | Self::Empty | Self::Excess => {
                "check the URL of the mirror, or add another one"
            }
            Self::Connection(error) if error.is_redirect() => "check the URL of the mirror, or add another one",
            Self::Stalled(_) | Self::Cut { .. } | Self::Connection(_) => {
                "check the network and proxy settings, then try again: a partial download is resumed"
            }
            Self::NoFile(_) | Self::NotAFile(_) => "check the path of the file",
            Self::Differs { .. } => "if the file was replaced on purpose, update the digest in the image's entry",
            Self::OfUnpacked { .. } => {
                "write the digest as `unpacked = { sha256 = \"...\" }`, or that of the download as `sha256`"
            }
            Self::Unpack(error) => error.help(),
            Self::Mismatch(error) => error.help(),
            Self::Qcow2(error) => error.help(),
            Self::Cancelled => "run again to continue",
        }
    }

    /// Whether no other mirror can help.
    pub fn is_final(&self) -> bool {
        self.is_full() || matches!(self, Self::Cancelled | Self::Unpack(UnpackError::Io { .. }))
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Unpack(UnpackError::NoSpace { .. } | UnpackError::TooLittle { .. })
        )
    }
}

/// Fetches an image. The error is every place that was tried with its own error. A partial download is kept for the next
/// run, all other files are removed.
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

/// Returns the path of a mirror's partial file. It depends on the URL: parts of two mirrors are never joined.
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
        let result = result.map_err(|error| recognized(job, mirror, part, error));
        let wrong = matches!(
            result,
            Err(FetchError::Differs { .. }
                | FetchError::OfUnpacked { .. }
                | FetchError::Mismatch(_)
                | FetchError::WebPage
                | FetchError::Qcow2(_)
                | FetchError::Unpack(_))
        );
        if wrong && !result.as_ref().is_err_and(FetchError::is_final) {
            part.remove();
            let _ = std::fs::remove_file(&job.target);
            // The rest of an earlier run may be of another file: fetch again from the beginning.
            if had && again {
                again = false;
                continue;
            }
        }
        return result;
    }
}

/// Replaces an error by what the file is, where its first bytes show that.
fn recognized(job: &Job<'_>, mirror: &Location, part: &Part, error: FetchError) -> FetchError {
    let is_url = matches!(mirror, Location::Url(_));
    let path = match mirror {
        Location::File(path) => path,
        Location::Url(_) if part.path().exists() => part.path(),
        Location::Url(_) => &job.target,
    };
    match error {
        FetchError::Unpack(UnpackError::Corrupt(_)) => {
            match detect::check_compression(path, job.wanted, job.download.compression) {
                Ok(Err(mismatch)) if mismatch.found != Content::Unknown => mismatch.into(),
                _ => error,
            }
        }
        FetchError::Differs { .. } => match detect::of_file(path) {
            Ok(Content::WebPage) if is_url => FetchError::WebPage,
            // A server may compress what it sends, although it is asked not to.
            Ok(found @ Content::Compressed(_)) if job.download.compression == Compression::None => {
                let (wanted, layer) = (job.wanted, Layer::Unpacked(Compression::None));
                if detect::fits(found, wanted) {
                    error
                } else {
                    Mismatch { found, wanted, layer }.into()
                }
            }
            _ => error,
        },
        FetchError::Mismatch(Mismatch {
            found: Content::WebPage,
            ..
        }) if is_url => FetchError::WebPage,
        error => error,
    }
}

/// Verifies a file before it is used.
fn check(job: &Job<'_>, mirror: &Location, unpacked: &Unpacked) -> Result<Fetched, FetchError> {
    let download = job.download;
    if let Some(wanted) = &download.digest {
        // The download itself is removed once it is unpacked, but then it was hashed while it was received.
        let part = match mirror {
            Location::File(path) => path.clone(),
            Location::Url(_) => part_path(&job.parts, mirror),
        };
        let path = if part.exists() { part } else { job.target.clone() };
        let compared = compare("download", wanted, &unpacked.download, &path);
        if compared.is_err() && compare("unpacked file", wanted, &unpacked.content, &job.target).is_ok() {
            let digest = wanted.clone();
            return Err(FetchError::OfUnpacked { digest });
        }
        compared?;
    }
    if let Some(wanted) = &download.unpacked {
        compare("unpacked file", wanted, &unpacked.content, &job.target)?;
    }
    detect::check(&job.target, job.wanted, download.compression)
        .map_err(|source| FetchError::io(&job.target, source))??;
    if job.wanted == Wanted::Disk(Format::Qcow2) {
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

/// Returns the line of an image's entry that pins a download: key and SHA-256.
pub fn pin(fetched: &Fetched) -> String {
    format!("{} = \"{}\"", DigestKind::Sha256.word(), fetched.download)
}
