//! Kinds of values that several tables have.

use super::{Key, Kind};
use crate::lab::names::{self, DnsName, IfName, Kind as _};

pub(super) const fn key(name: &'static str, value: Kind, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: false,
        about,
    }
}

pub(super) const fn required(name: &'static str, value: Kind, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: true,
        about,
    }
}

const PLAIN: &str = "^[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$";
pub(super) const LAB_NAME: Kind = Kind::Name(PLAIN, names::LabKind::LIMIT, "lab1");
pub(super) const HOST: Kind = Kind::Name(PLAIN, names::HostKind::LIMIT, "node1");
pub(super) const NETWORK_NAME: Kind = Kind::Name(PLAIN, names::NetworkKind::LIMIT, "service");
pub(super) const TENANT: Kind = Kind::Name(PLAIN, names::TenantKind::LIMIT, "red");
pub(super) const VM_NAME: Kind = Kind::Name(PLAIN, names::VmKind::LIMIT, "vm1");
pub(super) const IMAGE_NAME: Kind = Kind::Name(
    "^[A-Za-z]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
    names::ImageKind::LIMIT,
    "mini",
);
pub(super) const LINK: Kind = Kind::Name("^[A-Za-z][A-Za-z0-9._-]*$", IfName::LIMIT, "eth0");
pub(super) const MAC: Kind = Kind::Pattern("^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$", "52:54:00:12:34:56");
pub(super) const IPV4: Kind = Kind::Pattern("^[0-9]{1,3}([.][0-9]{1,3}){3}$", "10.0.1.1");
pub(super) const SUBNET: Kind = Kind::Pattern("^[0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}$", "10.0.1.0/24");
pub(super) const IP: Kind = Kind::Pattern("^[0-9A-Fa-f:.]+$", "192.0.2.1");
pub(super) const DNS_NAME: Kind = Kind::Name(
    "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?[.]?$",
    DnsName::LIMIT,
    "vm1.lab",
);
pub(super) const TARGET: Kind = Kind::Pattern("^[A-Za-z0-9:.-]+$", "vm1");
pub(super) const HTTP: Kind = Kind::Pattern("^http://[^/]+", "http://vm1/");
pub(super) const PORT_NUMBER: Kind = Kind::Integer(1, 65_535);
pub(super) const SIZE: Kind = Kind::Pattern("^[0-9]+ *(MiB|GiB|TiB)$", "128MiB");
/// What a router that leads to this machine's network has as its outside.
pub(super) const TO_HOST: Kind = Kind::Pattern("^host$", "host");
/// A time with its unit.
pub(super) const LEASE: Kind = Kind::Pattern("^[0-9]+(s|m|h|d)$", "12h");
/// Hex digits, also as publishers write them: `sha256:HEX`, `HEX  FILE`, `SHA256 (FILE) = HEX`.
pub(super) const HEX: Kind = Kind::Pattern(
    "^(([a-z0-9_]+:)?[0-9A-Fa-f]+([ ].*)?|[A-Z0-9]+ [(].*[)] = [0-9A-Fa-f]+)$",
    "0123abcd",
);
pub(super) const LIBVIRT: Kind = Kind::Pattern("^[a-z0-9_.-]+$", "x86_64");
pub(super) const VLAN: Kind = Kind::Integer(1, 4094);
