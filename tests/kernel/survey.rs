//! What a host has besides the lab's own.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::Duration;

use netlab::lab::IfName;
use netlab::plan::Step;

use crate::namespace::{Namespace, create, ifname, uplink};

/// A tap as QEMU has one: there as long as the program that opened it.
struct GuestTap(Child);

impl GuestTap {
    fn new(host: &Namespace, name: &str) -> Self {
        let tap = format!("TUN,tun-type=tap,tun-name={name}");
        let open = Command::new("ip")
            .args(["netns", "exec", &host.name, "socat", &tap, "PIPE"])
            .spawn()
            .unwrap();
        let guest = Self(open);
        for _ in 0..200 {
            let shown = Command::new("ip")
                .args(["-n", &host.name, "link", "show", "dev", name])
                .output()
                .unwrap();
            if shown.status.success() {
                return guest;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("tap {name} did not appear");
    }
}

impl Drop for GuestTap {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_survey_separates_nics_foreign_links_and_subnets_from_the_labs_own() {
    let Some(host) = Namespace::new("a_survey_separates_nics_foreign_links_and_subnets") else {
        return;
    };
    host.ip("\
link add name eth0 type veth peer name eth1
link set dev eth0 up
link set dev eth1 up
address add 172.16.99.108/24 dev eth0
route add 10.50.0.0/16 via 172.16.99.1 dev eth0
address add 2001:db8::1/64 dev eth0
link add name virbr0 type bridge
link add name docker0 type bridge
link set dev docker0 up
address add 172.17.0.1/16 dev docker0
link add name br9 type bridge
link set dev br9 alias netlab:other:x
");
    host.apply(&[create("br1")]).unwrap();
    let _guests = ["vnet0", "theirs", "ours"].map(|tap| GuestTap::new(&host, tap));
    host.ip("link set dev theirs master br9\nlink set dev ours master br1\naddress add 10.0.1.1/24 dev br1");
    let survey = host.survey();

    let eth0 = &survey.nics[&ifname("eth0")];
    assert!(eth0.up);
    assert_eq!(
        eth0.addresses,
        ["172.16.99.108/24", "2001:db8::1/64"].map(|a| a.parse().unwrap())
    );
    assert_eq!(eth0.routes.len(), 1);
    assert_eq!(
        survey.nics.keys().map(IfName::as_str).collect::<Vec<_>>(),
        ["eth0", "eth1"]
    );

    let foreign: BTreeMap<&str, &str> = survey.foreign_links.iter().map(|(a, b)| (&a[..], &b[..])).collect();
    assert_eq!(
        foreign,
        BTreeMap::from([
            ("br9", "lab other"),
            ("docker0", "someone else"),
            ("lo", "someone else"),
            ("theirs", "lab other"),
            ("virbr0", "libvirt"),
            ("vnet0", "libvirt"),
        ])
    );
    let subnets: Vec<String> = survey
        .subnets
        .iter()
        .map(|(net, link)| format!("{net} {link}"))
        .collect();
    assert_eq!(
        subnets,
        [
            "10.50.0.0/16 eth0",
            "172.16.99.0/24 eth0",
            "172.17.0.0/16 docker0",
            "2001:db8::/64 eth0"
        ]
    );
    assert!(survey.programs.contains("ip") && survey.memory_mib > 0);
    assert!(survey.disk_mib.is_some_and(|mib| mib > 200), "{:?}", survey.disk_mib);

    let was = eth0.clone();
    host.apply(&[Step::AttachUplink(ifname("eth0"), uplink("br1", &was))])
        .unwrap();
    assert_eq!(host.survey().subnets, survey.subnets);
}
