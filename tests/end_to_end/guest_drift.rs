//! FAULTS 52 and 53: a guest that restarted, or was changed by hand, is drift, and `up` configures it again.

use crate::support::lab::{Bench, PATIENT};
use crate::support::wait_until;

const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
[networks.service]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1" }
nameservers = ["10.0.1.1"]
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service", address = "10.0.1.2" }]
"#;

/// What is done in the guest, and what must be reported of it.
const FAULTS: &[(&str, &[&str])] = &[
    (
        "ip addr flush dev eth0; ip addr add 10.0.1.2/30 dev eth0",
        &[
            "NIC eth0 has 10.0.1.2 with the mask /30, not /24",
            "there is no default route via 10.0.1.1",
        ],
    ),
    (
        "ip route replace default via 10.0.1.77; ip link set eth0 mtu 1300; > /etc/resolv.conf; hostname other",
        &[
            "the default route is via 10.0.1.77 instead of 10.0.1.1",
            "NIC eth0 has an MTU of 1300 bytes, not 1500",
            "/etc/resolv.conf does not have name server 10.0.1.1",
            "the host name is other instead of vm1",
        ],
    ),
    ("ip link set eth0 down", &["NIC eth0 is down"]),
];

#[test]
fn a_guest_that_was_changed_or_restarted_is_drift_and_up_configures_it_again() {
    let test = "a_guest_that_was_changed_or_restarted_is_drift_and_up_configures_it_again";
    let Some(bench) = Bench::new(test, "drift", LAB) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let plan = || bench.good(&["plan", bench.file()]);
    let nothing = "nothing to do: the lab is as described\n";
    assert_eq!(plan(), nothing);
    for (fault, words) in FAULTS {
        bench.good(&["exec", &bench.name, "vm1", "--", fault]);
        let drift = plan();
        assert!(drift.contains("configure vm1 over its console"), "{fault}: {drift}");
        for word in *words {
            assert!(drift.contains(word), "{fault}: no `{word}` in {drift}");
        }
        bench.good(&["-q", "up", bench.file()]);
        assert_eq!(plan(), nothing, "{fault}");
    }

    // libvirt does not report a reset, so the domain's record still says that the guest is configured.
    bench.inside("node1", &["virsh", "-q", "reset", &format!("{}.vm1", bench.name)]);
    // Until it has booted, it does not answer.
    wait_until("the restart is reported", || {
        let status = bench.good(&["status", &bench.name]);
        status.contains("running, changed") && status.contains("VM vm1 was changed: it was restarted")
    });
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(plan(), nothing);
    let verified = bench.good(&["verify", bench.file()]);
    assert!(
        verified.contains("2 of 2 as expected") || verified.contains("1 of 1 as expected"),
        "{verified}"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

const TWO_NICS: &str = r#"
name = "LABNAME"
[hosts.node1]
[networks.service]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1", on = "node1" }
[networks.other]
subnet = "10.0.2.0/24"
gateway = { address = "10.0.2.1", on = "node1" }
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service" }, { network = "other" }]
[vms.peer]
memory = "96MiB"
nics = [{ network = "service" }]
"#;

/// As Alpine and RHEL ship it: what comes in by one NIC is dropped where the reply leaves by the other.
const STRICT: &str = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done";

#[test]
fn strict_source_validation_is_set_to_loose_and_where_it_is_strict_the_red_cell_names_it() {
    let test = "strict_source_validation_is_set_to_loose_and_where_it_is_strict_the_red_cell_names_it";
    let Some(bench) = Bench::new(test, "strict", TWO_NICS) else {
        return;
    };
    let exec = |command: &str| bench.good(&["exec", &bench.name, "vm1", "--", command]);
    bench.good(&["-q", "up", bench.file()]);
    exec(STRICT);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(
        plan.contains("NIC eth1 drops packets whose replies leave by another NIC"),
        "{plan}"
    );
    let red = bench.bad(&["verify", bench.file()], 1);
    assert!(red.contains("rp_filter"), "{red}");
    bench.good(&["-q", "up", bench.file()]);
    let values = exec("cat /proc/sys/net/ipv4/conf/eth0/rp_filter /proc/sys/net/ipv4/conf/eth1/rp_filter");
    assert_eq!(values, "2\n2\n");
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
