//! The scripts of the inspection, and what they print: ip(8) of iproute2 and of busybox, which agree, and ifconfig(8)
//! and route(8) of net-tools in their old format, which busybox has, and in their new one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use ipnet::Ipv4Net;

use super::{DefaultRoute, Inspected, InspectedNic};
use crate::guest::embedded::code;
use crate::lab::Dialect;

static IP: LazyLock<String> = LazyLock::new(|| code(include_str!("ip.sh")));
static IFCONFIG: LazyLock<String> = LazyLock::new(|| code(include_str!("ifconfig.sh")));

/// Returns the script for a dialect.
pub(super) fn script(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Ip => &IP,
        Dialect::Ifconfig => &IFCONFIG,
    }
}

/// Reads the script's output. A part without a line that can be read counts as unreadable.
pub(super) fn read(dialect: Dialect, text: &str) -> Inspected {
    let Some((links, routes, dns, name)) = parts(text) else {
        return Inspected::default();
    };
    let (nics, default_route) = match dialect {
        Dialect::Ip => (ip_addr(links), ip_route(routes)),
        Dialect::Ifconfig => (ifconfig(links), route(routes)),
    };
    let name = name.trim();
    Inspected {
        nics,
        default_route,
        nameservers: nameservers(dns),
        hostname: (!name.is_empty() && !name.contains(char::is_whitespace)).then(|| name.to_owned()),
    }
}

/// Returns the output of each of the script's programs.
fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (links, rest) = text.split_once("@route")?;
    let (routes, rest) = rest.split_once("@dns")?;
    let (dns, name) = rest.split_once("@name")?;
    Some((links, routes, dns, name))
}

/// Returns the word after the first of `keys` in a line.
fn after<'t>(words: &[&'t str], keys: &[&str]) -> Option<&'t str> {
    let at = words.iter().position(|word| keys.contains(word))?;
    words.get(at + 1).copied()
}

/// Returns a NIC of which the first line was read.
fn begun(name: &str, up: bool, mtu: Option<&str>) -> InspectedNic {
    InspectedNic {
        name: name.trim_end_matches(':').to_owned(),
        mac: None,
        up,
        mtu: mtu.and_then(|mtu| mtu.parse().ok()).unwrap_or_default(),
        addresses: Vec::new(),
    }
}

fn ip_addr(text: &str) -> Vec<InspectedNic> {
    let mut nics: Vec<InspectedNic> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&words[..], nics.last_mut()) {
            // `2: eth0@if3: <BROADCAST,MULTICAST,UP> mtu 1500 …`
            ([index, name, flags, ..], _) if flags.starts_with('<') && index.ends_with(':') => {
                let up = flags.trim_matches(['<', '>']).split(',').any(|flag| flag == "UP");
                let name = name.split('@').next().unwrap_or(name);
                nics.push(begun(name, up, after(&words, &["mtu"])));
            }
            (["link/ether", mac, ..], Some(nic)) => nic.mac = mac.parse().ok(),
            (["inet", address, ..], Some(nic)) => {
                // A /32 is printed without its prefix length.
                let net = address
                    .parse()
                    .or_else(|_| address.parse::<Ipv4Addr>().map(Ipv4Net::from));
                nic.addresses.extend(net.ok());
            }
            _ => {}
        }
    }
    nics
}

fn ip_route(text: &str) -> DefaultRoute {
    /// What a line of `ip route` has one of.
    const ROUTE: [&str; 6] = ["dev", "via", "nexthop", "blackhole", "unreachable", "prohibit"];
    let mut defaults: Vec<(u32, Option<Ipv4Addr>)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words.iter().any(|word| ROUTE.contains(word)) {
            // An error of ip(8).
            return DefaultRoute::Unreadable;
        }
        if words.first() == Some(&"default") {
            let metric = after(&words, &["metric"]).and_then(|metric| metric.parse().ok());
            let via = after(&words, &["via"]).and_then(|via| via.parse().ok());
            defaults.push((metric.unwrap_or(0), via));
        }
    }
    // The kernel takes the route with the lowest metric, of equal ones the first.
    let first = defaults.into_iter().min_by_key(|(metric, _)| *metric);
    first
        .and_then(|(_, via)| via)
        .map_or(DefaultRoute::Absent, DefaultRoute::Via)
}

fn ifconfig(text: &str) -> Vec<InspectedNic> {
    let mut nics: Vec<InspectedNic> = Vec::new();
    for line in text.lines() {
        let spaced = line
            .replace("addr:", "addr ")
            .replace("Mask:", "mask ")
            .replace("MTU:", "mtu ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if !line.starts_with(char::is_whitespace) {
            let up = line.contains("<UP,") || line.contains(",UP,");
            nics.push(begun(first, up, after(&words, &["mtu"])));
        }
        let Some(nic) = nics.last_mut() else { continue };
        if let Some(mac) = after(&words, &["HWaddr", "ether"]) {
            nic.mac = mac.to_lowercase().parse().ok();
        }
        if *first == "inet" {
            let address = words.iter().find_map(|word| word.parse::<Ipv4Addr>().ok());
            let mask = after(&words, &["mask", "netmask"]).and_then(|mask| mask.parse().ok());
            let net = address
                .zip(mask)
                .map(|(address, mask)| Ipv4Net::with_netmask(address, mask));
            nic.addresses.extend(net.and_then(Result::ok));
        }
        // The old format's last line of a NIC: `UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1`.
        if line.contains("MTU:") {
            nic.up = words.contains(&"UP");
            nic.mtu = after(&words, &["mtu"])
                .and_then(|mtu| mtu.parse().ok())
                .unwrap_or_default();
        }
    }
    nics
}

/// Reads `route -n`: destination, gateway, mask, flags, metric.
fn route(text: &str) -> DefaultRoute {
    let mut defaults: Vec<(u32, Ipv4Addr)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["0.0.0.0", gateway, "0.0.0.0", _, metric, ..] = words[..]
            && let (Ok(gateway), Ok(metric)) = (gateway.parse(), metric.parse())
        {
            defaults.push((metric, gateway));
        }
    }
    if !text.contains("Destination") {
        // An error of route(8).
        return DefaultRoute::Unreadable;
    }
    let first = defaults.into_iter().min_by_key(|(metric, _)| *metric);
    first.map_or(DefaultRoute::Absent, |(_, gateway)| DefaultRoute::Via(gateway))
}

fn nameservers(text: &str) -> Option<Vec<IpAddr>> {
    if text.lines().any(|line| line.starts_with("cat:")) {
        return None;
    }
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    Some(servers.filter_map(|server| server.trim().parse().ok()).collect())
}
