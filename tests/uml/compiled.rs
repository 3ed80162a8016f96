//! The C programs and libraries of these tests.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `tests/uml/{name}.c` by cc(1) with `options` and returns the path of the result.
///
/// The name of the result has a hash of the source and the options, so each version is compiled only once.
pub fn compiled(name: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/uml/{name}.c"));
    let mut hasher = DefaultHasher::new();
    (fs::read(&source).unwrap(), options).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}-{:016x}", hasher.finish()));
    if file.exists() {
        return file;
    }
    // Renamed only when it is complete, because another test may use the file at any time.
    let fresh = tempfile::NamedTempFile::new_in(folder).unwrap().into_temp_path();
    let mut cc = Command::new("cc");
    cc.arg("-O2").args(options).arg("-o").arg(&fresh).arg(&source);
    let output = cc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The temporary file was made with mode 0600, which cc keeps.
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fresh.persist(&file).unwrap();
    file
}
