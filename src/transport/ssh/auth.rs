//! Authentication: the agent's keys, then key files, as ssh does. The user is never asked for a password.

use std::path::Path;

use ssh2::Session;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::allows_keys;
use super::{Settings, SshError};

/// Servers close the connection after six attempts (sshd_config(5), MaxAuthTries); the last one is left to a file.
const AGENT_KEYS: usize = 5;

/// Authenticates; the error lists what was tried.
pub(super) fn authenticate(session: &Session, settings: &Settings) -> Result<(), SshError> {
    let user = settings.user.as_str();
    // What may be used; without an answer the attempts below decide. Some servers accept anybody who asks.
    let methods = session.auth_methods(user).unwrap_or("publickey").to_owned();
    if session.authenticated() {
        return Ok(());
    }
    let mut tried = Vec::new();
    if allows_keys(&methods) {
        if let Some(agent) = &settings.agent
            && by_agent(session, settings, agent, &mut tried)
        {
            return Ok(());
        }
        for file in settings.identities.iter().filter(|file| file.is_file()) {
            match session.userauth_pubkey_file(user, None, file, None) {
                Ok(()) => return Ok(()),
                Err(error) => tried.push(format!("{}: {}", file.display(), reason(file, &error))),
            }
        }
    }
    Err(SshError::Auth {
        place: format!("{user}@{}", settings.place()),
        tried,
        install: format!("ssh-copy-id -p {} {user}@{}", settings.port, settings.host),
        methods,
    })
}

/// Tries the agent's keys; returns whether one was accepted.
fn by_agent(session: &Session, settings: &Settings, socket: &Path, tried: &mut Vec<String>) -> bool {
    let keys = || -> Result<_, ssh2::Error> {
        let mut agent = session.agent()?;
        agent.set_identity_path(socket)?;
        agent.connect()?;
        agent.list_identities()?;
        let keys = agent.identities()?;
        Ok((agent, keys))
    };
    let (agent, keys) = match keys() {
        Ok(found) => found,
        Err(error) => {
            tried.push(format!("agent {}: {}", socket.display(), error.message()));
            return false;
        }
    };
    let wanted: Vec<String> = settings.identities.iter().filter_map(|file| public_key(file)).collect();
    let keys = keys.iter().filter(|key| {
        let encoded = STANDARD.encode(key.blob());
        !settings.identities_only || wanted.contains(&encoded)
    });
    for key in keys.take(AGENT_KEYS) {
        match agent.userauth(&settings.user, key) {
            Ok(()) => return true,
            Err(error) => tried.push(format!("agent's {}: {}", key.comment(), error.message())),
        }
    }
    false
}

/// Returns the public key in the `.pub` file beside a key file, in base64.
fn public_key(file: &Path) -> Option<String> {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    let text = std::fs::read_to_string(name).ok()?;
    text.split_whitespace().nth(1).map(ToOwned::to_owned)
}

/// Returns why a key file failed; of a key with a passphrase, libssh2 reports only that it cannot be read.
fn reason(file: &Path, error: &ssh2::Error) -> String {
    // libssh2.h: LIBSSH2_ERROR_FILE, LIBSSH2_ERROR_KEYFILE_AUTH_FAILED
    match error.code() {
        ssh2::ErrorCode::Session(-16 | -48) => {
            format!("cannot be used; if it has a passphrase, run ssh-add {}", file.display())
        }
        _ => error.message().to_owned(),
    }
}
