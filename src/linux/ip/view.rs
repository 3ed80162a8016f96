//! What a host's kernel shows of its links and of the packets that passed, of whatever owner. Changes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::json::RawLink;
use super::nic::destination;
use super::snapshot::Snapshot;
use crate::lab::MacAddr;
use crate::linux::flows::COOKIE;
use crate::state::view::{Learned, Neighbor, PacketRule, PolicyRule, Port, View, ViewRoute};
use crate::transport::{Cmd, CmdError, Script, Shell};

const VIEW: Script = Script {
    name: "ip/view.sh",
    text: include_str!("view.sh"),
};

/// An entry of a forwarding database as `bridge -s -json fdb` prints it.
#[derive(Debug, Deserialize)]
struct RawLearned {
    mac: String,
    ifname: String,
    master: Option<String>,
    #[serde(default)]
    state: String,
    updated: Option<u64>,
}

/// An entry of the neighbor table as `ip -s -json neighbor` prints it.
#[derive(Debug, Deserialize)]
struct RawNeighbor {
    dst: IpAddr,
    dev: String,
    lladdr: Option<String>,
    #[serde(default)]
    state: Vec<String>,
    #[serde(default)]
    used: u64,
}

/// Returns what the machine that `shell` runs commands on shows. One round trip where the transport can.
pub fn view(shell: &dyn Shell) -> Result<View, CmdError> {
    let snapshot = Snapshot::take(shell)?;
    let printed = shell.check(&Cmd::script(VIEW, [""; 0]))?;
    let mut view = read(&String::from_utf8_lossy(&printed));
    view.ports = snapshot
        .links
        .iter()
        .map(|link| {
            let slave = &link.linkinfo.slave;
            let addresses = link.addr_info.iter();
            let (tag, trunks) = snapshot.ovs.vlans(&link.ifname);
            let port = Port {
                tag,
                trunks,
                up: link.is_up(),
                carrier: link.has_carrier(),
                mtu: link.mtu,
                mac: link.address.as_deref().and_then(|text| text.parse().ok()),
                addresses: addresses
                    .filter_map(|raw| IpNet::new(raw.local?, raw.prefixlen).ok())
                    .collect(),
                stp: match slave["state"].as_str() {
                    Some(state) => Some(state.to_owned()),
                    None => snapshot.ovs.state(&link.ifname),
                },
                options: port_options(slave),
                master: link.master.clone(),
                noarp: link.flags.iter().any(|flag| flag == "NOARP"),
                vlan: vlan(link),
                link: link.link.clone(),
                filters_vlans: link.filters_vlans(),
                spanning_tree: (link.kind() == Some("bridge") && link.stp().is_some())
                    || snapshot.ovs.has_spanning_tree(&link.ifname),
                qdisc: link.qdisc.clone().unwrap_or_default(),
            };
            (link.ifname.clone(), port)
        })
        .collect();
    view.routes = snapshot
        .routes
        .iter()
        .filter_map(|route| {
            Some(ViewRoute {
                kind: route.kind.clone().unwrap_or_else(|| "unicast".to_owned()),
                to: destination(&route.dst, route.pref.is_some())?,
                via: route.gateway,
                link: route.dev.clone(),
                table: route.table.clone(),
                metric: route.metric.unwrap_or(0),
            })
        })
        .collect();
    Ok(view)
}

/// The id of a VLAN device.
fn vlan(link: &RawLink) -> Option<u16> {
    let id = link.linkinfo.info_data.id.filter(|_| link.kind() == Some("vlan"))?;
    u16::try_from(id).ok()
}

/// Returns the options of a bridge's port that stop or spread packets and differ from the kernel's defaults
/// (net/bridge/br_if.c, new_nbp), as bridge(8) takes them.
fn port_options(slave: &Value) -> Vec<String> {
    let defaults = [
        ("learning", true),
        ("flood", true),
        ("bcast_flood", true),
        ("mcast_flood", true),
        ("isolated", false),
        ("locked", false),
        ("neigh_suppress", false),
        ("guard", false),
        ("root_block", false),
    ];
    let differs = defaults
        .iter()
        .filter(|(name, default)| slave[*name].as_bool().is_some_and(|is| is != *default));
    differs
        .map(|(name, default)| format!("{name} {}", if *default { "off" } else { "on" }))
        .collect()
}

