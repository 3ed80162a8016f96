//! The digest of an image from its publisher's list of checksums, which is fetched each time the image is: SHA256SUMS,
//! SHA512SUMS or the like, beside the image. What it said first is recorded in the cache, so that an image that is
//! replaced under its name is noticed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::client::client;
use super::fetch::FetchError;
use super::{ImageError, at};
use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{Digest, DigestKind, Download, Location, masked};

/// The largest list that is read, in bytes: that of a whole distribution is a few hundred KiB.
const AT_MOST: usize = 4 << 20;
/// The record of what the lists said.
const RECORD: &str = "checksums.toml";

/// Why a list of checksums gives no digest.
#[derive(Debug, thiserror::Error)]
pub enum ChecksumsError {
    /// The list cannot be fetched.
    #[error("the list of checksums {url} cannot be fetched: {error}")]
    Fetch {
        /// Its URL.
        url: String,
        /// Why.
        error: FetchError,
    },
    /// No mirror is a URL, whose last part is the file's name in the list.
    #[error("no mirror has the name of a file that a list of checksums can have")]
    NoName,
    /// The list has no line for the file.
    #[error("the list of checksums {url} has no SHA-256 or SHA-512 of {file}")]
    NoLine {
        /// Its URL.
        url: String,
        /// The file's name.
        file: String,
    },
    /// The list has two different digests of one kind for the file.
    #[error("the list of checksums {url} has two different digests of {file}")]
    Ambiguous {
        /// Its URL.
        url: String,
        /// The file's name.
        file: String,
    },
    /// The list is another one than when the image was fetched first.
    #[error("the list of checksums {url} has changed: {file} was {was} and is {is}")]
    Changed {
        /// Its URL.
        url: String,
        /// The file's name.
        file: String,
        /// The recorded digest.
        was: Digest,
        /// The digest now.
        is: Digest,
    },
}

impl ChecksumsError {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Fetch { error, .. } => error.help(),
            Self::NoName | Self::Ambiguous { .. } => {
                "write the image's digest, `sha256 = \"...\"`, instead of `checksums`"
            }
            Self::NoLine { .. } => {
                "check `checksums` and `mirrors` of the image's entry: the list names the files beside it"
            }
            Self::Changed { .. } => {
                "the publisher replaced the file: where that is right, `netlab image rm NAME` forgets the old digest"
            }
        }
    }
}

/// Returns the strongest digest of `file` in a list: lines of coreutils (`HEX  FILE`, `HEX *FILE`) or of the BSD tools
/// (`SHA256 (FILE) = HEX`). Lines of other digests and all other lines are ignored.
pub fn find(list: &str, file: &str) -> Result<Option<Digest>, Digest> {
    let mut found: BTreeMap<usize, Digest> = BTreeMap::new();
    for line in list.lines() {
        let Some(digest) = line_of(line.trim_end(), file) else {
            continue;
        };
        match found.get(&digest.hex().len()) {
            Some(other) if *other != digest => return Err(digest),
            _ => found.insert(digest.hex().len(), digest),
        };
    }
    Ok(found.into_values().next_back())
}

/// Returns the digest in `line`, if it is one of `file`.
fn line_of(line: &str, file: &str) -> Option<Digest> {
    let is_file = |name: &str| name.strip_prefix("./").unwrap_or(name) == file;
    let (hex, stated) = if let Some((kind, rest)) = line.split_once(" (")
        && let Some((name, hex)) = rest.rsplit_once(") = ")
    {
        (is_file(name).then_some(hex)?, Some(kind))
    } else {
        // Between digest and name: a blank, and a second one or an asterisk.
        let (hex, name) = line.split_once(' ')?;
        let name = name.strip_prefix([' ', '*'])?;
        (is_file(name).then_some(hex)?, None)
    };
    [DigestKind::Sha256, DigestKind::Sha512]
        .into_iter()
        .filter(|kind| stated.is_none_or(|stated| stated.eq_ignore_ascii_case(kind.word())))
        .find_map(|kind| Digest::new(kind, hex).ok())
}

/// Returns the name that a list has for a download: the last part of its first URL.
pub fn file_name(download: &Download) -> Option<&str> {
    download.mirrors.iter().find_map(|mirror| match mirror {
        Location::Url(url) => {
            let path = url.split(['?', '#']).next()?;
            let (_, rest) = path.split_once("://")?;
            let (_, name) = rest.rsplit_once('/')?;
            (!name.is_empty()).then_some(name)
        }
        Location::File(_) => None,
    })
}

/// Fetches a text of at most 4 MiB. `stall`: how long the server may send nothing.
pub(super) fn text(url: &str, stall: Duration) -> Result<String, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(FetchError::NoFile)?;
    let fetched = async {
        let stalled = |_| FetchError::Stalled(stall.as_secs_f64());
        let client = client(url, stall)?;
        let response = tokio::time::timeout(stall, client.get(url).send()).await;
        let mut response = response.map_err(stalled)?.map_err(FetchError::Connection)?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut bytes = Vec::new();
        loop {
            let chunk = tokio::time::timeout(stall, response.chunk()).await;
            let Some(chunk) = chunk.map_err(stalled)?.map_err(FetchError::Connection)? else {
                break;
            };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > AT_MOST {
                return Err(FetchError::Excess);
            }
        }
        Ok(bytes)
    };
    let bytes = runtime.block_on(fetched)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the digest that the publisher's list has for `download`, and records it. A download that has a digest or no
