//! The labs with VLANs, with network namespaces in place of the guests: what netlab builds between the guests, proved
//! frame by frame without QEMU. Tier 6 runs these tests in a kernel that has 802.1Q; `make soak` brings the same labs
//! up with real guests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use netlab::host::Host;
use netlab::host::guests::BootSlots;
use netlab::host::linux::{LinuxHost, Place};
use netlab::lab::{HostName, VmName};
use netlab::plan::plan;
use netlab::state::survey::VLAN_FILTERING;
use netlab::state::{Site, desired, localhost};
use netlab::topology::{Guest, Topology, allocate};
use netlab::{image, lab};
use rustix::process::{Pid, Signal, kill_process};

use super::live::labs;
use crate::support::frames::{Frame, frames, tcpdump};
use crate::support::machines::Machines;
use crate::support::{skip, wait_until};

/// A lab's machines, networks and services, and namespaces in place of its guests.
struct Tagged {
    topology: Topology,
    before: BTreeSet<String>,
    // Removed first: with a namespace goes the cable to it.
    guests: Vec<Namespace>,
    machines: Machines,
}

/// A named network namespace, deleted with this value.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

impl Tagged {
    /// Builds a lab of the repository; `edit` changes its text. None where the kernel lacks what VLANs need.
    fn new(test: &str, file: &str, edit: impl FnOnce(String) -> String) -> Option<Self> {
        let machines = Machines::new(test)?;
        let survey = machines.emulator.survey(&machines.lab).unwrap();
        for module in ["8021q", VLAN_FILTERING] {
            if survey.missing_modules.contains(module) {
                skip(test, &format!("this kernel lacks {module}"));
                return None;
            }
        }
        let before = machines.traces();
        let topology = topology(&machines, &std::fs::read_to_string(labs().join(file)).unwrap(), edit);
        let mut tagged = Self {
            topology,
            before,
            guests: Vec::new(),
            machines,
        };
        tagged.converge(&tagged.networks());
        let rest = plan(&tagged.observe(), &tagged.networks());
        let rest: Vec<String> = rest.steps().map(|(host, step)| format!("{host}: {step}")).collect();
        assert_eq!(rest, [""; 0], "still to do");
        tagged.plug_guests();
        Some(tagged)
    }

    /// All that the lab wants but its guests and their disks.
    fn networks(&self) -> Site {
        let mut site = desired(&self.topology, &BTreeMap::new());
        for host in site.values_mut() {
            host.domains.clear();
            host.volumes.clear();
        }
        site
    }

    fn host(&self, name: &HostName) -> LinuxHost {
        let place = Place::Emulated(self.machines.lab.clone(), name.clone());
        LinuxHost::new(
            name.clone(),
            place,
            self.machines.folders.clone(),
            Arc::new(BootSlots::default()),
        )
    }

    fn observe(&self) -> Site {
        let machines = self.machines.observe();
        let hosts = self
            .topology
            .hosts
            .keys()
            .filter(|name| machines.machines.contains_key(*name));
        let mut site: Site = hosts
            .map(|name| (name.clone(), self.host(name).observe(&self.machines.lab).unwrap()))
            .collect();
        site.insert(localhost(), machines);
        site
    }

    fn converge(&self, wanted: &Site) {
        for (_, hosts) in plan(&self.observe(), wanted).stages {
            for (name, steps) in hosts {
                if name == localhost() {
                    self.machines.apply(&steps).unwrap();
                } else {
                    self.host(&name).apply(&self.machines.lab, &steps, &()).unwrap();
                }
            }
        }
    }

    /// Connects a namespace to the bridge of each guest, with the guest's MAC address, address and default route.
    fn plug_guests(&mut self) {
        for (vm, guest) in &self.topology.guests {
            let [nic] = &guest.nics[..] else {
                panic!("{vm} has one NIC")
            };
            let name = self.namespace(vm.as_str());
            ip(&["netns", "add", &name]);
            self.guests.push(Namespace(name.clone()));
            let (host, tap) = (self.namespace(guest.host.as_str()), nic.tap.as_str());
            let (mac, address) = (nic.mac.to_string(), nic.address.to_string());
            ip(&[
                "-n", &host, "link", "add", "name", tap, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ]);
            ip(&[
                "-n",
                &host,
                "link",
                "set",
                "dev",
                tap,
                "master",
                nic.bridge.as_str(),
                "up",
            ]);
            ip(&["-n", &name, "link", "set", "dev", "eth0", "address", &mac, "up"]);
            ip(&["-n", &name, "address", "add", &address, "dev", "eth0"]);
            if let Some(gateway) = guest.default_route {
                ip(&["-n", &name, "route", "add", "default", "via", &gateway.to_string()]);
            }
        }
    }

