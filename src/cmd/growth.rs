//! What `plan`, `plan --expand`, `plan --explain` and `graph` do grows with the size of a lab, and not with its square:
//! the comparisons of names are counted, since every search compares names. No clock is read.

use std::fmt::Write as _;

use super::plan::{assumed, text};
use crate::folders::Folders;
use crate::graph::{Marks, dot, mermaid, svg};
use crate::lab::{self, COMPARED};
use crate::ops::{self, Env, LoadOptions};
use crate::topology;

/// How many times larger the second lab is.
const LARGER: u32 = 8;
/// The most that the comparisons may grow: in proportion to the size, and to the depth of a tree's search (about 1.6 times
/// here). With the square of the size it would be 64 times.
const MOST: f64 = 16.0;

/// Returns a lab of so many hosts, each with a network, a tenant and five VMs that are on two networks: with uplinks, tunnels,
/// gateways, DHCP, address translation, floating addresses, forwarded ports and limits.
fn large(hosts: u32) -> String {
    let mut out = String::from("name = \"t\"\n");
    let mut line = |text: std::fmt::Arguments| {
        let _ = writeln!(out, "{text}");
    };
    for n in 0..hosts {
        let (high, low) = (n / 256, n % 256);
        line(format_args!("[hosts.h{n}]\nnics.eth0 = {{}}"));
        line(format_args!("nics.eth1.address = \"172.{}.{low}.1/24\"", 16 + high));
        line(format_args!("[[cables]]\nends = [\"h{n}:eth0\", \"s{}\"]", n / 10));
        line(format_args!(
            "[networks.n{n}]\nsubnet = \"10.{high}.{low}.0/24\"\ntenant = \"t{n}\""
        ));
        line(format_args!(
            "gateway = {{ address = \"10.{high}.{low}.1\", on = \"h{n}\" }}\ndhcp = true\nport_security = true"
        ));
        if n % 10 == 0 {
            line(format_args!("tunnel = \"vxlan\"\nunderlay = \"eth1\""));
        } else {
            line(format_args!("uplink = \"eth0\"\nvlan = {}", n + 2));
        }
        line(format_args!(
            "[[nat]]\non = \"h{n}\"\nfrom = [\"n{n}\"]\nout = \"eth1\""
        ));
        line(format_args!(
            "[[route]]\nbetween = [\"t{n}\", \"t{}\"]",
            (n + 1) % hosts
        ));
        for of_host in 0..5 {
            line(format_args!("[vms.v{}]\nhost = \"h{n}\"", n * 5 + of_host));
            let other = (n + 1 + of_host) % hosts;
            line(format_args!(
                "nics = [{{ network = \"n{n}\", rate = \"1mbit\" }}, {{ network = \"n{other}\" }}]"
            ));
            if of_host == 0 {
                line(format_args!("floating = \"172.{}.{low}.9\"", 16 + high));
                line(format_args!("forward = [{{ host = {}, guest = 80 }}]", 10_000 + n));
            }
        }
    }
    for n in 0..hosts.div_ceil(10) {
        line(format_args!("[switches.s{n}]"));
        if n > 0 {
            line(format_args!("[[cables]]\nends = [\"s{n}\", \"s{}\"]", n - 1));
        }
    }
    out
}

/// Returns how many names are compared by each part of the work on a lab of so many hosts.
fn compared(hosts: u32) -> Vec<(&'static str, f64)> {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(
        Folders {
            state: folder.path().to_owned(),
            cache: folder.path().to_owned(),
        },
        "netlab".into(),
    );
    let mut parts = Vec::new();
    let mut before = COMPARED.get();
    let mut part = |name| {
        let now = COMPARED.get();
        parts.push((name, f64::from(u32::try_from(now - before).unwrap())));
        before = now;
    };
    let loaded = ops::load_text(&env, large(hosts), &LoadOptions::default()).unwrap();
    part("load");
    let planned = ops::plan_offline(&loaded).unwrap();
    part("plan");
    let steps = planned.described(Some(&loaded));
    part("reasons");
    let printed = text(&steps, &assumed(&loaded), Some(&loaded.file));
    assert!(printed.lines().count() > steps.len());
    part("text");
    assert!(dot(&loaded.topology).len() + mermaid(&loaded.topology).len() > printed.len() / 10);
    part("graph");
    assert!(svg(&loaded.topology, &Marks::default()).len() > printed.len() / 10);
    part("svg");
    let expanded = lab::write(&topology::expand(loaded.lab, &loaded.topology));
    assert!(expanded.lines().count() > 20 * hosts as usize);
    part("expand");
    parts
}

#[test]
fn what_plan_and_graph_do_grows_with_the_lab_and_not_with_its_square() {
    const HOSTS: u32 = 50;
    let small = compared(HOSTS);
    let large = compared(LARGER * HOSTS);
    let grown = small.iter().zip(&large);
    let wrong: Vec<String> = grown
        .filter(|((_, small), (_, large))| *large > MOST * small)
        .map(|((name, small), (_, large))| format!("{name}: {small} comparisons, {LARGER} times the hosts {large}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
