//! Open vSwitch's database, and its bridges and ports as links like any other: a bridge's device has the bridge's mark, its
//! ports have it as their master, and ports that are no device of the kernel are links of their own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::json::RawLink;
use crate::lab::{Bond, BondMode, Datapath, IfName, LabName, LacpRate, MacAddr, TunnelKind, VlanId};
use crate::plan::lines::{MAC_GIVEN, MAC_IS_SET, OWNER, OvsObject, PURPOSE};
use crate::state::LinkKind;
use crate::topology::derive::patch_peer;
use crate::transport::{Cmd, CmdError, Script};

/// Kind of the device of a bridge: the kernel's own name for it with its data path.
pub(super) const BRIDGE: &str = "openvswitch";
/// Kind of a port that is no device of the kernel.
pub(super) const PORT: &str = "openvswitch port";

/// The device of the user-space data path, which belongs to no bridge.
const DATAPATH_DEVICE: &str = "ovs-netdev";

pub(super) const QUERY: Script = Script {
    name: "ip/ovs.sh",
    text: include_str!("ovs.sh"),
};

/// What the database has, by the names of links.
#[derive(Debug, Clone, Default)]
pub(super) struct Ovs {
    bridges: BTreeMap<String, Row>,
    ports: BTreeMap<String, Port>,
}

/// A port of a bridge.
#[derive(Debug, Clone, Default)]
struct Port {
    bridge: String,
    row: Row,
    interface: Row,
    /// Of a bond: its interfaces.
    members: Vec<Row>,
}

/// A row of the database.
type Row = BTreeMap<String, Value>;

impl Ovs {
    /// Parses what the query printed.
    pub fn parse(cmd: &Cmd, printed: &[u8]) -> Result<Self, CmdError> {
        let text = String::from_utf8_lossy(printed);
        let tables: Vec<Vec<Row>> = text.lines().map(|line| table(cmd, line)).collect::<Result<_, _>>()?;
        let [bridges, ports, interfaces] = &tables[..] else {
            return Ok(Self::default());
        };
        let by_uuid = |rows: &[Row]| -> BTreeMap<String, Row> {
            let rows = rows
                .iter()
                .filter_map(|row| Some((uuid(row.get("_uuid")?)?, row.clone())));
            rows.collect()
        };
        let (ports, interfaces) = (by_uuid(ports), by_uuid(interfaces));
        let mut ovs = Self::default();
        for bridge in bridges {
            let name = text_of(bridge, "name");
            for port in items(bridge.get("ports")).iter().filter_map(|id| ports.get(&uuid(id)?)) {
                let ids = items(port.get("interfaces"));
                let own: Vec<Row> = ids
                    .iter()
                    .filter_map(|id| interfaces.get(&uuid(id)?).cloned())
                    .collect();
                // Somebody may have left one member only, which has its own name.
                let bonded = own.len() > 1 || own.iter().any(|only| text_of(only, "name") != text_of(port, "name"));
                let found = Port {
                    bridge: name.clone(),
                    row: port.clone(),
                    interface: own.first().cloned().unwrap_or_default(),
                    members: if bonded { own } else { Vec::new() },
                };
                ovs.ports.insert(text_of(port, "name"), found);
            }
            ovs.bridges.insert(name, bridge.clone());
        }
        Ok(ovs)
    }

