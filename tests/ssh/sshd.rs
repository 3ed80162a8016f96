//! An sshd of the test's own, with keys, known_hosts and ssh_config of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use netlab::transport::ssh::{Session, Settings, SshError, SshShell};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

pub use crate::support::{skip, wait_until};

/// Keys and files of one test.
pub struct Keyring {
    pub temp: TempDir,
}

impl Keyring {
    /// None, with the reason printed, where there is no sshd.
    pub fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/usr/sbin/sshd").is_file() {
            skip(test, "needs root and sshd");
            return None;
        }
        let temp = tempfile::Builder::new().prefix("nlssh").tempdir().unwrap();
        let keyring = Self { temp };
        for key in ["user", "host", "other"] {
            keyring.make_key(key, &[]);
        }
        fs::copy(keyring.path("user.pub"), keyring.path("authorized")).unwrap();
        keyring.configure("");
        Some(keyring)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub fn make_key(&self, name: &str, words: &[&str]) {
        let words = if words.is_empty() {
            &["-t", "ed25519", "-N", ""]
        } else {
            words
        };
        let made = Command::new("ssh-keygen")
            .args(words)
            .arg("-q")
            .arg("-f")
            .arg(self.path(name))
            .status();
        assert!(made.unwrap().success());
    }

    pub fn public(&self, key: &str) -> String {
        let text = fs::read_to_string(self.path(key).with_extension("pub")).unwrap();
        text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    }

    /// Writes ssh_config: `more`, then the test's own files for all hosts.
    pub fn configure(&self, more: &str) {
        let text = format!(
            "{more}\nHost *\n  IdentityFile {}\n  IdentitiesOnly yes\n  IdentityAgent none\n  UserKnownHostsFile {}\n  \
             GlobalKnownHostsFile none\n",
            self.path("user").display(),
            self.path("known").display()
        );
        fs::write(self.path("config"), text).unwrap();
    }

    /// Adds a line to known_hosts.
    pub fn know(&self, line: &str) {
        let known = self.path("known");
        let text = fs::read_to_string(&known).unwrap_or_default();
        fs::write(known, format!("{text}{line}\n")).unwrap();
    }

    pub fn settings(&self, target: &str) -> Settings {
        Settings::read_from(&target.parse().unwrap(), Some(self.path("config"))).unwrap()
    }
}

/// A running sshd on 127.0.0.1.
pub struct Sshd {
    pub keyring: Keyring,
    pub port: u16,
    process: Child,
}

impl Sshd {
    pub fn new(test: &str) -> Option<Self> {
        Self::with(test, "")
    }

    /// `more`: lines for sshd_config that win.
    pub fn with(test: &str, more: &str) -> Option<Self> {
        let keyring = Keyring::new(test)?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = keyring.path("sshd_config");
        fs::write(
            &config,
            sshd_config(&keyring, &format!("{more}\nListenAddress 127.0.0.1:{port}\n")),
        )
        .unwrap();
        let process = Self::start(&keyring, port);
        let sshd = Self { keyring, port, process };
        sshd.keyring
            .know(&format!("[127.0.0.1]:{port} {}", sshd.keyring.public("host")));
        Some(sshd)
    }

    fn start(keyring: &Keyring, port: u16) -> Child {
        fs::create_dir_all("/run/sshd").unwrap();
        let log = fs::File::create(keyring.path("sshd.log")).unwrap();
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(keyring.path("sshd_config"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("sshd listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        process
    }

    /// Ended and started again, with more host keys.
    pub fn again_with(mut self, keys: &[&str]) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let config = self.keyring.path("sshd_config");
        let mut lines = vec![fs::read_to_string(&config).unwrap()];
        lines.extend(
            keys.iter()
                .map(|key| format!("HostKey {}\n", self.keyring.path(key).display())),
        );
        fs::write(config, lines.concat()).unwrap();
        self.process = Self::start(&self.keyring, self.port);
        self
    }

    pub fn settings(&self) -> Settings {
        self.keyring.settings(&self.target())
    }

    pub fn target(&self) -> String {
        format!("ssh://root@127.0.0.1:{}", self.port)
    }

    pub fn shell(&self) -> Result<SshShell, SshError> {
        SshShell::open(self.settings(), None)
    }

    pub fn session(&self) -> Result<Session, SshError> {
        Session::open(&self.settings())
    }

    /// Processes of sshd that serve a connection.
    pub fn servers(&self) -> Vec<Pid> {
        children(self.process.id())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.keyring.path("sshd.log")).unwrap()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for server in self.servers() {
            let _ = rustix::process::kill_process(server, Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What every sshd here has in its configuration.
pub fn sshd_config(keyring: &Keyring, more: &str) -> String {
    format!(
        "{more}\nHostKey {}\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nLogLevel VERBOSE\n",
        keyring.path("host").display(),
        keyring.path("authorized").display()
    )
}

/// An ssh-agent with one of the keyring's keys.
pub struct Agent {
    process: Child,
    pub socket: PathBuf,
}

impl Agent {
    pub fn with(keyring: &Keyring, key: &str) -> Self {
        let socket = keyring.path("agent");
        let mut command = Command::new("ssh-agent");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the agent listens", || socket.exists());
        let add = Command::new("ssh-add")
            .arg("-q")
            .arg(keyring.path(key))
            .env("SSH_AUTH_SOCK", &socket)
            .status();
        assert!(add.unwrap().success());
        Self { process, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<Pid> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(process.path().join("status")).ok()?;
        status
            .contains(&format!("PPid:\t{parent}\n"))
            .then(|| Pid::from_raw(pid))
            .flatten()
    })
    .collect()
}