    fn namespace(&self, machine: &str) -> String {
        self.machines.namespace(machine)
    }

    fn guest(&self, name: &str) -> &Guest {
        &self.topology.guests[&name.parse::<VmName>().unwrap()]
    }

    /// The address of a guest, or `name` itself.
    fn address(&self, name: &str) -> String {
        let guest = name
            .parse::<VmName>()
            .ok()
            .and_then(|name| self.topology.guests.get(&name));
        guest.map_or_else(|| name.to_owned(), |guest| guest.nics[0].address.addr().to_string())
    }

    /// A command of a machine or guest.
    fn at(&self, machine: &str, command: &str) -> Command {
        let mut argv = Command::new("ip");
        argv.args(["netns", "exec", &self.namespace(machine)])
            .args(command.split(' '));
        argv
    }

    #[track_caller]
    fn good(&self, machine: &str, command: &str) {
        let output = self.at(machine, command).output().unwrap();
        assert!(output.status.success(), "{machine}: {command}: {output:?}");
    }

    /// Each machine or guest pings an address or guest, all at once; the third says whether it must get a reply.
    #[track_caller]
    fn assert_reach(&self, expected: &[(&str, &str, bool)]) {
        let started = expected.iter().map(|(from, to, reach)| {
            // What must not be answered is given the time in which all else is.
            let ping = format!("ping -c{} -W5 {}", if *reach { 1 } else { 2 }, self.address(to));
            let mut ping = self.at(from, &ping);
            (from, to, reach, ping.stdout(Stdio::null()).spawn().unwrap())
        });
        let started: Vec<_> = started.collect();
        for (from, to, reach, mut ping) in started {
            // ping(8): 1 is no reply; 2 would be another error.
            let status = ping.wait().unwrap().code();
            assert_eq!(status, Some(i32::from(!reach)), "{from} pings {to}");
        }
    }

