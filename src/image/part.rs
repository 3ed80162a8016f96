//! The partial file of a download.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reqwest::Response;
use reqwest::header::{self, HeaderMap, HeaderValue};

use super::fetch::FetchError;

/// A partial file, and beside it the version of the remote file (`.tag`). Both are kept until the image is ready.
#[derive(Debug, Clone)]
pub(super) struct Part {
    path: PathBuf,
}

impl Part {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn tag(&self) -> PathBuf {
        self.path.with_extension("tag")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |data| data.len())
    }

    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.tag());
    }

    /// Opens the file for writing at the byte `at` and removes what follows.
    pub(super) fn open(&self, at: u64) -> Result<File, FetchError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let open = || {
            let mut file = options.open(&self.path)?;
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))?;
            Ok(file)
        };
        open().map_err(|source| FetchError::io(&self.path, source))
    }

    /// Returns the length of the part and the headers of a request for the rest. Without a tag only a digest can prove
    /// that two parts are of the same file: then, `has_digest` decides whether the download is resumed.
    pub(super) fn request_headers(&self, has_digest: bool) -> (u64, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let have = self.length();
        let tag = std::fs::read_to_string(self.tag()).ok();
        let tag = tag.and_then(|tag| HeaderValue::from_str(tag.trim()).ok());
        if have == 0 || (tag.is_none() && !has_digest) {
            return (0, headers);
        }
        if let Ok(range) = HeaderValue::from_str(&format!("bytes={have}-")) {
            headers.insert(header::RANGE, range);
            if let Some(tag) = tag {
                headers.insert(header::IF_RANGE, tag);
            }
        }
        (have, headers)
    }

    /// Keeps the version of the remote file: a strong ETag, else the date (RFC 9110, 13.1.5).
    pub(super) fn remember(&self, response: &Response) -> Result<(), FetchError> {
        let value = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let strong = value(header::ETAG).filter(|tag| tag.starts_with('"'));
        if let Some(tag) = strong.or_else(|| value(header::LAST_MODIFIED)) {
            return std::fs::write(self.tag(), tag).map_err(|source| FetchError::io(&self.tag(), source));
        }
        let _ = std::fs::remove_file(self.tag());
        Ok(())
    }
}
