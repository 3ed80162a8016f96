//! Configurations of nova-network and DevStack: what `netlab import` makes of each file in `import/`, and that it comes up.
//! The first line of a file has the options of the command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netlab::host::Host;
use netlab::import::{Format, ImportOptions, Imported, import};
use netlab::lab::{self, ImageName};
use netlab::plan::plan;
use netlab::preflight::{Severity, preflight};
use netlab::state::{Site, desired};
use netlab::topology::allocate;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::{folder, hold, images};
use crate::properties::simulated::SimulatedSite;

/// The end of DevStack's files.
const DEVSTACK: &str = ".local.conf";

/// Reads the options in a comment.
fn options(first: &str) -> ImportOptions {
    let mut options = ImportOptions {
        name: "nova".parse().unwrap(),
        format: Format::NovaConf,
        hosts: Vec::new(),
        vms: 0,
    };
    let mut words = first.strip_prefix("# netlab import").unwrap().split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--from-devstack" => options.format = Format::DevStack,
            "--host" => options.hosts.push(words.next().unwrap().parse().unwrap()),
            "--vms" => options.vms = words.next().unwrap().parse().unwrap(),
            other => panic!("{other}"),
        }
    }
    options
}

/// Loads an imported lab, brings it up on simulated hosts, and sees that nothing remains to be done.
fn comes_up(name: &str, text: &str) {
    let images = images();
    let known: BTreeSet<ImageName> = images.keys().cloned().collect();
    let lab = lab::parse(name, text, &known).unwrap_or_else(|wrong| panic!("{name}: {text}\n{:#?}", wrong.problems));
    let topology = allocate(&lab, &images);
    let obstacles = preflight(&topology, &BTreeMap::new(), &Site::new());
    let blocking: Vec<_> = obstacles.iter().filter(|o| o.severity != Severity::Warning).collect();
    assert!(blocking.is_empty(), "{name}: {blocking:#?}");
    let wanted = desired(&topology, &BTreeMap::new());
    let world = SimulatedSite::new(Site::new(), topology.hosts.keys().cloned().collect());
    let steps = plan(&world.observe(), &wanted);
    assert!(!steps.is_empty(), "{name}: nothing to do");
    for (host, steps) in steps.stages.iter().flat_map(|(_, hosts)| hosts) {
        let applied = world.host(host).apply(&lab.name, steps, &());
        assert!(applied.is_ok(), "{name}: {host}: {applied:?}");
    }
    assert!(
        plan(&world.observe(), &wanted).is_empty(),
        "{name}: something is left to do"
    );
}

#[test]
fn every_configuration_gives_a_lab_that_comes_up_or_an_error() {
    let mut answers = BTreeMap::new();
    for entry in std::fs::read_dir(folder("tests/golden/import")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap();
        let options = options(std::str::from_utf8(first).unwrap());
        assert_eq!(file.ends_with(DEVSTACK), options.format == Format::DevStack, "{file}");
        let answer = match import(&bytes, &options) {
            Ok(Imported { text, warnings }) => {
                comes_up(&file, &text);
                assert!(!text.contains("s3cret"), "{file}: a password of another option\n{text}");
                let mut answer = String::new();
                for warning in warnings {
                    let _ = writeln!(answer, "warning: {warning}");
                }
                answer + &text
            }
            Err(error) => {
                let help = error.help().map(|help| format!("\nhelp: {help}"));
                format!("error: {error}{}", help.unwrap_or_default())
            }
        };
        answers.insert(file.trim_end_matches(".conf").replace(".local", "-local"), answer);
    }
    assert!(answers.len() >= 20, "one file per rule");
    hold("import", &answers);
}

/// Lines of configurations, of which any number is put together.
const LINES: &[&str] = &[
    "network_manager = nova.network.manager.FlatManager",
    "network_manager = nova.network.manager.FlatDHCPManager",
    "network_manager = nova.network.manager.VlanManager",
    "flat_interface = eth1",
    "flat_interface = eth0",
    "flat_interface = bond0.101",
    "vlan_interface = eth1",
    "vlan_interface =",
    "public_interface = eth0",
    "public_interface = br100",
    "flat_network_bridge = br100",
    "flat_network_bridge = br9",
    "fixed_range = 10.0.0.0/24",
    "fixed_range = 192.168.7.0/24",
    "fixed_range = 172.16.0.5/30",
    "network_size = 254",
    "network_size = 1",
    "num_networks = 5",
    "vlan_start = 4093",
    "my_ip = 192.168.7.20",
    "my_ip = 192.168.7.255",
    "routing_source_ip = $my_ip",
    "routing_source_ip = 203.0.113.9",
    "network_host = 192.168.7.20",
    "network_host = 192.168.7.30",
    "network_host = cloud_controller.example.org",
    "host = node2",
    "multi_host = True",
    "multi_host = False",
    "gateway = 10.0.0.9",
    "network_device_mtu = 9000",
    "dns_server = 10.0.0.2",
    "dns_server = 192.168.7.1",
    "flat_network_dns = 8.8.4.4",
    "flat_network_dhcp_start = 10.0.0.64",
    "floating_range = 192.168.7.0/28",
    "auto_assign_floating_ip = yes",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_imported_comes_up(
        lines in subsequence(LINES, 0..14).prop_shuffle(),
        hosts in subsequence(&["node2=192.168.7.21", "node3=192.168.7.22", "node1=192.168.7.20"], 0..=3),
        vms in 0..6_u32,
    ) {
        let options = ImportOptions {
            name: "nova".parse().unwrap(),
            format: Format::NovaConf,
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            vms,
        };
        if let Ok(imported) = import(lines.join("\n").as_bytes(), &options) {
            comes_up("imported", &imported.text);
        }
    }
}