    /// Captures the frames on a host's NIC while `work` runs.
    fn capture(&self, host: &str, nic: &str, work: impl FnOnce(&Self)) -> Vec<Frame> {
        let file = self.machines.folder().join("frames");
        let mut tcpdump = Tcpdump(
            self.at(host, &tcpdump(nic).join(" "))
                .stdout(File::create(&file).unwrap())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut said = BufReader::new(tcpdump.0.stderr.take().unwrap()).lines();
        assert!(
            said.any(|line| line.unwrap().contains("listening on")),
            "tcpdump listens"
        );
        work(self);
        // The question for an address that nobody has: once it is printed, all before it is, too.
        let mark = "who-has 172.16.99.254";
        self.at(host, "ping -c1 -W1 172.16.99.254").output().unwrap();
        wait_until("the last frame", || {
            std::fs::read_to_string(&file).unwrap().contains(mark)
        });
        kill_process(Pid::from_child(&tcpdump.0), Signal::INT).unwrap();
        tcpdump.0.wait().unwrap();
        frames(&std::fs::read_to_string(&file).unwrap())
    }

    /// Every frame from or to a guest has the tag of the guest's network, and no tag is of any other network.
    #[track_caller]
    fn assert_tags(&self, frames: &[Frame]) {
        let vlan = |guest: &Guest| {
            let segment = &self.topology.hosts[&guest.host].segments[&guest.nics[0].network];
            segment.vlan.unwrap().get()
        };
        let guests = self.topology.guests.values();
        let by_mac: BTreeMap<String, u16> = guests
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
    }

    /// Removes the lab; nothing of it is left.
    fn end(mut self) {
        self.guests.clear();
        self.converge(&Site::new());
        assert_eq!(self.machines.traces(), self.before, "something was left behind");
    }
}

/// tcpdump(8), ended with this value.
struct Tcpdump(Child);

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What netlab makes of a lab's text, under the name of the test's own lab.
fn topology(machines: &Machines, text: &str, edit: impl FnOnce(String) -> String) -> Topology {
    let (_, rest) = text.split_once("\nname = \"").unwrap();
    let (name, _) = rest.split_once('"').unwrap();
    let named = text.replace(&format!("name = \"{name}\""), &format!("name = \"{}\"", machines.lab));
    let file = machines.folder().join("lab.toml");
    std::fs::write(&file, edit(named)).unwrap();
    let images = image::catalog(&machines.folders).unwrap();
    let lab = lab::load(Path::new(&file), &images.keys().cloned().collect(), None).unwrap();
    allocate(&lab, &images)
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let Output { status, stderr, .. } = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
}

fn echoes(frames: &[Frame], from: &str, to: &str, what: &str, length: u32) -> usize {
    let text = format!("{from} > {to}: ICMP echo {what}");
    let length = format!("length {length}");
    frames
        .iter()
        .filter(|frame| frame.carries(&text) && frame.carries(&length))
        .count()
}

#[test]
fn a_vlan_of_two_hosts_carries_tagged_frames_of_full_size() {
    let Some(lab) = Tagged::new(
        "a_vlan_of_two_hosts_carries_tagged_frames_of_full_size",
        "vlan.toml",
        |text| text,
    ) else {
        return;
    };
    let frames = lab.capture("node1", "eth0", |lab| {
        lab.good("node1", "ping -c1 -W10 172.16.99.109");
        lab.assert_reach(&[
            ("vm1", "vm2", true),
            ("vm2", "vm1", true),
            ("vm1", "10.0.1.1", true),
            ("vm2", "10.0.1.1", true),
        ]);
        // 1472 + 8 (ICMP) + 20 (IPv4) bytes are all that fits in a guest's frame; with the tag it has 1518.
        for (from, to) in [("vm1", "10.0.1.3"), ("vm2", "10.0.1.2"), ("node1", "10.0.1.3")] {
            lab.good(from, &format!("ping -M do -c2 -i0.2 -W10 -s1472 {to}"));
        }
    });
    lab.assert_tags(&frames);
    for (from, to) in [
        ("10.0.1.2", "10.0.1.3"),
        ("10.0.1.3", "10.0.1.2"),
        ("10.0.1.1", "10.0.1.3"),
    ] {
        assert_eq!(echoes(&frames, from, to, "request", 1480), 2, "{from} asks {to}");
        assert_eq!(echoes(&frames, to, from, "reply", 1480), 2, "{to} answers {from}");
    }
    let plain = |frame: &&Frame| frame.vlan.is_none() && frame.carries("172.16.99.108 > 172.16.99.109: ICMP echo req");
    assert_eq!(frames.iter().filter(plain).count(), 1, "the hosts' own, without a tag");
    lab.end();
}

#[test]
fn two_vlans_of_one_cable_are_separate_even_for_an_address_of_the_other_subnet() {
    let test = "two_vlans_of_one_cable_are_separate_even_for_an_address_of_the_other_subnet";
    let Some(lab) = Tagged::new(test, "two-vlans.toml", |text| text) else {
        return;
    };
    let node1: HostName = "node1".parse().unwrap();
    let red = lab.topology.hosts[&node1].segments[&"red".parse().unwrap()]
        .bridge
        .to_string();
    let blue = lab.guest("blue").nics[0].address.addr();
    let frames = lab.capture("node1", "eth0", |lab| {
        lab.assert_reach(&[
            ("red-1", "red-2", true),
            ("red-2", "red-1", true),
            ("blue", "10.0.20.1", true),
        ]);
        // Guests of one VLAN have no route into the other: they are given one, onto their own wire.
        for (guest, subnet) in [
            ("red-1", "10.0.20.0/24"),
            ("red-2", "10.0.20.0/24"),
            ("blue", "10.0.1.0/24"),
        ] {
            lab.good(guest, &format!("ip route add {subnet} dev eth0"));
        }
        lab.assert_reach(&[
            ("red-1", "blue", false),
            ("red-2", "blue", false),
            ("blue", "red-1", false),
            ("blue", "red-2", false),
        ]);
        // A host's own address of the blue subnet in the red VLAN does not reach the blue guest; in a VLAN device made
        // by hand it does, or that would prove nothing.
        lab.good("node1", &format!("ip address add 10.0.20.99/32 dev {red}"));
        let output = lab
            .at("node1", &format!("ping -I {red} -c3 -i0.2 -W2 {blue}"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        lab.good("node1", &format!("ip address del 10.0.20.99/32 dev {red}"));
        for command in [
            "ip link del dev eth0.20",
            "ip link add link eth0 name byhand type vlan id 20",
            "ip address add 10.0.20.99/24 dev byhand",
            "ip link set dev byhand up",
            &format!("ping -I byhand -c1 -W10 {blue}"),
            "ip link del dev byhand",
        ] {
            lab.good("node1", command);
        }
    });
    lab.assert_tags(&frames);
    let asked = format!("who-has {blue} tell 10.0.20.99");
    let ids = frames
        .iter()
        .filter(|frame| frame.carries(&asked))
        .map(|frame| frame.vlan);
    assert_eq!(
        ids.collect::<BTreeSet<_>>(),
        BTreeSet::from([Some(1), Some(20)]),
        "asked on both VLANs"
    );
    lab.end();
}

#[test]
#[ignore = "soak: two and a half minutes in a user-mode Linux; the other two labs have trunks, the cloud has real guests in `uml cloud`"]
fn the_vlans_of_the_cloud_cross_trunk_and_access_ports_and_everyone_reaches_whom_they_must() {
    let test = "the_vlans_of_the_cloud_cross_trunk_and_access_ports_and_everyone_reaches_whom_they_must";
    // NAT by nftables, which the kernel of tier 6 lacks, is shown by the labs `nat` and `snat-floating`, and so is who
    // does not get in.
    let without_nat = |text: String| {
        let mut lab: toml::Table = text.parse().unwrap();
        lab.remove("nat").unwrap();
        lab.remove("verify").unwrap();
        lab["vms"]["web"].as_table_mut().unwrap().remove("floating").unwrap();
        lab.to_string()
    };
    let Some(lab) = Tagged::new(test, "cloud.toml", without_nat) else {
        return;
    };
    let frames = lab.capture("node1", "eth0", |lab| {
        lab.assert_reach(&[
            ("tenant-1", "tenant-2", true),
            ("tenant-2", "tenant-1", true),
            ("web", "tenant-1", true),
            ("tenant-1", "web", true),
            ("web", "tenant-2", false),
            ("tenant-2", "web", false),
            ("web", "10.0.10.1", true),
            ("tenant-1", "10.0.20.1", true),
            ("tenant-2", "10.0.20.1", true),
            ("node2", "172.16.99.108", true),
            ("desk", "172.16.99.108", true),
        ]);
        // The desk has no route to the guests: it is given one, onto its own wire. node1 itself would answer there for
        // the gateways' addresses, as Linux does for each of its own (arp_ignore of ip-sysctl.rst).
        lab.good("desk", "ip route add 10.0.0.0/16 dev eth0");
        lab.assert_reach(&[("desk", "web", false), ("desk", "tenant-1", false)]);
        // The gateway's server has the lease of the guest on the other host.
        let output = lab
            .at("web", "busybox udhcpc -f -n -q -i eth0 -s /bin/true")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(&format!("lease of {} obtained", lab.address("web"))),
            "{output:?}"
        );
    });
    let guests: BTreeSet<u16> = frames.iter().filter_map(|frame| frame.vlan).collect();
    assert!(
        guests.is_subset(&BTreeSet::from([10, 20, 99])) && guests.len() == 3,
        "{guests:?}"
    );
    lab.end();
}

#[test]
fn frames_with_and_without_a_tag_are_read() {
    let text = "\
52:54:00:b1:3c:74 > 52:54:00:00:00:02, ethertype 802.1Q (0x8100), length 102: vlan 10, p 0, ethertype IPv4 (0x0800), \
10.0.1.2 > 10.0.1.3: ICMP echo request, id 1, seq 0, length 64
02:12:f8:dd:fd:ba > ff:ff:ff:ff:ff:ff, ethertype ARP (0x0806), length 42: Request who-has 172.16.99.109 tell 172.16.99.108, \
length 28
";
    let [tagged, plain] = &frames(text)[..] else { panic!() };
    assert_eq!((tagged.from.as_str(), tagged.vlan), ("52:54:00:b1:3c:74", Some(10)));
    assert!(tagged.carries("10.0.1.2 > 10.0.1.3: ICMP echo request"));
    assert_eq!((plain.to.as_str(), plain.vlan), ("ff:ff:ff:ff:ff:ff", None));
}
