//! Kernel modules: which files a driver needs, in the order in which they must be loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ImageError, at, build};

/// A module's name and its bytes, not compressed.
pub type Module = (String, Vec<u8>);

/// `wanted` and all they depend on, dependencies first. A wanted module that the kernel has built in or lacks is
/// left out; a dependency that is not there is an error.
pub fn load_order(folder: &Path, package: &str, wanted: &[&str]) -> Result<Vec<Module>, ImageError> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let mut order = Vec::new();
    for name in wanted.iter().filter(|name| files.contains_key(**name)) {
        visit(name, &files, package, &mut Vec::new(), &mut order)?;
    }
    Ok(order)
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

/// What a module says it depends on: its `.modinfo` section holds `depends=a,b` between zero bytes.
pub fn depends(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(plain)
        .collect()
}

/// Files say `virtio-rng`, the kernel says `virtio_rng`.
fn plain(name: &str) -> String {
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
            files.insert(plain(stem), path);
        }
    }
    Ok(())
}
