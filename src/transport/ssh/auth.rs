//! Authentication: keys of the agent, then key files, as ssh does. Nobody is asked for a password.

use std::path::Path;

use ssh2::Session;

use super::{Settings, SshError};

/// Servers close the connection after six attempts (sshd_config(5), MaxAuthTries); the last one is left to a file.
const AGENT_KEYS: usize = 5;

/// Authenticates, or says what was tried.
pub(super) fn authenticate(session: &Session, settings: &Settings) -> Result<(), SshError> {
    let user = settings.user.as_str();
    // What may be used; without an answer the attempts below tell. Some hosts let in whoever asks.
    let methods = session.auth_methods(user).unwrap_or("publickey").to_owned();
    if session.authenticated() {
        return Ok(());
    }
    let mut tried = Vec::new();
    if methods.split(',').any(|method| method == "publickey") {
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
    let help = if methods.split(',').any(|method| method == "publickey") {
        format!(
            "netlab never asks for a password: put a key there (ssh-copy-id -p {} {user}@{}), or load yours into an \
             agent (ssh-add)",
            settings.port, settings.host
        )
    } else {
        format!("it wants {methods}, and netlab never asks for a password: allow public keys there")
    };
    Err(SshError::Auth {
        user: user.to_owned(),
        place: settings.place(),
        tried: if tried.is_empty() {
            "there is none".to_owned()
        } else {
            tried.join("; ")
        },
        help,
    })
}

/// Tries the agent's keys.
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
        let encoded = super::known_hosts::base64(key.blob());
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

/// The public half beside a key file, as it stands there.
fn public_key(file: &Path) -> Option<String> {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    let text = std::fs::read_to_string(name).ok()?;
    text.split_whitespace().nth(1).map(ToOwned::to_owned)
}

/// Why a key file did not do; libssh2 says of a key with a passphrase only that it cannot be read.
fn reason(file: &Path, error: &ssh2::Error) -> String {
    // libssh2.h: LIBSSH2_ERROR_FILE, LIBSSH2_ERROR_KEYFILE_AUTH_FAILED
    match error.code() {
        ssh2::ErrorCode::Session(-16 | -48) => {
            format!("cannot be used; if it has a passphrase, run ssh-add {}", file.display())
        }
        _ => error.message().to_owned(),
    }
}