/// Reads the rules of policy routing as `ip -json rule` prints them.
fn policy(json: &str) -> Vec<PolicyRule> {
    let raw: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
    let net = |rule: &Value, address: &str, length: &str| -> Option<IpNet> {
        let address: IpAddr = rule[address].as_str()?.parse().ok()?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = rule[length].as_u64().and_then(|length| u8::try_from(length).ok());
        IpNet::new(address, length.unwrap_or(full)).ok()
    };
    let text = |rule: &Value, key: &str| rule[key].as_str().map(str::to_owned);
    raw.iter()
        .map(|rule| {
            let from = net(rule, "src", "srclen");
            let to = net(rule, "dst", "dstlen");
            let iif = text(rule, "iif");
            let (table, action) = (text(rule, "table"), text(rule, "action"));
            let others = [
                "fwmark", "oif", "ipproto", "sport", "dport", "tos", "uidrange", "tun_id", "not",
            ];
            let words = [
                rule["priority"].as_u64().map(|priority| format!("{priority}:")),
                from.map(|net| format!("from {net}")),
                to.map(|net| format!("to {net}")),
                iif.as_ref().map(|link| format!("iif {link}")),
                table.as_ref().map(|table| format!("lookup {table}")),
                action.clone(),
            ];
            PolicyRule {
                conditional: others.iter().any(|key| !rule[*key].is_null()),
                text: words.into_iter().flatten().collect::<Vec<_>>().join(" "),
                from,
                to,
                iif,
                table,
                action,
            }
        })
        .collect()
}

/// Reads what the script printed; what cannot be read is left out.
fn read(text: &str) -> View {
    let mut view = View::default();
    let mut ages: BTreeMap<(String, MacAddr), Duration> = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["bridge-nf"] => view.bridged_rules = true,
            ["forward", value] => view.forwards = Some(value == "1"),
            ["age", bridge, mac, age] => {
                if let (Ok(mac), Ok(age)) = (mac.parse(), age.parse::<u64>()) {
                    ages.insert((bridge.to_owned(), mac), Duration::from_millis(age * 10));
                }
            }
            ["ovs", bridge, port, mac, age] => view.learned.extend(mac.parse().ok().map(|mac| Learned {
                mac,
                bridge: bridge.to_owned(),
                port: port.to_owned(),
                age: age.parse().ok().map(Duration::from_secs),
            })),
            ["flows", bridge] => _ = view.flows.entry(bridge.to_owned()).or_default(),
            ["flow", bridge, .., last] if last.starts_with("actions=") => {
                let flow = line.trim_start_matches("flow ").trim_start_matches(bridge).trim();
                let flows = view.flows.entry(bridge.to_owned()).or_default();
                let is_own = flow.contains(&format!("cookie={COOKIE}"));
                flows.switch |= last == "actions=NORMAL";
                flows
                    .others
                    .extend((!is_own && flow != "priority=0 actions=NORMAL").then(|| flow.to_owned()));
            }
            ["fdb"] => {
                let (learned, fixed) = entries(lines.next().unwrap_or_default(), &ages);
                view.learned.extend(learned);
                view.fixed = fixed;
            }
            ["policy"] => view.rules = policy(lines.next().unwrap_or_default()),
            [setting] if setting.starts_with("/proc/sys/net/") => {
                let setting = setting.trim_start_matches("/proc/sys/net/").split_once(':');
                if let Some((name, Ok(value))) = setting.map(|(name, value)| (name, value.parse())) {
                    view.settings.insert(name.to_owned(), value);
                }
            }
            ["neigh"] => view.neighbors = neighbors(lines.next().unwrap_or_default()),
            ["rules"] => (view.drops, view.diverts) = rules(&mut lines),
            _ => {}
        }
    }
    view
}

