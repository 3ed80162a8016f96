//! Paths that begin in a home folder, as shells write them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The user database (passwd(5)).
const USERS: &str = "/etc/passwd";

/// Returns `text` as a path: `~/...` begins in the home folder of who runs netlab, under sudo(8) of who called it, `~user/...`
/// in that user's. Any other path is joined to `folder`. The error is a sentence.
pub(super) fn path(text: &str, folder: &Path) -> Result<PathBuf, String> {
    if text.contains("://") {
        return Err("this is a URL, and a file of this machine is needed: download it first".to_owned());
    }
    let Some((user, rest)) = text
        .strip_prefix('~')
        .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
    else {
        return Ok(folder.join(text));
    };
    let users = || std::fs::read_to_string(USERS).unwrap_or_default();
    let home = if user.is_empty() {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        own(
            var("SUDO_USER").and_then(|user| user.into_string().ok()),
            var("HOME"),
            users,
        )
        .ok_or("the home folder is unknown: HOME is not set")?
    } else {
        let found = of(user, &users());
        found.ok_or_else(|| format!("there is no user `{user}`, whose home folder this path begins in"))?
    };
    Ok(home.join(rest))
}

/// Returns the home folder of who runs netlab. `sudo`: who called it by sudo(8), which makes HOME that of root.
fn own(sudo: Option<String>, home: Option<OsString>, users: impl Fn() -> String) -> Option<PathBuf> {
    let called = sudo.filter(|_| rustix::process::geteuid().is_root());
    let home = called.and_then(|user| of(&user, &users())).or(home.map(PathBuf::from));
    home.filter(|home| home.is_absolute())
}

/// Returns a user's home folder, which is the sixth field of the user's line in `users`.
fn of(user: &str, users: &str) -> Option<PathBuf> {
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    let home = line.split(':').nth(5).filter(|home| home.starts_with('/'))?;
    Some(PathBuf::from(home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_folder_is_that_of_the_user_it_names_or_of_who_called_sudo() {
        let users = "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000:,,,:/home/anna:/bin/sh\nodd:x:9:9::nowhere:\n";
        assert_eq!(of("anna", users), Some("/home/anna".into()));
        assert_eq!(of("ann", users), None);
        assert_eq!(of("odd", users), None);
        let own = |sudo: Option<&str>, home: Option<&str>| {
            own(sudo.map(str::to_owned), home.map(OsString::from), || users.to_owned())
        };
        assert_eq!(own(None, Some("/h")), Some("/h".into()));
        assert_eq!(own(Some("gone"), Some("/h")), Some("/h".into()));
        assert_eq!(own(None, None), None);
        if rustix::process::geteuid().is_root() {
            assert_eq!(own(Some("anna"), Some("/root")), Some("/home/anna".into()));
        }
        assert_eq!(path("a/~b", Path::new("/lab")), Ok("/lab/a/~b".into()));
        assert!(path("https://h/a", Path::new("/lab")).unwrap_err().contains("a URL"));
        assert_eq!(path("/a", Path::new("/lab")), Ok("/a".into()));
        assert!(
            path("~no-such-user/a", Path::new("/lab"))
                .unwrap_err()
                .contains("no-such-user")
        );
    }
}
