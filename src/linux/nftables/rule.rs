//! One rule: as text for `nft -f -`, and as `nft -j` prints it. Only the rules that netlab makes can be expressed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::lab::{IfName, MacAddr};

/// The families in which a lab has a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Address translation and routing. IPv4 only, as everything that a lab routes.
    Ip,
    /// What may pass a bridge's port.
    Bridge,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::Ip, Self::Bridge];

    pub fn keyword(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Bridge => "bridge",
        }
    }
}

/// The hooks of a lab's chains, which are also the chains' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Prerouting,
    /// What the host routes.
    Forward,
    /// What the host itself sends.
    Output,
    Postrouting,
}

impl Hook {
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// A rule in a chain of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub family: Family,
    pub hook: Hook,
    pub matches: Vec<Match>,
    pub verdict: Verdict,
}

/// A condition on a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    From(Ipv4Net),
    To(Ipv4Net),
    NotTo(Ipv4Net),
    Enters(IfName),
    EntersNot(IfName),
    /// By one of several links.
    EntersAny(BTreeSet<IfName>),
    Leaves(IfName),
    LeavesNot(IfName),
    /// By none of several links.
    LeavesNone(BTreeSet<IfName>),
    /// It was sent to this address, before that was translated.
    SentTo(Ipv4Addr),
    /// An ARP packet whose sender claims this address.
    ArpFrom(Ipv4Addr),
    /// An ARP packet that asks for, or answers to, this address.
    ArpTo(Ipv4Addr),
    Udp,
    /// To the port of DHCP servers or clients (RFC 2131, 4.1).
    DhcpPort,
    /// From the port of DHCP servers.
    DhcpServer,
    /// Of a connection whose destination address was translated.
    Translated,
    /// Neither IPv4 nor IPv6 nor ARP; with a VLAN tag, whatever is behind that.
    OtherProtocol,
    /// With another MAC address in this place than the one that belongs to the link.
    NotMac(MacField, BTreeSet<(IfName, MacAddr)>),
    /// With another IPv4 address in this place than those that belong to the link.
    NotAddress(AddressField, BTreeSet<(IfName, Ipv4Addr)>),
}

/// Where a packet has its sender's MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MacField {
    Ethernet,
    Arp,
}

impl MacField {
    pub const ALL: [Self; 2] = [Self::Ethernet, Self::Arp];

    /// The protocol and its field, as nft(8) names them.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ethernet => ("ether", "saddr"),
            Self::Arp => ("arp", "saddr ether"),
        }
    }
}

/// Where a packet has its sender's IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressField {
    Arp,
    Ipv4,
}

impl AddressField {
    pub const ALL: [Self; 2] = [Self::Arp, Self::Ipv4];

    /// The protocol and its field, as nft(8) names them.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Arp => ("arp", "saddr ip"),
            Self::Ipv4 => ("ip", "saddr"),
        }
    }
}

/// What happens to such a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Masquerade,
    Snat(Ipv4Addr),
    Dnat(Ipv4Addr),
    Drop,
    /// Dropped and counted: what `verify` proves with.
    CountedDrop,
    /// Not evaluated further in this chain.
    Accept,
}

/// The protocols that a guest may send, by their names in nft(8).
const PROTOCOLS: [&str; 3] = ["ip", "arp", "ip6"];
/// The ports of DHCP servers and clients.
const DHCP_PORTS: [u16; 2] = [67, 68];

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(net) => write!(f, "ip saddr {net}"),
            Self::To(net) => write!(f, "ip daddr {net}"),
            Self::NotTo(net) => write!(f, "ip daddr != {net}"),
            Self::Enters(link) => write!(f, "iifname \"{link}\""),
            Self::EntersNot(link) => write!(f, "iifname != \"{link}\""),
            Self::EntersAny(links) => write!(f, "iifname {}", set(links.iter().map(quoted))),
            Self::Leaves(link) => write!(f, "oifname \"{link}\""),
            Self::LeavesNot(link) => write!(f, "oifname != \"{link}\""),
            Self::LeavesNone(links) => write!(f, "oifname != {}", set(links.iter().map(quoted))),
            Self::SentTo(address) => write!(f, "ct original ip daddr {address}"),
            Self::ArpFrom(address) => write!(f, "arp saddr ip {address}"),
            Self::ArpTo(address) => write!(f, "arp daddr ip {address}"),
            Self::Udp => f.write_str("ip protocol udp"),
            Self::DhcpPort => write!(f, "udp dport {}-{}", DHCP_PORTS[0], DHCP_PORTS[1]),
            Self::DhcpServer => write!(f, "udp sport {}", DHCP_PORTS[0]),
            Self::Translated => f.write_str("ct status dnat"),
            Self::OtherProtocol => write!(f, "ether type != {}", set(PROTOCOLS.map(str::to_owned))),
            Self::NotMac(field, owners) => belongs(f, field.names(), owners),
            Self::NotAddress(field, owners) => belongs(f, field.names(), owners),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masquerade => f.write_str("masquerade"),
            Self::Snat(address) => write!(f, "snat to {address}"),
            Self::Dnat(address) => write!(f, "dnat to {address}"),
            Self::Drop => f.write_str("drop"),
            Self::CountedDrop => f.write_str("counter drop"),
            Self::Accept => f.write_str("accept"),
        }
    }
}