/// Returns what the bridges have learned, and the entries that are not learned.
fn entries(json: &str, ages: &BTreeMap<(String, MacAddr), Duration>) -> (Vec<Learned>, Vec<Learned>) {
    let raw: Vec<RawLearned> = serde_json::from_str(json).unwrap_or_default();
    let (mut learned, mut fixed) = (Vec::new(), Vec::new());
    for entry in raw {
        let (Some(bridge), Ok(mac)) = (entry.master, entry.mac.parse()) else {
            continue;
        };
        let age = ages.get(&(bridge.clone(), mac)).copied();
        let is_learned = entry.state.is_empty() || entry.state == "stale";
        let of_its_kind = if is_learned { &mut learned } else { &mut fixed };
        of_its_kind.push(Learned {
            mac,
            // A whole second may already be over.
            age: age.or_else(|| entry.updated.map(|seconds| Duration::from_secs(seconds + 1))),
            bridge,
            port: entry.ifname,
        });
    }
    (learned, fixed)
}

fn neighbors(json: &str) -> Vec<Neighbor> {
    let raw: Vec<RawNeighbor> = serde_json::from_str(json).unwrap_or_default();
    let has = |entry: &RawNeighbor, state: &str| entry.state.iter().any(|has| has == state);
    raw.into_iter()
        .filter(|entry| !has(entry, "NOARP") && !has(entry, "NONE"))
        .map(|entry| Neighbor {
            address: entry.dst,
            permanent: has(&entry, "PERMANENT"),
            mac: entry.lladdr.as_ref().and_then(|text| text.parse().ok()),
            link: entry.dev,
            used: Duration::from_secs(entry.used),
        })
        .collect()
}

/// Words of rules that change a packet's addresses or send it elsewhere, of nft(8) and of iptables(8).
const DIVERTING: [&str; 12] = [
    "dnat",
    "snat",
    "masquerade",
    "redirect",
    "tproxy",
    "dup",
    "fwd",
    "DNAT",
    "SNAT",
    "MASQUERADE",
    "REDIRECT",
    "NETMAP",
];

/// Reads the rules that drop packets, and those that divert them, from what `nft list ruleset` prints.
fn rules<'l>(lines: &mut impl Iterator<Item = &'l str>) -> (Vec<PacketRule>, Vec<PacketRule>) {
    let (mut drops, mut diverts) = (Vec::new(), Vec::new());
    let (mut table, mut chain, mut hook) = ((String::new(), String::new()), String::new(), None);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, name, "{"] => table = (family.to_owned(), name.to_owned()),
            ["chain", name, "{"] => (chain, hook) = (name.to_owned(), None),
            ["type", _, "hook", at, ..] => {
                hook = Some(at.to_owned());
                if line.contains("policy drop;") {
                    drops.push(rule(&table, &chain, hook.as_deref(), "policy drop"));
                }
            }
            [option, "FORWARD", ..] if option.starts_with('-') => {
                let legacy = ("ip".to_owned(), "filter of iptables-legacy".to_owned());
                drops.push(rule(&legacy, "FORWARD", Some("forward"), &words.join(" ")));
            }
            ["-A", chain, ..] => {
                let legacy = ("ip".to_owned(), "nat of iptables-legacy".to_owned());
                diverts.push(rule(&legacy, chain, None, &words.join(" ")));
            }
            _ if words.iter().any(|word| ["drop", "reject"].contains(word)) => {
                drops.push(rule(&table, &chain, hook.as_deref(), &words.join(" ")));
            }
            _ if words.iter().any(|word| DIVERTING.contains(word)) => {
                diverts.push(rule(&table, &chain, hook.as_deref(), &words.join(" ")));
            }
            _ => {}
        }
    }
    (drops, diverts)
}

