//! The flows of one port, as text for ovs-ofctl(8), and as `ovs-ofctl dump-flows` prints them.

use std::collections::BTreeSet;

use crate::lab::IfName;
use crate::state::{LocalGateway, PortSecurity};

/// The cookie of netlab's flows: "netl".
pub const COOKIE: &str = "0x6e65746c";

/// The priority of the flows that count packets from an address that is not the port's.
const FORGED: &str = "305";

/// A flow as it is compared: priority and conditions, without an order, and what is done.
pub(super) type Flow = (BTreeSet<String>, String);

/// Returns what a guest may send by `port`, the rest of it being dropped: what the rules for Linux bridges let pass.
///
/// Addresses of 0.0.0.0 are those of a guest that asks for its own: a DHCP client (RFC 2131, 4.1), or one that probes by
/// ARP whether an address is free (RFC 5227, 1.1).
pub(super) fn lines(port: &IfName, PortSecurity { mac, address }: &PortSecurity) -> Vec<String> {
    let own = format!("in_port={port},vlan_tci=0x0000/0x1fff,dl_src={mac}");
    let line = |priority: &str, conditions: String, actions: &str| {
        format!("priority={priority},{conditions} actions={actions}")
    };
    let mut lines = vec![line("320", format!("udp,in_port={port},tp_src=67"), "drop")];
    for address in ["0.0.0.0".to_owned(), address.to_string()] {
        lines.push(line(
            "310",
            format!("arp,{own},arp_spa={address},arp_sha={mac}"),
            "NORMAL",
        ));
        lines.push(line("310", format!("ip,{own},nw_src={address}"), "NORMAL"));
    }
    lines.push(line("310", format!("ipv6,{own}"), "NORMAL"));
    lines.push(line(FORGED, format!("arp,{own},arp_sha={mac}"), "drop"));
    lines.push(line(FORGED, format!("ip,{own}"), "drop"));
    lines.push(line("300", format!("in_port={port}"), "drop"));
    lines
}

/// Returns what does not pass the port of a gateway that other hosts have, too: ARP for or from its address, and DHCP, as
/// the rules for Linux bridges drop it. Flows match packets that enter: each host drops what the others send. Untagged
/// packets only, since the port may also carry VLANs of other networks.
pub(super) fn keep_off(LocalGateway { port, address }: &LocalGateway) -> Vec<String> {
    let line = |protocol: &str, condition: String| {
        format!("priority=330,{protocol},in_port={port},vlan_tci=0x0000/0x1fff,{condition} actions=drop")
    };
    vec![
        line("arp", format!("arp_spa={address}")),
        line("arp", format!("arp_tpa={address}")),
        line("udp", "tp_dst=67".to_owned()),
        line("udp", "tp_dst=68".to_owned()),
    ]
}

/// Reads a flow, of those that [`lines`] and [`keep_off`] return or `dump-flows` prints; also how many packets it had, if that is printed.
pub(super) fn read(line: &str) -> (Flow, u64) {
    let (conditions, actions) = line.split_once(" actions=").unwrap_or((line, ""));
    let mut packets = 0;
    let kept = conditions.split(',').map(str::trim).filter(|part| {
        let (key, value) = part.split_once('=').unwrap_or((*part, ""));
        if key == "n_packets" {
            packets = value.parse().unwrap_or_default();
        }
        ![
            "cookie",
            "duration",
            "table",
            "n_packets",
            "n_bytes",
            "idle_age",
            "hard_age",
        ]
        .contains(&key)
    });
    let kept: BTreeSet<String> = kept.map(|part| part.replace('"', "")).collect();
    ((kept, actions.trim().to_owned()), packets)
}

/// Whether a flow counts packets from an address that is not the port's.
pub(super) fn is_for_forged((conditions, _): &Flow) -> bool {
    conditions.contains(&format!("priority={FORGED}"))
}

/// Whether a flow is of a port that does not exist, of which only the number is printed.
pub(super) fn is_of_no_port((conditions, _): &Flow) -> bool {
    let mut ports = conditions.iter().filter_map(|part| part.strip_prefix("in_port="));
    ports.any(|port| port.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_recognized_in_what_open_vswitch_prints() {
        let port: IfName = "tap-1-ab".parse().unwrap();
        let security = PortSecurity {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            address: [10, 0, 1, 1].into(),
        };
        // ovs-ofctl 3.1.
        let printed = r#"cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=320,udp,in_port="tap-1-ab",tp_src=67 actions=drop
cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=310,arp,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01,arp_spa=10.0.1.1,arp_sha=52:54:00:00:00:01 actions=NORMAL
cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=310,arp,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01,arp_spa=0.0.0.0,arp_sha=52:54:00:00:00:01 actions=NORMAL
cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=310,ip,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01,nw_src=10.0.1.1 actions=NORMAL
cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=310,ip,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01,nw_src=0.0.0.0 actions=NORMAL
cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=310,ipv6,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01 actions=NORMAL
cookie=0x6e65746c, duration=2.259s, table=0, n_packets=2, n_bytes=196, priority=305,ip,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01 actions=drop
cookie=0x6e65746c, duration=2.259s, table=0, n_packets=0, n_bytes=0, priority=305,arp,in_port="tap-1-ab",vlan_tci=0x0000/0x1fff,dl_src=52:54:00:00:00:01,arp_sha=52:54:00:00:00:01 actions=drop
cookie=0x6e65746c, duration=0.028s, table=0, n_packets=0, n_bytes=0, priority=300,in_port="tap-1-ab" actions=drop"#;
        let found: BTreeSet<Flow> = printed.lines().map(|line| read(line).0).collect();
        let wanted = lines(&port, &security);
        assert_eq!(found, wanted.iter().map(|line| read(line).0).collect());
        let forged = printed.lines().map(read).filter(|(flow, _)| is_for_forged(flow));
        assert_eq!(forged.map(|(_, packets)| packets).sum::<u64>(), 2);
    }
}
