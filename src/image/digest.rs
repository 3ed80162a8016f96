//! Digests of files, computed while they are written or afterwards.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use crate::lab::{Digest, DigestKind};

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// Running digests: always SHA-256, which a user can pin; SHA-512 if an entry has it.
#[derive(Debug, Clone)]
pub struct Sums {
    sha256: Sha256,
    sha512: Option<Sha512>,
}

impl Sums {
    /// Starts the digests that a comparison with `wanted` needs.
    pub fn new(wanted: Option<&Digest>) -> Self {
        let long = wanted.is_some_and(|digest| digest.kind() == DigestKind::Sha512);
        Self {
            sha256: Sha256::new(),
            sha512: long.then(Sha512::new),
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Returns the hex digits of SHA-256, and of SHA-512 if it was requested.
    pub fn finish(self) -> (String, Option<String>) {
        (
            hex(&self.sha256.finalize()),
            self.sha512.map(|sum| hex(&sum.finalize())),
        )
    }
}

/// Returns the digest of `file` of the kind of `wanted`; `passed` are the digests from when it was written.
pub fn same_kind(wanted: &Digest, passed: &(String, Option<String>), file: &Path) -> std::io::Result<Digest> {
    let hex = match (wanted.kind(), &passed.1) {
        (DigestKind::Sha256, _) => passed.0.clone(),
        (DigestKind::Sha512, Some(hex)) => hex.clone(),
        (kind, _) => return of_file(kind, file),
    };
    Digest::new(wanted.kind(), &hex).map_err(std::io::Error::other)
}

/// Computes the digest of a file.
pub fn of_file(kind: DigestKind, path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let hex = match kind {
        DigestKind::Sha256 => hex(&pass(&mut file, Sha256::new())?),
        DigestKind::Sha512 => hex(&pass(&mut file, Sha512::new())?),
        DigestKind::GitBlob => {
            let mut sum = Sha1::new();
            sum.update(format!("blob {}\0", file.metadata()?.len()));
            hex(&pass(&mut file, sum)?)
        }
    };
    Digest::new(kind, &hex).map_err(std::io::Error::other)
}

fn pass<D: sha2::Digest>(file: &mut File, mut sum: D) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sum.finalize().to_vec()),
            length => sum.update(&buffer[..length]),
        }
    }
}

/// Returns bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_that_sha256sum_sha512sum_and_git_print() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        let hex = |kind| of_file(kind, &path).unwrap().hex().to_owned();
        assert_eq!(hex(DigestKind::GitBlob), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(
            hex(DigestKind::Sha256),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
        let wanted = Digest::new(DigestKind::Sha512, &"0".repeat(128)).unwrap();
        let mut sums = Sums::new(Some(&wanted));
        sums.update(b"hel");
        sums.update(b"lo\n");
        let passed = sums.finish();
        assert_eq!(passed.0, hex(DigestKind::Sha256));
        assert_eq!(
            same_kind(&wanted, &passed, &path).unwrap().hex(),
            hex(DigestKind::Sha512)
        );
    }
}
