//! Which users and host keys are accepted, and over which connections.

use std::fs;
use std::process::Command;

use netlab::transport::ssh::SshError;
use netlab::transport::{Cmd, Shell};

use crate::sshd::{Agent, Sshd, wait_until};

fn fingerprint(sshd: &Sshd) -> String {
    let output = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(sshd.keyring.path("host.pub"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().nth(1).unwrap().to_owned()
}

/// Runs the command that an error suggests.
fn run_in_shell(command: &str) {
    let done = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(done.success(), "{command}");
}

#[test]
fn an_unknown_host_is_refused_with_its_fingerprint_and_accepted_by_the_command_shown() {
    let Some(sshd) = Sshd::new("unknown_host") else { return };
    fs::write(sshd.keyring.path("known"), "").unwrap();
    // Nothing in ssh's configuration can turn the check off.
    sshd.keyring.configure("Host *\n  StrictHostKeyChecking no\n");
    let Err(SshError::UnknownKey {
        fingerprint: shown,
        accept,
        kind,
        ..
    }) = sshd.session()
    else {
        panic!("an unknown host was not refused");
    };
    assert_eq!(shown, fingerprint(&sshd));
    assert_eq!(kind, "ssh-ed25519");
    assert!(fs::read_to_string(sshd.keyring.path("known")).unwrap().is_empty());
    run_in_shell(&accept);
    sshd.session().unwrap();
}

/// FAULTS 37.
#[test]
fn a_changed_host_key_is_refused_and_accepted_only_by_the_command_shown() {
    let Some(sshd) = Sshd::new("changed_key") else { return };
    let other = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.keyring.public("other"));
    fs::write(sshd.keyring.path("known"), &other).unwrap();
    let Err(SshError::ChangedKey {
        fingerprint: shown,
        accept,
        ..
    }) = sshd.session()
    else {
        panic!("a changed key was not refused");
    };
    assert_eq!(shown, fingerprint(&sshd));
    run_in_shell(&accept);
    sshd.session().unwrap();
    assert!(
        !fs::read_to_string(sshd.keyring.path("known"))
            .unwrap()
            .contains(other.trim())
    );
}

#[test]
fn a_revoked_key_is_refused_also_where_it_is_known() {
    let Some(sshd) = Sshd::new("revoked") else { return };
    sshd.keyring
        .know(&format!("@revoked * {}", sshd.keyring.public("host")));
    assert!(matches!(sshd.session(), Err(SshError::RevokedKey { .. })));
}

#[test]
fn a_hashed_name_is_found_and_one_of_several_keys_is_enough() {
    let Some(sshd) = Sshd::new("hashed_name") else { return };
    sshd.keyring
        .know(&format!("[127.0.0.1]:{} {}", sshd.port, sshd.keyring.public("other")));
    let known = sshd.keyring.path("known");
    let hashed = Command::new("ssh-keygen")
        .arg("-q")
        .arg("-H")
        .arg("-f")
        .arg(&known)
        .status();
    assert!(hashed.unwrap().success());
    assert!(fs::read_to_string(&known).unwrap().starts_with("|1|"));
    sshd.session().unwrap();
}

#[test]
fn a_host_with_several_keys_shows_one_of_the_type_that_is_known() {
    let Some(sshd) = Sshd::new("several_keys") else { return };
    for (kind, name) in [("rsa", "host-rsa"), ("ecdsa", "host-ecdsa")] {
        sshd.keyring.make_key(name, &["-t", kind, "-N", ""]);
    }
    let sshd = sshd.again_with(&["host-rsa", "host-ecdsa"]);
    for name in ["host", "host-rsa", "host-ecdsa"] {
        let line = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.keyring.public(name));
        fs::write(sshd.keyring.path("known"), line).unwrap();
        sshd.session().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_wrong_key_is_refused_and_no_password_is_asked_for() {
    let Some(sshd) = Sshd::new("wrong_key") else { return };
    fs::copy(sshd.keyring.path("other.pub"), sshd.keyring.path("authorized")).unwrap();
    let Err(error @ SshError::Auth { .. }) = sshd.session() else {
        panic!("a wrong key was let in");
    };
    let help = error.help().unwrap();
    assert!(
        help.contains("never asks for a password") && help.contains("ssh-copy-id"),
        "{help}"
    );
}

#[test]
fn a_host_that_only_takes_passwords_is_named_so() {
    let Some(sshd) = Sshd::with("only_passwords", "PasswordAuthentication yes\nPubkeyAuthentication no") else {
        return;
    };
    let Err(error @ SshError::Auth { .. }) = sshd.session() else {
        panic!("let in without a password");
    };
    let help = error.help().unwrap();
    assert!(help.contains("allows only password"), "{help}");
}

#[test]
fn a_key_with_a_passphrase_is_used_by_the_agent_and_without_one_the_error_says_so() {
    let Some(sshd) = Sshd::new("passphrase") else { return };
    let keyring = &sshd.keyring;
    let change = |old: &str, new: &str| {
        let done = Command::new("ssh-keygen")
            .args(["-q", "-p", "-P", old, "-N", new, "-f"])
            .arg(keyring.path("user"))
            .stdout(std::process::Stdio::null())
            .status();
        assert!(done.unwrap().success());
    };
    let agent = Agent::with(keyring, "user");
    change("", "secret");
    let error = sshd.session().err().unwrap().to_string();
    assert!(error.contains("ssh-add"), "{error}");
    keyring.configure(&format!("Host *\n  IdentityAgent {}\n", agent.socket.display()));
    sshd.session().unwrap();
}

#[test]
fn an_agents_key_that_the_configuration_does_not_name_is_not_tried_with_identities_only() {
    let Some(sshd) = Sshd::new("identities_only") else {
        return;
    };
    let keyring = &sshd.keyring;
    let agent = Agent::with(keyring, "other");
    fs::copy(keyring.path("other.pub"), keyring.path("authorized")).unwrap();
    let agent_line = format!("Host *\n  IdentityAgent {}\n", agent.socket.display());
    keyring.configure(&agent_line);
    assert!(matches!(sshd.session(), Err(SshError::Auth { .. })));
    keyring.configure(&format!("{agent_line}  IdentitiesOnly no\n"));
    sshd.session().unwrap();
}

#[test]
fn a_connection_through_another_host_checks_both_keys_and_ends_with_the_session() {
    let Some(sshd) = Sshd::new("jump") else { return };
    let Some(jump) = Sshd::new("jump") else { return };
    let known = format!("[127.0.0.1]:{} {}", jump.port, jump.keyring.public("host"));
    fs::copy(sshd.keyring.path("authorized"), jump.keyring.path("authorized")).unwrap();
    sshd.keyring.configure(&format!(
        "Host far\n  HostName 127.0.0.1\n  Port {}\n  User root\n  ProxyJump root@127.0.0.1:{}\n",
        sshd.port, jump.port
    ));
    let open = || netlab::transport::ssh::SshShell::open(sshd.keyring.settings("ssh://far"), None);
    let error = open().err().expect("the jump's key is not known").to_string();
    assert!(error.contains("Host key verification failed"), "{error}");
    sshd.keyring.know(&known);
    let shell = open().unwrap();
    assert_eq!(shell.check(&Cmd::new(["echo", "far"])).unwrap(), b"far\n");
    assert!(!jump.servers().is_empty());
    drop(shell);
    wait_until("the connection is closed", || jump.servers().is_empty());
}

#[test]
fn a_proxy_command_connects_and_what_it_prints_is_passed_on() {
    let Some(sshd) = Sshd::new("proxy_command") else { return };
    sshd.keyring.configure("Host *\n  ProxyCommand socat - TCP:%h:%p\n");
    let shell = sshd.shell().unwrap();
    assert_eq!(shell.check(&Cmd::new(["echo", "far"])).unwrap(), b"far\n");
    sshd.keyring
        .configure("Host *\n  ProxyCommand sh -c 'echo no route >&2'\n");
    let error = sshd.session().err().unwrap().to_string();
    assert!(error.contains("no route"), "{error}");
}

#[test]
fn nobody_there_is_said_in_time() {
    let Some(sshd) = Sshd::new("nobody_there") else { return };
    let target = sshd.target();
    let settings = sshd.keyring.settings(&target);
    let port = sshd.port;
    drop(sshd);
    let error = netlab::transport::ssh::Session::open(&settings)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&format!("[127.0.0.1]:{port}")) && error.contains("refused"),
        "{error}"
    );
}
