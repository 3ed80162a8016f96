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

/// Removes the files of `folder` that processes were about to replace others with when they were killed. Only for a
/// folder whose processes are all in this PID namespace.
pub fn remove_stale(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(process);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Returns the process id in the name of such a file.
fn process(name: &str) -> Option<&str> {
    let (rest, number) = name.strip_suffix(".new")?.rsplit_once('.')?;
    let (_, process) = rest.rsplit_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(process)).then_some(process)
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
    fn what_a_killed_process_had_written_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let (killed, alive) = (ended.id(), std::process::id());
        ended.wait().unwrap();
        let (left, others) = (format!("a.xml.{killed}.0.new"), format!("a.xml.{alive}.0.new"));
        for name in [&*left, &*others, "a.xml", "b.new"] {
            std::fs::write(at(name), "").unwrap();
        }
        remove_stale(folder.path());
        assert!(!at(&left).exists());
        for kept in [&*others, "a.xml", "b.new"] {
            assert!(at(kept).exists(), "{kept}");
        }
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
