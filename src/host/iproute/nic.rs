//! What stands on a NIC, in full: everything that has to be said to put it there again. Read from a [`Look`], turned
//! into words for `ip`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::json::{Look, RawAddress, RawLink, RawRoute};
use crate::state::{NicConfig, Route};

/// What stands on a NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub up: bool,
    /// All but the link-local ones of IPv6, which belong to the link itself and stay with it.
    pub addresses: Vec<Address>,
    /// Routes of the main table that the kernel did not make by itself.
    pub routes: Vec<Hop>,
    pub alias: String,
}

/// An address with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub net: IpNet,
    pub broadcast: Option<Ipv4Addr>,
    /// Absent: global.
    pub scope: Option<String>,
    /// Absent: the link's name.
    pub label: Option<String>,
    pub metric: Option<u32>,
    pub noprefixroute: bool,
    pub mngtmpaddr: bool,
    pub nodad: bool,
    /// Seconds valid and preferred from now; absent: for ever.
    pub lifetime: Option<(u32, u32)>,
}

/// A route with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub route: Route,
    /// Absent: `link` without a gateway, else `global`.
    pub scope: Option<String>,
    pub onlink: bool,
    /// Seconds from now; absent: for ever.
    pub expires: Option<u32>,
}

impl Standing {
    /// Reads what stands on `link`, and what of it could not be put back (one text for each).
    pub fn read(look: &Look, link: &RawLink) -> (Self, Vec<String>) {
        let mut odd = Vec::new();
        let mut addresses = Vec::new();
        for raw in link.addr_info.iter().filter(|raw| moves(raw)) {
            match Address::read(raw, &link.ifname) {
                Ok(address) => addresses.push(address),
                Err(why) => odd.push(why),
            }
        }
        let mut routes = Vec::new();
        for raw in &look.routes {
            match Hop::read(raw, &link.ifname) {
                Ok(Some(hop)) if !made_by_kernel(&hop, &addresses) => routes.push(hop),
                Ok(_) => {}
                Err(why) => odd.push(why),
            }
        }
        let standing = Self {
            up: link.is_up(),
            addresses,
            routes,
            alias: link.ifalias.clone().unwrap_or_default(),
        };
        (standing, odd)
    }

    /// The same in the words of a site.
    pub fn config(&self) -> NicConfig {
        NicConfig {
            up: self.up,
            addresses: self.addresses.iter().map(|address| address.net).collect(),
            routes: self.routes.iter().map(|hop| hop.route.clone()).collect(),
        }
    }

    /// The addresses in the order in which adding them gives the kernel's order again: IPv4 appends, and of two in one
    /// subnet the first is primary (net/ipv4/devinet.c, __inet_insert_ifa); IPv6 puts the newest first
    /// (net/ipv6/addrconf.c, ipv6_link_dev_addr). Deleting goes the other way round, since a primary IPv4 address
    /// takes its secondaries with it.
    pub fn in_order_of_adding(&self) -> impl DoubleEndedIterator<Item = &Address> {
        let (four, six): (Vec<_>, Vec<_>) = self.addresses.iter().partition(|address| address.is_ipv4());
        four.into_iter().chain(six.into_iter().rev())
    }

    /// Has anything of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|address| !address.is_ipv4())
            || self.routes.iter().any(|hop| matches!(hop.route.to, IpNet::V6(_)))
    }

    /// Takes over the time that addresses and routes have left where they stand now.
    pub fn aged_as(mut self, other: &Self) -> Self {
        for address in &mut self.addresses {
            if let Some(now) = other.addresses.iter().find(|now| now.net == address.net) {
                address.lifetime = now.lifetime;
            }
        }
        for hop in &mut self.routes {
            if let Some(now) = other.routes.iter().find(|now| now.is(hop)) {
                hop.expires = now.expires;
            }
        }
        self
    }
}

/// Whether an address moves with its NIC's traffic. Temporary ones (RFC 8981) do not: the kernel makes new ones.
fn moves(raw: &RawAddress) -> bool {
    match raw.local {
        Some(IpAddr::V4(_)) => true,
        Some(IpAddr::V6(_)) => raw.scope != "link" && !raw.temporary,
        None => false,
    }
}

/// The route to an address's own subnet comes and goes with the address, unless the address says that it does not.
fn made_by_kernel(hop: &Hop, addresses: &[Address]) -> bool {
    hop.route.protocol.as_deref() == Some("kernel")
        && !addresses
            .iter()
            .any(|address| address.noprefixroute && address.net.trunc() == hop.route.to)
}

