//! A kernel and an initial RAM file system for these tests: the distribution's cloud kernel, busybox and an `init` of
//! a few lines. Built once and kept under target/tmp.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Needed for virtio NICs, in the order of their dependencies.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];

const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
rm /bin/su
export PATH=/bin:/usr/bin HOME=/
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in MODULES; do insmod /modules/$m.ko; done
read -r arguments < /proc/cmdline
case $arguments in
  *account=*) account=${arguments#*account=}; mount -t tmpfs none /run; chmod 666 /dev/ttyS0
    while :; do setsid cttyhack busybox su ${account%% *}; done;;
esac
while :; do setsid cttyhack sh; done
";

/// An ordinary account that may use sudo, which in this guest asks nobody, and one that may not. The password of root is
/// [`ROOT_PASSWORD`].
const ACCOUNTS: [(&str, u32, &str); 7] = [
    (
        "etc/passwd",
        0o100_644,
        "root:x:0:0::/root:/bin/sh\nnetlab:x:1000:1000::/:/bin/sh\nplain:x:1001:1001::/:/usr/bin/dash\n",
    ),
    ("etc/group", 0o100_644, "root:x:0:\nnetlab:x:1000:\nplain:x:1001:\n"),
    (
        "etc/shadow",
        0o100_600,
        "root:$6$netlab$IMYEJr0GbuIT5R/yjaQXx1mRjWfcw1KeFt23aSADZ76PtucZ/GnvnrOnEAwXvfFAs1QIXa1B2R7OgKqAYKO7R/:19000::::::\n",
    ),
    (
        "etc/pam.d/su",
        0o100_644,
        "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    ),
    (
        "etc/sudoers",
        0o100_440,
        "Defaults !fqdn, secure_path=/bin\nnetlab ALL=(ALL) NOPASSWD: ALL\n",
    ),
    ("etc/nsswitch.conf", 0o100_644, "passwd: files\ngroup: files\n"),
    (
        "etc/pam.d/sudo",
        0o100_644,
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    ),
];
/// The password of root.
pub const ROOT_PASSWORD: &str = "it's secret";
/// The programs and modules of sudo and su; their libraries are added.
const PROGRAMS: [(&str, u32); 6] = [
    // busybox's own shell prefers its own su.
    ("/usr/bin/dash", 0o100_755),
    ("/usr/bin/su", 0o104_755),
    ("/lib/x86_64-linux-gnu/security/pam_unix.so", 0o100_644),
    ("/usr/bin/sudo", 0o104_755),
    ("/usr/libexec/sudo/sudoers.so", 0o100_644),
    ("/lib/x86_64-linux-gnu/security/pam_permit.so", 0o100_644),
];

/// The files that QEMU boots.
pub struct Boot {
    pub kernel: PathBuf,
    pub initrd: Vec<u8>,
}

/// Returns the kernel and the file system, or why they are not available.
pub fn ensure() -> Result<Boot, String> {
    let busybox = std::fs::read("/bin/busybox").map_err(|error| format!("/bin/busybox: {error}"))?;
    let unpacked = unpacked_kernel()?;
    let modules = find(&unpacked.join("lib/modules"))?;
    let mut archive = Cpio::default();
    for folder in ["bin", "dev", "etc", "modules", "proc", "run", "sys"] {
        archive.add(folder, 0o040_755, b"");
    }
    for (name, mode, content) in ACCOUNTS {
        archive.add_with_folders(name, mode, content.as_bytes());
    }
    for (path, mode) in programs()? {
        let content = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        archive.add_with_folders(path.trim_start_matches('/'), mode, &content);
    }
    archive.add("bin/busybox", 0o100_755, &busybox);
    archive.add(
        "init",
        0o100_755,
        INIT.replace("MODULES", &MODULES.join(" ")).as_bytes(),
    );
    for module in MODULES {
        let name = format!("{module}.ko");
        let path = modules
            .iter()
            .find(|path| path.ends_with(&name))
            .ok_or_else(|| format!("no {name}"))?;
        archive.add(
            &format!("modules/{name}"),
            0o100_644,
            &std::fs::read(path).map_err(|error| error.to_string())?,
        );
    }
    let kernels = find(&unpacked.join("boot"))?;
    let is_kernel = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    let kernel = kernels
        .iter()
        .find(is_kernel)
        .ok_or("no kernel in the package")?
        .clone();
    Ok(Boot {
        kernel,
        initrd: archive.finish(),
    })
}

/// Returns those files, with the libraries that ldd(1) names.
fn programs() -> Result<BTreeMap<String, u32>, String> {
    let mut files: BTreeMap<String, u32> = BTreeMap::new();
    for (path, mode) in PROGRAMS {
        let needed = output(Command::new("ldd").arg(path))?;
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader: `/lib64/ld-linux-x86-64.so.2 (0x…)`
        let paths = needed.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(paths.map(|path| (path.to_owned(), 0o100_755)));
        files.insert(path.to_owned(), mode);
    }
    Ok(files)
}

/// The cloud kernel's package, unpacked once for all tests.
fn unpacked_kernel() -> Result<PathBuf, String> {
    static UNPACKED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    UNPACKED.get_or_init(unpack_kernel).clone()
}

fn unpack_kernel() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud-kernel");
    if folder.is_dir() {
        return Ok(folder);
    }
    let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends
        .split_whitespace()
        .find(|name| name.starts_with("linux-image-6"));
    let package = package.ok_or("apt does not know linux-image-cloud-amd64")?;
    let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    output(Command::new("apt-get").args(["download", package]).current_dir(&fresh))?;
    let files = find(fresh.path())?;
    let file = files
        .iter()
        .find(|path| path.extension().is_some_and(|end| end == "deb"));
    let file = file.ok_or("apt-get downloaded no package")?;
    output(Command::new("dpkg-deb").arg("-x").arg(file).arg(fresh.path()))?;
    // Of two concurrent runs the second finds the folder with the same content.
    match std::fs::rename(fresh.path(), &folder) {
        Err(error) if !folder.is_dir() => Err(error.to_string()),
        _ => Ok(folder),
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Returns every file below `folder`.
fn find(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_symlink() || path.is_file() {
            files.push(path);
        } else {
            files.extend(find(&path)?);
        }
    }
    Ok(files)
}

/// An archive in the kernel's format "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    files: u32,
    folders: BTreeSet<String>,
}

impl Cpio {
    /// Adds a file and the folders above it.
    fn add_with_folders(&mut self, name: &str, mode: u32, content: &[u8]) {
        for (at, _) in name.match_indices('/') {
            if self.folders.insert(name[..at].to_owned()) {
                self.add(&name[..at], 0o040_755, b"");
            }
        }
        self.add(name, mode, content);
    }

    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.files += 1;
        let size = u32::try_from(content.len()).unwrap();
        let name_size = u32::try_from(name.len() + 1).unwrap();
        self.bytes.extend(b"070701");
        for field in [self.files, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend(format!("{field:08X}").into_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }
}
