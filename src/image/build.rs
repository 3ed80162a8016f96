//! The built-in guest, assembled from two packages of the distribution without root and without mounts. The same
//! package versions give the same bytes.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::cpio::Archive;
use super::{ImageError, at, catalog, modules};
use crate::folders::Folders;
use crate::lab::{Boot, ImageName};
use crate::run::event::{Event, Events};

/// The package that depends on the newest kernel. The cloud kernel has no e1000, but linux-image-amd64 takes twice as
/// long to its prompt under TCG (6.5 CPU seconds against 3.3).
const KERNEL: &str = "linux-image-cloud-amd64";
/// NIC drivers, each taken if the kernel has it.
const DRIVERS: [&str; 3] = ["virtio_pci", "virtio_net", "e1000"];
const INIT: &str = include_str!("init.sh");
const UDHCPC: &str = include_str!("udhcpc.sh");
/// The file that says an image is whole.
const BUILT: &str = "built.toml";

/// What an image was made of: `built.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Package versions by package.
    pub packages: BTreeMap<String, String>,
    /// Sizes in bytes by file.
    pub sizes: BTreeMap<String, u64>,
}

/// A line of `netlab image list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: ImageName,
    /// What it is.
    pub description: String,
    /// Where it is or will be.
    pub folder: PathBuf,
    /// What it was made of; absent: not in the cache.
    pub built: Option<Built>,
}

/// Every image of the catalog and whether it is in the cache.
pub fn list(folders: &Folders) -> Result<Vec<Listed>, ImageError> {
    Ok(catalog(folders)?
        .into_values()
        .map(|image| {
            let folder = folders.image(&image.name);
            Listed {
                built: built(&folder),
                name: image.name,
                description: image.description,
                folder,
            }
        })
        .collect())
}

/// Makes sure that the files of `image` are in the cache, building them if they are not. Of two runs at a time one
/// builds and the other waits.
pub fn ensure(image: &ImageName, folders: &Folders, events: &Events) -> Result<(), ImageError> {
    let catalog = catalog(folders)?;
    let known = || catalog.keys().map(ImageName::as_str).collect::<Vec<_>>().join(", ");
    let entry = catalog.get(image).ok_or_else(|| ImageError::Unknown {
        name: image.as_str().to_owned(),
        known: known(),
    })?;
    let folder = folders.image(image);
    if built(&folder).is_some() {
        return Ok(());
    }
    if !matches!(entry.boot, Boot::Kernel { .. }) {
        return Err(ImageError::Missing {
            package: image.as_str().to_owned(),
            what: "recipe".to_owned(),
        });
    }
    let images = folders.images();
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&images)
        .map_err(at(&images))?;
    let path = images.join(format!(".{}.lock", image.as_str()));
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o644);
    let lock = options.open(&path).map_err(at(&path))?;
    let busy = |text: &str| {
        events.send(Event::Busy {
            what: format!("image {}", image.as_str()),
            text: text.to_owned(),
        });
    };
    busy("waiting for another run that builds it");
    let result = flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| at(&path)(error.into()))
        .and_then(|()| {
            if built(&folder).is_some() {
                Ok(())
            } else {
                replace(&folder, image, &images, &busy)
            }
        });
    events.send(Event::Done {
        what: format!("image {}", image.as_str()),
    });
    result
}

/// What is built in `folder`, if it is all there.
fn built(folder: &Path) -> Option<Built> {
    let built: Built = toml::from_str(&std::fs::read_to_string(folder.join(BUILT)).ok()?).ok()?;
    let whole = |(file, size): (&String, &u64)| folder.join(file).metadata().is_ok_and(|data| data.len() == *size);
    built.sizes.iter().all(whole).then_some(built)
}

/// Builds beside `folder` and takes its place. Held under the lock, so what an ended run left there is garbage.
fn replace(folder: &Path, image: &ImageName, images: &Path, busy: &dyn Fn(&str)) -> Result<(), ImageError> {
    let temporary = Temporary(images.join(format!(".{}.new", image.as_str())));
    remove(&temporary.0)?;
    make(&temporary.0)?;
    let ready = temporary.0.join("image");
    make(&ready)?;
    assemble(&temporary.0, &ready, busy)?;
    remove(folder)?;
    std::fs::rename(&ready, folder).map_err(at(folder))
}

fn assemble(work: &Path, ready: &Path, busy: &dyn Fn(&str)) -> Result<(), ImageError> {
    let depends = output(Command::new("apt-cache").args(["depends", KERNEL]).env("LC_ALL", "C"))?;
    let depends = String::from_utf8_lossy(&depends).into_owned();
    let kernel = depends
        .split_whitespace()
        .find(|word| word.starts_with("linux-image-") && *word != KERNEL)
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
    busy("assembling the first root");
    let root = work.join(kernel);
    let release = kernel.trim_start_matches("linux-image-").trim_end_matches("-unsigned");
    let modules = [root.join("lib/modules"), root.join("usr/lib/modules")]
        .into_iter()
        .find(|folder| folder.is_dir())
        .ok_or_else(|| ImageError::Missing {
            package: kernel.to_owned(),
            what: "kernel modules".to_owned(),
        })?;
    let modules = modules::load_order(&modules, kernel, &DRIVERS)?;
    let busybox = work.join("busybox-static");
    let busybox = [busybox.join("bin/busybox"), busybox.join("usr/bin/busybox")]
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| ImageError::Missing {
            package: "busybox-static".to_owned(),
            what: "busybox".to_owned(),
        })?;
    let busybox = std::fs::read(&busybox).map_err(at(&busybox))?;
    let initrd = root_archive(modules, busybox)
        .bytes()
        .map_err(|error| at(ready)(std::io::Error::other(error)))?;
    let kernel = root.join("boot").join(format!("vmlinuz-{release}"));
    let kernel = std::fs::read(&kernel).map_err(at(&kernel))?;
    let mut sizes = BTreeMap::new();
    for (name, content) in [("initrd", initrd), ("kernel", kernel)] {
        sizes.insert(name.to_owned(), content.len() as u64);
        write(&ready.join(name), &content)?;
    }
    let text = toml::to_string(&Built { packages, sizes }).map_err(|error| at(ready)(std::io::Error::other(error)))?;
    write(&ready.join(BUILT), text.as_bytes())
}

fn root_archive(modules: Vec<modules::Module>, busybox: Vec<u8>) -> Archive {
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
    let order: String = modules.iter().flat_map(|(name, _)| [name.as_str(), "\n"]).collect();
    archive.file("modules/order", false, order);
    for (name, bytes) in modules {
        archive.file(&format!("modules/{name}.ko"), false, bytes);
    }
    archive
}

/// Downloads and unpacks a package into `work/<package>`; gives its version.
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

/// Runs a program to its end and gives what it printed.
pub(super) fn output(command: &mut Command) -> Result<Vec<u8>, ImageError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.stdin(std::process::Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ImageError::NoProgram { program }),
        Err(source) => return Err(at(Path::new(&program))(source)),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let arguments: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Err(ImageError::Program {
        command: format!("{program} {}", arguments.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// A folder that goes with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn remove(folder: &Path) -> Result<(), ImageError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

/// Makes a folder that QEMU's user may enter whatever the umask.
fn make(folder: &Path) -> Result<(), ImageError> {
    std::fs::create_dir(folder).map_err(at(folder))?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(at(folder))
}

fn write(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    std::fs::write(path, content).map_err(at(path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).map_err(at(path))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}
