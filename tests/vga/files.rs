//! A guest of i686 from Debian's packages, built once for all tests that need one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The guest's files, built once.
pub fn guest_files() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vga-guest");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vga/build-guest");
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
    };
    BUILT.get_or_init(build).clone()
}