fn quoted(link: &IfName) -> String {
    format!("\"{link}\"")
}

fn set(items: impl IntoIterator<Item = String>) -> String {
    format!("{{ {} }}", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn belongs<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    (protocol, field): (&str, &str),
    owners: &BTreeSet<(IfName, T)>,
) -> fmt::Result {
    let owners = owners.iter().map(|(link, value)| format!("\"{link}\" . {value}"));
    write!(f, "iifname . {protocol} {field} != {}", set(owners))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for each in &self.matches {
            write!(f, "{each} ")?;
        }
        write!(f, "{}", self.verdict)
    }
}

impl Rule {
    /// Reads a rule from `expr`, the statements that `nft -j` prints (libnftables-json(5)). `None`: netlab makes no such
    /// rule.
    pub fn read(family: Family, hook: Hook, expr: &Value) -> Option<Self> {
        let (verdict, mut matches) = expr.as_array()?.split_last()?;
        let mut verdict = Verdict::read(verdict)?;
        if let (Some((last, before)), Verdict::Drop) = (matches.split_last(), &verdict)
            && last.get("counter").is_some()
        {
            (verdict, matches) = (Verdict::CountedDrop, before);
        }
        Some(Self {
            family,
            hook,
            matches: matches.iter().map(Match::read).collect::<Option<_>>()?,
            verdict,
        })
    }

    /// Returns how many packets a rule has counted; 0 for one that counts none.
    pub fn packets(expr: &Value) -> u64 {
        let mut statements = expr.as_array().into_iter().flatten();
        let counter = statements.find_map(|statement| statement.get("counter"));
        counter.map_or(0, |counter| counter["packets"].as_u64().unwrap_or_default())
    }
}

impl Match {
    fn read(statement: &Value) -> Option<Self> {
        let (key, value) = only(statement)?;
        let (left, right, op) = (value.get("left")?, value.get("right")?, value.get("op")?.as_str()?);
        let (kind, left) = only(left)?;
        if kind == "concat" {
            return Self::read_belongs(left, right).filter(|_| key == "match" && op == "!=");
        }
        let field = |field: &str| left.get(field).and_then(Value::as_str);
        let what = match kind {
            "payload" => (field("protocol")?, field("field")?),
            "meta" => ("meta", field("key")?),
            "ct" if field("key") == Some("status") => ("ct", "status"),
            "ct" if field("dir") == Some("original") => ("ct", field("key")?),
            _ => return None,
        };
        if key != "match" {
            return None;
        }
        Some(match (what, op) {
            (("ip", "saddr"), "==") => Self::From(net(right)?),
            (("ip", "daddr"), "==") => Self::To(net(right)?),
            (("ip", "daddr"), "!=") => Self::NotTo(net(right)?),
            (("meta", "iifname"), "==") if right.is_object() => Self::EntersAny(links(right)?),
            (("meta", "oifname"), "!=") if right.is_object() => Self::LeavesNone(links(right)?),
            (("meta", "oifname"), "!=") => Self::LeavesNot(link(right)?),
            (("meta", "iifname"), "==") => Self::Enters(link(right)?),
            (("meta", "iifname"), "!=") => Self::EntersNot(link(right)?),
            (("meta", "oifname"), "==") => Self::Leaves(link(right)?),
            (("ct", "ip daddr"), "==") => Self::SentTo(address(right)?),
            (("arp", "saddr ip"), "==") => Self::ArpFrom(address(right)?),
            (("arp", "daddr ip"), "==") => Self::ArpTo(address(right)?),
            (("ip", "protocol"), "==") if right == "udp" => Self::Udp,
            (("udp", "dport"), "==") if right.get("range")? == &Value::from(&DHCP_PORTS[..]) => Self::DhcpPort,
            (("udp", "sport"), "==") if *right == DHCP_PORTS[0] => Self::DhcpServer,
            (("ct", "status"), "in") if right == "dnat" => Self::Translated,
            (("ether", "type"), "!=") => {
                let found: BTreeSet<_> = members(right)?.iter().filter_map(Value::as_str).collect();
                (found == BTreeSet::from(PROTOCOLS)).then_some(Self::OtherProtocol)?
            }
            _ => return None,
        })
    }

    /// Reads which values in a place belong to which links.
    fn read_belongs(left: &Value, right: &Value) -> Option<Self> {
        let [meta, payload] = &left.as_array()?[..] else {
            return None;
        };
        (meta["meta"]["key"] == "iifname").then_some(())?;
        let payload = payload.get("payload")?;
        let names = (payload.get("protocol")?.as_str()?, payload.get("field")?.as_str()?);
        if let Some(field) = MacField::ALL.into_iter().find(|field| field.names() == names) {
            return Some(Self::NotMac(field, owners(right)?));
        }
        let field = AddressField::ALL.into_iter().find(|field| field.names() == names)?;
        Some(Self::NotAddress(field, owners(right)?))
    }
}

