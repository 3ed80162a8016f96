//! A private libvirt daemon for a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab::event::Events;
use netlab::folders::Folders;
use netlab::image;
use netlab::lab::{Boot, Firmware, Image, ImageConsole, LabName, Video};
use netlab::libvirt::Libvirt;
use netlab::libvirt::domain_xml::Template;
use netlab::state::{Accel, Domain, DomainName, DomainNic, Start};
use netlab::transport::{Cmd, NamespaceShell, Shell};
use tempfile::TempDir;

use crate::support::{installed, kept, skip};

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The first process of the daemon's namespaces. `$1` is the private folder. libvirtd is restarted when it dies, as a
/// service manager would. Ends with standard input.
const INIT: &str = r"
set -e
mount --bind $1/run /run
mkdir -p /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt
mount --bind $1/lib /var/lib/libvirt
mount --bind $1/log /var/log/libvirt
mount --bind $2 /var/cache/libvirt
mount --bind $1/etc /etc/libvirt
mount --bind $1/passwd /etc/passwd
mount --bind $1/group /etc/group
if [ -e /dev/kvm ]; then
  mount --bind $1/kvm /dev/kvm
  mount -o remount,bind,ro /dev/kvm
fi
mount -t sysfs sysfs /sys
ip link set lo up
virtlogd -d
(while [ ! -e $1/no-libvirtd ] || sleep 0.02; do [ -e $1/no-libvirtd ] || libvirtd || true; sleep 0.02; done) &
read -r _ || exit 0
";

/// qemu.conf, as an emulated host has it.
const AS_ROOT: &str = "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\n\
                       security_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n";
/// qemu.conf of a usual machine: QEMU runs as an unprivileged user. (No AppArmor, which the machine may not have.)
const AS_USER: &str = "security_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\n";

/// A daemon that ends when this value is dropped, or with the process of the test.
pub struct Daemon {
    pub lab: LabName,
    pub shell: Arc<dyn Shell>,
    pub pid: u32,
    init: Child,
    pub folder: TempDir,
}

impl Daemon {
    /// Starts a daemon that runs QEMU as root; none where it cannot run.
    pub fn new(test: &str) -> Option<Self> {
        // QEMU's capabilities are cached between tests and runs.
        let cache = kept("daemon-cache");
        Self::start(test, AS_ROOT, Some(&cache))
    }

    /// Starts a daemon as on a usual machine, which has never probed its QEMU.
    pub fn usual(test: &str) -> Option<Self> {
        Self::start(test, AS_USER, None)
    }

