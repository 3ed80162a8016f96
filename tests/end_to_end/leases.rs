//! Guests that get their addresses by DHCP keep them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::lab::{Bench, PATIENT};

/// The shortest lease that dnsmasq gives.
const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
[networks.service]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1", on = "node1" }
dhcp = { lease = "2m" }
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service", address = "10.0.1.5" }]
"#;
const LEASE: Duration = Duration::from_secs(120);

/// When the server's only lease ends, in seconds since 1970: the first word of its line.
fn ends(bench: &Bench) -> u64 {
    let leases = bench.inside(
        "node1",
        &[
            "sh",
            "-c",
            "cat /run/netlab/dhcp/*/leases /run/netlab/*/*/leases 2>/dev/null; true",
        ],
    );
    let lease = leases.lines().find(|line| line.contains("10.0.1.5"));
    let lease = lease.unwrap_or_else(|| panic!("no lease of 10.0.1.5: {leases}"));
    lease.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "soak: waits until a lease has run out"]
fn a_guest_renews_its_lease_and_keeps_its_address_after_the_first_lease_has_run_out() {
    let test = "a_guest_renews_its_lease_and_keeps_its_address_after_the_first_lease_has_run_out";
    let Some(bench) = Bench::new(test, "lease", LAB) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let exec = |command: &str| bench.good(&["exec", &bench.name, "vm1", "--", command]);
    assert_eq!(exec("ps | grep -c '[u]dhcpc -i eth0'"), "1\n");
    // A second configuration ends the client of the first one.
    exec("ip addr flush dev eth0");
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(exec("ps | grep -c '[u]dhcpc -i eth0'"), "1\n");
    let first = ends(&bench);
    std::thread::sleep(LEASE + Duration::from_secs(15));
    #[expect(clippy::disallowed_methods, reason = "the server writes the time of day")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let renewed = ends(&bench);
    assert!(
        first < now && renewed > now,
        "first until {first}, now {now}, renewed until {renewed}"
    );
    assert!(exec("ip -4 -o addr show dev eth0").contains(" 10.0.1.5/24 "));
    bench.good(&["verify", "--wait", PATIENT, bench.file()]);
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
