//! FAULTS 4, 11, 12, 32 and 40: objects of others on a host, and settings from before the lab.

use super::local::Local;

const NETWORK: &str = r#"
[networks.service]
subnet = "10.0.1.0/24"
bridge = "br1"
uplink = "eth0"
gateway = { address = "10.0.1.1", on = "here" }
"#;

/// Asserts that `up` is refused with each of `words` in its message, and that nothing was changed.
fn refused(machine: &Local, file: &str, words: &[&str]) {
    let before = machine.snapshot();
    let said = machine.bad(&["up", file]);
    assert!(said.contains("nothing was changed"), "{said}");
    for word in words {
        assert!(said.contains(word), "no word of {word}: {said}");
    }
    machine.assert_unchanged(&before, &said);
}

/// FAULTS 4 and 32.
#[test]
fn a_lab_that_conflicts_with_another_is_refused_and_the_owner_is_named() {
    let test = "a_lab_that_conflicts_with_another_is_refused_and_the_owner_is_named";
    let Some(machine) = Local::new(test, "cl") else {
        return;
    };
    let before = machine.snapshot();
    let vm = "[vms.vm1]\nmemory = \"96MiB\"\nnics = [{ network = \"service\", mac = \"52:54:00:00:00:07\" }]\n";
    let first = machine.lab("first", &format!("{NETWORK}{vm}"));
    machine.good(&["up", &first]);
    let with_first = machine.snapshot();
    assert_ne!(with_first, before);

    let names = machine.lab(
        "names",
        &NETWORK.replace("10.0.1.", "10.0.7.").replace("uplink = \"eth0\"\n", ""),
    );
    refused(&machine, &names, &["bridge of network `service`", "br1", "lab first"]);
    let subnet = machine.lab(
        "subnet",
        "[networks.wide]\nsubnet = \"10.0.0.0/16\"\ngateway = { address = \"10.0.0.1\" }\n",
    );
    refused(
        &machine,
        &subnet,
        &["network `wide`", "10.0.1.0/24", "br1", "lab first"],
    );
    let mac = machine.lab("mac", &format!("[networks.service]\nsubnet = \"10.9.9.0/24\"\n{vm}"));
    refused(&machine, &mac, &["52:54:00:00:00:07", "vm `vm1`", "first.vm1"]);
    let uplink = machine.lab(
        "uplink",
        "[networks.n]\nsubnet = \"10.9.9.0/24\"\nuplink = \"eth0\"\ngateway = { address = \"10.9.9.1\" }\n",
    );
    refused(&machine, &uplink, &["eth0", "network `n`", "lab first"]);

    // A lab that does not conflict can be up at the same time, and each goes down by itself.
    let beside = machine.lab(
        "beside",
        "[networks.n]\nsubnet = \"10.9.9.0/24\"\nuplink = \"eth1\"\ngateway = { address = \"10.9.9.1\" }\n",
    );
    machine.good(&["up", &beside]);
    machine.good(&["verify", &first]);
    machine.good(&["down", "beside"]);
    machine.assert_unchanged(&with_first, "");
    machine.good(&["down", "first"]);
    machine.assert_unchanged(&before, "");
    machine.end();
}

/// FAULTS 11.
#[test]
fn bridge_domain_and_subnet_of_others_are_named_and_never_changed() {
    let test = "bridge_domain_and_subnet_of_others_are_named_and_never_changed";
    let Some(machine) = Local::new(test, "fo") else {
        return;
    };
    machine.do_(&["ip", "link", "add", "name", "br1", "type", "bridge"]);
    machine.do_(&["ip", "link", "add", "name", "other0", "type", "bridge"]);
    // No IPv6 address that comes by itself a second later.
    machine.do_(&["ip", "link", "set", "dev", "other0", "addrgenmode", "none"]);
    machine.do_(&["ip", "address", "add", "10.0.0.9/16", "dev", "other0"]);
    machine.do_(&["ip", "link", "set", "dev", "other0", "up"]);
    let domain = machine.0.path("domain.xml");
    let xml =
        "<domain type='qemu'><name>mine.vm1</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>";
    std::fs::write(&domain, xml).unwrap();
    machine.do_(&["virsh", "-q", "define", domain.to_str().unwrap()]);
    let file = machine.lab(
        "mine",
        &format!("{NETWORK}[vms.vm1]\nnics = [{{ network = \"service\" }}]\n"),
    );
    refused(
        &machine,
        &file,
        &[
            "the name br1",
            "someone else",
            "domain mine.vm1 already belongs to",
            "other0",
        ],
    );
    let before = machine.snapshot();
    let said = machine.good(&["down", "mine"]);
    assert!(said.contains("nothing to do"), "{said}");
    machine.assert_unchanged(&before, "");
    machine.end();
}

