//! Every table of a lab file with its keys, and the strings that a choice can be.

use super::{Key, Kind, Table};
use crate::lab::file::Manager;
use crate::lab::image::{Compression, Format, Recipe};
use crate::lab::names::{self, IfName, Kind as _};
use crate::lab::{Class, ConsoleKind, Dialect};

/// What a network is for; the first is the default.
pub(in crate::lab) const CLASSES: [(&str, Class); 4] = [
    ("service", Class::Service),
    ("public", Class::Public),
    ("management", Class::Management),
    ("storage", Class::Storage),
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
/// Consoles of a guest; the first is the default.
pub(in crate::lab) const CONSOLES: [(&str, ConsoleKind); 2] =
    [("serial", ConsoleKind::Serial), ("vga", ConsoleKind::Vga)];
/// libvirt's names of a guest's disk buses; the first is the default.
pub(in crate::lab) const DISK_BUSES: [&str; 4] = ["virtio", "ide", "sata", "scsi"];
/// libvirt's names of a guest's NIC models; the first is the default.
pub(in crate::lab) const NIC_MODELS: [&str; 7] =
    ["virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3"];

/// The smallest MTU in bytes that every IPv4 host must accept (RFC 791).
pub(in crate::lab) const LEAST_MTU: u32 = 576;
/// The largest MTU in bytes of common hardware (jumbo frames).
pub(in crate::lab) const MOST_MTU: u32 = 9216;
/// Most VMs of one table.
pub(in crate::lab) const MOST_COUNT: u32 = 1000;
/// Most CPUs of a VM.
pub(in crate::lab) const MOST_CPUS: u32 = 256;
/// Most addresses of one network: those of a /8.
pub(in crate::lab) const MOST_ADDRESSES: u32 = 1 << 24;
/// Most seconds until a guest's prompt.
pub(in crate::lab) const MOST_SECONDS: u32 = 3600;

/// Returns the names of a choice.
fn names_of<T>(pairs: &[(&'static str, T)]) -> Vec<&'static str> {
    pairs.iter().map(|(name, _)| *name).collect()
}

/// Returns the name of `value` among `pairs`; empty where it has none, which a test excludes.
pub(in crate::lab) fn name_of<T: PartialEq>(pairs: &[(&'static str, T)], value: &T) -> &'static str {
    let found = pairs.iter().find(|(_, other)| other == value);
    found.map_or("", |(name, _)| name)
}

const fn key(name: &'static str, value: Kind, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: false,
        about,
    }
}

const fn required(name: &'static str, value: Kind, about: &'static str) -> Key {
    Key {
        name,
        value,
        required: true,
        about,
    }
}

const PLAIN: &str = "^[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$";
const HOST: Kind = Kind::Name(PLAIN, names::HostKind::LIMIT);
const NETWORK_NAME: Kind = Kind::Name(PLAIN, names::NetworkKind::LIMIT);
const VM_NAME: Kind = Kind::Name(PLAIN, names::VmKind::LIMIT);
const IMAGE_NAME: Kind = Kind::Name("^[A-Za-z]([A-Za-z0-9.-]*[A-Za-z0-9])?$", names::ImageKind::LIMIT);
const LINK: Kind = Kind::Name("^[A-Za-z][A-Za-z0-9._-]*$", IfName::LIMIT);
const MAC: Kind = Kind::Pattern("^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$");
const IPV4: Kind = Kind::Pattern("^[0-9]{1,3}([.][0-9]{1,3}){3}$");
const SUBNET: Kind = Kind::Pattern("^[0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}$");
const IP: Kind = Kind::Pattern("^[0-9A-Fa-f:.]+$");
const SIZE: Kind = Kind::Pattern("^[0-9]+ *(MiB|GiB|TiB)$");
const HEX: Kind = Kind::Pattern("^[0-9A-Fa-f]+$");
const LIBVIRT: Kind = Kind::Pattern("^[a-z0-9_.-]+$");
const VLAN: Kind = Kind::Integer(1, 4094);

/// The whole file.
pub(in crate::lab) const LAB: Table = Table {
    name: "the lab",
    keys: &[
        required(
            "name",
            Kind::Name(PLAIN, names::LabKind::LIMIT),
            "Name of the lab, part of every object's name.",
        ),
        key(
            "image",
            IMAGE_NAME,
            "Image of every VM that has none of its own; default: mini.",
        ),
        key(
            "images",
            Kind::Named(&IMAGE_NAME, &Kind::Table(&IMAGE)),
            "Images besides those of the catalog, by name.",
        ),
        required("hosts", Kind::Named(&HOST, &Kind::Table(&HOST_TABLE)), "Hosts by name."),
        key(
            "switches",
            Kind::Named(&HOST, &Kind::Table(&SWITCH)),
            "Emulated switches by name.",
        ),
        key(
            "routers",
            Kind::Named(&HOST, &Kind::Table(&ROUTER)),
            "Emulated routers by name.",
        ),
        key(
            "cables",
            Kind::List(&Kind::Table(&CABLE)),
            "Cables between emulated machines.",
        ),
        key(
            "networks",
            Kind::Named(&NETWORK_NAME, &Kind::Table(&NETWORK)),
            "Networks by name: each one layer 2 segment with one IPv4 subnet.",
        ),
        key(
            "nat",
            Kind::List(&Kind::Table(&NAT)),
            "Source address translation on hosts.",
        ),
        key(
            "nova",
            Kind::Table(&NOVA),
            "Networks as a manager of nova-network builds them.",
        ),
        key(
            "vms",
            Kind::Named(&VM_NAME, &Kind::Table(&VM)),
            "Virtual machines by name.",
        ),
        key(
            "verify",
            Kind::Table(&VERIFY),
            "What `netlab verify` pings besides guests and gateways.",
        ),
    ],
};

/// `[hosts.X]`.
pub(in crate::lab) const HOST_TABLE: Table = Table {
    name: "a host",
    keys: &[
        key(
            "connect",
            Kind::Either(&Kind::Choice(|| vec!["emulated", "local"]), &Kind::Pattern("^ssh:")),
            "How the host is reached: emulated (default), local, or ssh://user@host.",
        ),
        key(
            "nics",
            Kind::Named(&LINK, &Kind::Table(&HOST_NIC)),
            "NICs by name: those that an emulated host has; of a real host, those that it is expected to have.",
        ),
    ],
};

/// `nics.X` of a host or router.
pub(in crate::lab) const HOST_NIC: Table = Table {
    name: "a NIC of a host or router",
    keys: &[
        key("address", SUBNET, "Address with prefix length."),
        key("gateway", IPV4, "Default gateway through this NIC."),
        key(
            "takeover",
            Kind::Flag,
            "A real host's NIC may be attached to a bridge although the host is reached through it.",
        ),
    ],
};

/// `[switches.X]`.
pub(in crate::lab) const SWITCH: Table = Table {
    name: "a switch",
    keys: &[key("ports", Kind::Named(&LINK, &Kind::Table(&PORT)), "Ports by name.")],
};

/// `ports.X` of a switch.
pub(in crate::lab) const PORT: Table = Table {
    name: "a switch's port",
    keys: &[
        key("access", VLAN, "VLAN that untagged frames belong to."),
        key("trunk", Kind::List(&VLAN), "VLANs that pass with their tags."),
    ],
};

/// `[routers.X]`.
pub(in crate::lab) const ROUTER: Table = Table {
    name: "a router",
    keys: &[
        key("nics", Kind::Named(&LINK, &Kind::Table(&HOST_NIC)), "NICs by name."),
        key(
            "outside",
            Kind::OneOrMore(&SUBNET),
            "Addresses outside of the lab that answer pings.",
        ),
    ],
};

/// `[[cables]]`.
pub(in crate::lab) const CABLE: Table = Table {
    name: "a cable",
    keys: &[required(
        "ends",
        Kind::List(&Kind::Text),
        "The two ends: `host:nic`, or a switch alone for its next port.",
    )],
};

/// `[networks.X]`.
pub(in crate::lab) const NETWORK: Table = Table {
    name: "a network",
    keys: &[
        key(
            "class",
            Kind::Choice(|| names_of(&CLASSES)),
            "What it is for; default: service.",
        ),
        required("subnet", SUBNET, "The subnet that addresses are allocated from."),
        key(
            "uplink",
            Kind::Either(&LINK, &Kind::Named(&HOST, &LINK)),
            "NIC that carries the network to other hosts, on every host that has it or by host.",
        ),
        key("vlan", VLAN, "802.1Q id on the uplink; default: untagged."),
        key("bridge", LINK, "Name of the bridge on every host; default: derived."),
        key(
            "bridge_mac",
            Kind::Named(&HOST, &MAC),
            "MAC address of the bridge, by host; default: derived, or that of an untagged uplink.",
        ),
        key("stp", Kind::Flag, "Spanning tree on the bridge; default: false."),
        key(
            "mtu",
            Kind::Integer(LEAST_MTU, MOST_MTU),
            "MTU of the guests, in bytes; default: 1500.",
        ),
        key(
            "addresses",
            Kind::Named(&HOST, &IPV4),
            "Addresses of hosts on the bridge besides the gateway's.",
        ),
        key("gateway", Kind::Table(&GATEWAY), "The router of the network."),
        key(
            "dhcp",
            Kind::Flag,
            "The gateway's host serves DHCP and DNS; default: false.",
        ),
        key("nameservers", Kind::List(&IP), "Name servers of the guests."),
    ],
};

/// `gateway` of a network.
pub(in crate::lab) const GATEWAY: Table = Table {
    name: "a gateway",
    keys: &[
        required("address", IPV4, "Address in the network's subnet."),
        key(
            "on",
            HOST,
            "The host that has it, or `every-host`; default: the only host.",
        ),
    ],
};

/// `[[nat]]`.
pub(in crate::lab) const NAT: Table = Table {
    name: "a nat rule",
    keys: &[
        key("on", HOST, "The host; default: the only one."),
        required(
            "from",
            Kind::OneOrMore(&Kind::Either(&SUBNET, &NETWORK_NAME)),
            "Subnets or networks that are translated.",
        ),
        required("out", LINK, "NIC that the packets leave by."),
        key("source", IPV4, "New source address; default: that of the NIC."),
    ],
};

/// `[nova]`, with nova-network's own names.
pub(in crate::lab) const NOVA: Table = Table {
    name: "nova",
    keys: &[
        required("manager", Kind::Choice(|| names_of(&MANAGERS)), "The network manager."),
        key(
            "tenants",
            Kind::OneOrMore(&NETWORK_NAME),
            "Names of the networks; default: private.",
        ),
        key("fixed_range", SUBNET, "Range of all networks; default: 10.0.0.0/8."),
        key(
            "network_size",
            Kind::Integer(1, MOST_ADDRESSES),
            "Addresses of one network, a power of two; default: 256.",
        ),
        key("vlan_start", VLAN, "VLAN of the first tenant; default: 100."),
        key("vlan_interface", LINK, "Uplink of the VLANs."),
        key("flat_interface", LINK, "Uplink of the flat network."),
        key(
            "flat_network_bridge",
            LINK,
            "Bridge of the flat network; default: br100.",
        ),
        key("public_interface", LINK, "NIC for source address translation."),
        key("routing_source_ip", IPV4, "Source address of translated packets."),
        key("network_host", HOST, "The host that routes and serves DHCP."),
        key(
            "multi_host",
            Kind::Flag,
            "Every host routes for its own guests; default: false.",
        ),
        key("dns", Kind::List(&IP), "Name servers."),
    ],
};

/// `[vms.X]`.
pub(in crate::lab) const VM: Table = Table {
    name: "a vm",
    keys: &[
        key("host", HOST, "Where it runs."),
        key(
            "hosts",
            Kind::List(&HOST),
            "Where several run, one after another on each.",
        ),
        key(
            "count",
            Kind::Integer(1, MOST_COUNT),
            "How many; default: one, or one per host.",
        ),
        key("image", IMAGE_NAME, "What it runs; default: that of the lab."),
        key("memory", SIZE, "Memory, e.g. 128MiB; default: that of the image."),
        key("cpus", Kind::Integer(1, MOST_CPUS), "Virtual CPUs; default: 1."),
        key("nics", Kind::List(&Kind::Table(&NIC)), "NICs in the guest's order."),
        key("floating", IPV4, "Address outside of the lab that is translated to it."),
    ],
};

/// An item of a vm's `nics`.
pub(in crate::lab) const NIC: Table = Table {
    name: "a NIC",
    keys: &[
        required("network", NETWORK_NAME, "Its network."),
        key("address", IPV4, "Its address; default: allocated."),
        key("mac", MAC, "Its MAC address; default: derived."),
    ],
};

/// `[verify]`.
pub(in crate::lab) const VERIFY: Table = Table {
    name: "verify",
    keys: &[
        key(
            "outside",
            Kind::List(&IP),
            "Addresses outside of the lab that every guest must reach.",
        ),
        key("ping", Kind::List(&Kind::Table(&PING)), "Further pings."),
    ],
};

/// `[[verify.ping]]`.
pub(in crate::lab) const PING: Table = Table {
    name: "a ping",
    keys: &[
        required(
            "from",
            Kind::OneOrMore(&Kind::Text),
            "VMs, hosts and routers that ping.",
        ),
        required("to", IP, "Address that is pinged."),
        key(
            "reach",
            Kind::Flag,
            "It must answer; false: it must not. Default: true.",
        ),
    ],
};

/// `[images.X]`, and a file of the catalog.
pub(in crate::lab) const IMAGE: Table = Table {
    name: "an image",
    keys: &[
        key("description", Kind::Text, "One line for `netlab image list`."),
        key(
            "recipe",
            Kind::Choice(|| names_of(&RECIPES)),
            "The image is built on this machine instead of downloaded.",
        ),
        key("cmdline", Kind::Text, "Kernel command line of a recipe."),
        key(
            "mirrors",
            Kind::List(&Kind::Text),
            "https, http or file URLs, or paths relative to the lab file, in the order in which they are tried.",
        ),
        key("sha256", HEX, "SHA-256 of the download."),
        key("sha512", HEX, "SHA-512 of the download."),
        key("git_blob", HEX, "Git's object id of the download."),
        key(
            "compression",
            Kind::Choice(|| names_of(&COMPRESSIONS)),
            "Compression of the download; default: none.",
        ),
        key(
            "format",
            Kind::Choice(|| names_of(&FORMATS)),
            "Format of the disk image.",
        ),
        key("unpacked", Kind::Table(&UNPACKED), "The file after decompression."),
        key("machine", Kind::Table(&MACHINE), "The virtual hardware that it needs."),
        required("console", Kind::Table(&CONSOLE), "How its console behaves."),
        key("cloud_init", Kind::Flag, "The guest has cloud-init; default: false."),
        key(
            "dialect",
            Kind::Choice(|| names_of(&DIALECTS)),
            "The guest's tool for addresses; default: ip.",
        ),
    ],
};

/// `unpacked` of an image.
pub(in crate::lab) const UNPACKED: Table = Table {
    name: "`unpacked`",
    keys: &[
        key("sha256", HEX, "SHA-256 of the file."),
        key("sha512", HEX, "SHA-512 of the file."),
        key("git_blob", HEX, "Git's object id of the file."),
        key("at_most", SIZE, "Largest size of the file; default: 64GiB."),
    ],
};

/// `machine` of an image.
pub(in crate::lab) const MACHINE: Table = Table {
    name: "an image's machine",
    keys: &[
        key("arch", LIBVIRT, "Architecture; default: x86_64."),
        key("machine", LIBVIRT, "Machine type; default: pc."),
        key(
            "disk_bus",
            Kind::Choice(|| DISK_BUSES.to_vec()),
            "Disk bus; default: virtio.",
        ),
        key(
            "nic_model",
            Kind::Choice(|| NIC_MODELS.to_vec()),
            "NIC model; default: virtio.",
        ),
        key(
            "memory",
            SIZE,
            "Memory of a VM that has none of its own; default: 256MiB.",
        ),
    ],
};

/// `console` of an image.
pub(in crate::lab) const CONSOLE: Table = Table {
    name: "an image's console",
    keys: &[
        key(
            "kind",
            Kind::Choice(|| names_of(&CONSOLES)),
            "Serial port or VGA text screen; default: serial.",
        ),
        required(
            "prompt",
            Kind::Text,
            "The text that a waiting shell ends its line with, e.g. `# `.",
        ),
        key("login", Kind::Table(&LOGIN), "The login, where the image has one."),
        key(
            "boot_seconds",
            Kind::Integer(1, MOST_SECONDS),
            "Seconds until the prompt at most; default: 300.",
        ),
    ],
};

/// `login` of a console.
pub(in crate::lab) const LOGIN: Table = Table {
    name: "a login",
    keys: &[
        key(
            "prompt",
            Kind::Text,
            "The text that asks for the user; default: `login: `.",
        ),
        required("user", Kind::Text, "The user."),
        key("password", Kind::Text, "The password."),
    ],
};

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
        for kind in [ConsoleKind::Serial, ConsoleKind::Vga] {
            assert_ne!(name_of(&CONSOLES, &kind), "");
        }
    }
}
