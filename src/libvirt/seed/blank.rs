//! The seed disk of a guest that boots to be saved: it has nothing of a lab.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::iso::{Seed, SeedNic};
use super::user_data::hashed;
use crate::guest::{BLANK_ACCOUNT, blank_scripts};

/// The NIC that such a guest has until cloud-init has ended: without any, systemd waits two minutes for the network
/// (systemd-networkd-wait-online(8)). It leads nowhere. The address is locally administered.
pub const BLANK_MAC: &str = "52:54:00:6e:6c:00";
/// The instance ID; `renew.sh` knows it.
const INSTANCE: &str = "netlab-blank";

/// Returns the disk. `password`: that of the account for netlab. The NIC has an address that is for documentation (RFC 5737).
pub fn blank(password: &str) -> Vec<u8> {
    let nic = BLANK_MAC.parse().map(|mac| SeedNic {
        mac,
        address: Ipv4Net::new(Ipv4Addr::new(192, 0, 2, 1), 24).ok(),
        gateway: None,
        mtu: None,
    });
    let seed = Seed {
        instance: INSTANCE.to_owned(),
        hostname: "localhost".to_owned(),
        nics: nic.into_iter().collect(),
        nameservers: Vec::new(),
        user_data: user_data(&hashed(password, INSTANCE)),
    };
    seed.disk()
}

/// Returns an account of the system's, which has no folder and no user ID that another account may be given. One host key is
/// enough: it is removed, too.
fn user_data(hash: &str) -> String {
    format!(
        "#cloud-config\nssh_pwauth: false\nssh_genkeytypes: [ed25519]\nusers:\n  - name: {BLANK_ACCOUNT}\n    system: true\n    \
         shell: /bin/sh\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    hashed_passwd: \"{hash}\"\n    lock_passwd: false\n"
    )
}

/// Returns everything that such a guest is given, but the password, which it no longer has when it is saved.
pub fn describe() -> String {
    [user_data(""), blank_scripts()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_seed_has_an_account_without_its_password_and_nothing_of_a_lab() {
        let disk = String::from_utf8_lossy(&blank("once")).into_owned();
        for text in [
            "netlab-blank",
            BLANK_ACCOUNT,
            "$6$",
            "52:54:00:6e:6c:00",
            "192.0.2.1/24",
        ] {
            assert!(disk.contains(text), "{text}");
        }
        assert!(!disk.contains("once") && !disk.contains("ssh_authorized_keys"));
        // The script that runs in the restored guest refuses this instance.
        assert!(include_str!("../../guest/saved/renew.sh").contains(INSTANCE));
        assert!(!describe().contains("$6$"));
    }
}
