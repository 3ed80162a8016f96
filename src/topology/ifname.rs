//! Interface names that fit the kernel's 15 bytes and still say what they belong to.

use sha2::{Digest, Sha256};

use crate::lab::{IfName, LabName, NetworkName, VmName};

/// The first `N` bytes of a SHA-256 over `text`.
pub(super) fn digest<const N: usize>(text: &str) -> [u8; N] {
    let all = Sha256::digest(text.as_bytes());
    let mut first = [0; N];
    for (to, from) in first.iter_mut().zip(all.iter()) {
        *to = *from;
    }
    first
}

/// At most `limit` bytes of a plain name, which is ASCII.
fn start(name: &str, limit: usize) -> &str {
    name.get(..limit).unwrap_or(name)
}

/// Four hex digits of `text`.
fn four(text: &str) -> String {
    format!("{:04x}", u16::from_be_bytes(digest::<2>(text)))
}

/// `<network>-<hex>` that `free` accepts; `attempt` enters the digest only when the first choice is taken.
pub(super) fn bridge(lab: &LabName, network: &NetworkName, free: impl Fn(&IfName) -> bool) -> IfName {
    choose(free, |salt| {
        format!(
            "{}-{}",
            start(network.as_str(), 10),
            four(&format!("{lab}/{network}{salt}"))
        )
    })
}

/// `<vm>-<hex>-<n>`: the tap of a guest's `n`th NIC.
pub(super) fn tap(lab: &LabName, vm: &VmName, n: usize, free: impl Fn(&IfName) -> bool) -> IfName {
    // Past nine NICs the number takes a byte of the name.
    let tail = n.to_string();
    let room = 9_usize.saturating_sub(tail.len());
    choose(free, |salt| {
        format!(
            "{}-{}-{tail}",
            start(vm.as_str(), room),
            four(&format!("{lab}/{vm}{salt}"))
        )
    })
}

/// The first of the names that `write` makes which is an interface name and free.
fn choose(free: impl Fn(&IfName) -> bool, write: impl Fn(&str) -> String) -> IfName {
    let mut attempt = 0_u64;
    loop {
        let salt = if attempt == 0 {
            String::new()
        } else {
            format!("#{attempt}")
        };
        if let Ok(name) = IfName::new(&write(&salt))
            && free(&name)
        {
            return name;
        }
        attempt += 1;
    }
}
