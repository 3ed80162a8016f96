//! Which images are private: what others on this machine cannot read where it comes from, they must not be able to read
//! in the cache either.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::lab::{Location, masked};

/// Returns whether others cannot read the image at its place: a file without that permission or in a folder that others
/// may not enter, or a URL with credentials.
pub(super) fn is_private(place: &Location) -> bool {
    match place {
        Location::Url(url) => masked::has_credentials(url),
        Location::File(path) => !others_can_read(path),
    }
}

fn others_can_read(path: &Path) -> bool {
    let allows = |path: &Path, bit: u32| path.metadata().is_ok_and(|found| found.mode() & bit != 0);
    // Both as it is written and where it leads: each folder on the path is entered.
    let real = path.canonicalize();
    let real = real.iter().flat_map(|real| real.ancestors().skip(1));
    let given = std::path::absolute(path);
    let given = given.iter().flat_map(|given| given.ancestors().skip(1));
    allows(path, 0o004) && real.chain(given).all(|folder| allows(folder, 0o001))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_private_by_its_own_mode_or_by_that_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image");
        std::fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (of_folder, of_file, private) in [
            (0o755, 0o644, false),
            (0o711, 0o604, false),
            (0o755, 0o640, true),
            (0o700, 0o644, true),
        ] {
            mode(folder.path(), of_folder);
            mode(&file, of_file);
            let found = is_private(&Location::File(file.clone()));
            assert_eq!(found, private, "{of_folder:o} {of_file:o}");
        }
    }

    #[test]
    fn what_is_fetched_with_credentials_is_private() {
        assert!(is_private(&Location::Url("https://u:p@h/x".to_owned())));
        assert!(!is_private(&Location::Url("https://h/x".to_owned())));
    }
}
