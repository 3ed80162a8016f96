//! Free space of the cache, checked before a file is fetched and while it is written.

use std::path::Path;

use super::decompress::UnpackError;

/// Free bytes that are never used, or a twentieth of the file system if that is less.
const RESERVE: u64 = 64 << 20;

/// Returns the free bytes of the file system of `folder` besides the reserve; none where that is unknown.
fn available(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    let reserve = RESERVE.min(found.f_blocks.saturating_mul(found.f_frsize) / 20);
    Some(found.f_bavail.saturating_mul(found.f_frsize).saturating_sub(reserve))
}

/// Whether the file system of the file `path` has more free space than the reserve; true where that is unknown.
pub(super) fn has_space(path: &Path) -> bool {
    available(path.parent().unwrap_or(path)).is_none_or(|available| available > 0)
}

/// Returns an error where the file system of the file `path` has less than `needed` bytes of free space besides the
/// reserve.
pub(super) fn check(path: &Path, needed: u64) -> Result<(), UnpackError> {
    let folder = path.parent().unwrap_or(path);
    match available(folder) {
        Some(available) if available < needed => Err(UnpackError::TooLittle {
            folder: folder.to_owned(),
            needed,
            available,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        check(&file, 1).unwrap();
        let error = check(&file, u64::MAX).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(
            error.contains(&format!("{} MiB are needed", u64::MAX.div_ceil(1 << 20))),
            "{error}"
        );
        assert!(has_space(&file));
    }
}
