//! The private folders of an emulated host, and the configuration of its daemons.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use crate::lab::HostName;

/// qemu.conf: QEMU runs as root, without ownership changes, confinement or limits. libvirt then finds the same QEMU in
/// every probe, and changes no file but those it was given.
const QEMU: &str = r#"user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
vnc_listen = "127.0.0.1"
"#;

/// libvirtd.conf or virtqemud.conf. `max_client_requests`: netlab uses one connection per host and starts guests on it
/// in parallel; with libvirt's default, 5, a sixth call would wait for the first to end.
const DAEMON: &str = r#"unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
max_client_requests = 64
"#;

/// The account that Debian's libvirt resolves when it starts, even if configured to use another. Its package is not needed
/// for anything else here, and would start a daemon of the machine's own.
const ACCOUNT: &str = "libvirt-qemu";
/// Its user and group number, those of Debian.
const ACCOUNT_ID: u32 = 64055;

/// Creates the private folder `machine` of emulated host `host` and everything in it. It must not exist.
pub(super) fn create(machine: &Path, host: &HostName) -> io::Result<()> {
    if let Some(parent) = machine.parent() {
        crate::folders::Folders::make(parent)?;
    }
    DirBuilder::new().mode(0o700).create(machine)?;
    for inner in [
        "run",
        "run/lock",
        "var",
        "var/cache",
        "var/lib",
        "var/lib/misc",
        "var/log",
        "var/log/libvirt",
        "var/log/libvirt/qemu", // where guests' consoles are logged
        "etc",
    ] {
        folder(&machine.join(inner), 0o755)?;
    }
    folder(&machine.join("var/tmp"), 0o1777)?;
    symlink("/run", machine.join("var/run"))?;
    symlink("/run/lock", machine.join("var/lock"))?;

    file(&machine.join("etc/qemu.conf"), QEMU)?;
    file(&machine.join("etc/libvirtd.conf"), DAEMON)?;
    file(&machine.join("etc/virtqemud.conf"), DAEMON)?;
    let account = |rest: &str| format!("{ACCOUNT}:x:{ACCOUNT_ID}:{rest}");
    let user = account(&format!("{ACCOUNT_ID}::/:/usr/sbin/nologin"));
    with_line(Path::new("/etc/passwd"), machine, &format!("{ACCOUNT}:"), &user)?;
    with_line(Path::new("/etc/group"), machine, &format!("{ACCOUNT}:"), &account(""))?;
    // libvirt resolves its own host's name now and then, and would wait for a name server that cannot be reached.
    let name = format!("127.0.1.1 {host}");
    with_line(Path::new("/etc/hosts"), machine, &format!("{name} "), &name)?;
    if kvm_is_unusable() {
        file(&machine.join("kvm"), "")?;
    }
    Ok(())
}

/// What is mounted over a path of this machine, if [`create`] made it: file or folder, path.
pub(super) const MOUNTS: [(&str, &str); 7] = [
    ("run", "/run"),
    ("var", "/var"),
    ("etc", "/etc/libvirt"),
    ("passwd", "/etc/passwd"),
    ("group", "/etc/group"),
    ("hosts", "/etc/hosts"),
    ("kvm", "/dev/kvm"),
];

/// Copies one of this machine's files with `line` added, unless it has a line that starts with `lead`.
fn with_line(original: &Path, machine: &Path, lead: &str, line: &str) -> io::Result<()> {
    let text = match fs::read_to_string(original) {
        // A file that does not exist cannot be mounted over either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    match original.file_name() {
        Some(name) if !text.lines().any(|line| line.starts_with(lead)) => {
            file(&machine.join(name), &format!("{}\n{line}\n", text.trim_end()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns whether there is a /dev/kvm although the CPU has no hardware virtualization: QEMU would hang or fail on it.
///
/// An empty read-only file is mounted over it: libvirt and QEMU then agree that there is no KVM, and what libvirt cached
/// about QEMU stays valid (it checks with access(2)).
fn kvm_is_unusable() -> bool {
    let x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    x86 && Path::new("/dev/kvm").exists() && {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = cpus.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm")
    }
}

/// Creates a folder with exactly this mode, whatever the umask.
fn folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Writes a file that everyone may read.
fn file(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}
