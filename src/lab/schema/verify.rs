//! `[verify]`, with its pings and checks.

use super::choices::{LEAST_MTU, MOST_MTU, MOST_RTT};
use super::kinds::{DNS_NAME, HTTP, IP, IPV4, PORT_NUMBER, TARGET, VM_NAME, key, required};
use super::{Kind, Table};

/// `[verify]`.
pub(in crate::lab) const VERIFY: Table = Table {
    name: "verify",
    keys: &[
        key(
            "outside",
            Kind::List(&Kind::Either(&IP, &DNS_NAME)),
            "Addresses and names outside of the lab that every guest must reach.",
        ),
        key("ping", Kind::List(&Kind::Table(&PING)), "Further pings."),
        key(
            "check",
            Kind::List(&Kind::Table(&CHECK)),
            "Questions about services and paths.",
        ),
    ],
};

/// `[[verify.ping]]`.
pub(in crate::lab) const PING: Table = Table {
    name: "a ping",
    keys: &[
        required("from", Kind::OneOrMore(&VM_NAME), "VMs, hosts and routers that ping."),
        required("to", IP, "Address that is pinged."),
        key(
            "reach",
            Kind::Flag,
            "It must answer; false: it must not. Default: true.",
        ),
    ],
};

/// `[[verify.check]]`.
pub(in crate::lab) const CHECK: Table = Table {
    name: "a check",
    keys: &[
        required("from", Kind::OneOrMore(&VM_NAME), "VMs, hosts and routers that ask."),
        key("name", Kind::Text, "What reports call it; default: the question."),
        key(
            "to",
            TARGET,
            "VM, address or DNS name that is asked, for `tcp`, `max_rtt_ms` and `mtu`.",
        ),
        key("tcp", PORT_NUMBER, "A TCP connection to this port is made."),
        key("http", HTTP, "This page is answered."),
        key(
            "status",
            Kind::Integer(100, 599),
            "Status of the page; default: any from 200 to 299.",
        ),
        key("text", Kind::Text, "What a line of the page contains."),
        key("dns", DNS_NAME, "The asker's own name servers resolve this name."),
        key(
            "answer",
            Kind::OneOrMore(&IPV4),
            "IPv4 addresses of the name; default: those that the lab gives it, else any.",
        ),
        key(
            "max_rtt_ms",
            Kind::Integer(1, MOST_RTT),
            "Longest mean round trip of pings to `to`, in milliseconds.",
        ),
        key(
            "mtu",
            Kind::Integer(LEAST_MTU, MOST_MTU),
            "Packets of this size reach `to` without being fragmented, in bytes.",
        ),
        key(
            "reach",
            Kind::Flag,
            "It is as described; false: it must not be. Default: true.",
        ),
        key("hint", Kind::Text, "What is shown where it fails."),
    ],
};
