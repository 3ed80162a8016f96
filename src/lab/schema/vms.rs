//! `vms.X`, with its disks, services, ports and NICs.

use super::choices::{MOST_COUNT, MOST_CPUS, MOST_PORT};
use super::kinds::{HOST, IMAGE_NAME, IPV4, MAC, NETWORK_NAME, PORT_NUMBER, SIZE, key, required};
use super::setup::{FILES, PACKAGES, PASSWORD, RUN, SSH_KEYS, USER, USER_DATA};
use super::shaping::{DELAY, JITTER, LINK_STATE, LOSS, RATE};
use super::{Kind, Table};

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
        key(
            "disk",
            SIZE,
            "Least size of its disk, e.g. 20GiB; default: that of the image. A disk is never made smaller.",
        ),
        key(
            "disks",
            Kind::List(&Kind::Table(&DISK)),
            "Further disks, in the guest's order.",
        ),
        key(
            "cdrom",
            Kind::Text,
            "Image of a CD that is in its drive: a path, relative to the lab file.",
        ),
        key("cpus", Kind::Integer(1, MOST_CPUS), "Virtual CPUs; default: 1."),
        key("nics", Kind::List(&Kind::Table(&NIC)), "NICs in the guest's order."),
        key("floating", IPV4, "Address outside of the lab that is translated to it."),
        key(
            "serve",
            Kind::List(&Kind::Table(&SERVE)),
            "Services that the guest runs: each answers HTTP requests and other connections with a text.",
        ),
        key(
            "forward",
            Kind::List(&Kind::Table(&FORWARD)),
            "Ports of 127.0.0.1, on the machine that netlab runs on, that lead to it.",
        ),
        SSH_KEYS,
        USER,
        PASSWORD,
        USER_DATA,
        PACKAGES,
        FILES,
        RUN,
    ],
};

/// An item of a vm's `disks`.
pub(in crate::lab) const DISK: Table = Table {
    name: "a disk",
    keys: &[
        key("size", SIZE, "Size of a disk that is empty at first, e.g. 1GiB."),
        key(
            "file",
            Kind::Text,
            "Image with which the disk begins, raw or qcow2: a path, relative to the lab file. It is never written.",
        ),
    ],
};

/// An item of a vm's `serve`.
pub(in crate::lab) const SERVE: Table = Table {
    name: "a service",
    keys: &[
        required("tcp", PORT_NUMBER, "The port."),
        required("text", Kind::Text, "What it answers: one line of printable ASCII."),
    ],
};

/// An item of a vm's `forward`.
pub(in crate::lab) const FORWARD: Table = Table {
    name: "a forward",
    keys: &[
        required("host", Kind::Integer(1, MOST_PORT), "TCP port of 127.0.0.1."),
        required("guest", Kind::Integer(1, MOST_PORT), "TCP port in the VM."),
    ],
};

/// An item of a vm's `nics`.
pub(in crate::lab) const NIC: Table = Table {
    name: "a NIC",
    keys: &[
        required("network", NETWORK_NAME, "Its network."),
        key("address", IPV4, "Its address; default: allocated."),
        key("mac", MAC, "Its MAC address; default: derived."),
        key(
            "port_security",
            Kind::Flag,
            "The guest sends with its own addresses only; default: that of the network.",
        ),
        LINK_STATE,
        RATE,
        DELAY,
        JITTER,
        LOSS,
    ],
};
