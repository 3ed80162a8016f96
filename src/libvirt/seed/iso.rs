//! The seed disk of a guest that takes cloud-init: an ISO 9660 file system named `cidata` with `meta-data`, `user-data`
//! and `network-config`, as cloud-init's NoCloud data source reads it. Pure: the same settings give the same bytes.
//!
//! ISO 9660 (ECMA-119) with one folder. Its plain names cannot be `user-data`, so every file has its real name in a
//! Rock Ridge `NM` entry, which Linux prefers. Numbers are in both byte orders, dates are zero.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::user_data;
use crate::lab::MacAddr;
use crate::state::{GuestConfig, GuestNicConfig};

/// What a guest is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// The instance id: cloud-init configures the guest again when it changes.
    pub instance: String,
    /// The guest's name.
    pub hostname: String,
    /// Its NICs.
    pub nics: Vec<SeedNic>,
    /// Name servers.
    pub nameservers: Vec<IpAddr>,
    /// The complete `user-data`, e.g. from [`user_data`].
    pub user_data: String,
}

/// A NIC of the guest, found by its MAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedNic {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its address; absent: DHCP.
    pub address: Option<Ipv4Net>,
    /// The default route through it.
    pub gateway: Option<Ipv4Addr>,
    /// Its MTU in bytes; absent: Ethernet's.
    pub mtu: Option<u16>,
}

/// Bytes of a sector.
const SECTOR: usize = 2048;
/// Layout in sectors: volume descriptor, its terminator, the two path tables, the folder, and the continuation of the
/// folder's Rock Ridge entries.
const VOLUME: usize = 16;
const END: usize = 17;
const PATHS_LITTLE: usize = 18;
const PATHS_BIG: usize = 19;
const FOLDER: usize = 20;
const CONTINUED: usize = 21;
const FILES: usize = 22;
/// Bytes of the one entry in a path table.
const PATHS: u32 = 10;
/// A file system smaller than this is refused by some firmware: 1 MiB is safe.
const LEAST: usize = 512;

/// Quotes a text as a YAML scalar: JSON's strings are valid YAML.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Seed {
    /// Creates a seed from `config`, with the account that its console logs in with.
    pub fn of(config: &GuestConfig, instance: String) -> Self {
        let nic = |nic: &GuestNicConfig| SeedNic {
            mac: nic.mac,
            address: (!nic.dhcp).then_some(nic.address),
            // A DHCP server announces the default route.
            gateway: config
                .default_route
                .filter(|route| !nic.dhcp && nic.address.contains(route)),
            mtu: nic.mtu,
        };
        let user_data = user_data(config, &instance);
        Self {
            instance,
            hostname: config.hostname.to_string(),
            nics: config.nics.iter().map(nic).collect(),
            nameservers: config.nameservers.clone(),
            user_data,
        }
    }

    /// Returns the file `meta-data`.
    pub fn meta_data(&self) -> String {
        let (instance, hostname) = (quoted(&self.instance), quoted(&self.hostname));
        format!("instance-id: {instance}\nlocal-hostname: {hostname}\n")
    }

    /// Returns the file `network-config`, version 2: NICs by MAC, whatever the kernel calls them. They are renamed, because
    /// where cloud-init writes for networkd or ifupdown (as of 22.4) it refers to the NIC by that name, too.
    pub fn network_config(&self) -> String {
        if self.nics.is_empty() {
            return "version: 2\nethernets: {}\n".to_owned();
        }
        let mut out = "version: 2\nethernets:\n".to_owned();
        for (index, nic) in self.nics.iter().enumerate() {
            let mac = quoted(&nic.mac.to_string());
            let _ = write!(
                out,
                "  eth{index}:\n    match:\n      macaddress: {mac}\n    set-name: eth{index}\n"
            );
            match nic.address {
                Some(address) => {
                    let _ = write!(out, "    dhcp4: false\n    addresses: [\"{address}\"]\n");
                }
                None => out.push_str("    dhcp4: true\n"),
            }
            if let Some(gateway) = nic.gateway {
                let _ = write!(out, "    routes:\n      - to: 0.0.0.0/0\n        via: {gateway}\n");
            }
            if let Some(mtu) = nic.mtu {
                let _ = writeln!(out, "    mtu: {mtu}");
            }
            if !self.nameservers.is_empty() {
                let servers: Vec<_> = self
                    .nameservers
                    .iter()
                    .map(|server| quoted(&server.to_string()))
                    .collect();
                let _ = write!(out, "    nameservers:\n      addresses: [{}]\n", servers.join(", "));
            }
        }
        out
    }

    /// Returns the disk as an ISO 9660 image.
    pub fn disk(&self) -> Vec<u8> {
        iso(&[
            File::new("META.DAT;1", "meta-data", self.meta_data()),
            File::new("NETWORK.CFG;1", "network-config", self.network_config()),
            File::new("USER.DAT;1", "user-data", self.user_data.clone()),
        ])
    }
}

