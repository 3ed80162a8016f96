//! What may pass the ports of Open vSwitch's bridges, by OpenFlow: what guests may send, and what no port to other hosts
//! passes where each host has the gateway's address. Takes the ports of each bridge, keeps them
//! in the bridge's `external_ids`, and gives those that exist their flows; reads both and returns them. Decides nothing about
//! what is wanted; touches only bridges that have the lab's mark, and there only flows with netlab's cookie.
//!
//! A guest's port exists while the guest runs, and gets its number then. Flows are therefore loaded when a guest starts,
//! before its processor does, from what the bridge has; all flows of a bridge are replaced at once (`ovs-ofctl --bundle`).
//! The daemon forgets them when it is restarted: that is observed, and the next `up` loads them again.

mod flow;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

pub use self::flow::COOKIE;
use self::flow::Flow;
use crate::lab::{IfName, LabName};
use crate::state::{Firewall, LocalGateway, PortSecurity};
use crate::transport::{Cmd, CmdError, Script, Shell};

const LIST: Script = Script {
    name: "flows/list.sh",
    text: include_str!("list.sh"),
};

/// Start of the keys of `external_ids` that have a port's addresses.
const PORT: &str = "netlab-port-";

/// Start of the keys that have the gateway's address which a port to other hosts does not pass.
const GATEWAY: &str = "netlab-gateway-";

/// What is wanted of the bridges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Secured ports, by bridge.
    pub ports: BTreeMap<IfName, BTreeMap<IfName, PortSecurity>>,
    /// Gateways' addresses that ports do not pass, by bridge.
    pub gateways: BTreeMap<IfName, BTreeSet<LocalGateway>>,
}

impl Wanted {
    /// Returns what a firewall wants of Open vSwitch's bridges.
    pub fn of(firewall: &Firewall) -> Self {
        Self {
            ports: firewall.flows.clone(),
            gateways: firewall.gateway_flows.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.ports.is_empty() && self.gateways.is_empty()
    }

    /// Returns the keys of `external_ids` of each bridge, and their values.
    fn keys(&self) -> BTreeMap<&IfName, BTreeMap<String, String>> {
        let mut keys: BTreeMap<&IfName, BTreeMap<String, String>> = BTreeMap::new();
        for (bridge, ports) in &self.ports {
            let of_ports = ports.iter().map(|(port, PortSecurity { mac, address })| {
                let value = format!("{mac}/{address}");
                (format!("{PORT}{port}"), value)
            });
            keys.entry(bridge).or_default().extend(of_ports);
        }
        for (bridge, gateways) in &self.gateways {
            let of_gateways = gateways
                .iter()
                .map(|LocalGateway { port, address }| (format!("{GATEWAY}{port}"), address.to_string()));
            keys.entry(bridge).or_default().extend(of_gateways);
        }
        keys
    }
}

/// What one bridge has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bridge {
    /// What its `external_ids` have.
    wanted: BTreeMap<IfName, PortSecurity>,
    gateways: BTreeSet<LocalGateway>,
    /// Something there cannot be read.
    altered: bool,
    present: BTreeSet<IfName>,
    flows: BTreeSet<Flow>,
    /// Packets that were dropped because of their address.
    forged: u64,
}

impl Bridge {
    /// The lines of all flows of the ports that exist.
    fn lines(&self) -> impl Iterator<Item = String> {
        let ports = self.wanted.iter().filter(|(port, _)| self.present.contains(*port));
        let of_ports = ports.flat_map(|(port, security)| flow::lines(port, security));
        let gateways = self
            .gateways
            .iter()
            .filter(|gateway| self.present.contains(&gateway.port));
        of_ports.chain(gateways.flat_map(flow::keep_off))
    }

    /// Has the flows of the ports that exist. Those of one that was removed have a number in place of its name: they are
    /// replaced with the next port that gets one.
    fn is_as_wanted(&self) -> bool {
        let wanted: BTreeSet<Flow> = self.lines().map(|line| flow::read(&line).0).collect();
        let named = self.flows.iter().filter(|flow| !flow::is_of_no_port(flow));
        !self.altered && named.eq(&wanted)
    }
}

