//! The faults that `netlab break` chooses from: those of docs/faults.md that verify finds, for the machines of one lab. Pure.
//!
//! Each fault has the commands that put it in and those that remove it. The latter do nothing where it is not there: a run
//! may be killed between recording a fault and putting it in.

use serde::{Deserialize, Serialize};

use crate::lab::{Connect, Dialect, HostName, LabName, VmName};
use crate::plan::Step;
use crate::plan::lines::{Observed, lines};
use crate::state::DomainName;
use crate::topology::{Guest, GuestNic, Segment, Topology, TopologyHost};

/// The table of a rule that is none of the lab's.
const TABLE: &str = "site-filter";

/// A fault of one lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// How hard it is to find, from 1: a link is down, 2: something is configured wrongly, 3: links and addresses are as
    /// they should be.
    pub level: u8,
    /// The VM or host where it is put in.
    pub on: String,
    /// It is on a host that is not emulated.
    pub real: bool,
    /// What is wrong.
    pub text: String,
    /// The commands that put it in.
    pub put: String,
    /// The commands that remove it.
    pub heal: String,
}

/// Returns every fault that can be put into a lab, always in the same order.
pub fn faults(topology: &Topology) -> Vec<Fault> {
    let mut found = Vec::new();
    for (name, host) in &topology.hosts {
        let here = Here { topology, name, host };
        here.add(&mut found);
    }
    found
}

/// Returns the fault that `seed` means; none where there is none of that level.
pub fn choose(faults: &[Fault], seed: u64, level: Option<u8>) -> Option<&Fault> {
    let of_level: Vec<&Fault> = faults
        .iter()
        .filter(|fault| level.is_none_or(|level| fault.level == level))
        .collect();
    // SplitMix64: seeds that follow one another mean faults that do not.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let count = u64::try_from(of_level.len()).ok().filter(|count| *count > 0)?;
    of_level.get(usize::try_from(mixed % count).ok()?).copied()
}

/// A host.
struct Here<'a> {
    topology: &'a Topology,
    name: &'a HostName,
    host: &'a TopologyHost,
}

