//! Resolves kernel modules: the files that a driver needs, in the order in which they must be loaded, and its devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ImageError, at, build};

/// A module's name and its bytes, not compressed.
pub type Module = (String, Vec<u8>);

/// The drivers of the initial root.
#[derive(Debug, Default)]
pub struct Drivers {
    /// A line per device that a driver supports: a shell pattern of the device's modalias and the driver.
    pub aliases: String,
    /// Per driver the modules to load for it, one per line, in that order.
    pub orders: BTreeMap<String, String>,
    /// All modules.
    pub modules: BTreeMap<String, Vec<u8>>,
}

/// Returns the drivers `wanted` and their dependencies from the kernel modules in `folder`. A driver that the kernel has
/// built in or lacks is left out; a missing dependency is an error.
pub fn drivers(folder: &Path, package: &str, wanted: &[&str]) -> Result<Drivers, ImageError> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let mut drivers = Drivers::default();
    for driver in wanted.iter().filter(|name| files.contains_key(**name)) {
        let mut order = Vec::new();
        visit(driver, &files, package, &mut Vec::new(), &mut order)?;
        for (name, bytes) in order {
            let modules = drivers.orders.entry((*driver).to_owned()).or_default();
            modules.push_str(&name);
            modules.push('\n');
            if name == *driver {
                for alias in aliases(&bytes) {
                    let _ = writeln!(drivers.aliases, "{alias} {driver}");
                }
            }
            drivers.modules.insert(name, bytes);
        }
    }
    Ok(drivers)
}

/// Returns the PCI and virtio devices that a module supports, from its `.modinfo` section.
fn aliases(module: &[u8]) -> BTreeSet<String> {
    let texts = module.split(|byte| *byte == 0);
    texts
        .filter_map(|text| text.strip_prefix(b"alias="))
        .filter(|alias| alias.starts_with(b"pci:") || alias.starts_with(b"virtio:"))
        .map(|alias| String::from_utf8_lossy(alias).into_owned())
        .collect()
}

fn visit(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    package: &str,
    path: &mut Vec<String>,
    order: &mut Vec<Module>,
) -> Result<(), ImageError> {
    if path.iter().any(|above| above == name) || order.iter().any(|(done, _)| done == name) {
        return Ok(());
    }
    let file = files.get(name).ok_or_else(|| ImageError::Missing {
        package: package.to_owned(),
        what: format!("kernel module {name}"),
    })?;
    let bytes = read(file)?;
    path.push(name.to_owned());
    for dependency in depends(&bytes) {
        visit(&dependency, files, package, path, order)?;
    }
    path.pop();
    order.push((name.to_owned(), bytes));
    Ok(())
}

/// Returns the dependencies of a module: its `.modinfo` section has `depends=a,b` between zero bytes.
pub fn depends(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(kernel_name)
        .collect()
}

/// Returns a module's name in the kernel: `virtio_rng` for a file `virtio-rng`.
fn kernel_name(name: &str) -> String {
    name.replace('-', "_")
}

fn read(file: &Path) -> Result<Vec<u8>, ImageError> {
    let program = match file.extension().and_then(std::ffi::OsStr::to_str) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(file).map_err(at(file)),
    };
    build::output(Command::new(program).arg("-dc").arg(file))
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        if entry.file_type().map_err(at(&path))?.is_dir() {
            collect(&path, files)?;
        } else if let Some((stem, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            files.insert(kernel_name(stem), path);
        }
    }
    Ok(())
}