impl Address {
    fn read(raw: &RawAddress, link: &str) -> Result<Self, String> {
        let Some((local, net)) = raw
            .local
            .and_then(|local| Some((local, IpNet::new(local, raw.prefixlen).ok()?)))
        else {
            return Err("an address without a prefix".to_owned());
        };
        if let Some(peer) = raw.address {
            return Err(format!("the point-to-point address {local} with peer {peer}"));
        }
        let lifetime = match (raw.valid_life_time, raw.preferred_life_time) {
            (Some(valid), Some(preferred)) if raw.dynamic => Some((valid, preferred)),
            _ => None,
        };
        Ok(Self {
            net,
            broadcast: raw.broadcast,
            scope: Some(raw.scope.clone()).filter(|scope| scope != "global"),
            label: raw.label.clone().filter(|label| label != link),
            metric: raw.metric,
            noprefixroute: raw.noprefixroute,
            mngtmpaddr: raw.mngtmpaddr,
            nodad: raw.nodad,
            lifetime,
        })
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.net, IpNet::V4(_))
    }

    /// The address as it stands on a bridge meanwhile: a label starts with its own link's name, and whether it is
    /// in use twice on this wire (RFC 4862, 5.4) has been found out already.
    pub fn on_bridge(&self) -> Self {
        Self {
            label: None,
            nodad: !self.is_ipv4(),
            ..self.clone()
        }
    }

    /// What follows `ip address add` and the like.
    pub fn words(&self) -> String {
        let mut words = self.net.to_string();
        let mut say = |word: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(words, " {word} {value}");
            }
        };
        say("broadcast", self.broadcast.map(|address| address.to_string()));
        say("scope", self.scope.clone());
        say("label", self.label.clone());
        say("metric", self.metric.map(|metric| metric.to_string()));
        say("valid_lft", self.lifetime.map(|(valid, _)| valid.to_string()));
        say(
            "preferred_lft",
            self.lifetime.map(|(_, preferred)| preferred.to_string()),
        );
        for (flag, word) in [
            (self.noprefixroute, " noprefixroute"),
            (self.mngtmpaddr, " mngtmpaddr"),
            (self.nodad, " nodad"),
        ] {
            if flag {
                words.push_str(word);
            }
        }
        words
    }

    /// The broadcast address that a subnet of this size usually has.
    pub fn usual_broadcast(net: IpNet) -> Option<Ipv4Addr> {
        match net {
            IpNet::V4(net) if net.prefix_len() <= 30 => Some(Ipv4Net::broadcast(&net)),
            _ => None,
        }
    }
}

impl Hop {
    /// The route as one through `link`; None: it is not.
    fn read(raw: &RawRoute, link: &str) -> Result<Option<Self>, String> {
        // Of equal-cost routes IPv6 keeps each for itself and only prints them together; an IPv4 one is whole.
        let hop = raw.nexthops.iter().find(|hop| hop.dev.as_deref() == Some(link));
        if raw.dev.as_deref() != Some(link) && hop.is_none() {
            return Ok(None);
        }
        let is_ipv6 = raw.pref.is_some();
        let refuse = |what: &str| Err(format!("the route to {} with {what}", raw.dst));
        match raw.table.as_deref() {
            None => {}
            // Local and broadcast addresses, multicast: the kernel's own.
            Some("local") => return Ok(None),
            Some(table) => return refuse(&format!("table {table}")),
        }
        if let Some(kind) = &raw.kind {
            return refuse(&format!("type {kind}"));
        }
        if let Some(key) = raw.rest.keys().find(|key| *key != "weight") {
            return refuse(key);
        }
        if hop.is_some_and(|hop| !is_ipv6 || hop.weight > 1) {
            return refuse("several next hops");
        }
        if raw.pref.as_deref().is_some_and(|pref| pref != "medium") {
            return refuse("a router preference");
        }
        let via = match hop {
            Some(hop) => hop.gateway,
            None => raw.gateway.or(raw.via.as_ref().map(|via| via.host)),
        };
        let Some(to) = destination(&raw.dst, is_ipv6) else {
            return refuse("a destination that is no address");
        };
        let usual_metric = if is_ipv6 { 1024 } else { 0 };
        let usual_scope = if via.is_none() { "link" } else { "global" };
        Ok(Some(Self {
            route: Route {
                to,
                via,
                source: raw.prefsrc,
                metric: raw.metric.filter(|metric| *metric != usual_metric),
                protocol: raw.protocol.clone(),
            },
            scope: Some(raw.scope.clone().unwrap_or_else(|| "global".to_owned()))
                .filter(|scope| !is_ipv6 && scope != usual_scope),
            onlink: raw.flags.iter().any(|flag| flag == "onlink"),
            expires: raw.expires,
        }))
    }

    /// The same route, whatever time it has left.
    pub fn is(&self, other: &Self) -> bool {
        let timeless = |hop: &Self| Self {
            expires: None,
            ..hop.clone()
        };
        timeless(self) == timeless(other)
    }

    /// What follows `ip route append` and the like, through `link`.
    pub fn words(&self, link: &str) -> String {
        let Route {
            to,
            via,
            source,
            metric,
            protocol,
        } = &self.route;
        let mut words = to.to_string();
        match via {
            // The word in between is asked for only where the families differ, and always taken.
            Some(via @ IpAddr::V4(_)) => _ = write!(words, " via inet {via}"),
            Some(via @ IpAddr::V6(_)) => _ = write!(words, " via inet6 {via}"),
            None => {}
        }
        let _ = write!(words, " dev {link}");
        let mut say = |word: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(words, " {word} {value}");
            }
        };
        say("proto", protocol.clone());
        say("scope", self.scope.clone());
        say("src", source.map(|source| source.to_string()));
        say("metric", metric.map(|metric| metric.to_string()));
        say("expires", self.expires.map(|seconds| seconds.to_string()));
        if self.onlink {
            words.push_str(" onlink");
        }
        words
    }
}

/// A route's destination as `ip` prints it: `default`, a subnet, or one address.
pub(super) fn destination(text: &str, is_ipv6: bool) -> Option<IpNet> {
    match text {
        "default" if is_ipv6 => Some(IpNet::V6(ipnet::Ipv6Net::default())),
        "default" => Some(IpNet::V4(Ipv4Net::default())),
        _ => text
            .parse()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)),
    }
}
