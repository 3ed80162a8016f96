//! Every value that is derived from names, so that the same lab has the same values on each run and each machine:
//! interface names, MAC addresses, UUIDs, the link group. Nothing here is random and nothing is stored.
//!
//! ```
//! use netlab::lab::{IfName, VlanId};
//! use netlab::topology::derive;
//!
//! let nic = IfName::new("eth0")?;
//! assert_eq!(derive::vlan_device(&nic, VlanId::try_from(10)?).as_str(), "eth0.10");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::lab::{HostName, IfName, LabName, MacAddr, NetworkName, TunnelKind, VlanId, VmName};

/// The first `N` bytes (at most 32) of the SHA-256 of `text`.
fn digest<const N: usize>(text: &str) -> [u8; N] {
    let all = Sha256::digest(text.as_bytes());
    let mut first = [0; N];
    for (to, from) in first.iter_mut().zip(all.iter()) {
        *to = *from;
    }
    first
}

/// Returns `<network>-<hex>`, a bridge name that `free` accepts. The names of networks are cut to fit the kernel's 15
/// bytes.
pub(super) fn bridge(lab: &LabName, network: &NetworkName, free: impl Fn(&IfName) -> bool) -> IfName {
    choose(free, |salt| {
        format!(
            "{}-{}",
            start(network.as_str(), 10),
            four(&format!("{lab}/{network}{salt}"))
        )
    })
}

/// Returns `<vm>-<hex>-<n>`, a name that `free` accepts for the tap of a guest's `n`th NIC.
pub(super) fn tap(lab: &LabName, vm: &VmName, n: usize, free: impl Fn(&IfName) -> bool) -> IfName {
    // Past nine NICs the number takes a byte of the name.
    let tail = n.to_string();
    let length = 9_usize.saturating_sub(tail.len());
    choose(free, |salt| {
        format!(
            "{}-{}-{tail}",
            start(vm.as_str(), length),
            four(&format!("{lab}/{vm}{salt}"))
        )
    })
}

/// Returns `<protocol>-<hex>`, a name that `free` accepts for the device of a network's tunnels.
pub(super) fn tunnel(lab: &LabName, network: &NetworkName, kind: TunnelKind, free: impl Fn(&IfName) -> bool) -> IfName {
    let start = match kind {
        TunnelKind::Vxlan => "vxlan",
        TunnelKind::Gre => "gre",
        TunnelKind::Geneve => "gnv",
    };
    choose(free, |salt| {
        format!("{start}-{}", four(&format!("{lab}/{network}{salt}")))
    })
}

/// Returns a key that `free` accepts for a network's tunnels: 24 bits (RFC 7348), beyond the small numbers that people
/// use.
pub(super) fn tunnel_key(lab: &LabName, network: &NetworkName, free: impl Fn(u32) -> bool) -> u32 {
    let mut text = format!("key/{lab}/{network}");
    loop {
        let [a, b, c] = digest(&text);
        let key = u32::from_be_bytes([0, a, b, c]);
        if key > 0xffff && free(key) {
            return key;
        }
        text.push('#');
    }
}

/// Returns the first of the names that `write` makes which is an interface name and free. The salt is empty for the
/// first, so that it enters a name only when the first choice is taken.
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

/// At most `limit` bytes of a plain name, which is ASCII.
fn start(name: &str, limit: usize) -> &str {
    name.get(..limit).unwrap_or(name)
}

/// Four hex digits of `text`.
fn four(text: &str) -> String {
    format!("{:04x}", u16::from_be_bytes(digest::<2>(text)))
}

/// Returns the name of the 802.1Q device for `id` on `nic`: `eth0.10`, the usual name; where that is longer than the
/// kernel's 15 bytes, a name derived from it.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn vlan_device(nic: &IfName, id: VlanId) -> IfName {
    let usual = format!("{nic}.{id}");
    let [a, b, c, d] = digest(&usual);
    let name = IfName::new(&usual).or_else(|_| IfName::new(&format!("vl{a:02x}{b:02x}{c:02x}{d:02x}.{id}")));
    #[expect(
        clippy::expect_used,
        reason = "2 + 8 + 1 + 4 bytes are an interface name; a test checks it"
    )]
    name.expect("a legal name")
}

/// Returns the name of Open vSwitch's port for the tunnel of a network to `remote`; `device` is the network's.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn tunnel_port(device: &IfName, remote: &HostName) -> IfName {
    let name = format!("{}-{}", start(device.as_str(), 10), four(&format!("{device}/{remote}")));
    #[expect(
        clippy::expect_used,
        reason = "10 + 1 + 4 bytes that begin with those of an interface name"
    )]
    IfName::new(&name).expect("a legal name")
}