/// FAULTS 32: routes and addresses of the host itself, and what a stranger's domain has.
#[test]
fn a_route_an_address_a_mac_and_a_uuid_of_others_are_refused_with_their_owners() {
    let test = "a_route_an_address_a_mac_and_a_uuid_of_others_are_refused_with_their_owners";
    let Some(machine) = Local::new(test, "du") else {
        return;
    };
    machine.do_(&["ip", "address", "add", "10.5.0.7/24", "dev", "eth1"]);
    machine.do_(&["ip", "link", "set", "dev", "eth1", "up"]);
    machine.do_(&["ip", "route", "add", "10.6.0.0/16", "via", "172.16.99.1", "dev", "eth0"]);
    for (subnet, gateway, taken, link) in [
        ("10.5.0.0/25", "10.5.0.1", "10.5.0.0/24", "eth1"),
        ("10.6.7.0/24", "10.6.7.1", "10.6.0.0/16", "eth0"),
        ("172.16.0.0/16", "172.16.0.1", "172.16.99.0/24", "eth0"),
    ] {
        let network = format!("[networks.n]\nsubnet = \"{subnet}\"\ngateway = {{ address = \"{gateway}\" }}\n");
        let file = machine.lab("mine", &network);
        refused(
            &machine,
            &file,
            &["network `n`", subnet, taken, link, "a NIC of the host"],
        );
    }

    // A domain of someone else with the UUID that this lab's guest would have: a copy of its XML under another name.
    let vm = "[networks.n]\nsubnet = \"10.9.9.0/24\"\n[vms.vm1]\nmemory = \"96MiB\"\n\
              nics = [{ network = \"n\", mac = \"52:54:00:00:00:09\" }]\n";
    let file = machine.lab("mine", vm);
    machine.good(&["up", &file]);
    let uuid = machine.do_(&["virsh", "domuuid", "mine.vm1"]).trim().to_owned();
    machine.good(&["down", "mine"]);
    let domain = machine.0.path("domain.xml");
    let xml = format!(
        "<domain type='qemu'><name>copy</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><os><type>hvm</type></os>\
         <devices><interface type='ethernet'><mac address='52:54:00:00:00:09'/></interface></devices></domain>"
    );
    std::fs::write(&domain, xml).unwrap();
    machine.do_(&["virsh", "-q", "define", domain.to_str().unwrap()]);
    refused(
        &machine,
        &file,
        &[
            "UUID",
            &uuid,
            "vm `vm1`",
            "domain copy",
            "MAC address 52:54:00:00:00:09",
            "which is not this lab's",
        ],
    );
    machine.do_(&["virsh", "-q", "undefine", "copy"]);
    machine.end();
}

/// FAULTS 11: also after netlab has lost its state.
#[test]
fn a_lab_that_lost_its_state_is_found_by_its_file_and_nothing_else_is_removed() {
    let test = "a_lab_that_lost_its_state_is_found_by_its_file_and_nothing_else_is_removed";
    let Some(machine) = Local::new(test, "ls") else {
        return;
    };
    machine.do_(&["ip", "link", "add", "name", "other0", "type", "bridge"]);
    let before = machine.snapshot();
    let file = machine.lab("mine", NETWORK);
    machine.good(&["up", &file]);
    std::fs::remove_dir_all(machine.0.path("local")).unwrap();

    let up = machine.snapshot();
    let said = machine.good(&["down", "mine"]);
    assert!(said.contains("netlab down FILE"), "the file is asked for: {said}");
    machine.assert_unchanged(&up, "");
    machine.good(&["down", &file]);
    machine.assert_unchanged(&before, "");
    machine.end();
}

/// FAULTS 12, seen from the command line: between two runs. (Between observation and change: tests/kernel.)
#[test]
fn a_bridge_that_someone_else_recreated_is_left_alone() {
    let test = "a_bridge_that_someone_else_recreated_is_left_alone";
    let Some(machine) = Local::new(test, "sw") else {
        return;
    };
    let file = machine.lab("mine", &NETWORK.replace("uplink = \"eth0\"\n", ""));
    machine.good(&["up", &file]);
    machine.do_(&["ip", "link", "delete", "dev", "br1"]);
    machine.do_(&["ip", "link", "add", "name", "br1", "type", "bridge"]);
    let stranger = machine.do_(&["ip", "-o", "link", "show", "dev", "br1"]);
    refused(&machine, &file, &["br1", "someone else"]);
    machine.good(&["down", "mine"]);
    assert_eq!(machine.do_(&["ip", "-o", "link", "show", "dev", "br1"]), stranger);
    machine.end();
}

/// FAULTS 40.
#[test]
fn ip_forward_is_restored_whether_it_was_off_or_on() {
    let Some(machine) = Local::new("ip_forward_is_restored_whether_it_was_off_or_on", "fw") else {
        return;
    };
    let file = machine.lab("mine", NETWORK);
    let second = NETWORK
        .replace("br1", "br2")
        .replace("10.0.1.", "10.0.2.")
        .replace("eth0", "eth1");
    let second = machine.lab("second", &second);
    for value in ["0", "1"] {
        machine.do_(&["sysctl", "-q", "-w", &format!("net.ipv4.ip_forward={value}")]);
        let before = machine.snapshot();
        machine.good(&["up", &file]);
        machine.good(&["up", &second]);
        // The first one to go down keeps it for the other.
        machine.good(&["down", "mine"]);
        assert_eq!(machine.do_(&["cat", "/proc/sys/net/ipv4/ip_forward"]), "1\n");
        machine.good(&["down", "second"]);
        machine.assert_unchanged(&before, value);
    }
    machine.end();
}
