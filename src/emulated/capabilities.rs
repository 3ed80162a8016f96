//! libvirt's cache of QEMU's capabilities, shared between emulated hosts: probing takes 0.5 to 1 s for each emulator
//! installed.
//!
//! A libvirt daemon caches them in /var/cache/libvirt/qemu/capabilities, a file per emulator, and checks by itself
//! whether a file is still valid (virQEMUCapsIsValid, src/qemu/qemu_capabilities.c); a copy from another daemon of the
//! same machine is as good as its own.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::daemon;
use crate::atomic_file;
use crate::folders::Folders;

/// Returns the cache of the daemon in the machine with the private folder `machine`.
fn private(machine: &Path) -> PathBuf {
    machine.join("var/cache/libvirt/qemu/capabilities")
}

/// Returns whether the cache is empty or older than the programs it is about: the next daemon will have to probe.
pub(crate) fn are_cold(folders: &Folders) -> bool {
    let emulator = format!("qemu-system-{}", std::env::consts::ARCH);
    let programs = [daemon::LIBVIRTD, daemon::VIRTQEMUD, &emulator];
    let known = last_change(files(&folders.capabilities()));
    // None, for an empty cache, is less than any time.
    known < last_change(programs.into_iter().filter_map(daemon::find)) || known.is_none()
}

/// Returns when the newest of `files` was changed, in seconds since 1970.
fn last_change(files: impl IntoIterator<Item = PathBuf>) -> Option<i64> {
    let times = files
        .into_iter()
        .filter_map(|file| Some(fs::metadata(file).ok()?.ctime()));
    times.max()
}

/// A line that is removed from a machine's copy, because it makes every start of a guest slow.
///
/// Where an emulator can name its CPU's missing features, libvirt (9.0; qemuProcessFetchGuestCPU in
/// src/qemu/qemu_process.c) reads every property of each new guest's CPU, some 400 messages and 0.5 s of a processor
/// for x86_64. Without it, it reads only the CPUID values that it needs. The guest is the same.
const SLOW: &str = "  <flag name='cpu-unavailable-features'/>\n";

/// Copies the cache into a new machine, without [`SLOW`].
pub(super) fn seed(folders: &Folders, machine: &Path) -> io::Result<()> {
    copy(&folders.capabilities(), &private(machine), |_, _| false)?;
    for file in files(&private(machine)) {
        fs::write(&file, fs::read_to_string(&file)?.replace(SLOW, ""))?;
    }
    Ok(())
}

/// Copies what a machine's daemon has just probed or confirmed into the cache.
pub(super) fn keep(folders: &Folders, machine: &Path) -> io::Result<()> {
    copy(&private(machine), &folders.capabilities(), |found, known| {
        let Ok(known) = fs::read_to_string(known) else {
            return false;
        };
        found == known.as_bytes() || found == known.replace(SLOW, "").as_bytes()
    })
}

/// Copies what an old machine's daemon has probed of emulators that are missing in the cache: it may have probed them
/// after it was started. For the others, the cache may be newer.
pub(super) fn keep_new(folders: &Folders, machine: &Path) -> io::Result<()> {
    copy(&private(machine), &folders.capabilities(), |_, known| known.exists())
}

/// Copies the files of a folder, except those that `skip` names by their content and target path. Each copy is atomic,
/// also with several processes at a time.
fn copy(from: &Path, to: &Path, skip: impl Fn(&[u8], &Path) -> bool) -> io::Result<()> {
    let files = files(from);
    if !files.is_empty() {
        Folders::make(to)?;
        atomic_file::remove_stale(to);
    }
    for file in files {
        let Some(name) = file.file_name() else { continue };
        let (text, target) = (fs::read(&file)?, to.join(name));
        if skip(&text, &target) {
            continue;
        }
        atomic_file::replace(&target, 0o644, &text)?;
    }
    Ok(())
}

/// Lists the files of capabilities in `folder`; none where it does not exist.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "xml"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_probed_in_one_machine_are_copied_into_the_next() {
        let temp = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: temp.path().join("state"),
            cache: temp.path().join("cache"),
        };
        assert!(are_cold(&folders));
        let [first, second] = ["first", "second"].map(|machine| temp.path().join(machine));
        fs::create_dir_all(private(&first)).unwrap();
        let learned = format!("<qemuCaps>\n{SLOW}</qemuCaps>\n");
        fs::write(private(&first).join("a.xml"), &learned).unwrap();
        fs::write(private(&first).join("b.xml.part"), "half").unwrap();
        keep(&folders, &first).unwrap();
        assert!(!are_cold(&folders));
        seed(&folders, &second).unwrap();
        let given = files(&private(&second));
        assert_eq!(given, [private(&second).join("a.xml")]);
        assert_eq!(fs::read_to_string(&given[0]).unwrap(), "<qemuCaps>\n</qemuCaps>\n");
        // A copy that it confirms changes nothing.
        keep(&folders, &second).unwrap();

        fs::write(private(&second).join("a.xml"), "outdated").unwrap();
        fs::write(private(&second).join("c.xml"), "new").unwrap();
        keep_new(&folders, &second).unwrap();
        let known = |file| fs::read_to_string(folders.capabilities().join(file)).unwrap();
        assert_eq!((known("a.xml"), known("c.xml")), (learned, "new".to_owned()));
    }
}