/// list has none. A digest that differs from the recorded one is an error.
pub fn resolve(download: &Download, folders: &Folders, stall: Duration) -> Result<Option<Digest>, ImageError> {
    let Some(url) = &download.checksums else {
        return Ok(None);
    };
    if download.digest.is_some() {
        return Ok(None);
    }
    let shown = masked::urls(url);
    let file = file_name(download).ok_or(ChecksumsError::NoName)?.to_owned();
    let list = text(url, stall).map_err(|error| ChecksumsError::Fetch {
        url: shown.clone(),
        error,
    })?;
    let is = match find(&list, &file) {
        Ok(Some(digest)) => digest,
        Ok(None) => return Err(ChecksumsError::NoLine { url: shown, file }.into()),
        Err(_) => return Err(ChecksumsError::Ambiguous { url: shown, file }.into()),
    };
    let key = key(url, &file);
    if let Some(was) = recorded(folders).remove(&key)
        && was != is
    {
        return Err(ChecksumsError::Changed {
            url: shown,
            file,
            was,
            is,
        }
        .into());
    }
    change(folders, |record| {
        record.insert(key, is.clone());
    })?;
    Ok(Some(is))
}

/// Forgets the recorded digest of a download.
pub fn forget(download: &Download, folders: &Folders) -> Result<(), ImageError> {
    match (&download.checksums, file_name(download)) {
        (Some(url), Some(file)) if record_path(folders).exists() => change(folders, |record| {
            record.remove(&key(url, file));
        }),
        _ => Ok(()),
    }
}

/// Without the credentials of the URL, which are of no matter for what the list says.
fn key(url: &str, file: &str) -> String {
    format!("{} {file}", masked::urls(url))
}

fn record_path(folders: &Folders) -> PathBuf {
    folders.images().join(RECORD)
}

/// Returns the recorded digests by list and file; a record that cannot be read counts as none.
fn recorded(folders: &Folders) -> BTreeMap<String, Digest> {
    let text = std::fs::read_to_string(record_path(folders)).unwrap_or_default();
    toml::from_str(&text).unwrap_or_default()
}

fn change(folders: &Folders, change: impl FnOnce(&mut BTreeMap<String, Digest>)) -> Result<(), ImageError> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = record_path(folders);
    let before = recorded(folders);
    let mut now = before.clone();
    change(&mut now);
    if now == before {
        return Ok(());
    }
    let text = toml::to_string(&now)
        .map_err(std::io::Error::other)
        .map_err(at(&path))?;
    atomic_file::replace(&path, 0o644, text.as_bytes())
        .map_err(at(&path))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_in_the_lists_that_publishers_write() {
        let (short, long) = ("ab".repeat(32), "cd".repeat(64));
        let sha256 = || Ok(Some(Digest::new(DigestKind::Sha256, &short).unwrap()));
        let sha512 = || Ok(Some(Digest::new(DigestKind::Sha512, &long).unwrap()));
        for list in [
            format!("{short}  a.img\n"),
            format!("{short} *a.img\n"),
            format!("{short} *./a.img\r\n"),
            format!("SHA256 (a.img) = {short}\n"),
            format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a.img: 5 bytes\nSHA256 (a.img) = {short}\n"),
            format!("{}  a.img\n{short}  a.img\n{short}  b.img\n", "0".repeat(32)),
        ] {
            assert_eq!(find(&list, "a.img"), sha256(), "{list}");
        }
        let both = format!("SHA512 (a.img) = {long}\nSHA256 (a.img) = {short}\n");
        assert_eq!(find(&both, "a.img"), sha512());
        for list in [
            String::new(),
            short.clone(),
            format!("{short}  a.img.xz"),
            format!("{short}  other/a.img"),
            format!("{short}  xa.img"),
            format!("{short}\ta.img"),
            format!("MD5 (a.img) = {}", "0".repeat(32)),
            format!("SHA1 (a.img) = {short}"),
            "<html>a.img</html>".to_owned(),
        ] {
            assert_eq!(find(&list, "a.img"), Ok(None), "{list}");
        }
        let two = format!("{short}  a.img\n{}  a.img\n", "0".repeat(64));
        assert!(find(&two, "a.img").is_err());
    }

    #[test]
    fn the_name_in_a_list_is_the_last_part_of_the_url() {
        let name = |mirror: Location| {
            let download = Download {
                mirrors: vec![mirror],
                digest: None,
                checksums: None,
                compression: crate::lab::Compression::None,
                format: crate::lab::Format::Raw,
                unpacked: None,
                at_most: 1,
            };
            file_name(&download).map(str::to_owned)
        };
        let url = |url: &str| Location::Url(url.to_owned());
        assert_eq!(name(url("https://h/x/a.img")).as_deref(), Some("a.img"));
        assert_eq!(name(url("https://h/a.img?token=x/y")).as_deref(), Some("a.img"));
        assert_eq!(name(url("https://h/")), None);
        assert_eq!(name(url("https://h")), None);
        assert_eq!(name(Location::File("/srv/a.img".into())), None);
    }
}
