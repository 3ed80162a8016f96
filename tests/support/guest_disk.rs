//! A guest of i686 from Debian's packages, built once for all tests that need one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The guest's files; built where they are missing. The script holds a lock meanwhile.
pub fn guest_files() -> Result<PathBuf, String> {
    let folder = super::kept("vga-guest");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/build-guest");
    let built = Command::new(script)
        .arg(&folder)
        .output()
        .map_err(|error| error.to_string())?;
    if built.status.success() {
        return Ok(folder);
    }
    let said = String::from_utf8_lossy(&built.stderr);
    Err(format!(
        "the guest cannot be built: {}",
        said.lines().last().unwrap_or_default()
    ))
}