/// Returns the name of Open vSwitch's bridge that has `nic` as its port and patches to the bridges of VLANs: `br-eth0`, the
/// usual name.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn provider_bridge(nic: &IfName) -> IfName {
    let short = || format!("br-{}-{}", start(nic.as_str(), 7), four(nic.as_str()));
    let name = IfName::new(&format!("br-{nic}")).or_else(|_| IfName::new(&short()));
    #[expect(clippy::expect_used, reason = "3 + 7 + 1 + 4 bytes are an interface name")]
    name.expect("a legal name")
}

/// Returns the name of the other end of a patch.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn patch_peer(patch: &IfName) -> IfName {
    let [a, b, c, d] = digest(&format!("patch/{patch}"));
    #[expect(clippy::expect_used, reason = "10 bytes are an interface name")]
    IfName::new(&format!("pt{a:02x}{b:02x}{c:02x}{d:02x}")).expect("a legal name")
}

/// Returns a MAC address that `free` accepts for the `n`th NIC of a guest: QEMU's prefix `52:54:00` and three bytes of
/// a digest of the names, so that a guest keeps its address when others are added or removed.
pub(super) fn guest_mac(lab: &LabName, vm: &VmName, n: usize, mut free: impl FnMut(MacAddr) -> bool) -> MacAddr {
    let mut text = format!("{lab}/{vm}/{n}");
    loop {
        let [a, b, c] = digest(&text);
        if let Ok(mac) = MacAddr::new([0x52, 0x54, 0x00, a, b, c])
            && free(mac)
        {
            return mac;
        }
        text.push('#');
    }
}

/// Returns the MAC address of a bridge, locally administered.
///
/// A bridge without an address of its own has the lowest of its ports' addresses: the gateway's would change under the
/// guests whenever one of them starts. The host is a part of it, since bridges of one name on several hosts share one
/// segment.
pub fn bridge_mac(lab: &LabName, host: &HostName, bridge: &IfName) -> MacAddr {
    local_mac(&format!("bridge/{lab}/{host}/{bridge}"))
}

/// Returns the MAC address of a bridge that has that of its uplink, for the time without one.
///
/// The kernel's random one does not do: a bridge created without an address gets no IPv6 link-local address when its
/// first port is attached (measured on Linux 6.18), and neighbor discovery on it fails.
pub fn provisional_mac(bridge: &IfName) -> MacAddr {
    local_mac(&format!("bridge/{bridge}"))
}

/// Returns the name of both ends of the link that connects a router to the network of the machine that netlab runs on.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn to_host_link(lab: &LabName, router: &HostName) -> IfName {
    let [a, b, c, d] = digest(&format!("to-host/{lab}/{router}"));
    #[expect(clippy::expect_used, reason = "11 bytes are an interface name")]
    IfName::new(&format!("nlo{a:02x}{b:02x}{c:02x}{d:02x}")).expect("a legal name")
}

/// Returns a router's address on that link: in a /30 of 198.18.0.0/15, which nothing on the Internet has (RFC 2544).
pub fn router_end(lab: &LabName, router: &HostName) -> Ipv4Net {
    let [a, b] = digest(&format!("to-host/{lab}/{router}"));
    // 2^15 subnets of four addresses.
    let subnet = u32::from(u16::from_be_bytes([a, b]) >> 1) * 4;
    let address = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + subnet + 2;
    Ipv4Net::new_assert(address.into(), 30)
}

/// Returns this machine's address on the link of which `inside` is the router's.
pub fn host_end(inside: Ipv4Net) -> Ipv4Net {
    Ipv4Net::new_assert((u32::from(inside.network()) + 1).into(), 30)
}

/// Returns the MAC address of an emulated machine's NIC, locally administered.
pub fn nic_mac(lab: &LabName, host: &HostName, nic: &IfName) -> MacAddr {
    local_mac(&format!("nic/{lab}/{host}/{nic}"))
}

fn local_mac(text: &str) -> MacAddr {
    let mut octets: [u8; 6] = digest(text);
    // IEEE 802-2014, 8.4: bit 1 of the first octet is "local", bit 0 "group".
    octets[0] = octets[0] & 0xfc | 0x02;
    #[expect(clippy::expect_used, reason = "neither zero nor a group address; a test checks it")]
    MacAddr::new(octets).expect("a legal address")
}

