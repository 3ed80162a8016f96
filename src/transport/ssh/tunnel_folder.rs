//! The folder of a tunnel's socket, under the folder for temporary files: locked as long as the tunnel exists, so that
//! one whose run was killed is recognized, and removed by the next run that changes hosts.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};

/// A locked folder of this user's, removed when dropped.
#[derive(Debug)]
pub(super) struct TunnelFolder {
    path: PathBuf,
    /// Holds the lock.
    _lock: OwnedFd,
}

impl TunnelFolder {
    /// Creates a folder in `parent`, `netlab-<process>-<number>`, that only its owner can enter.
    pub fn create(parent: &Path) -> io::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::SeqCst);
            let path = parent.join(format!("netlab-{}-{count}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                created => created?,
            }
            // Between the two, another run may take it for one that was left behind: then it has the lock, or has
            // removed it already.
            if let Some(lock) = lock(&path) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// Returns the path of the socket in it.
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }

    /// Removes the folders in `parent` whose runs were killed, as far as they are this user's.
    pub fn remove_stale(parent: &Path) {
        let user = rustix::process::geteuid().as_raw();
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(is_name)
                && entry.metadata().is_ok_and(|data| data.is_dir() && data.uid() == user);
            if !is_ours {
                continue;
            }
            if let Some(_lock) = lock(&entry.path()) {
                remove(&entry.path());
            }
        }
    }
}

impl Drop for TunnelFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(folder: &Path) {
    let _ = fs::remove_file(socket(folder));
    // It fails where it holds anything else, which is not netlab's.
    let _ = fs::remove_dir(folder);
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("libvirt")
}

/// Returns whether it is the name of such a folder.
fn is_name(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.strip_prefix("netlab-").and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(process, count)| number(process) && number(count))
}

/// Locks a folder; none where another process has locked it, or it is not a folder that still has that name.
fn lock(folder: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, folder, flags, Mode::empty()).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let (own, found) = (rustix::fs::fstat(&file).ok()?, fs::symlink_metadata(folder).ok()?);
    (own.st_ino == found.ino() && own.st_dev == found.dev()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_killed_run_is_removed_and_those_of_others_are_not() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let used = TunnelFolder::create(parent.path()).unwrap();
        for left in ["netlab-1-0", "netlab-1-x", "netlab-uml-1", "netlab-2-0"] {
            fs::create_dir(at(left)).unwrap();
        }
        fs::write(at("netlab-1-0/libvirt"), "").unwrap();
        fs::write(at("netlab-2-0/other"), "").unwrap();
        std::os::unix::fs::symlink(at("netlab-1-x"), at("netlab-3-0")).unwrap();
        TunnelFolder::remove_stale(parent.path());
        assert!(!at("netlab-1-0").exists());
        for kept in ["netlab-1-x", "netlab-uml-1", "netlab-2-0/other", "netlab-3-0"] {
            assert!(at(kept).exists(), "{kept}");
        }
        assert!(used.path.exists());
        let path = used.path.clone();
        drop(used);
        assert!(!path.exists());
    }
}