/// Returns what `lab` wants of the bridges of the host, and whether their flows differ from that; none where it wants
/// nothing. One command.
pub fn observe(shell: &dyn Shell, lab: &LabName) -> Result<Option<(Wanted, bool)>, CmdError> {
    let bridges = read(&shell.check(&counters(lab))?);
    let altered = !bridges.values().all(Bridge::is_as_wanted);
    let wanted = wanted(&bridges);
    Ok((altered || !wanted.is_empty()).then_some((wanted, altered)))
}

/// Returns what is wanted of bridges, by their `external_ids`.
fn wanted(bridges: &BTreeMap<IfName, Bridge>) -> Wanted {
    let mut wanted = Wanted::default();
    for (name, bridge) in bridges {
        if !bridge.wanted.is_empty() {
            wanted.ports.insert(name.clone(), bridge.wanted.clone());
        }
        if !bridge.gateways.is_empty() {
            wanted.gateways.insert(name.clone(), bridge.gateways.clone());
        }
    }
    wanted
}

/// Returns the command that prints what [`forged`] reads.
pub fn counters(lab: &LabName) -> Cmd {
    Cmd::script(LIST, [lab.as_str(), COOKIE])
}

/// Returns how many packets were dropped since the flows were loaded, because they came from an address that is not their
/// port's.
pub fn forged(output: &[u8]) -> u64 {
    read(output).values().map(|bridge| bridge.forged).sum()
}

/// Makes `next` what is wanted in place of what `lab` has, and loads the flows. A few commands for each bridge.
pub fn load(shell: &dyn Shell, lab: &LabName, next: &Wanted) -> Result<(), CmdError> {
    let bridges = read(&shell.check(&counters(lab))?);
    let (next, before) = (next.keys(), wanted(&bridges));
    let before = before.keys();
    let mut columns: Vec<String> = Vec::new();
    for name in bridges.keys() {
        let stays = |key: &String| next.get(name).is_some_and(|keys| keys.contains_key(key));
        if !next.contains_key(name) {
            shell.check(&delete_flows(name))?;
        }
        for key in before
            .get(name)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(|key| !stays(key))
        {
            columns.push(format!("-- remove Bridge {name} external_ids {key}"));
        }
    }
    for (name, keys) in &next {
        for (key, value) in keys {
            columns.push(format!("-- set Bridge {name} external_ids:{key}=\"{value}\""));
        }
    }
    if !columns.is_empty() {
        let words = columns
            .iter()
            .flat_map(|column| column.split(' '))
            .map(ToOwned::to_owned);
        let argv = ["ovs-vsctl", "--timeout=60"]
            .map(ToOwned::to_owned)
            .into_iter()
            .chain(words);
        shell.check(&Cmd::new(argv))?;
    }
    reload(shell, lab)
}

/// Loads the flows of all secured ports that exist. Guests start in parallel: one at a time, or the one that was read
/// first could be loaded last.
pub fn reload(shell: &dyn Shell, lab: &LabName) -> Result<(), CmdError> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _lock = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, bridge) in read(&shell.check(&counters(lab))?) {
        if bridge.is_as_wanted() && !bridge.flows.iter().any(flow::is_of_no_port) {
            continue;
        }
        let argv = ["ovs-ofctl", "--timeout=60", "--bundle", "add-flows", name.as_str(), "-"];
        shell.check(&Cmd::new(argv).fed(text(&bridge)))?;
    }
    Ok(())
}

/// Returns the input of ovs-ofctl(8) that replaces a bridge's flows.
fn text(bridge: &Bridge) -> String {
    let mut text = format!("delete cookie={COOKIE}/-1\n");
    for line in bridge.lines() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "add cookie={COOKIE},{line}");
    }
    text
}

/// Removes the ports and their flows. A few commands.
pub fn delete(shell: &dyn Shell, lab: &LabName) -> Result<(), CmdError> {
    load(shell, lab, &Wanted::default())
}

/// Returns the command lines that secure ports by hand, once they exist.
pub fn script(bridge: &IfName, port: &IfName, security: &PortSecurity) -> Vec<String> {
    add(bridge, flow::lines(port, security))
}