    /// Changes `links` so that they show what the database has.
    pub fn show(&self, links: &mut Vec<RawLink>) {
        for link in links.iter_mut() {
            if let Some(bridge) = self.bridges.get(&link.ifname) {
                link.linkinfo.info_kind = Some(BRIDGE.to_owned());
                link.ifalias = mark(bridge);
                link.master = None;
            } else if link.ifname == DATAPATH_DEVICE {
                link.linkinfo.info_kind = Some(BRIDGE.to_owned());
            } else if let Some(port) = self.ports.get(&link.ifname) {
                link.master = Some(port.bridge.clone());
            } else if let Some(bond) = self.bond_of(&link.ifname) {
                link.master = Some(bond.clone());
            } else if link.master.as_deref() == Some("ovs-system") {
                link.master = None;
            }
        }
        let missing = |name: &&String| !links.iter().any(|link| link.ifname == **name);
        let bridges = self.bridges.iter().filter(|(name, _)| missing(name));
        let bridges = bridges.map(|(name, row)| lone(name, BRIDGE, None, mark(row), &[]));
        let ports = self.ports.iter().filter(|(name, _)| missing(name));
        // The device of a bridge is a port of it, too.
        let ports = ports.filter(|(name, _)| !self.bridges.contains_key(*name));
        let ports = ports.map(|(name, port)| {
            let carrier = |member: &Row| text_of(member, "link_state") == "up";
            let flags: &[&str] = if !port.members.is_empty() && !port.members.iter().any(carrier) {
                &["UP"]
            } else if text_of(&port.interface, "error").is_empty() {
                &["UP", "LOWER_UP"]
            } else {
                &[]
            };
            lone(name, PORT, Some(port.bridge.clone()), mark(&port.row), flags)
        });
        let added: Vec<RawLink> = bridges.chain(ports).collect();
        links.extend(added);
    }

    /// Returns what a link of Open vSwitch's is, as netlab creates it; none where netlab does not.
    pub fn kind(&self, name: &str) -> Option<LinkKind> {
        if let Some(bridge) = self.bridges.get(name) {
            let mac = map(bridge, "other_config")
                .get("hwaddr")
                .and_then(|mac| mac.parse().ok());
            let given = map(bridge, "external_ids").contains_key(MAC_GIVEN);
            return Some(LinkKind::OvsBridge {
                stp: spanning_tree(bridge),
                datapath: if text_of(bridge, "datapath_type") == "netdev" {
                    Datapath::Netdev
                } else {
                    Datapath::System
                },
                mac: mac.filter(|_: &MacAddr| given),
            });
        }
        let port = self.ports.get(name)?;
        if !port.members.is_empty() {
            return Some(bond(port));
        }
        let options = map(&port.interface, "options");
        let option = |key: &str| options.get(key).map(String::as_str).unwrap_or_default();
        let kind = text_of(&port.interface, "type");
        if kind == "patch" {
            let name = IfName::new(name).ok()?;
            let peer = self.ports.get(patch_peer(&name).as_str());
            let tag = |port: &Port| VlanId::try_from(port.row.get("tag")?.as_i64()?).ok();
            let provider = peer.and_then(|peer| IfName::new(&peer.bridge).ok());
            // Without its peer it is like one that leads to itself: no lab has that.
            return Some(LinkKind::OvsPatch {
                provider: provider.unwrap_or(name),
                tag: peer.and_then(tag).or_else(|| VlanId::try_from(1).ok())?,
            });
        }
        let address = |key: &str| option(key).parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        Some(LinkKind::OvsTunnel {
            protocol: TunnelKind::of(&kind)?,
            key: option("key").parse().unwrap_or_default(),
            local: address("local_ip"),
            remote: address("remote_ip"),
        })
    }

    /// Returns whether a bridge has spanning tree.
    pub fn has_spanning_tree(&self, bridge: &str) -> bool {
        self.bridges.get(bridge).is_some_and(|row| spanning_tree(row).is_some())
    }

    /// Returns the state of a port in spanning tree, by the kernel's names, which are the same; none without it.
    pub fn state(&self, port: &str) -> Option<String> {
        map(&self.ports.get(port)?.row, "status").remove("stp_state")
    }

    /// Returns the MTU that the device of a bridge is to have.
    pub fn mtu(&self, name: &str) -> Option<u16> {
        let request = self.ports.get(name)?.interface.get("mtu_request")?.as_u64()?;
        u16::try_from(request).ok()
    }

    /// Returns the bond that a NIC is a member of.
    fn bond_of(&self, nic: &str) -> Option<&String> {
        let is_it = |member: &Row| text_of(member, "name") == nic;
        let mut ports = self.ports.iter();
        ports
            .find(|(_, port)| port.members.iter().any(is_it))
            .map(|(name, _)| name)
    }

