//! The folder of saved states on a host, through its shell: in netlab's cache on this machine, which the hosts that are emulated
//! on it see at the same place; in a host's own cache where the host is behind ssh.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::folders::Folders;
use crate::host::StepFailure;
use crate::host::linux::Connection;
use crate::libvirt::{self, Blank, Head, Kind};
use crate::state::DomainName;
use crate::transport::{Cmd, CmdError, Script, Shell};

const STATES: Script = Script {
    name: "warm/states.sh",
    text: include_str!("states.sh"),
};
/// What the script exits with where there is no such state.
const NONE: i32 = 3;
/// Limit of a command: a state has some hundred MB.
const COPIED_WITHIN: Duration = Duration::from_secs(300);
/// So many bytes of saved states are kept on a host: some thirty of small guests.
const MOST: u64 = 4 << 30;

/// The saved states on one host, each with an identifier by its content.
pub(super) struct States<'a> {
    shell: &'a dyn Shell,
    folder: PathBuf,
    /// Differs from that of every other host with a folder of its own.
    host: String,
}

impl<'a> States<'a> {
    /// Returns the states of a connected host.
    pub fn of(connection: &'a Connection, folders: &Folders) -> Self {
        let (folder, host) = match &connection.remote {
            None => (folders.saved(), String::new()),
            Some(remote) => (Folders::SAVED_BEHIND_SSH.into(), remote.settings.place()),
        };
        Self {
            shell: connection.shell.as_ref(),
            folder,
            host,
        }
    }

    /// Returns the identifier of a kind's state on this host: another one where a file that its guests boot from has changed.
    pub fn id(&self, kind: &Kind) -> Result<String, CmdError> {
        // The name of a copy has its digest.
        let files = kind.files.iter().filter(|file| libvirt::label(file).is_none());
        let files: Vec<String> = files.map(|file| file.to_string_lossy().into_owned()).collect();
        let mut now = Vec::new();
        if !files.is_empty() {
            let stat = ["stat", "-L", "-c", "%d %i %s %.9Y", "--"].map(ToOwned::to_owned);
            now = self.shell.check(&Cmd::new(stat.into_iter().chain(files)))?;
        }
        Ok(kind.id(&String::from_utf8_lossy(&now)))
    }

    /// Returns the name of the lock under which a state is made here.
    pub fn lock(&self, id: &str) -> String {
        let host: String = self.host.chars().filter(|c| !matches!(c, '/' | '[' | ']')).collect();
        format!("{id}{host}.lock")
    }

    /// Returns the file that a guest's memory is saved to.
    pub fn memory(&self, guest: &DomainName) -> PathBuf {
        self.folder.join(format!("{guest}.part/memory"))
    }

    /// Returns the pipe of [`Self::feed`].
    pub fn pipe(&self, guest: &DomainName) -> PathBuf {
        self.folder.join(format!("{guest}.pipe"))
    }

    fn cmd(&self, what: &str, arguments: &[&str], disk: Option<&Path>) -> Cmd {
        let folder = self.folder.to_string_lossy();
        let disk = disk.map(Path::to_string_lossy);
        let arguments = arguments.iter().copied().chain(disk.as_deref());
        // Disks are copied, and what was saved is written to the disk.
        Cmd::script(STATES, [what, &folder].into_iter().chain(arguments)).within(COPIED_WITHIN)
    }

    fn run(&self, what: &str, arguments: &[&str], disk: Option<&Path>) -> Result<(), CmdError> {
        self.shell.check(&self.cmd(what, arguments, disk)).map(drop)
    }

    /// Makes room for what is saved of a guest: states that were not used for long are removed; and makes the files of `blank`, the
    /// disk of the guest's `disk` and the seed disk of `seed`.
    pub fn begin(&self, guest: &DomainName, disk: Option<&Path>, blank: &Blank, seed: Vec<u8>) -> Result<(), CmdError> {
        self.run("make", &[&MOST.to_string()], None)?;
        let files = disk.into_iter().chain(blank.files());
        let files: Vec<_> = files.map(Path::to_string_lossy).collect();
        let guest = guest.to_string();
        let arguments: Vec<&str> = [guest.as_str()]
            .into_iter()
            .chain(files.iter().map(AsRef::as_ref))
            .collect();
        let cmd = self.cmd("begin", &arguments, None);
        self.shell.check(&cmd.fed(seed)).map(drop)
    }

