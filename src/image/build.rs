//! Builds the built-in guest from two packages of the distribution, without root and without mounts. The same package
//! versions give the same bytes.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::cache::Built;
use super::cpio::Archive;
use super::{ImageError, at, kernel, modules};

/// The version of the recipe, raised when it builds something else from the same packages.
pub(super) const RECIPE: u32 = 3;
/// The package that depends on the newest kernel. Its kernel has drivers for every NIC, unlike the cloud kernel; under
/// TCG both boot equally fast once netlab has unpacked the kernel (see [`kernel`]).
const KERNEL: &str = "linux-image-amd64";
/// Drivers of the NICs that QEMU emulates and of virtio disks, each used if the kernel has it.
const DRIVERS: [&str; 9] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "e1000",
    "e1000e",
    "8139cp",
    "ne2k_pci",
    "pcnet32",
    "vmxnet3",
];
const INIT: &str = include_str!("init.sh");
const UDHCPC: &str = include_str!("udhcpc.sh");

/// Creates `kernel` and `initrd` in `ready`; `work` is a folder for intermediate files.
pub(super) fn assemble(work: &Path, ready: &Path, busy: &dyn Fn(&str)) -> Result<Built, ImageError> {
    let depends = output(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let depends = String::from_utf8_lossy(&depends).into_owned();
    let kernel = depends
        .split_whitespace()
        .find(|package| package.starts_with("linux-image-") && *package != KERNEL)
        .ok_or_else(|| ImageError::Missing {
            package: KERNEL.to_owned(),
            what: "kernel among its dependencies".to_owned(),
        })?;
    let mut packages = BTreeMap::new();
    for package in [kernel, "busybox-static"] {
        busy(&format!("downloading {package}"));
        let version = unpack(work, package)?;
        packages.insert(package.to_owned(), version);
    }
    busy("assembling the initial root file system");
    let root = work.join(kernel);
    let release = kernel.trim_start_matches("linux-image-").trim_end_matches("-unsigned");
    let modules = [root.join("lib/modules"), root.join("usr/lib/modules")]
        .into_iter()
        .find(|folder| folder.is_dir())
        .ok_or_else(|| ImageError::Missing {
            package: kernel.to_owned(),
            what: "kernel modules".to_owned(),
        })?;
    let drivers = modules::drivers(&modules, kernel, &DRIVERS)?;
    let busybox = work.join("busybox-static");
    let busybox = [busybox.join("bin/busybox"), busybox.join("usr/bin/busybox")]
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| ImageError::Missing {
            package: "busybox-static".to_owned(),
            what: "busybox".to_owned(),
        })?;
    let busybox = std::fs::read(&busybox).map_err(at(&busybox))?;
    let initrd = root_archive(drivers, busybox)
        .bytes()
        .map_err(|error| at(ready)(std::io::Error::other(error)))?;
    let kernel = root.join("boot").join(format!("vmlinuz-{release}"));
    let kernel = std::fs::read(&kernel).map_err(at(&kernel))?;
    let kernel = kernel::unpacked(&kernel).unwrap_or(kernel);
    let mut sizes = BTreeMap::new();
    for (name, content) in [("initrd", initrd), ("kernel", kernel)] {
        sizes.insert(name.to_owned(), content.len() as u64);
        write(&ready.join(name), &content)?;
    }
    Ok(Built {
        recipe: RECIPE,
        packages,
        sizes,
        ..Built::default()
    })
}

fn root_archive(drivers: modules::Drivers, busybox: Vec<u8>) -> Archive {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tmp"] {
        archive.folder(folder);
    }
    for folder in ["usr", "usr/share", "usr/share/udhcpc"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.file("bin/busybox", true, busybox);
    archive.file("init", true, INIT);
    archive.file("usr/share/udhcpc/default.script", true, UDHCPC);
    archive.file("etc/udhcpc/default.script", true, UDHCPC);
    archive.folder("etc/udhcpc");
    archive.file("etc/passwd", false, "root::0:0:root:/root:/bin/sh\n");
    archive.file("modules/aliases", false, drivers.aliases);
    for (driver, order) in drivers.orders {
        archive.file(&format!("modules/{driver}.order"), false, order);
    }
    for (name, bytes) in drivers.modules {
        archive.file(&format!("modules/{name}.ko"), false, bytes);
    }
    archive
}

/// Downloads and unpacks a package into `work/<package>`; returns its version.
fn unpack(work: &Path, package: &str) -> Result<String, ImageError> {
    let downloads = work.join(format!("{package}.deb"));
    make(&downloads)?;
    output(
        Command::new("apt-get")
            .args(["-q", "download", package])
            .current_dir(&downloads),
    )?;
    let deb = std::fs::read_dir(&downloads)
        .map_err(at(&downloads))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .ok_or_else(|| ImageError::Missing {
            package: package.to_owned(),
            what: "file to download".to_owned(),
        })?;
    let version = output(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Version"))?;
    let root = work.join(package);
    output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&root))?;
    Ok(String::from_utf8_lossy(&version).trim().to_owned())
}

/// Runs a program to its end and returns its standard output.
pub(super) fn output(command: &mut Command) -> Result<Vec<u8>, ImageError> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Its messages are read, so they must be in one language.
    let output = match command.env("LC_ALL", "C").stdin(std::process::Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ImageError::NoProgram { program }),
        Err(source) => return Err(at(Path::new(&program))(source)),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    Err(ImageError::Program {
        command: format!("{program} {}", arguments.join(" ")),
        output: shortened(&String::from_utf8_lossy(&output.stderr)),
    })
}

/// The first and the last lines of a long output: what went wrong first, and what came of it.
fn shortened(output: &str) -> String {
    const KEPT: usize = 5;
    let lines: Vec<&str> = output.trim().lines().collect();
    if lines.len() <= 2 * KEPT {
        return lines.join("\n");
    }
    let left_out = format!("… ({} lines)", lines.len() - 2 * KEPT);
    let parts = [&lines[..KEPT], &[left_out.as_str()], &lines[lines.len() - KEPT..]];
    parts.concat().join("\n")
}

/// Creates a folder that QEMU's user may enter, regardless of the umask.
pub(super) fn make(folder: &Path) -> Result<(), ImageError> {
    std::fs::create_dir(folder).map_err(at(folder))?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(at(folder))
}

/// Writes a file that QEMU's user may read; it is on disk when this returns.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    std::fs::write(path, content).map_err(at(path))?;
    publish(path)
}

/// Makes a file readable for QEMU's user; it is on disk when this returns.
pub(super) fn publish(path: &Path) -> Result<(), ImageError> {
    finish(path, 0o644)
}

/// Gives a file this mode; it is on disk when this returns.
pub(super) fn finish(path: &Path, mode: u32) -> Result<(), ImageError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at(path))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}