/// Returns the command lines that keep a gateway's address off a port by hand.
pub fn script_of_gateway(bridge: &IfName, gateway: &LocalGateway) -> Vec<String> {
    add(bridge, flow::keep_off(gateway))
}

fn add(bridge: &IfName, flows: Vec<String>) -> Vec<String> {
    let flows = flows.into_iter().map(|line| line.replace(" actions=", ",actions="));
    flows
        .map(|line| format!("ovs-ofctl add-flow {bridge} '{line}'"))
        .collect()
}

fn delete_flows(bridge: &IfName) -> Cmd {
    Cmd::new([
        "ovs-ofctl".to_owned(),
        "--timeout=60".to_owned(),
        "del-flows".to_owned(),
        bridge.to_string(),
        format!("cookie={COOKIE}/-1"),
    ])
}

/// Reads what the script printed.
fn read(printed: &[u8]) -> BTreeMap<IfName, Bridge> {
    let mut bridges: BTreeMap<IfName, Bridge> = BTreeMap::new();
    let mut current: Option<IfName> = None;
    for line in String::from_utf8_lossy(printed).lines() {
        let Some((kind, what)) = line.split_once(' ') else {
            continue;
        };
        if kind == "bridge" {
            current = what.parse().ok();
        }
        let Some(name) = &current else { continue };
        let bridge = bridges.entry(name.clone()).or_default();
        match kind {
            "wanted" => match port(what) {
                Some((port, security)) => _ = bridge.wanted.insert(port, security),
                None => bridge.altered = true,
            },
            "gateway" => match gateway(what) {
                Some(gateway) => _ = bridge.gateways.insert(gateway),
                None => bridge.altered = true,
            },
            "present" => bridge.present.extend(what.parse::<IfName>().ok()),
            "flow" => {
                let (flow, packets) = flow::read(what);
                if flow::is_for_forged(&flow) {
                    bridge.forged += packets;
                }
                bridge.flows.insert(flow);
            }
            _ => {}
        }
    }
    bridges
}

/// Reads a port and its addresses.
fn port(text: &str) -> Option<(IfName, PortSecurity)> {
    let (port, addresses) = text.split_once('=')?;
    let (mac, address) = addresses.split_once('/')?;
    let security = PortSecurity {
        mac: mac.parse().ok()?,
        address: address.parse().ok()?,
    };
    Some((port.parse().ok()?, security))
}

/// Reads a port and the gateway's address that does not pass it.
fn gateway(text: &str) -> Option<LocalGateway> {
    let (port, address) = text.split_once('=')?;
    let address: Ipv4Addr = address.parse().ok()?;
    Some(LocalGateway {
        port: port.parse().ok()?,
        address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "bridge br1\nwanted tap1=52:54:00:00:00:01/10.0.1.1\nwanted tap2=52:54:00:00:00:02/10.0.1.2\n\
                           present eth0\npresent tap1\n";

    #[test]
    fn only_ports_that_exist_have_flows() {
        let mut bridges = read(PRINTED.as_bytes());
        let bridge = bridges.values_mut().next().unwrap();
        assert_eq!((bridge.wanted.len(), bridge.is_as_wanted()), (2, false));
        let text = text(bridge);
        assert!(text.starts_with("delete cookie=0x6e65746c/-1\nadd cookie=0x6e65746c,priority=320,udp,in_port=tap1"));
        assert!(!text.contains("tap2"));
        bridge.flows = bridge.lines().map(|line| flow::read(&line).0).collect();
        assert!(bridge.is_as_wanted());
        bridge.present.clear();
        assert!(!bridge.is_as_wanted(), "flows of a port that is no guest's");
        bridge.flows = [flow::read("priority=300,in_port=1 actions=drop").0].into();
        assert!(bridge.is_as_wanted(), "flows of a port that is removed");
    }

    #[test]
    fn a_key_that_netlab_did_not_write_is_an_alteration() {
        let bridges = read(PRINTED.replace("/10.0.1.1", "").as_bytes());
        let bridge = bridges.values().next().unwrap();
        assert!(bridge.altered && !bridge.is_as_wanted());
    }
}
