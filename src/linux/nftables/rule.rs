//! One rule: as text for `nft -f -`, and as `nft -j` prints it. Only the rules that netlab makes can be expressed.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::lab::IfName;

/// The families in which a lab has a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Address translation. IPv4 only, as everything that a lab routes.
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
    /// What the host itself sends.
    Output,
    Postrouting,
}

impl Hook {
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
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
    Leaves(IfName),
    /// It was sent to this address, before that was translated.
    SentTo(Ipv4Addr),
    /// An ARP packet whose sender claims this address.
    ArpFrom(Ipv4Addr),
    /// An ARP packet that asks for, or answers to, this address.
    ArpTo(Ipv4Addr),
    Udp,
    /// To the port of DHCP servers or clients (RFC 2131, 4.1).
    DhcpPort,
}

/// What happens to such a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Masquerade,
    Snat(Ipv4Addr),
    Dnat(Ipv4Addr),
    Drop,
}

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
            Self::Leaves(link) => write!(f, "oifname \"{link}\""),
            Self::SentTo(address) => write!(f, "ct original ip daddr {address}"),
            Self::ArpFrom(address) => write!(f, "arp saddr ip {address}"),
            Self::ArpTo(address) => write!(f, "arp daddr ip {address}"),
            Self::Udp => f.write_str("ip protocol udp"),
            Self::DhcpPort => write!(f, "udp dport {}-{}", DHCP_PORTS[0], DHCP_PORTS[1]),
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
        }
    }
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
        let (verdict, matches) = expr.as_array()?.split_last()?;
        Some(Self {
            family,
            hook,
            matches: matches.iter().map(Match::read).collect::<Option<_>>()?,
            verdict: Verdict::read(verdict)?,
        })
    }
}

impl Match {
    fn read(statement: &Value) -> Option<Self> {
        let (key, value) = only(statement)?;
        let (left, right, op) = (value.get("left")?, value.get("right")?, value.get("op")?.as_str()?);
        let (kind, left) = only(left)?;
        let field = |field: &str| left.get(field).and_then(Value::as_str);
        let what = match kind {
            "payload" => (field("protocol")?, field("field")?),
            "meta" => ("meta", field("key")?),
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
            (("meta", "iifname"), "==") => Self::Enters(link(right)?),
            (("meta", "iifname"), "!=") => Self::EntersNot(link(right)?),
            (("meta", "oifname"), "==") => Self::Leaves(link(right)?),
            (("ct", "ip daddr"), "==") => Self::SentTo(address(right)?),
            (("arp", "saddr ip"), "==") => Self::ArpFrom(address(right)?),
            (("arp", "daddr ip"), "==") => Self::ArpTo(address(right)?),
            (("ip", "protocol"), "==") if right == "udp" => Self::Udp,
            (("udp", "dport"), "==") if right.get("range")? == &Value::from(&DHCP_PORTS[..]) => Self::DhcpPort,
            _ => return None,
        })
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
        let statement = |each: &Match| {
            let (op, left, right) = match each {
                Match::From(from) => ("==", payload("ip", "saddr"), net(from)),
                Match::To(to) => ("==", payload("ip", "daddr"), net(to)),
                Match::NotTo(to) => ("!=", payload("ip", "daddr"), net(to)),
                Match::Enters(link) => ("==", meta("iifname"), json!(link)),
                Match::EntersNot(link) => ("!=", meta("iifname"), json!(link)),
                Match::Leaves(link) => ("==", meta("oifname"), json!(link)),
                Match::SentTo(to) => ("==", json!({"ct": {"key": "ip daddr", "dir": "original"}}), json!(to)),
                Match::ArpFrom(from) => ("==", payload("arp", "saddr ip"), json!(from)),
                Match::ArpTo(to) => ("==", payload("arp", "daddr ip"), json!(to)),
                Match::Udp => ("==", payload("ip", "protocol"), json!("udp")),
                Match::DhcpPort => ("==", payload("udp", "dport"), json!({"range": DHCP_PORTS})),
            };
            json!({"match": {"op": op, "left": left, "right": right}})
        };
        let verdict = match self.verdict {
            Verdict::Masquerade => json!({"masquerade": null}),
            Verdict::Snat(address) => json!({"snat": {"addr": address}}),
            Verdict::Dnat(address) => json!({"dnat": {"addr": address}}),
            Verdict::Drop => json!({"drop": null}),
        };
        let matches = self.matches.iter().map(statement);
        Value::Array(matches.chain([verdict]).collect())
    }
}
