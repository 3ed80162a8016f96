//! Replaces a file in one step: a reader, and a machine that loses power, finds the old content or the new one, never
//! a part of either.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `content` to the file at `path` with the permissions `mode` (less the umask), in place of what was there.
/// The file and its folder entry are on disk when this returns (fsync(2)). Several processes and threads may replace
/// the same file at a time; the last one wins.
///
/// Returns the file, open for writing behind its last byte.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}.{}.{number}.new", name.to_string_lossy(), std::process::id());
    let fresh = folder.join(unique);
    let written = write(&fresh, mode, content).and_then(|file| {
        std::fs::rename(&fresh, path)?;
        // The rename itself is on disk once the folder is (fsync(2)).
        File::open(folder)?.sync_all()?;
        Ok(file)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

fn write(fresh: &Path, mode: u32, content: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_new_content_replaces_the_old_and_more_can_be_appended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        replace(&path, 0o600, b"old").unwrap();
        let mut file = replace(&path, 0o600, b"new").unwrap();
        file.write_all(b" and more").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new and more");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(replace(&path, 0o600, b"content").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
