//! The passwords of a lab's consoles and the `user_data` of its guests, for what is done without its file: `exec` by the lab's
//! name, and a rollback. Domains and the journal record digests only; `passwords.json` in the lab's folder, readable by its
//! owner only, has the rest.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::{Env, OpsError};
use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{Content, LabName, Login, Password};
use crate::state::{GuestConfig, Site};

/// Passwords and settings by their digests, which differ in length.
type Passwords = BTreeMap<String, String>;

fn path(env: &Env, lab: &LabName) -> PathBuf {
    env.folders.lab(lab).join("passwords.json")
}

fn read(env: &Env, lab: &LabName) -> io::Result<Passwords> {
    match std::fs::read(path(env, lab)) {
        // A file that is damaged has no passwords: they are written again by the next `up`.
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Passwords::new()),
        Err(error) => Err(error),
    }
}

fn of(config: &GuestConfig) -> impl Iterator<Item = &Password> {
    config.console.login.iter().flat_map(Login::passwords)
}

/// Keeps the passwords of `sites`, and no others.
pub(super) fn keep<'a>(env: &Env, lab: &LabName, sites: impl IntoIterator<Item = &'a Site>) -> Result<(), OpsError> {
    let domains = sites
        .into_iter()
        .flat_map(Site::values)
        .flat_map(|state| state.domains.values());
    let configs = domains.flat_map(|domain| domain.configured.iter().chain(&domain.seed));
    let known = configs.flat_map(|config| {
        let passwords = of(config).filter_map(|password| Some((password.digest(), password.text()?.to_owned())));
        let data = config.cloud_init.user_data.as_ref();
        let data = data.and_then(|data| Some((data.digest(), data.text()?.to_owned())));
        passwords.chain(data)
    });
    let known: Passwords = known.collect();
    let write = || -> io::Result<()> {
        if read(env, lab)? == known {
            return Ok(());
        }
        Folders::make(&env.folders.lab(lab))?;
        atomic_file::replace(&path(env, lab), 0o600, &serde_json::to_vec_pretty(&known)?).map(drop)
    };
    write().map_err(|source| OpsError::File {
        doing: "write",
        path: path(env, lab),
        source,
    })
}

/// Fills in the passwords of `site` that are known by their digests only.
pub(super) fn reveal(env: &Env, lab: &LabName, site: &mut Site) {
    // Without them everything works but a login.
    let known = read(env, lab).unwrap_or_default();
    let domains = site.values_mut().flat_map(|state| state.domains.values_mut());
    for config in domains.flat_map(|domain| domain.configured.iter_mut().chain(&mut domain.seed)) {
        if let Some(data) = &mut config.cloud_init.user_data
            && let (None, Some(text)) = (data.bytes(), known.get(&data.digest()))
        {
            *data = Content::from(text.as_str());
        }
        for password in config.console.login.iter_mut().flat_map(Login::passwords_mut) {
            if let (None, Some(text)) = (password.text(), known.get(&password.digest())) {
                *password = Password::Text(text.clone());
            }
        }
    }
}