/// Returns the UUID of the domain of `vm`.
pub(super) fn domain_uuid(lab: &LabName, vm: &VmName) -> Uuid {
    uuid(&format!("{lab}/{vm}"))
}

/// Returns the UUID of the lab's storage pool, which marks the pool as this lab's: a pool has no field for a mark.
pub fn pool_uuid(lab: &LabName) -> Uuid {
    // No vm has an empty name.
    uuid(&format!("{lab}/"))
}

/// Returns the UUID of `text`: the first bytes of its SHA-256, as version 8 (RFC 9562, 5.8).
///
/// Version 5 would be the usual one; existing labs have domains of this kind.
pub fn uuid(text: &str) -> Uuid {
    uuid::Builder::from_custom_bytes(digest(text)).into_uuid()
}

/// Returns the number of the link group that the links of a lab are in, between 2^30 and 2^31: apart from the small
/// numbers that people use.
pub fn link_group(lab: &str) -> u32 {
    u32::from_be_bytes(digest(&format!("group\0{lab}"))) & 0x3fff_ffff | 0x4000_0000
}

/// Returns the handle of the queueing disciplines by which a lab limits links: below those that the kernel chooses by itself,
/// from 0x8000 (qdisc_alloc_handle in net/sched/sch_api.c), and apart from those that people write.
pub fn shaping_handle(lab: &LabName) -> u16 {
    u16::from_be_bytes(digest(&format!("shaping\0{lab}"))) & 0x3fff | 0x4000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str) -> IfName {
        IfName::new(name).unwrap()
    }

    fn lab() -> LabName {
        LabName::new("quick").unwrap()
    }

    #[test]
    fn a_vlan_device_has_the_usual_name_where_that_fits() {
        let id = |id: i64| VlanId::try_from(id).unwrap();
        assert_eq!(vlan_device(&nic("enp0s31f6"), id(4094)).as_str(), "enp0s31f6.4094");
        let long = vlan_device(&nic("enx001122334455"), id(4094));
        assert!(
            long.as_str().starts_with("vl") && long.as_str().ends_with(".4094"),
            "{long}"
        );
        assert_ne!(long, vlan_device(&nic("enx001122334466"), id(4094)));
    }

    #[test]
    fn a_bridge_has_a_locally_administered_address_of_its_own_on_each_host() {
        let hosts = ["node1", "node2"].map(|host| HostName::new(host).unwrap());
        let [one, two] = hosts.map(|host| bridge_mac(&lab(), &host, &nic("br1")).to_string());
        assert_ne!(one, two);
        for mac in [one, two, provisional_mac(&nic("br1")).to_string()] {
            let first = u8::from_str_radix(&mac[..2], 16).unwrap();
            assert_eq!(first & 0x03, 0x02, "{mac}");
        }
    }

    #[test]
    fn every_nic_of_an_emulated_machine_has_a_local_unicast_address_of_its_own() {
        let mac = |lab: &str, host: &str, name: &str| {
            nic_mac(&lab.parse().unwrap(), &host.parse().unwrap(), &nic(name)).octets()
        };
        let eth0 = mac("quick", "node1", "eth0");
        assert_eq!(eth0[0] & 0x03, 0x02);
        assert_eq!(eth0, mac("quick", "node1", "eth0"));
        for other in [
            mac("quack", "node1", "eth0"),
            mac("quick", "node2", "eth0"),
            mac("quick", "node1", "eth1"),
        ] {
            assert_ne!(eth0, other);
        }
    }

    #[test]
    fn a_domains_uuid_is_derived_from_lab_and_vm_and_has_version_8_and_the_rfc_variant() {
        let uuids = ["vm1", "vm2"].map(|vm| domain_uuid(&lab(), &VmName::new(vm).unwrap()));
        // printf quick/vm1 | sha256sum, with the version and variant bits set
        assert_eq!(uuids[0].to_string(), "9b6a8500-e049-87e5-94ff-e08b4b3d4bad");
        assert_ne!(uuids[0], uuids[1]);
        for uuid in uuids {
            assert_eq!(uuid.get_version_num(), 8);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        }
    }

    #[test]
    fn a_link_group_is_apart_from_the_numbers_that_people_use() {
        let groups = ["quick", "other"].map(link_group);
        assert_ne!(groups[0], groups[1]);
        assert!(groups.iter().all(|group| (1 << 30..1 << 31).contains(group)));
    }
}
