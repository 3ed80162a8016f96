//! The labs with VLANs, from `up` to `down`, and what crosses the cable meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use netlab::folders::Folders;
use netlab::lab::{HostName, VmName};
use netlab::topology::{Guest, Topology, allocate};
use netlab::{image, lab};
use serde_json::Value;

use crate::capture;
use crate::kernel::{self, Printed};
use crate::support::frames::{Frame, frames};

/// A guest boots in 10 to 20 s; on a machine that does other things, too, in ten times as long.
pub const WITHIN: Duration = Duration::from_secs(1800);

/// Everything of a lab that could be left behind: links, namespaces, processes, mounts and files. Not: the folders of
/// locks and labs, which stay, and that iproute2 has made its own folder a mount point.
pub const OBSERVE: &str =
    "ip -details link; ls -l /run/netns; grep -hE 'virt|qemu|netlab|dnsmasq' /proc/[0-9]*/comm || true
                    grep -v ' /run/netns ' /proc/mounts
                    find \"$NETLAB_STATE_DIR\" -mindepth 1 ! -path '*/locks*' ! -name labs";

/// One echo request and reply between the hosts themselves, and a word for commands on either.
const HOSTS_PING: &str = "on() { host=$1; shift; ip netns exec \"netlab.$lab.$host\" \"$@\"; }
                          on node1 ping -c1 -W10 172.16.99.109";

/// What netlab makes of a lab file of the repository.
fn topology(file: &str) -> Topology {
    let images = image::catalog(&Folders::from_env()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    allocate(
        &lab::load(&path, &images.keys().cloned().collect(), None).unwrap(),
        &images,
    )
}

/// Verifies a lab; the matrix goes to /tmp/matrix. Replies are lost where a guest has no processor for a second: those
/// are asked for again.
pub const VERIFY: &str =
    "verify() { netlab -q --json verify --wait 120 \"$1\" >/tmp/matrix || { cat /tmp/matrix; false; }; }";

/// Brings a lab up, does `meanwhile` to it while all frames on the cable are captured at node1, and takes it down.
pub fn live(test: &str, file: &str, meanwhile: &str) -> Option<(Printed, Vec<Frame>)> {
    live_with("", test, file, meanwhile)
}

/// The same, with kernel modules loaded before: devices that come with a module stay.
pub fn live_with(modules: &str, test: &str, file: &str, meanwhile: &str) -> Option<(Printed, Vec<Frame>)> {
    let lab = topology(file).lab;
    let cable = format!(
        "lab={lab}\n{}\n{HOSTS_PING}\n{VERIFY}\nverify {file}\n{meanwhile}\n{}",
        capture::begin(lab.as_str(), "node1", "eth0"),
        capture::END
    );
    let parts = [
        ("modules", &*format!("modprobe -a 8021q {modules}")),
        ("before", OBSERVE),
        ("up", &format!("netlab -q up --timings {file}")),
        ("again", &format!("netlab up {file}")),
        ("cable", &cable),
        ("matrix", "cat /tmp/matrix; rm /tmp/matrix"),
        ("down", &format!("netlab -q down {lab}")),
        ("after", OBSERVE),
    ];
    let printed = kernel::good(test, &parts, WITHIN)?;
    assert!(printed.by("again").contains("nothing to do"), "{}", printed.by("again"));
    assert_eq!(printed.by("after"), printed.by("before"), "something was left behind");
    let (_, captured) = printed.by("cable").split_once(capture::BEGIN).unwrap();
    let frames = frames(captured);
    Some((printed, frames))
}

/// Who asked whom, who had to be reached, and whether that is how it was.
pub fn cells(matrix: &str) -> BTreeMap<(String, String), (bool, bool)> {
    let matrix: Value = serde_json::from_str(matrix).unwrap();
    let cells = matrix["cells"].as_array().unwrap().iter().map(|cell| {
        let word = |key: &str| cell[key].as_str().unwrap().to_owned();
        let reach = cell["reach"].as_bool().unwrap();
        ((word("from"), word("to")), (reach, word("verdict") == "pass"))
    });
    cells.collect()
}

/// Every frame from or to a guest has the tag of the guest's network, and no other frame has one of a network whose
/// every member is a guest.
#[track_caller]
fn assert_tags(topology: &Topology, frames: &[Frame]) {
    let hosts = &topology.hosts;
    let vlan = |guest: &Guest| hosts[&guest.host].segments[&guest.nics[0].network].vlan.unwrap().get();
    let by_mac: BTreeMap<String, u16> = topology
        .guests
        .values()
        .map(|guest| (guest.nics[0].mac.to_string(), vlan(guest)))
        .collect();
    for frame in frames {
        for end in [&frame.from, &frame.to] {
            if let Some(id) = by_mac.get(end) {
                assert_eq!(frame.vlan, Some(*id), "{frame:?}");
            }
        }
    }
    let tagged: BTreeSet<u16> = frames.iter().filter_map(|frame| frame.vlan).collect();
    assert_eq!(tagged, by_mac.into_values().collect(), "ids on the cable");
    let plain =
        |frame: &&Frame| frame.vlan.is_none() && frame.carries("172.16.99.108 > 172.16.99.109: ICMP echo request");
    assert_eq!(frames.iter().filter(plain).count(), 1, "the hosts' own, without a tag");
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn guest<'a>(topology: &'a Topology, name: &str) -> &'a Guest {
    &topology.guests[&name.parse::<VmName>().unwrap()]
}