impl Here<'_> {
    fn is_real(&self) -> bool {
        self.host.connect != Connect::Emulated
    }

    fn fault(&self, level: u8, text: impl std::fmt::Display, put: String, heal: String) -> Fault {
        Fault {
            level,
            on: self.name.to_string(),
            real: self.is_real(),
            text: format!("{}: {text}", self.name),
            put,
            heal,
        }
    }

    fn add(&self, found: &mut Vec<Fault>) {
        let guests = self.topology.guests.iter();
        for (vm, guest) in guests.filter(|(_, guest)| guest.host == *self.name) {
            for nic in &guest.nics {
                let Some(segment) = self.host.segments.get(&nic.network) else {
                    continue;
                };
                // Somebody must be there to ping.
                if !self.has_others(vm, nic) {
                    continue;
                }
                found.extend(self.of_guest(vm, guest, nic));
                if !segment.switch.is_ovs() {
                    found.extend(self.of_tap(vm, nic, segment));
                }
            }
        }
        for (network, segment) in &self.host.segments {
            let members: Vec<(&HostName, &GuestNic)> = self.members(network.as_str());
            let (here, elsewhere): (Vec<_>, Vec<_>) = members.into_iter().partition(|(host, _)| *host == self.name);
            let crosses = !elsewhere.is_empty() && (!here.is_empty() || segment.gateway.is_some());
            if crosses && !segment.switch.is_ovs() && !self.is_real() {
                found.extend(self.of_uplink(network.as_str(), segment));
            }
            if let Some((_, nic)) = here.first().or(elsewhere.first()) {
                found.extend(self.of_gateway(network.as_str(), segment, nic));
            }
        }
    }

    /// The NICs of a network, with their hosts.
    fn members(&self, network: &str) -> Vec<(&HostName, &GuestNic)> {
        let guests = self.topology.guests.values();
        let nics = guests.flat_map(|guest| guest.nics.iter().map(move |nic| (&guest.host, nic)));
        nics.filter(|(_, nic)| nic.network.as_str() == network).collect()
    }

    fn has_others(&self, vm: &VmName, nic: &GuestNic) -> bool {
        let guests = self.topology.guests.iter().filter(|(other, _)| *other != vm);
        let mut others = guests.flat_map(|(_, guest)| &guest.nics);
        nic.gateway.is_some() || others.any(|other| other.network == nic.network)
    }

    /// Faults of a guest's tap and of its domain.
    fn of_tap(&self, vm: &VmName, nic: &GuestNic, segment: &Segment) -> Vec<Fault> {
        let (tap, bridge) = (&nic.tap, &nic.bridge);
        let domain = domain(&self.topology.lab, vm);
        let mut faults = vec![
            self.fault(
                1,
                format!("the tap {tap} of VM {vm} is down"),
                format!("ip link set dev {tap} down"),
                format!("ip link set dev {tap} up"),
            ),
            self.fault(
                1,
                format!("the tap {tap} of VM {vm} is not attached to bridge {bridge}"),
                format!("ip link set dev {tap} nomaster"),
                format!("ip link set dev {tap} master {bridge}"),
            ),
            self.fault(
                1,
                format!("VM {vm} is paused"),
                format!("virsh -q suspend {domain}"),
                format!("case $(virsh -q domstate {domain}) in paused*) virsh -q resume {domain} ;; esac"),
            ),
        ];
        if nic.mtu.is_none() {
            faults.push(self.fault(
                2,
                format!("the tap {tap} of VM {vm} has an MTU of 1400 bytes only"),
                format!("ip link set dev {tap} mtu 1400"),
                format!("ip link set dev {tap} mtu 1500"),
            ));
        }
        if segment.stp.is_none() {
            faults.push(self.fault(
                3,
                format!("bridge {bridge} forwards nothing from and to port {tap} of VM {vm}: its state is disabled"),
                format!("bridge link set dev {tap} state 0"),
                format!("bridge link set dev {tap} state 3"),
            ));
        }
        faults
    }

    /// Faults in a guest, whose console is a root shell with ip(8).
    fn of_guest(&self, vm: &VmName, guest: &Guest, nic: &GuestNic) -> Vec<Fault> {
        let image = self.topology.images.get(&guest.image);
        let fits = image.is_some_and(|image| image.console.login.is_none() && image.console.dialect == Dialect::Ip);
        if !fits {
            return Vec::new();
        }
        let dev = format!(
            "d=$(grep -il {} /sys/class/net/*/address | head -n 1); d=${{d%/address}}; d=${{d##*/}}",
            nic.mac
        );
        let fault = |level, text: &str, put: String, heal: String| Fault {
            level,
            on: vm.to_string(),
            real: self.is_real(),
            text: format!("VM {vm}: {text}"),
            put: format!("{dev}; {put}"),
            heal: format!("{dev}; {heal}"),
        };
        let route = guest
            .default_route
            .map(|gateway| format!("; ip route replace default via {gateway}"));
        let mut faults = vec![
            fault(
                1,
                "its NIC is down",
                "ip link set dev $d down".to_owned(),
                format!("ip link set dev $d up{}", route.clone().unwrap_or_default()),
            ),
            fault(
                3,
                "its NIC does not use ARP",
                "ip link set dev $d arp off".to_owned(),
                "ip link set dev $d arp on".to_owned(),
            ),
        ];
        let mtu = nic.mtu.unwrap_or(1500);
        faults.push(fault(
            2,
            "its NIC has an MTU of 1300 bytes",
            "ip link set dev $d mtu 1300".to_owned(),
            format!("ip link set dev $d mtu {mtu}"),
        ));
        faults
    }

    /// Faults of the NIC that carries a network to other hosts.
    fn of_uplink(&self, network: &str, segment: &Segment) -> Vec<Fault> {
        let Some(nic) = segment.uplink.as_ref().filter(|_| segment.vlan.is_none()) else {
            return Vec::new();
        };
        let bridge = &segment.bridge;
        let mut faults = vec![
            self.fault(
                1,
                format!("NIC {nic}, the uplink of network {network}, is down"),
                format!("ip link set dev {nic} down"),
                format!("ip link set dev {nic} up"),
            ),
            self.fault(
                2,
                format!("NIC {nic}, the uplink of network {network}, is not attached to bridge {bridge}"),
                format!("ip link set dev {nic} nomaster"),
                format!("ip link set dev {nic} master {bridge}"),
            ),
        ];
        if segment.mtu.is_none() {
            faults.push(self.fault(
                2,
                format!("NIC {nic}, the uplink of network {network}, has an MTU of 1400 bytes only"),
                format!("ip link set dev {nic} mtu 1400"),
                format!("ip link set dev {nic} mtu 1500"),
            ));
        }
        if segment.stp.is_none() {
            faults.push(self.fault(
                3,
                format!("bridge {bridge} forwards nothing from and to its port {nic}: its state is listening"),
                format!("bridge link set dev {nic} state 1"),
                format!("bridge link set dev {nic} state 3"),
            ));
        }
        faults
    }

    /// Faults of a gateway, in what concerns `nic`.
    fn of_gateway(&self, network: &str, segment: &Segment, nic: &GuestNic) -> Vec<Fault> {
        let Some(gateway) = segment.gateway else {
            return Vec::new();
        };
        let (bridge, address) = (&segment.bridge, nic.address.addr());
        let net = ipnet::Ipv4Net::new(gateway, segment.subnet.prefix_len());
        let add = net.ok().and_then(|net| {
            let step = Step::AddAddress(bridge.clone(), net.into());
            lines(&step, &Observed::default()).ok()?.into_iter().next()
        });
        let mut faults = Vec::new();
        // An address that came with the uplink is the host's own.
        let uplink = segment.uplink.as_ref().and_then(|uplink| self.host.nics.get(uplink));
        let moved = uplink
            .and_then(|nic| nic.address)
            .is_some_and(|own| own.addr() == gateway);
        if let Some(add) = add.filter(|_| !moved && !self.is_real()) {
            faults.push(self.fault(
                2,
                format!("bridge {bridge} of network {network} lacks the gateway address {gateway}"),
                format!("ip address del {gateway}/{} dev {bridge}", segment.subnet.prefix_len()),
                format!("ip {add}"),
            ));
        }
        faults.push(self.fault(
            3,
            format!("its route to {address} drops packets (blackhole)"),
            format!("ip route add blackhole {address}"),
            format!("[ -z \"$(ip route show type blackhole {address})\" ] || ip route del blackhole {address}"),
        ));
        faults.push(self.fault(
            3,
            format!("its neighbor table has a wrong hardware address for {address} on bridge {bridge}"),
            format!("ip neigh replace {address} lladdr 02:00:00:00:00:99 nud permanent dev {bridge}"),
            format!("[ -z \"$(ip neigh show {address} dev {bridge} nud permanent)\" ] || ip neigh del {address} dev {bridge}"),
        ));
        if !self.is_real() {
            faults.push(self.fault(
                3,
                "it ignores echo requests".to_owned(),
                "sysctl -qw net.ipv4.icmp_echo_ignore_all=1".to_owned(),
                "sysctl -qw net.ipv4.icmp_echo_ignore_all=0".to_owned(),
            ));
        }
        // On a real host a table of that name may be somebody else's.
        if !segment.switch.is_ovs() && !self.is_real() {
            faults.push(self.fault(
                3,
                format!("a rule of table bridge {TABLE} drops what {address} sends"),
                format!(
                    "nft 'table bridge {TABLE} {{ chain c {{ type filter hook input priority 0; ip saddr {address} drop; }}; \
                     chain d {{ type filter hook forward priority 0; ip saddr {address} drop; }}; }}'"
                ),
                format!("! nft list table bridge {TABLE} >/dev/null 2>&1 || nft delete table bridge {TABLE}"),
            ));
        }
        faults
    }
}