impl Verdict {
    fn read(statement: &Value) -> Option<Self> {
        let (key, value) = only(statement)?;
        // netlab uses no port, range of addresses or flag beside the address.
        let alone = || address(only(value).filter(|(key, _)| *key == "addr")?.1);
        Some(match key {
            "masquerade" if value.is_null() => Self::Masquerade,
            "drop" if value.is_null() => Self::Drop,
            "accept" if value.is_null() => Self::Accept,
            "snat" => Self::Snat(alone()?),
            "dnat" => Self::Dnat(alone()?),
            _ => return None,
        })
    }
}

/// Returns the only member of an object.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(key, value)| (key.as_str(), value))
}

fn address(value: &Value) -> Option<Ipv4Addr> {
    value.as_str()?.parse().ok()
}

fn link(value: &Value) -> Option<IfName> {
    IfName::new(value.as_str()?).ok()
}

fn members(value: &Value) -> Option<&Vec<Value>> {
    value.get("set")?.as_array()
}

fn links(value: &Value) -> Option<BTreeSet<IfName>> {
    members(value)?.iter().map(link).collect()
}

fn owners<T: std::str::FromStr + Ord>(value: &Value) -> Option<BTreeSet<(IfName, T)>> {
    let owner = |member: &Value| match &member.get("concat")?.as_array()?[..] {
        [name, value] => Some((link(name)?, value.as_str()?.parse().ok()?)),
        _ => None,
    };
    members(value)?.iter().map(owner).collect()
}

/// Reads a subnet; one of a single address is printed as that address.
fn net(value: &Value) -> Option<Ipv4Net> {
    let Some(prefix) = value.get("prefix") else {
        return address(value).map(Ipv4Net::from);
    };
    let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
    Ipv4Net::new(address(prefix.get("addr")?)?, length).ok()
}

#[cfg(test)]
impl Rule {
    /// Returns what `nft -j` prints of it.
    pub fn printed(&self) -> Value {
        use serde_json::json;
        let net = |net: &Ipv4Net| match net.prefix_len() {
            32 => json!(net.addr()),
            len => json!({"prefix": {"addr": net.addr(), "len": len}}),
        };
        let payload = |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
        let meta = |key: &str| json!({"meta": {"key": key}});
        let concat = |(protocol, field)| json!({"concat": [meta("iifname"), payload(protocol, field)]});
        let owned = |owners: Value| {
            let owners = owners.as_array().unwrap().iter();
            json!({"set": owners.map(|owner| json!({"concat": owner})).collect::<Vec<_>>()})
        };
        let statement = |each: &Match| {
            let (op, left, right) = match each {
                Match::From(from) => ("==", payload("ip", "saddr"), net(from)),
                Match::To(to) => ("==", payload("ip", "daddr"), net(to)),
                Match::NotTo(to) => ("!=", payload("ip", "daddr"), net(to)),
                Match::Enters(link) => ("==", meta("iifname"), json!(link)),
                Match::EntersNot(link) => ("!=", meta("iifname"), json!(link)),
                Match::EntersAny(links) => ("==", meta("iifname"), json!({"set": links})),
                Match::LeavesNot(link) => ("!=", meta("oifname"), json!(link)),
                Match::LeavesNone(links) => ("!=", meta("oifname"), json!({"set": links})),
                Match::Leaves(link) => ("==", meta("oifname"), json!(link)),
                Match::SentTo(to) => ("==", json!({"ct": {"key": "ip daddr", "dir": "original"}}), json!(to)),
                Match::ArpFrom(from) => ("==", payload("arp", "saddr ip"), json!(from)),
                Match::ArpTo(to) => ("==", payload("arp", "daddr ip"), json!(to)),
                Match::Udp => ("==", payload("ip", "protocol"), json!("udp")),
                Match::DhcpPort => ("==", payload("udp", "dport"), json!({"range": DHCP_PORTS})),
                Match::DhcpServer => ("==", payload("udp", "sport"), json!(DHCP_PORTS[0])),
                Match::Translated => ("in", json!({"ct": {"key": "status"}}), json!("dnat")),
                Match::OtherProtocol => ("!=", payload("ether", "type"), json!({"set": PROTOCOLS})),
                Match::NotMac(field, owners) => ("!=", concat(field.names()), owned(json!(owners))),
                Match::NotAddress(field, owners) => ("!=", concat(field.names()), owned(json!(owners))),
            };
            json!({"match": {"op": op, "left": left, "right": right}})
        };
        let verdict = match self.verdict {
            Verdict::Masquerade => json!({"masquerade": null}),
            Verdict::Snat(address) => json!({"snat": {"addr": address}}),
            Verdict::Dnat(address) => json!({"dnat": {"addr": address}}),
            Verdict::Drop | Verdict::CountedDrop => json!({"drop": null}),
            Verdict::Accept => json!({"accept": null}),
        };
        let counts = self.verdict == Verdict::CountedDrop;
        let counter = counts.then(|| json!({"counter": {"packets": 3, "bytes": 252}}));
        let matches = self.matches.iter().map(statement);
        Value::Array(matches.chain(counter).chain([verdict]).collect())
    }
}