fn rule(table: &(String, String), chain: &str, hook: Option<&str>, rule: &str) -> PacketRule {
    PacketRule {
        family: table.0.clone(),
        table: table.1.clone(),
        chain: chain.to_owned(),
        hook: hook.map(str::to_owned),
        rule: rule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::view::Flows;

    const PRINTED: &str = r#"forward 1
/proc/sys/net/ipv4/conf/br1/rp_filter:1
/proc/sys/net/netfilter/nf_conntrack_max:262144
policy
[{"priority":0,"src":"all","table":"local"},{"priority":9,"src":"10.0.1.0","srclen":24,"iif":"br1","table":"100"},{"priority":10,"src":"all","dst":"10.0.9.9","fwmark":"0x1","action":"blackhole"}]
age br1 52:54:00:00:00:02 150
flows br3
flows br2
flow br2 cookie=0x6e65746c, priority=310,ip,in_port=1 actions=NORMAL
flow br2 priority=100,icmp actions=drop
flow br2 priority=0 actions=NORMAL
flow br2 NXST_FLOW reply (xid=0x4):
fdb
[{"mac":"33:33:00:00:00:01","ifname":"br1","flags":["self"],"state":"permanent"},{"mac":"52:54:00:00:00:02","ifname":"tap2","used":1,"updated":1,"flags":[],"master":"br1","state":""},{"mac":"52:54:00:00:00:03","ifname":"eth0","used":1,"updated":7,"flags":[],"master":"br1","state":""},{"mac":"52:54:00:00:00:01","ifname":"tap1","flags":[],"master":"br1","state":"permanent"}]
neigh
[{"dst":"10.0.1.2","dev":"br1","lladdr":"52:54:00:00:00:02","used":3,"confirmed":1,"updated":1,"probes":1,"state":["PERMANENT"]},{"dst":"10.0.1.9","dev":"br1","used":3,"state":["FAILED"]}]
rules
table ip netlab-quick {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 10.0.1.0/24 masquerade
	}
}
table bridge loss {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr 10.0.1.2 icmp type echo-request drop
	}
}
table inet mine {
	chain all {
		type filter hook forward priority filter; policy drop;
	}
}
-A PREROUTING -d 10.0.1.3/32 -j DNAT --to-destination 10.0.1.4
"#;

    #[test]
    fn learned_addresses_neighbors_and_rules_that_drop_are_read() {
        let view = read(PRINTED);
        assert_eq!(view.forwards, Some(true));
        assert_eq!(view.settings["ipv4/conf/br1/rp_filter"], 1);
        let rules: Vec<_> = view
            .rules
            .iter()
            .map(|rule| (rule.text.as_str(), rule.conditional))
            .collect();
        let wanted = [
            ("0: lookup local", false),
            ("9: from 10.0.1.0/24 iif br1 lookup 100", false),
            ("10: to 10.0.9.9/32 blackhole", true),
        ];
        assert_eq!(rules, wanted);
        let learned: Vec<_> = view.learned.iter().map(|one| (one.port.as_str(), one.age)).collect();
        let age = |ms| Some(Duration::from_millis(ms));
        assert_eq!(
            learned,
            [("tap2", age(1500)), ("eth0", age(8000))],
            "permanent ones are configured"
        );
        let flows = Flows {
            switch: true,
            others: vec!["priority=100,icmp actions=drop".to_owned()],
        };
        assert_eq!((&view.flows["br2"], &view.flows["br3"]), (&flows, &Flows::default()));
        let fixed: Vec<_> = view.fixed.iter().map(|one| one.port.as_str()).collect();
        assert_eq!(fixed, ["tap1"], "an entry without a bridge is the link's own");
        assert_eq!(view.neighbors.len(), 2);
        assert!(view.neighbors[0].permanent && view.neighbors[1].mac.is_none());
        let drops: Vec<_> = view
            .drops
            .iter()
            .map(|one| format!("{} {} {:?} {}", one.family, one.table, one.hook, one.rule))
            .collect();
        let forward = Some("forward".to_owned());
        let wanted = [
            format!("bridge loss {forward:?} ip saddr 10.0.1.2 icmp type echo-request drop"),
            format!("inet mine {forward:?} policy drop"),
        ];
        assert_eq!(drops, wanted);
        let diverts: Vec<_> = view.diverts.iter().map(|one| one.rule.as_str()).collect();
        assert_eq!(
            diverts,
            [
                "ip saddr 10.0.1.0/24 masquerade",
                "-A PREROUTING -d 10.0.1.3/32 -j DNAT --to-destination 10.0.1.4"
            ]
        );
    }

    #[test]
    fn a_machine_without_the_programs_shows_nothing() {
        assert_eq!(read("fdb\n\nneigh\n\nrules\n"), View::default());
    }
}
