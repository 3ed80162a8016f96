//! The strings that a choice can be, and the limits of numbers.

use crate::lab::file::Manager;
use crate::lab::image::{Compression, Format, Recipe};
use crate::lab::{BondMode, Class, ConsoleKind, Datapath, Dialect, Firmware, HashPolicy, LacpRate, TunnelKind, Video};

/// What a network is for; the first is the default.
pub(in crate::lab) const CLASSES: [(&str, Class); 4] = [
    ("service", Class::Service),
    ("public", Class::Public),
    ("management", Class::Management),
    ("storage", Class::Storage),
];
/// Protocols of tunnels.
pub(in crate::lab) const TUNNELS: [(&str, TunnelKind); 3] = [
    ("vxlan", TunnelKind::Vxlan),
    ("gre", TunnelKind::Gre),
    ("geneve", TunnelKind::Geneve),
];
/// What bridges are made of, and whether that is Open vSwitch; the first is the default.
pub(in crate::lab) const SWITCHES: [(&str, bool); 2] = [("bridge", false), ("ovs", true)];
/// Whether a link is up; the first is the default.
pub(in crate::lab) const LINK_STATES: [(&str, bool); 2] = [("up", true), ("down", false)];
/// Data paths of Open vSwitch; the first is the default.
pub(in crate::lab) const DATAPATHS: [(&str, Option<Datapath>); 3] = [
    ("auto", None),
    ("system", Some(Datapath::System)),
    ("netdev", Some(Datapath::Netdev)),
];
/// Modes of bonds; the first is the default.
pub(in crate::lab) const BOND_MODES: [(&str, BondMode); 7] = [
    ("active-backup", BondMode::ActiveBackup),
    ("802.3ad", BondMode::Lacp),
    ("balance-xor", BondMode::BalanceXor),
    ("balance-rr", BondMode::BalanceRr),
    ("broadcast", BondMode::Broadcast),
    ("balance-tlb", BondMode::BalanceTlb),
    ("balance-alb", BondMode::BalanceAlb),
];
/// Rates of LACP; the first is the default.
pub(in crate::lab) const LACP_RATES: [(&str, LacpRate); 2] = [("slow", LacpRate::Slow), ("fast", LacpRate::Fast)];
/// What decides by which NIC of a bond a frame leaves; the first is the default.
pub(in crate::lab) const HASH_POLICIES: [(&str, HashPolicy); 6] = [
    ("layer2", HashPolicy::Layer2),
    ("layer2+3", HashPolicy::Layer23),
    ("layer3+4", HashPolicy::Layer34),
    ("encap2+3", HashPolicy::Encap23),
    ("encap3+4", HashPolicy::Encap34),
    ("vlan+srcmac", HashPolicy::VlanSrcMac),
];
/// nova-network's managers.
pub(in crate::lab) const MANAGERS: [(&str, Manager); 3] = [
    ("flat", Manager::Flat),
    ("flat-dhcp", Manager::FlatDhcp),
    ("vlan", Manager::Vlan),
];
/// What netlab builds by itself.
pub(in crate::lab) const RECIPES: [(&str, Recipe); 1] = [("mini", Recipe::Mini)];
/// Compressions of a download; the first is the default.
pub(in crate::lab) const COMPRESSIONS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("bzip2", Compression::Bzip2),
    ("gzip", Compression::Gzip),
    ("xz", Compression::Xz),
    ("zstd", Compression::Zstd),
];
/// Formats of a disk image.
pub(in crate::lab) const FORMATS: [(&str, Format); 2] = [("raw", Format::Raw), ("qcow2", Format::Qcow2)];
/// Tools that a guest has for its addresses; the first is the default.
pub(in crate::lab) const DIALECTS: [(&str, Dialect); 2] = [("ip", Dialect::Ip), ("ifconfig", Dialect::Ifconfig)];
/// What starts a guest, and whether with Secure Boot is a key of its own; the first is the default.
pub(in crate::lab) const FIRMWARES: [(&str, Firmware); 2] = [("bios", Firmware::Bios), ("efi", Firmware::Efi)];
/// libvirt's names of video cards; the first is the default.
pub(in crate::lab) const VIDEOS: [(&str, Video); 4] = [
    ("vga", Video::Vga),
    ("cirrus", Video::Cirrus),
    ("virtio", Video::Virtio),
    ("none", Video::None),
];
/// Consoles of a guest; the first is the default.
pub(in crate::lab) const CONSOLES: [(&str, ConsoleKind); 2] =
    [("serial", ConsoleKind::Serial), ("vga", ConsoleKind::Vga)];