    /// Removes the files of `blank`.
    pub fn leave(&self, blank: &Blank) -> Result<(), CmdError> {
        let files: Vec<_> = blank.files().into_iter().map(Path::to_string_lossy).collect();
        let files: Vec<&str> = files.iter().map(AsRef::as_ref).collect();
        if files.is_empty() {
            Ok(())
        } else {
            self.run("leave", &files, None)
        }
    }

    /// Makes what was saved of a guest, and a copy of its disk, the state `id`.
    pub fn keep(&self, guest: &DomainName, id: &str, disk: Option<&Path>) -> Result<(), CmdError> {
        self.run("keep", &[&guest.to_string(), id], disk)
    }

    /// Returns the head of a state, which counts as used now; none where there is no such state. One that cannot be read is
    /// removed.
    pub fn head(&self, id: &str) -> Result<Option<Head>, StepFailure> {
        let cmd = self.cmd("head", &[id], None);
        let output = self.shell.run(&cmd)?;
        if output.status == NONE {
            return Ok(None);
        }
        let head = output.succeeded(&cmd)?;
        match Head::read(&mut head.as_slice()) {
            Ok(head) => Ok(Some(head)),
            Err(error) => {
                self.discard(id);
                Err(StepFailure::SavedState(error))
            }
        }
    }

    /// Makes a guest's disk a copy of the state's, and begins to feed [`Self::pipe`], from which its memory is to be restored:
    /// `head`, and what the state has behind its own one of `length` bytes. The memory is not copied to a file.
    pub fn feed(
        &self,
        id: &str,
        guest: &DomainName,
        (head, length): (Vec<u8>, u64),
        disk: Option<&Path>,
    ) -> Result<(), CmdError> {
        let cmd = self.cmd("feed", &[id, &guest.to_string(), &length.to_string()], disk);
        self.shell.check(&cmd.fed(head)).map(drop)
    }

    /// Ends what feeds the pipe, which nobody reads any longer, and makes the guest's disk again what it was.
    pub fn end(&self, guest: &DomainName, disk: Option<&Path>) -> Result<(), CmdError> {
        self.run("end", &[&guest.to_string()], disk)
    }

    /// Forgets what the disk of a guest that was restored had been.
    pub fn done(&self, guest: &DomainName, disk: Option<&Path>) -> Result<(), CmdError> {
        disk.map_or(Ok(()), |_| self.run("done", &[&guest.to_string()], None))
    }

    /// Removes a state that may be damaged, or what was saved of a guest.
    pub fn discard(&self, name: &str) {
        // What cannot be removed is found to be damaged once more.
        let _ = self.run("discard", &[name], None);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use super::*;
    use crate::transport::LocalShell;

    fn states(folder: &Path) -> States<'static> {
        States {
            shell: &LocalShell,
            folder: folder.to_owned(),
            host: "[::1]:22".to_owned(),
        }
    }