    /// Returns the hardware address of the member of a bond that sends, where only one does.
    pub fn active(&self, bond: &str) -> Option<String> {
        let port = self.ports.get(bond).filter(|port| !port.members.is_empty())?;
        Some(text_of(&port.row, "bond_active_slave")).filter(|mac| !mac.is_empty())
    }

    /// A patch has an end that belongs to another link.
    pub fn is_peer(&self, name: &str) -> bool {
        let Some(port) = self.ports.get(name) else { return false };
        let options = map(&port.interface, "options");
        let other = options.get("peer").and_then(|other| IfName::new(other).ok());
        other.is_some_and(|other| patch_peer(&other).as_str() == name)
    }

    /// Returns whether a port is in one VLAN only, which no NIC of a lab's is.
    pub fn is_tagged(&self, name: &str) -> bool {
        self.ports
            .get(name)
            .is_some_and(|port| port.row.get("tag").is_some_and(Value::is_i64))
    }

    /// Returns the VLAN that a port is in, if it is in one only, and those that it passes; none: all.
    pub fn vlans(&self, name: &str) -> (Option<u16>, Vec<u16>) {
        let id = |value: &Value| u16::try_from(value.as_u64()?).ok();
        let row = self.ports.get(name).map(|port| &port.row);
        let items = |column: &str| -> Vec<u16> {
            items(row.and_then(|row| row.get(column)))
                .iter()
                .filter_map(id)
                .collect()
        };
        (items("tag").first().copied(), items("trunks"))
    }

    /// Returns what `name` is, if it is Open vSwitch's.
    pub fn object(&self, name: &str) -> Option<OvsObject> {
        if self.bridges.contains_key(name) {
            return Some(OvsObject::Bridge);
        }
        self.ports.contains_key(name).then_some(OvsObject::Port)
    }

    /// Returns the keys of tunnels that are not `lab`'s, by protocol, with the names of their ports.
    pub fn foreign_keys(&self, lab: &LabName) -> BTreeMap<(TunnelKind, u32), String> {
        let others = self.ports.iter().filter(|(_, port)| {
            let ids = map(&port.row, "external_ids");
            ids.get(OWNER).is_none_or(|owner| owner != lab.as_str())
        });
        let key = |(name, port): (&String, &Port)| {
            let kind = TunnelKind::of(&text_of(&port.interface, "type"))?;
            let key = map(&port.interface, "options").get("key")?.parse().ok()?;
            Some(((kind, key), name.clone()))
        };
        others.filter_map(key).collect()
    }
}

/// Returns the forward delay of a bridge's spanning tree in seconds; none where it has no spanning tree.
fn spanning_tree(bridge: &Row) -> Option<u8> {
    let enabled = bridge.get("stp_enable").and_then(Value::as_bool).unwrap_or_default();
    let delay = || map(bridge, "other_config").get("stp-forward-delay")?.parse().ok();
    // The default (ovs-vswitchd.conf.db(5)).
    enabled.then(|| delay().unwrap_or(15))
}

/// Returns what a port with several interfaces is.
fn bond(port: &Port) -> LinkKind {
    let config = map(&port.row, "other_config");
    let mode = match text_of(&port.row, "bond_mode").as_str() {
        "balance-tcp" => BondMode::Lacp,
        "balance-slb" => BondMode::BalanceXor,
        _ => BondMode::ActiveBackup,
    };
    let lacp = text_of(&port.row, "lacp") == "active";
    let rate = match config.get("lacp-time").map(String::as_str) {
        Some("fast") => LacpRate::Fast,
        _ => LacpRate::Slow,
    };
    let members = port
        .members
        .iter()
        .filter_map(|member| text_of(member, "name").parse().ok());
    LinkKind::OvsBond {
        bond: Bond {
            mode,
            miimon: None,
            lacp_rate: lacp.then_some(rate),
            xmit_hash_policy: None,
            primary: config.get("bond-primary").and_then(|nic| nic.parse().ok()),
        },
        members: members.collect(),
    }
}

