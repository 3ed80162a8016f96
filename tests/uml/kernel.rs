//! A user-mode Linux that is booted, given commands and watched until it ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::compiled::compiled;
use crate::support::skip;

/// The kernel, as Debian installs it.
const KERNEL: &str = "/usr/bin/linux.uml";
/// Its memory in MiB, taken from the machine only as far as it is used.
const MEMORY_MIB: u64 = 3072;
/// Where it takes its memory from, unless configured otherwise.
const SHARED_MEMORY: &str = "/dev/shm";
/// Where programs are inside, behind netlab.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Runs the kernel as a child, so that the first process of the PID namespace is one that signals can end.
const UNDER_A_SHELL: &str = r#""$@" 2>&1; exit $?"#;

/// What every command printed, standard output and error alike.
#[derive(Debug)]
pub struct Printed(BTreeMap<String, String>);

impl Printed {
    pub fn by(&self, part: &str) -> &str {
        &self.0[part]
    }
}

/// A part that failed, or a kernel that did not come to the end of its commands; with everything that was said.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("`{part}` ended with {status}:\n{console}")]
    Failed { part: String, status: i32, console: String },
    #[error("not at an end after {} s:\n{console}", within.as_secs())]
    Late { within: Duration, console: String },
    #[error("the kernel broke down:\n{console}")]
    BrokeDown { console: String },
}

/// Runs `parts` (name, shell commands) one after the other in a kernel of their own, up to the first that fails. Each
/// has `netlab` in its PATH and the workspace for its current folder, and a shell of its own under `set -eu`.
///
/// None, with the reason printed, where there can be no such kernel. nextest runs one at a time (.config/nextest.toml): each fills a processor.
pub fn run(test: &str, parts: &[(&str, &str)], within: Duration) -> Option<Result<Printed, RunError>> {
    let lacks = if !rustix::process::geteuid().is_root() {
        "root"
    } else if !Path::new(KERNEL).exists() {
        "the package user-mode-linux"
    } else {
        return Some(Job::new(parts).run(within));
    };
    skip(test, &format!("needs {lacks}"));
    None
}

/// As [`run`], for commands that must all succeed.
#[track_caller]
pub fn good(test: &str, parts: &[(&str, &str)], within: Duration) -> Option<Printed> {
    run(test, parts, within).map(|result| result.unwrap_or_else(|error| panic!("{error}")))
}

/// Commands passed into a kernel.
struct Job {
    folder: tempfile::TempDir,
    /// What no command prints by accident.
    word: String,
    parts: Vec<String>,
}

impl Job {
    fn new(parts: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("netlab-uml").tempdir().unwrap();
        // The folder's own name is new each time, and in the kernel's arguments.
        let word = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (cache, kept) = (target.join("cache"), target.join("uml-capabilities"));
        fs::create_dir_all(&kept).unwrap();
        make_image(&cache);
        let programs = Path::new(env!("CARGO_BIN_EXE_netlab")).parent().unwrap();
        let lines: String = [
            ("NETLAB_CACHE_DIR", cache.to_str().unwrap()),
            ("NETLAB_STATE_DIR", "/var/lib/netlab"),
            ("KEPT", kept.to_str().unwrap()),
            ("WORKSPACE", env!("CARGO_MANIFEST_DIR")),
            ("WORD", &word),
            ("NO_COLOR", "1"),
            ("PATH", &format!("{}:{PATH}", programs.display())),
        ]
        .map(|(key, value)| format!("export {key}={}\n", quoted(value)))
        .concat();
        let script: String = parts.iter().map(|(name, commands)| framed(name, commands)).collect();
        for (name, text, mode) in [
            ("init", include_str!("init.sh"), 0o755),
            ("environment", &lines, 0o644),
            ("script", &script, 0o644),
        ] {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        Self {
            folder,
            word,
            parts: parts.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }
    }

    fn run(&self, within: Duration) -> Result<Printed, RunError> {
        let began = Instant::now();
        let mut kernel = Running(self.boot());
        let (sender, receiver) = mpsc::channel();
        let mut stdout = kernel.0.stdout.take().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut said = Vec::new();
        loop {
            match receiver.recv_timeout(within.saturating_sub(began.elapsed())) {
                Ok(bytes) => said.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => return self.read(text(&said)),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(RunError::Late {
                        within,
                        console: text(&said),
                    });
                }
            }
        }
    }

