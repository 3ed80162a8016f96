//! The file `user-data` of a seed disk: netlab's own settings, and the user's merged with them by cloud-init.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha_crypt::{PasswordHasher as _, ShaCrypt};
use sha2::{Digest as _, Sha256};

use super::iso::quoted;
use crate::lab::{Content, Login, Password, UserData};
use crate::state::GuestConfig;

/// Characters of a line of base64 (RFC 2045, section 6.8).
const LINE: usize = 76;
/// MIME type of a `#cloud-config`.
const CLOUD_CONFIG: &str = "text/cloud-config";
/// The line between the parts: no YAML has it.
const BOUNDARY: &str = "=====netlab=====";
/// How cloud-init merges netlab's part into the user's: lists are joined, and of other values the user's are kept
/// (cloud-init's documentation, "Merging user data sections").
const MERGE: &str = "list(append)+dict(no_replace,recurse_list,recurse_dict)+str()";

/// Returns the `user-data` for `config`. `instance` decides on the salt of the password, so that the same settings give the
/// same bytes.
pub fn user_data(config: &GuestConfig, instance: &str) -> String {
    let own = own(config, instance);
    let Some(users) = config.cloud_init.user_data.as_ref().and_then(Content::text) else {
        return own;
    };
    // Merging is chosen by the part that is merged into those before it.
    let users = match UserData::of(users) {
        // Its own headers follow the line that begins the part.
        Some(UserData::Mime) => format!("--{BOUNDARY}\n{}\n", users.trim_end()),
        Some(UserData::Part(mime)) => part(users, mime, ""),
        None => part(users, CLOUD_CONFIG, ""),
    };
    let own = part(&own, CLOUD_CONFIG, &format!("X-Merge-Type: {MERGE}\n"));
    format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n\n{users}{own}--{BOUNDARY}--\n")
}

/// Returns netlab's settings: an account that may become root and logs in with a password on the console and with keys by
/// ssh, and packages.
fn own(config: &GuestConfig, instance: &str) -> String {
    let mut out = "#cloud-config\n".to_owned();
    // Writing to a `String` cannot fail; here and below.
    if let Some(Login { user, password, .. }) = &config.console.login {
        let _ = write!(
            out,
            "ssh_pwauth: false\nusers:\n  - name: {}\n    shell: /bin/bash\n    sudo: ALL=(ALL) NOPASSWD:ALL\n",
            quoted(user)
        );
        match password.as_ref().and_then(Password::text) {
            Some(password) => {
                let hash = quoted(&hashed(password, instance));
                let _ = write!(out, "    hashed_passwd: {hash}\n    lock_passwd: false\n");
            }
            None => out.push_str("    lock_passwd: true\n"),
        }
        list(
            &mut out,
            "    ssh_authorized_keys:",
            "      ",
            &config.cloud_init.ssh_keys,
        );
    } else {
        // Those of the image's default account.
        list(&mut out, "ssh_authorized_keys:", "  ", &config.cloud_init.ssh_keys);
    }
    if !config.cloud_init.packages.is_empty() {
        proxies(&mut out, config);
        out.push_str("package_update: true\n");
        list(&mut out, "packages:", "  ", &config.cloud_init.packages);
    }
    if out == "#cloud-config\n" {
        out.push_str("{}\n");
    }
    out
}

/// Appends the proxies of apt(8) (cloud-init's module "Apt Configure").
fn proxies(out: &mut String, config: &GuestConfig) {
    let urls = config.proxies.variables().filter(|(name, _)| *name != "no_proxy");
    for (number, (name, url)) in urls.enumerate() {
        if number == 0 {
            out.push_str("apt:\n");
        }
        let _ = writeln!(out, "  {name}: {}", quoted(url));
    }
}

fn list(out: &mut String, key: &str, indent: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{key}");
    for item in items {
        let _ = writeln!(out, "{indent}- {}", quoted(item));
    }
}

/// Returns a password as crypt(5) hashes it with SHA-512. One that cannot be hashed is no password.
pub(super) fn hashed(password: &str, instance: &str) -> String {
    let salt = Sha256::digest(format!("netlab salt {instance}"));
    let hash = ShaCrypt::SHA512.hash_password_with_salt(password.as_bytes(), &salt[..12]);
    hash.map_or_else(|_| "!".to_owned(), |hash| hash.as_str().to_owned())
}

/// Returns a part of the type `mime` of a MIME document (RFC 2046); what is not plain ASCII is encoded.
fn part(text: &str, mime: &str, header: &str) -> String {
    let (encoding, text) = if text.is_ascii() {
        ("7bit", text.trim_end().to_owned())
    } else {
        let encoded = STANDARD.encode(text);
        let lines = encoded.as_bytes().chunks(LINE).map(String::from_utf8_lossy);
        ("base64", lines.collect::<Vec<_>>().join("\n"))
    };
    format!(
        "--{BOUNDARY}\nContent-Type: {mime}; charset=\"utf-8\"\nContent-Transfer-Encoding: {encoding}\n{header}\n{text}\n"
    )
}