/// Returns the alias that a link of the kernel's would have.
fn mark(row: &Row) -> Option<String> {
    let ids = map(row, "external_ids");
    let lab = ids.get(OWNER)?;
    let purpose = ids.get(PURPOSE).map(|purpose| purpose.replace('/', " "));
    let given = if ids.contains_key(MAC_GIVEN) { MAC_IS_SET } else { "" };
    Some(format!("netlab:{lab}:{}{given}", purpose.unwrap_or_default()))
}

/// Returns a link that the kernel does not have.
fn lone(name: &str, kind: &str, master: Option<String>, alias: Option<String>, flags: &[&str]) -> RawLink {
    let mut link = RawLink {
        ifname: name.to_owned(),
        master,
        ifalias: alias,
        flags: flags.iter().map(ToString::to_string).collect(),
        ..RawLink::default()
    };
    link.linkinfo.info_kind = Some(kind.to_owned());
    link
}

/// Parses a table as ovs-vsctl(8) prints it with `--format=json`: headings, and rows of values as in RFC 7047, 5.1.
fn table(cmd: &Cmd, line: &str) -> Result<Vec<Row>, CmdError> {
    let table: Value = serde_json::from_str(line).map_err(|cause| CmdError::Json {
        command: cmd.to_string(),
        cause,
    })?;
    let headings = table["headings"].as_array().cloned().unwrap_or_default();
    let rows = table["data"].as_array().cloned().unwrap_or_default();
    let row = |row: Value| {
        let cells = row.as_array().cloned().unwrap_or_default();
        let names = headings.iter().map(|name| name.as_str().unwrap_or_default().to_owned());
        names.zip(cells).collect()
    };
    Ok(rows.into_iter().map(row).collect())
}