    /// Starts the kernel. It, the processes by which it runs its own, and all else go with the child, and that goes
    /// with the thread that started it.
    fn boot(&self) -> Child {
        let init = self.folder.path().join("init");
        let ptrace = compiled("ptrace", &["-shared", "-fPIC"]);
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--pid", "--fork", "--kill-child=KILL"])
            .args(["sh", "-c", UNDER_A_SHELL, "sh"])
            // By env(1), so that only the kernel loads it.
            .arg("env")
            .arg(format!("LD_PRELOAD={}", ptrace.display()))
            .arg(KERNEL)
            .arg(format!("mem={MEMORY_MIB}M"))
            .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"])
            .args(["con=null", "con0=null,fd:1"])
            .arg(format!("init={}", init.display()))
            // Its pid file and control socket, else in the user's home.
            .arg(format!("uml_dir={}", self.folder.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let shared = rustix::fs::statvfs(SHARED_MEMORY);
        if !shared.is_ok_and(|shared| shared.f_bavail * shared.f_frsize > MEMORY_MIB << 20) {
            command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
        }
        command.spawn().unwrap()
    }

    /// Takes apart what was said.
    fn read(&self, console: String) -> Result<Printed, RunError> {
        let between = |begin: &str, end: &str| {
            let (_, rest) = console.split_once(&format!("{} begin {begin}\n", self.word))?;
            let (text, rest) = rest.split_once(&format!("{} end {end}", self.word))?;
            let status: i32 = rest.lines().next()?.trim().parse().ok()?;
            Some((text.to_owned(), status))
        };
        let mut printed = BTreeMap::new();
        for part in &self.parts {
            match between(part, &format!("{part} ")) {
                None => return Err(RunError::BrokeDown { console }),
                Some((text, 0)) => printed.insert(part.clone(), text),
                Some((_, status)) => {
                    return Err(RunError::Failed {
                        part: part.clone(),
                        status,
                        console,
                    });
                }
            };
        }
        Ok(Printed(printed))
    }
}

/// The kernel's processes, ended when this value goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The shell lines that run a part, say where its output begins and how it ended, and stop where it failed.
fn framed(name: &str, commands: &str) -> String {
    format!(
        "echo \"$WORD begin {name}\"\n(\nset -eu\n{commands}\n) </dev/null 2>&1\nstatus=$?\n\
         echo \"$WORD end {name} $status\"\n[ $status = 0 ] || exit 1\n"
    )
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a terminal was sent, as text.
fn text(said: &[u8]) -> String {
    String::from_utf8_lossy(said).replace("\r\n", "\n")
}

/// The guests' image, made outside: inside there is no network to fetch it by.
fn make_image(cache: &Path) {
    let built = Command::new(env!("CARGO_BIN_EXE_netlab"))
        .args(["-q", "image", "build", "mini"])
        .env("NETLAB_CACHE_DIR", cache)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "netlab image build mini: {said}");
}

pub const SOON: Duration = Duration::from_secs(120);

#[test]
fn the_output_of_each_part_is_separate_and_nothing_of_the_machine_is_written() {
    let mark = Path::new("/etc/netlab-uml-was-here");
    let parts = [
        ("one", "echo 'a  b'; echo >&2 c; touch /etc/netlab-uml-was-here"),
        (
            "two",
            "test -e /etc/netlab-uml-was-here; ls -d /sys/module/8021q; uname -r",
        ),
    ];
    let Some(printed) = good("the_output_of_each_part_is_separate", &parts, SOON) else {
        return;
    };
    assert_eq!(printed.by("one"), "a  b\nc\n");
    let (module, release) = printed.by("two").split_once('\n').unwrap();
    assert_eq!(module, "/sys/module/8021q");
    assert!(!mark.exists());
    assert!(Path::new("/usr/lib/uml/modules").join(release.trim()).is_dir());
}

#[test]
fn a_part_that_fails_is_named_with_its_status_and_the_next_is_not_run() {
    let parts = [
        ("one", "true"),
        ("two", "echo said; (exit 7); echo more"),
        ("three", "true"),
    ];
    let error = match run("a_part_that_fails_is_named_with_its_status", &parts, SOON) {
        None => return,
        Some(result) => result.unwrap_err(),
    };
    let RunError::Failed { part, status, console } = error else {
        panic!("{error}");
    };
    assert_eq!((part.as_str(), status), ("two", 7));
    assert!(console.contains("said") && !console.contains("more") && !console.contains("begin three"));
}

#[test]
fn a_kernel_that_does_not_end_is_ended_with_all_its_processes() {
    let parts = [("hang", "echo \"word $WORD\"; sleep 1000000")];
    let within = Duration::from_secs(15);
    let error = match run("a_kernel_that_does_not_end_is_ended", &parts, within) {
        None => return,
        Some(result) => result.unwrap_err(),
    };
    let RunError::Late { console, .. } = error else {
        panic!("{error}");
    };
    let (_, word) = console.split_once("word ").expect("it ran");
    let word = word.lines().next().unwrap().as_bytes();
    let alive = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        arguments
            .filter(|arguments| arguments.windows(word.len()).any(|part| part == word))
            .count()
    };
    // The machine's own init may take its time to reap them; a dead process has no arguments.
    let deadline = Instant::now() + Duration::from_secs(30);
    while alive() > 0 {
        assert!(Instant::now() < deadline, "still there");
        thread::sleep(Duration::from_millis(50));
    }
}