#[cfg(test)]
mod tests {
    use sha_crypt::PasswordVerifier as _;

    use super::*;
    use crate::lab::{Dialect, ImageConsole, Proxies};
    use crate::state::CloudConfig;

    fn config(password: &str) -> GuestConfig {
        GuestConfig {
            hostname: "web".parse().unwrap(),
            console: ImageConsole {
                kind: crate::lab::ConsoleKind::Serial,
                prompt: "$ ".to_owned(),
                login: Some(Login {
                    prompt: "login: ".to_owned(),
                    user: "a\"b".to_owned(),
                    password: Some(Password::Text(password.to_owned())),
                    root_password: None,
                }),
                dialect: Dialect::Ip,
                boot_seconds: 10,
            },
            nics: Vec::new(),
            default_route: None,
            nameservers: Vec::new(),
            serve: Vec::new(),
            seeded: true,
            cloud_init: CloudConfig {
                ssh_keys: vec!["ssh-ed25519 AAAA me".to_owned()],
                packages: vec!["curl".to_owned()],
                user_data: None,
            },
            proxies: Proxies::default(),
        }
    }

    #[test]
    fn a_password_is_hashed_the_same_for_the_same_instance_and_never_appears() {
        let data = user_data(&config("p: \"#\n- x"), "one");
        let hash = data
            .split("hashed_passwd: \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert!(hash.starts_with("$6$") && !data.contains("- x\n"), "{data}");
        let parsed = sha_crypt::PasswordHash::new(hash).unwrap();
        assert!(ShaCrypt::SHA512.verify_password(b"p: \"#\n- x", &parsed).is_ok());
        assert!(ShaCrypt::SHA512.verify_password(b"p: \"#", &parsed).is_err());
        assert_eq!(data, user_data(&config("p: \"#\n- x"), "one"));
        assert_ne!(data, user_data(&config("p: \"#\n- x"), "two"));
        assert!(data.contains("- name: \"a\\\"b\"\n"), "{data}");
    }

    #[test]
    fn keys_belong_to_the_account_or_to_the_default_one_and_without_a_password_it_is_locked() {
        let mut config = config("secret");
        assert!(user_data(&config, "").contains("    ssh_authorized_keys:\n      - \"ssh-ed25519 AAAA me\"\n"));
        config.console.login.as_mut().unwrap().password = None;
        assert!(user_data(&config, "").contains("lock_passwd: true"));
        config.console.login = None;
        assert!(user_data(&config, "").starts_with("#cloud-config\nssh_authorized_keys:\n  - "));
        config.cloud_init = CloudConfig::default();
        assert_eq!(user_data(&config, ""), "#cloud-config\n{}\n");
    }

    #[test]
    fn the_users_settings_are_a_part_of_their_own_before_netlabs() {
        let mut config = config("secret");
        config.cloud_init.user_data = Some(Content::from("#cloud-config\nruncmd: [ls]\n"));
        let data = user_data(&config, "");
        let parts: Vec<&str> = data.split(&format!("--{BOUNDARY}\n")).collect();
        assert!(parts[1].ends_with("\n\n#cloud-config\nruncmd: [ls]\n"), "{data}");
        assert!(
            parts[2].contains("X-Merge-Type: list(append)") && parts[2].contains("\npackages:\n"),
            "{data}"
        );
        config.cloud_init.user_data = Some(Content::from("#!/bin/sh\nls\n"));
        assert!(user_data(&config, "").contains("Content-Type: text/x-shellscript; charset"));
        let mime = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n";
        config.cloud_init.user_data = Some(Content::from(mime));
        assert!(user_data(&config, "").contains(&format!("--{BOUNDARY}\n{mime}--{BOUNDARY}\n")));
        config.cloud_init.user_data = Some(Content::from("#cloud-config\nlocale: Zürich\n"));
        let data = user_data(&config, "");
        assert!(data.is_ascii() && data.contains("base64"), "{data}");
    }

    #[test]
    fn packages_are_fetched_by_the_callers_proxies() {
        let mut config = config("secret");
        assert!(!user_data(&config, "one").contains("apt:"));
        config.proxies = Proxies::of(|name| Some(format!("http://{}:3128", name.replace('_', "-"))));
        let data = user_data(&config, "one");
        let wanted = "apt:\n  http_proxy: \"http://http-proxy:3128\"\n  https_proxy: \"http://https-proxy:3128\"\npackage_update: true\n";
        assert!(data.contains(wanted), "{data}");
        config.cloud_init.packages.clear();
        assert!(!user_data(&config, "one").contains("apt:"));
    }
}