    fn guest() -> DomainName {
        "lab.a".to_owned().try_into().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn saved_states_that_were_used_last_are_kept_up_to_a_size_and_old_ones_are_removed() {
        let temp = tempfile::tempdir().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a file's time is the time of day")]
        let now = SystemTime::now();
        let folder = |name: &str, kib: usize, days: u64| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("memory"), vec![1; kib << 10]).unwrap();
            let used = now - Duration::from_secs(days * 24 * 60 * 60);
            File::open(path).unwrap().set_modified(used).unwrap();
        };
        folder("new.state", 400, 0);
        folder("week.state", 400, 7);
        folder("fortnight.state", 400, 14);
        folder("old.state", 1, 31);
        folder("killed.part", 1, 1);
        folder("made.part", 1, 0);
        states(temp.path()).run("make", &["1000000"], None).unwrap();
        assert_eq!(names(temp.path()), ["made.part", "new.state", "week.state"]);
    }

    /// libvirt's file of a guest, with a head of 92 and 8 bytes.
    fn saved() -> Vec<u8> {
        let mut file = b"LibvirtQemudSave".to_vec();
        for number in [2_u32, 8, 1, 0, 0] {
            file.extend(number.to_ne_bytes());
        }
        file.resize(92, 0);
        file.extend(b"<xml/>\0\0stream");
        file
    }

    fn make(states: &States<'_>, memory: &[u8], disk: Option<&Path>) {
        let blank = Blank {
            disk: disk.map(|disk| disk.with_extension("blank.disk")),
            seed: disk.map(|disk| disk.with_extension("blank.seed")),
        };
        states.begin(&guest(), disk, &blank, b"seed".to_vec()).unwrap();
        if let (Some(copy), Some(seed)) = (&blank.disk, &blank.seed) {
            assert_eq!(fs::read(copy).unwrap(), fs::read(disk.unwrap()).unwrap());
            assert_eq!(fs::read(seed).unwrap(), b"seed");
            fs::write(copy, "booted").unwrap();
        }
        fs::write(states.memory(&guest()), memory).unwrap();
        states.keep(&guest(), "kind", blank.disk.as_deref()).unwrap();
        states.leave(&blank).unwrap();
        assert!(blank.files().iter().all(|file| !file.exists()));
    }

    #[test]
    fn a_state_is_kept_for_root_only_and_is_fed_with_another_head() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("cache/saved");
        let states = states(&folder);
        assert_eq!(states.head("kind").unwrap(), None);
        make(&states, &saved(), None);
        let file = folder.join("kind.state/memory");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // The second one is not kept.
        make(&states, b"other", None);
        assert_eq!(fs::read(&file).unwrap(), saved());
        let head = states.head("kind").unwrap().unwrap();
        assert_eq!(head.length, 100);
        // More than a pipe holds.
        let own = vec![b'h'; 100_000];
        states.feed("kind", &guest(), (own.clone(), head.length), None).unwrap();
        assert_eq!(
            fs::read(states.pipe(&guest())).unwrap(),
            [own, b"stream".to_vec()].concat()
        );
    }

    #[test]
    fn the_disk_of_a_guest_is_the_states_or_again_what_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("saved");
        let states = states(&folder);
        let disk = temp.path().join("disk");
        let write = |text: &str| fs::write(&disk, text).unwrap();
        let read = || fs::read_to_string(&disk).unwrap();
        let disk = Some(disk.as_path());
        write("new");
        make(&states, &saved(), disk);
        assert_eq!(read(), "new", "another disk was used");
        write("of another guest");
        let feed = || states.feed("kind", &guest(), (Vec::new(), 100), disk).unwrap();
        feed();
        assert_eq!(read(), "booted");
        states.end(&guest(), disk).unwrap();
        assert_eq!(read(), "of another guest", "it could not be restored");
        feed();
        fs::read(states.pipe(&guest())).unwrap();
        states.done(&guest(), disk).unwrap();
        states.end(&guest(), disk).unwrap();
        assert_eq!(read(), "booted");
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("kind.state"), mode("kind.state/disk")), (0o700, 0o600));
    }

    #[test]
    fn what_nobody_reads_is_ended_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let states = states(temp.path());
        make(&states, &saved(), None);
        states.feed("kind", &guest(), (b"head".to_vec(), 100), None).unwrap();
        states.end(&guest(), None).unwrap();
        // The process ends a moment later.
        let begun = std::time::Instant::now();
        let own = format!("sh {}/lab.a 100$", temp.path().display());
        while LocalShell.run(&Cmd::new(["pgrep", "-f", &own])).unwrap().status == 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "it still runs");
        }
        assert_eq!(names(temp.path()), ["kind.state"]);
    }

    #[test]
    fn a_damaged_state_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        let states = states(temp.path());
        for damaged in [&saved()[..50], b"", b"netlab"] {
            make(&states, damaged, None);
            assert!(states.head("kind").is_err());
            assert_eq!(states.head("kind").unwrap(), None);
        }
    }

    #[test]
    fn two_hosts_make_their_states_at_the_same_time() {
        let states = states(Path::new("/any"));
        assert_eq!(states.lock("kind"), "kind::1:22.lock");
        let other = States {
            host: "node2".to_owned(),
            ..states
        };
        assert_eq!(other.lock("kind"), "kindnode2.lock");
    }
}
