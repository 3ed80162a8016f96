//! Checks that full-size packets pass from host to host.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use super::{Finding, Verdict};
use crate::host::NamedHosts;
use crate::lab::HostName;
use crate::state::Survey;
use crate::topology::Topology;
use crate::transport::{Cmd, Script};

/// Prints the MTU of NIC `$1`, and whether a small packet and one of that size pass to `$2`.
const PING: Script = Script {
    name: "doctor/path.sh",
    text: include_str!("path.sh"),
};

/// Pings from host to host by the NICs that carry a network, where those have addresses, with full-size packets.
pub(super) fn mtus(topology: &Topology, hosts: &NamedHosts, surveys: &BTreeMap<HostName, Survey>) -> Vec<Finding> {
    let mut pairs = BTreeSet::new();
    for (from, host) in &topology.hosts {
        for (network, segment) in &host.segments {
            let Some(nic) = &segment.uplink else { continue };
            for (to, other) in topology.hosts.iter().filter(|(to, _)| *to > from) {
                let there = other.segments.get(network).and_then(|segment| segment.uplink.as_ref());
                let address = there.and_then(|nic| {
                    surveys
                        .get(to)?
                        .nics
                        .get(nic)?
                        .addresses
                        .iter()
                        .find(|net| net.addr().is_ipv4())
                });
                if let Some(address) = address.filter(|_| surveys.contains_key(from)) {
                    pairs.insert((from, nic, to, address.addr()));
                }
            }
        }
    }
    thread::scope(|scope| {
        let asked: Vec<_> = pairs
            .into_iter()
            .map(|(from, nic, to, address)| {
                let ping = Cmd::script(PING, [nic.as_str(), &address.to_string()]);
                (
                    from,
                    nic,
                    to,
                    address,
                    scope.spawn(move || hosts.get(from)?.ask(&ping).ok()),
                )
            })
            .collect();
        let checked = asked.into_iter().filter_map(|(from, nic, to, address, answer)| {
            let output = answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let [mtu, small, full] = text.split_whitespace().collect::<Vec<_>>()[..] else {
                return None;
            };
            let (verdict, what, help) = match (small, full) {
                (_, "yes") => (Verdict::Ok, format!("packets of {mtu} bytes pass to {to}"), String::new()),
                ("yes", _) => (
                    Verdict::Error,
                    format!("packets of {mtu} bytes do not pass to {to} ({address}), small ones do"),
                    format!("ip link set {nic} mtu {mtu} on {to}, and the same on the switch between them; or a smaller `mtu` in the lab"),
                ),
                _ => (
                    Verdict::Warning,
                    format!("{to} ({address}) does not answer to ping: path MTU not measured"),
                    "check the cable, and whether a firewall drops ICMP".to_owned(),
                ),
            };
            Some(Finding {
                host: from.clone(),
                check: "path",
                verdict,
                what,
                help,
            })
        });
        checked.collect()
    })
}