struct File {
    plain: &'static str,
    name: &'static str,
    content: Vec<u8>,
}

impl File {
    fn new(plain: &'static str, name: &'static str, content: String) -> Self {
        let content = content.into_bytes();
        Self { plain, name, content }
    }
}

/// Encodes a number in both byte orders, little-endian first.
fn both32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn both16(number: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&number.to_le_bytes());
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Encodes a directory record (ECMA-119 9.1) of `size` bytes at `sector`, with `system` for its Rock Ridge entries.
fn record(name: &[u8], sector: usize, size: usize, folder: bool, system: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend(both32(number(sector)));
    out.extend(both32(number(size)));
    out.extend([0; 7]); // date
    out.push(if folder { 2 } else { 0 });
    out.extend([0, 0]); // not interleaved
    out.extend(both16(1)); // volume
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend(name);
    out.resize(out.len().next_multiple_of(2), 0);
    out.extend(system);
    out.resize(out.len().next_multiple_of(2), 0);
    out[0] = u8::try_from(out.len()).unwrap_or(u8::MAX);
    out
}

/// Rock Ridge `PX`: mode, links, owner, group, serial number.
fn owner(folder: bool, serial: usize) -> Vec<u8> {
    let mut out = b"PX\x2c\x01".to_vec();
    let (mode, links) = if folder { (0o040_555, 2) } else { (0o100_444, 1) };
    for field in [mode, links, 0, 0, number(serial)] {
        out.extend(both32(field));
    }
    out
}

/// Rock Ridge `NM`: the real name.
fn real_name(name: &str) -> Vec<u8> {
    let mut out = b"NM".to_vec();
    out.extend([u8::try_from(name.len() + 5).unwrap_or(u8::MAX), 1, 0]);
    out.extend(name.as_bytes());
    out
}

/// The SUSP entry `ER` that announces Rock Ridge; Linux reads the names only where it is present.
fn announcement() -> Vec<u8> {
    let (id, text, source) = ("RRIP_1991A", "ROCK RIDGE", "-");
    let mut out = b"ER".to_vec();
    let length = 8 + id.len() + text.len() + source.len();
    let bytes = [length, 1, id.len(), text.len(), source.len(), 1];
    out.extend(bytes.map(|byte| u8::try_from(byte).unwrap_or(u8::MAX)));
    out.extend([id, text, source].concat().as_bytes());
    out
}

fn put(disk: &mut Vec<u8>, sector: usize, bytes: &[u8]) {
    let begin = sector * SECTOR;
    let end = begin + bytes.len();
    if disk.len() < end {
        disk.resize(end.next_multiple_of(SECTOR), 0);
    }
    disk[begin..end].copy_from_slice(bytes);
}