fn domain(lab: &LabName, vm: &VmName) -> DomainName {
    DomainName::new(lab, vm)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::example;

    #[test]
    fn a_seed_always_means_the_same_fault_and_all_faults_are_meant_by_some_seed() {
        let faults = faults(&example::topology());
        assert_eq!(faults, super::faults(&example::topology()));
        let chosen = |seed, level| choose(&faults, seed, level).map(|fault| fault.text.clone());
        assert_eq!(chosen(7, None), chosen(7, None));
        let all: BTreeSet<_> = (0..2000).filter_map(|seed| chosen(seed, None)).collect();
        let texts: BTreeSet<_> = faults.iter().map(|fault| fault.text.clone()).collect();
        assert_eq!(all, texts);
        for level in 1..=3 {
            let fault = choose(&faults, 1, Some(level)).unwrap();
            assert_eq!(fault.level, level);
        }
        assert!(choose(&faults, 1, Some(9)).is_none());
        assert!(choose(&[], 1, None).is_none());
    }

    #[test]
    fn every_fault_can_be_removed_and_a_real_host_loses_no_uplink() {
        let mut topology = example::topology();
        let emulated = faults(&topology);
        assert!(emulated.iter().all(|fault| !fault.real && !fault.heal.is_empty()));
        assert!(emulated.iter().any(|fault| fault.put.contains("dev eth0 down")));
        topology.hosts.get_mut(&example::host("node1")).unwrap().connect = Connect::Local;
        let real = faults(&topology);
        let on_node1 = real.iter().filter(|fault| fault.on == "node1");
        assert!(on_node1.clone().all(|fault| fault.real && !fault.put.contains("eth0")));
        assert!(on_node1.count() > 0);
    }
}