    fn start(test: &str, qemu: &str, cache: Option<&Path>) -> Option<Self> {
        let missing = ["libvirtd", "virtlogd", "qemu-img", "qemu-system-x86_64"];
        if let Some(program) = missing.iter().find(|program| !installed(program)) {
            skip(test, &format!("needs {program}"));
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip(test, "needs root");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("nld").tempdir_in("/var/tmp").unwrap();
        let within = |name: &str| folder.path().join(name);
        for name in ["run", "run/netns", "run/lock", "lib", "log", "cache", "etc"] {
            fs::create_dir(within(name)).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let account = "libvirt-qemu:x:64055:";
        for (file, more) in [("passwd", "64055::/:/usr/sbin/nologin\n"), ("group", "\n")] {
            let mut text = fs::read_to_string(Path::new("/etc").join(file)).unwrap();
            if !text.lines().any(|line| line.starts_with("libvirt-qemu:")) {
                text = format!("{}\n{account}{more}", text.trim_end());
            }
            fs::write(within(file), text).unwrap();
        }
        fs::write(within("kvm"), "").unwrap();
        fs::write(within("etc/qemu.conf"), qemu).unwrap();
        fs::write(
            within("etc/libvirtd.conf"),
            "auth_unix_rw = \"none\"\nmax_client_requests = 64\n",
        )
        .unwrap();
        let cache = cache.map_or_else(|| within("cache"), PathBuf::from);
        fs::create_dir_all(&cache).unwrap();
        let log = fs::File::create(within("init.log")).unwrap();
        let init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["bash", "-c", INIT, "init"])
            .args([folder.path(), &cache])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", init.id());
        let pid = until("the first process of the namespaces", || {
            fs::read_to_string(&children)
                .ok()?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        });
        let daemon = Self {
            lab: "demo".parse().unwrap(),
            shell: Arc::new(NamespaceShell::of_process(pid)),
            pid,
            init,
            folder,
        };
        daemon.wait_for_libvirtd();
        Some(daemon)
    }

    pub fn wait_for_libvirtd(&self) {
        let socket = self.socket();
        until("libvirtd", || {
            let log = fs::read_to_string(self.folder.path().join("init.log")).unwrap_or_default();
            assert!(self.is_alive(), "{log}");
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
    }

    fn is_alive(&self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/libvirt/libvirt-sock")
    }

    pub fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    pub fn libvirt(&self) -> Libvirt {
        Libvirt::open(
            "node1".parse().unwrap(),
            &self.uri(),
            self.shell.clone(),
            Template::built_in(),
        )
        .unwrap()
    }

    /// Runs a shell command inside, which must succeed, and returns what it printed.
    pub fn sh(&self, script: &str) -> String {
        let output = self.shell.check(&Cmd::new(["sh", "-c", script])).unwrap();
        String::from_utf8(output).unwrap()
    }

    /// Kills libvirtd with SIGKILL; it is then restarted.
    pub fn kill_libvirtd(&self) {
        self.sh("pid=$(cat /run/libvirtd.pid) && kill -9 $pid && while kill -0 $pid 2>/dev/null; do sleep 0.01; done");
    }

    pub fn name(&self, vm: &str) -> DomainName {
        DomainName::new(&self.lab, &vm.parse().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.init.kill());
        drop(self.init.wait());
        // The kernel is done with the namespaces, and with what is mounted in them, a moment later.
        let _ = until_or("the end of the namespaces", Duration::from_secs(10), || {
            (!self.is_alive()).then_some(())
        });
    }
}

/// Waits until `poll` returns something, and returns it.
pub fn until<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    until_or(what, PATIENCE, poll).unwrap_or_else(|| panic!("{what}: not within {PATIENCE:?}"))
}

fn until_or<T>(_: &str, patience: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = poll() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the built-in guest, built if it is not in the tests' cache.
pub fn mini() -> Image {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    let folders = Folders {
        state: cache.clone(),
        cache,
    };
    let name = "mini".parse().unwrap();
    image::ensure(&name, &folders, &Events::none()).unwrap();
    image::catalog(&folders).unwrap().remove(&name).unwrap()
}

pub fn console() -> ImageConsole {
    mini().console
}

/// Returns a small guest of the built-in image.
pub fn guest(name: &DomainName, boot: Option<Boot>, nics: &[&str]) -> Domain {
    let image = mini();
    let digit = name.vm().as_str().bytes().last().unwrap();
    let boot = boot.unwrap_or(image.boot);
    let nics = nics.iter().enumerate().map(|(at, bridge)| DomainNic {
        bridge: bridge.parse().unwrap(),
        tap: format!("nl{digit}-{at}").parse().unwrap(),
        mac: format!("52:54:00:00:{digit:02x}:{at:02x}").parse().unwrap(),
        model: "virtio".to_owned(),
        mtu: None,
        ovs: None,
    });
    Domain {
        uuid: format!("6f1d0f3e-8f8c-8a57-9a35-0d4b0a5f1c{digit:02x}"),
        accel: Accel::Qemu,
        arch: "x86_64".to_owned(),
        machine: "pc".to_owned(),
        disk_bus: match boot {
            Boot::Disk { .. } => "virtio".to_owned(),
            Boot::Kernel { .. } => String::new(),
        },
        memory_mib: 96,
        disk_mib: None,
        disks: Vec::new(),
        cdrom: None,
        cpus: 1,
        boot,
        seed: None,
        firmware: Firmware::default(),
        video: Video::default(),
        nics: nics.collect(),
        running: false,
        start: Start::Boot,
        configured: None,
        tasks: Vec::new(),
    }
}