fn text_of(row: &Row, column: &str) -> String {
    row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn uuid(value: &Value) -> Option<String> {
    match value.as_array()?.as_slice() {
        [kind, id] if kind == "uuid" => id.as_str().map(ToOwned::to_owned),
        _ => None,
    }
}

/// Returns the items of a set; a set of one item is written as that item.
fn items(value: Option<&Value>) -> Vec<Value> {
    let Some(value) = value else { return Vec::new() };
    match value.as_array().map(Vec::as_slice) {
        Some([kind, items]) if kind == "set" => items.as_array().cloned().unwrap_or_default(),
        _ => vec![value.clone()],
    }
}

fn map(row: &Row, column: &str) -> BTreeMap<String, String> {
    let pairs = match row.get(column).and_then(Value::as_array).map(Vec::as_slice) {
        Some([kind, pairs]) if kind == "map" => pairs.as_array().cloned().unwrap_or_default(),
        _ => Vec::new(),
    };
    let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
    pairs.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ovs-vsctl 3.1 prints of a bridge with a NIC, a tunnel and one end of a patch.
    const PRINTED: &str = concat!(
        r#"{"data":[["br1",["set",[["uuid","p0"],["uuid","p1"],["uuid","p2"],["uuid","p3"]]],"netdev",["map",[["netlab","lab"],["netlab-mac","given"],["netlab-purpose","network/x"]]],["map",[["hwaddr","02:00:00:00:00:11"],["stp-forward-delay","4"]]],true],["br2",["uuid","p4"],"netdev",["map",[]],["map",[["stp-forward-delay","4"]]],false]],"headings":["name","ports","datapath_type","external_ids","other_config","stp_enable"]}"#,
        "\n",
        r#"{"data":[[["uuid","p0"],"br1",["set",[]],["uuid","i0"],["map",[]]],[["uuid","p1"],"eth0",7,["uuid","i1"],["map",[]]],[["uuid","p2"],"gre1",["set",[]],["uuid","i2"],["map",[["netlab","lab"],["netlab-purpose","network/x"]]]],[["uuid","p3"],"eth0.10",["set",[]],["uuid","i3"],["map",[["netlab","lab"],["netlab-purpose","network/x"]]]],[["uuid","p4"],"PEER",10,["uuid","i4"],["map",[["netlab","lab"],["netlab-purpose","network/x"]]]]],"headings":["_uuid","name","tag","interfaces","external_ids"]}"#,
        "\n",
        r#"{"data":[[["uuid","i0"],"br1","internal",["map",[]],65534,["set",[]],1450],[["uuid","i1"],"eth0","",["map",[]],1,["set",[]],["set",[]]],[["uuid","i2"],"gre1","gre",["map",[["key","5"],["local_ip","10.0.0.1"],["remote_ip","10.0.0.2"]]],2,["set",[]],["set",[]]],[["uuid","i3"],"eth0.10","patch",["map",[["peer","PEER"]]],3,["set",[]],["set",[]]],[["uuid","i4"],"PEER","patch",["map",[["peer","eth0.10"]]],1,["set",[]],["set",[]]]],"headings":["_uuid","name","type","options","ofport","error","mtu_request"]}"#,
        "\n"
    );

    fn printed() -> Ovs {
        let patch: IfName = "eth0.10".parse().unwrap();
        let text = PRINTED.replace("PEER", patch_peer(&patch).as_str());
        Ovs::parse(&Cmd::script(QUERY, [""; 0]), text.as_bytes()).unwrap()
    }

    #[test]
    fn bridges_patches_and_tunnels_are_read_with_their_settings() {
        let ovs = printed();
        let bridge = LinkKind::OvsBridge {
            datapath: Datapath::Netdev,
            stp: Some(4),
            mac: Some("02:00:00:00:00:11".parse().unwrap()),
        };
        assert_eq!((ovs.kind("br1"), ovs.mtu("br1")), (Some(bridge), Some(1450)));
        let tunnel = LinkKind::OvsTunnel {
            protocol: TunnelKind::Gre,
            key: 5,
            local: [10, 0, 0, 1].into(),
            remote: [10, 0, 0, 2].into(),
        };
        assert_eq!(ovs.kind("gre1"), Some(tunnel));
        let patch = LinkKind::OvsPatch {
            provider: "br2".parse().unwrap(),
            tag: 10.try_into().unwrap(),
        };
        assert_eq!(ovs.kind("eth0.10"), Some(patch));
        assert!(ovs.is_tagged("eth0") && !ovs.is_tagged("gre1"));
        assert_eq!(
            (ovs.vlans("eth0"), ovs.vlans("gre1")),
            ((Some(7), vec![]), (None, vec![]))
        );
        assert!(ovs.foreign_keys(&"lab".parse().unwrap()).is_empty());
        let others = ovs.foreign_keys(&"other".parse().unwrap());
        assert_eq!(others, [((TunnelKind::Gre, 5), "gre1".to_owned())].into());
    }

    #[test]
    fn links_show_the_bridges_that_they_are_ports_of_and_ports_without_a_device_are_links() {
        let named = |name: &str| RawLink {
            ifname: name.to_owned(),
            ..RawLink::default()
        };
        let mut links = vec![named("br1"), named("eth0"), named("ovs-netdev")];
        let ovs = printed();
        ovs.show(&mut links);
        let link = |name: &str| links.iter().find(|link| link.ifname == name).unwrap();
        assert_eq!(
            link("br1").ifalias.as_deref(),
            Some("netlab:lab:network x (address given)")
        );
        assert_eq!(link("eth0").master.as_deref(), Some("br1"));
        assert_eq!(link("gre1").ifalias.as_deref(), Some("netlab:lab:network x"));
        assert!(!link("ovs-netdev").is_nic());
        // Its device is not there: the daemon is dead. It is of no lab.
        assert!(!link("br2").is_up() && link("br2").ifalias.is_none());
        let patch: IfName = "eth0.10".parse().unwrap();
        assert!(ovs.is_peer(patch_peer(&patch).as_str()) && !ovs.is_peer("eth0.10"));
    }

    #[test]
    fn a_host_without_open_vswitch_prints_nothing_and_has_nothing() {
        let none = Ovs::parse(&Cmd::script(QUERY, [""; 0]), b"").unwrap();
        assert!(none.bridges.is_empty() && none.ports.is_empty());
    }
}