fn iso(files: &[File]) -> Vec<u8> {
    let mut disk = Vec::new();
    let announcement = announcement();
    // `.` announces SUSP and where its entries continue: a record is too short for `ER`.
    let mut system = b"SP\x07\x01\xbe\xef\x00".to_vec();
    system.extend(owner(true, 1));
    system.extend(b"CE\x1c\x01");
    for field in [CONTINUED, 0, announcement.len()] {
        system.extend(both32(number(field)));
    }
    let mut folder = record(&[0], FOLDER, SECTOR, true, &system);
    folder.extend(record(&[1], FOLDER, SECTOR, true, &owner(true, 1)));
    let mut sector = FILES;
    for (index, file) in files.iter().enumerate() {
        let mut system = owner(false, index + 2);
        system.extend(real_name(file.name));
        folder.extend(record(
            file.plain.as_bytes(),
            sector,
            file.content.len(),
            false,
            &system,
        ));
        put(&mut disk, sector, &file.content);
        sector += file.content.len().div_ceil(SECTOR).max(1);
    }
    put(&mut disk, FOLDER, &folder);
    put(&mut disk, CONTINUED, &announcement);
    let paths = |big: bool| {
        let sector = number(FOLDER);
        let (sector, parent) = if big {
            (sector.to_be_bytes(), 1_u16.to_be_bytes())
        } else {
            (sector.to_le_bytes(), 1_u16.to_le_bytes())
        };
        [&[1, 0][..], &sector, &parent, &[0, 0]].concat()
    };
    put(&mut disk, PATHS_LITTLE, &paths(false));
    put(&mut disk, PATHS_BIG, &paths(true));
    let sectors = sector.max(LEAST);
    put(&mut disk, VOLUME, &volume(sectors));
    put(&mut disk, END, b"\xffCD001\x01");
    disk.resize(sectors * SECTOR, 0);
    disk
}

/// The primary volume descriptor (ECMA-119 8.4).
fn volume(sectors: usize) -> Vec<u8> {
    let text = |text: &str, length: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(length, b' ');
        bytes
    };
    let mut out = b"\x01CD001\x01\0".to_vec();
    out.extend(text("LINUX", 32));
    // cloud-init searches for this label; lower case violates ECMA-119 but is common practice.
    out.extend(text("cidata", 32));
    out.extend([0; 8]);
    out.extend(both32(number(sectors)));
    out.extend([0; 32]);
    out.extend(both16(1)); // volumes
    out.extend(both16(1)); // this volume
    out.extend(both16(2048));
    out.extend(both32(PATHS));
    out.extend(number(PATHS_LITTLE).to_le_bytes());
    out.extend([0; 4]);
    out.extend(number(PATHS_BIG).to_be_bytes());
    out.extend([0; 4]);
    out.extend(record(&[0], FOLDER, SECTOR, true, &[]));
    for length in [128, 128, 128, 128, 37, 37, 37] {
        out.extend(text("", length));
    }
    // Four dates, each 16 digits and a zone: unspecified.
    for _ in 0..4 {
        out.extend(b"0000000000000000\0");
    }
    out.extend([1, 0]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nics_are_found_by_their_mac() {
        let seed = Seed {
            instance: "a".to_owned(),
            hostname: "vm1".to_owned(),
            nics: vec![
                SeedNic {
                    mac: "52:54:00:00:00:01".parse().unwrap(),
                    address: Some("10.0.0.2/24".parse().unwrap()),
                    gateway: Some([10, 0, 0, 1].into()),
                    mtu: None,
                },
                SeedNic {
                    mac: "52:54:00:00:00:02".parse().unwrap(),
                    address: None,
                    gateway: None,
                    mtu: Some(1400),
                },
            ],
            nameservers: Vec::new(),
            user_data: String::new(),
        };
        assert_eq!(
            seed.network_config(),
            "version: 2\nethernets:\n  eth0:\n    match:\n      macaddress: \"52:54:00:00:00:01\"\n    set-name: eth0\n    dhcp4: false\n    \
             addresses: [\"10.0.0.2/24\"]\n    routes:\n      - to: 0.0.0.0/0\n        via: 10.0.0.1\n  eth1:\n    \
             match:\n      macaddress: \"52:54:00:00:00:02\"\n    set-name: eth1\n    dhcp4: true\n    mtu: 1400\n"
        );
        assert_eq!(seed.disk(), seed.disk());
    }
}
