//! Kinds of values that several tables have.

use super::{Key, Kind};
use crate::lab::names::{self, IfName, Kind as _};

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
pub(super) const LAB_NAME: Kind = Kind::Name(PLAIN, names::LabKind::LIMIT);
pub(super) const HOST: Kind = Kind::Name(PLAIN, names::HostKind::LIMIT);
pub(super) const NETWORK_NAME: Kind = Kind::Name(PLAIN, names::NetworkKind::LIMIT);
pub(super) const VM_NAME: Kind = Kind::Name(PLAIN, names::VmKind::LIMIT);
pub(super) const IMAGE_NAME: Kind = Kind::Name("^[A-Za-z]([A-Za-z0-9.-]*[A-Za-z0-9])?$", names::ImageKind::LIMIT);
pub(super) const LINK: Kind = Kind::Name("^[A-Za-z][A-Za-z0-9._-]*$", IfName::LIMIT);
pub(super) const MAC: Kind = Kind::Pattern("^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$");
pub(super) const IPV4: Kind = Kind::Pattern("^[0-9]{1,3}([.][0-9]{1,3}){3}$");
pub(super) const SUBNET: Kind = Kind::Pattern("^[0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}$");
pub(super) const IP: Kind = Kind::Pattern("^[0-9A-Fa-f:.]+$");
pub(super) const SIZE: Kind = Kind::Pattern("^[0-9]+ *(MiB|GiB|TiB)$");
pub(super) const HEX: Kind = Kind::Pattern("^[0-9A-Fa-f]+$");
pub(super) const LIBVIRT: Kind = Kind::Pattern("^[a-z0-9_.-]+$");
pub(super) const VLAN: Kind = Kind::Integer(1, 4094);