#[test]
#[ignore = "soak: QEMU inside a user-mode Linux"]
fn guests_on_one_vlan_of_two_hosts_reach_each_other_by_tagged_frames_of_full_size() {
    let file = "labs/vlan.toml";
    // 1472 + 8 (ICMP) + 20 (IPv4) bytes are all that fits in a guest's frame; with the tag it has 1518.
    let full_size = "on node1 ping -M do -c2 -i0.2 -W10 -s1472 10.0.1.3";
    let Some((printed, frames)) = live("guests_on_one_vlan_of_two_hosts", file, full_size) else {
        return;
    };
    let passed = |from: &str, to: &str| ((from.to_owned(), to.to_owned()), (true, true));
    let expected = [
        passed("vm1", "vm2"),
        passed("vm1", "gw service"),
        passed("vm2", "vm1"),
        passed("vm2", "gw service"),
    ];
    assert_eq!(cells(printed.by("matrix")), BTreeMap::from(expected));
    assert_tags(&topology(file), &frames);
    let whole = |from: &str, to: &str, what: &str, length: u32| {
        let text = format!("{from} > {to}: ICMP echo {what}");
        let matching = |frame: &&Frame| frame.carries(&text) && frame.carries(&format!("length {length}"));
        frames.iter().filter(matching).count()
    };
    for (from, to) in [("10.0.1.2", "10.0.1.3"), ("10.0.1.3", "10.0.1.2")] {
        // The guests' own pings fill their packets, too.
        assert!(whole(from, to, "request", 1480) > 0);
        assert!(whole(from, to, "reply", 1480) > 0);
    }
    assert!(whole("10.0.1.1", "10.0.1.3", "request", 1480) > 0);
    assert!(whole("10.0.1.3", "10.0.1.1", "reply", 1480) > 0);
}

#[test]
#[ignore = "soak: QEMU inside a user-mode Linux"]
fn guests_on_two_vlans_of_one_cable_are_apart_also_where_an_address_would_not_stop_them() {
    let file = "labs/two-vlans.toml";
    let made = topology(file);
    let red = &made.hosts[&host("node1")].segments[&"red".parse().unwrap()].bridge;
    let blue = guest(&made, "blue").nics[0].address.addr();
    // verify's guests have no route to each other's subnet. Somebody in the red VLAN who takes an address of the blue
    // subnet must not reach the blue guest, either; by a blue VLAN device made by hand he must, or that proves nothing.
    let stranger = format!(
        "on node1 ip address add 10.0.20.99/32 dev {red}
         status=0; on node1 ping -I {red} -c3 -i0.2 -W2 {blue} || status=$?; [ $status = 1 ]
         on node1 ip address del 10.0.20.99/32 dev {red}
         on node1 ip link del dev eth0.20
         on node1 ip link add link eth0 name byhand type vlan id 20
         on node1 ip address add 10.0.20.99/24 dev byhand
         on node1 ip link set dev byhand up
         on node1 ping -I byhand -c1 -W10 {blue}
         on node1 ip link del dev byhand"
    );
    let Some((printed, frames)) = live("guests_on_two_vlans_of_one_cable", file, &stranger) else {
        return;
    };
    let expected = [
        ("red-1", "red-2", true),
        ("red-2", "red-1", true),
        ("blue", "gw blue", true),
        ("red-1", "blue", false),
        ("red-2", "blue", false),
        ("blue", "red-1", false),
        ("blue", "red-2", false),
    ]
    .map(|(from, to, reach)| ((from.to_owned(), to.to_owned()), (reach, true)));
    assert_eq!(cells(printed.by("matrix")), BTreeMap::from(expected));
    assert_tags(&made, &frames);
    let asked = format!("who-has {blue} tell 10.0.20.99");
    let ids: BTreeSet<_> = frames
        .iter()
        .filter(|frame| frame.carries(&asked))
        .map(|frame| frame.vlan)
        .collect();
    assert_eq!(ids, BTreeSet::from([Some(1), Some(20)]), "asked for on both VLANs");
}