/// libvirt's names of a guest's disk buses; the first is the default.
pub(in crate::lab) const DISK_BUSES: [&str; 4] = ["virtio", "ide", "sata", "scsi"];
/// libvirt's names of a guest's NIC models; the first is the default.
pub(in crate::lab) const NIC_MODELS: [&str; 7] =
    ["virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3"];

/// The longest time between two checks of a bond's carriers, in milliseconds.
pub(in crate::lab) const MOST_MIIMON: u32 = 10_000;
/// The smallest MTU in bytes that every IPv4 host must accept (RFC 791).
pub(in crate::lab) const LEAST_MTU: u32 = 576;
/// The largest MTU in bytes of common hardware (jumbo frames).
pub(in crate::lab) const MOST_MTU: u32 = 9216;
/// The shortest and the longest forward delay of a bridge with spanning tree in seconds (net/bridge/br_private_stp.h).
pub(in crate::lab) const LEAST_DELAY: u8 = 2;
pub(in crate::lab) const MOST_DELAY: u8 = 30;
/// The shortest one of Open vSwitch's bridges (ovs-vswitchd.conf.db(5), stp-forward-delay; IEEE 802.1D-2004, table 17-1).
pub(in crate::lab) const LEAST_DELAY_OF_OVS: u8 = 4;
/// Most VMs of one table.
pub(in crate::lab) const MOST_COUNT: u32 = 1000;
/// The longest round trip in milliseconds that a check can ask for.
pub(in crate::lab) const MOST_RTT: u32 = 10_000;
/// Most CPUs of a VM.
/// The greatest TCP port.
pub(in crate::lab) const MOST_PORT: u32 = 65_535;

pub(in crate::lab) const MOST_CPUS: u32 = 256;
/// Most addresses of one network: those of a /8.
pub(in crate::lab) const MOST_ADDRESSES: u32 = 1 << 24;
/// Most seconds until a guest's prompt.
pub(in crate::lab) const MOST_SECONDS: u32 = 3600;

/// Returns the names of a choice.
pub(super) fn names_of<T>(pairs: &[(&'static str, T)]) -> Vec<&'static str> {
    pairs.iter().map(|(name, _)| *name).collect()
}

/// Returns the name of `value` among `pairs`; empty where it has none, which a test excludes.
pub(in crate::lab) fn name_of<T: PartialEq>(pairs: &[(&'static str, T)], value: &T) -> &'static str {
    let found = pairs.iter().find(|(_, other)| other == value);
    found.map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_choice_has_a_name() {
        for class in [Class::Public, Class::Management, Class::Storage, Class::Service] {
            assert_ne!(name_of(&CLASSES, &class), "");
        }
        for compression in [
            Compression::None,
            Compression::Bzip2,
            Compression::Gzip,
            Compression::Xz,
            Compression::Zstd,
        ] {
            assert_ne!(name_of(&COMPRESSIONS, &compression), "");
        }
        assert_ne!(name_of(&RECIPES, &Recipe::Mini), "");
        for video in [Video::Vga, Video::Cirrus, Video::Virtio, Video::None] {
            assert_ne!(name_of(&VIDEOS, &video), "");
        }
        for kind in [ConsoleKind::Serial, ConsoleKind::Vga] {
            assert_ne!(name_of(&CONSOLES, &kind), "");
        }
    }
}
