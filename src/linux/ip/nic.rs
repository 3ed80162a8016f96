//! What stands on a NIC, in full: everything that has to be said to put it there again. Read from a [`Snapshot`], turned
//! into words for `ip`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::floating;
use super::snapshot::{RawAddress, RawLink, RawRoute, Snapshot};
use crate::state::{NicConfig, Route};

/// Of such a route `ip` tells only what the first next hop has besides its gateway: enough to see it, not enough to
/// put it back.
const SHARED: &str = "several next hops";

/// What stands on a NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NicState {
    pub up: bool,
    /// All but the link-local ones of IPv6, which belong to the link itself and stay with it.
    pub addresses: Vec<Address>,
    /// Routes of the main table that the kernel did not make by itself.
    pub routes: Vec<Hop>,
    /// Routes to the subnets of IPv6 addresses that end some time. The kernel made them, but does not remove them with
    /// the address (net/ipv6/addrconf.c, ipv6_del_addr). Not part of a record.
    pub dated: Vec<Hop>,
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
    /// The first of several with its destination and metric, so the one in effect.
    pub first: bool,
}

impl NicState {
    /// Reads what stands on `link`, and what of it could not be put back (one text for each).
    pub fn read(snapshot: &Snapshot, link: &RawLink) -> (Self, Vec<String>) {
        let mut odd = Vec::new();
        let mut addresses = Vec::new();
        for raw in link.addr_info.iter().filter(|raw| moves(raw)) {
            match Address::read(raw, &link.ifname) {
                Ok(address) => addresses.push(address),
                Err(why) => odd.push(why),
            }
        }
        let (mut routes, mut dated) = (Vec::new(), Vec::new());
        for (index, raw) in snapshot.routes.iter().enumerate() {
            match Hop::read(raw, &link.ifname) {
                Ok(Some(hop)) if made_by_kernel(&hop, &addresses) => {
                    dated.extend(Some(hop).filter(|hop| hop.expires.is_some()));
                }
                Ok(Some(hop)) => {
                    if !raw.nexthops.is_empty() {
                        odd.push(format!("the route to {} with {SHARED}", raw.dst));
                    }
                    let (before, after) = snapshot.routes.split_at(index);
                    let first = !before.iter().any(|other| raw.rivals(other))
                        && after.iter().skip(1).any(|other| raw.rivals(other));
                    routes.push(Hop { first, ..hop });
                }
                Ok(None) => {}
                Err(why) => odd.push(why),
            }
        }
        let standing = Self {
            up: link.is_up(),
            addresses,
            routes,
            dated,
            alias: link.ifalias.clone().unwrap_or_default(),
        };
        (standing, odd)
    }

    /// The addresses of IPv6 that belong to the link itself.
    pub fn link_local(link: &RawLink) -> impl Iterator<Item = Address> + use<'_> {
        let is_own = |raw: &&RawAddress| raw.scope == "link" && matches!(raw.local, Some(IpAddr::V6(_)));
        let own = link.addr_info.iter().filter(is_own);
        own.filter_map(|raw| Address::read(raw, &link.ifname).ok())
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

    /// Has this address, whatever its attributes.
    pub fn has_address(&self, address: &Address) -> bool {
        self.addresses.iter().any(|other| other.net == address.net)
    }

    /// Has this route.
    pub fn has(&self, hop: &Hop) -> bool {
        self.routes.iter().any(|other| other.is(hop))
    }

    /// Has anything of IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(|address| !address.is_ipv4()) || self.routes.iter().any(|hop| !hop.is_ipv4())
    }

    /// Takes over what no record holds, since it changes: the time that addresses and routes have left where they
    /// stand now.
    pub fn with_times_of(mut self, other: &Self) -> Self {
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

/// Whether an address moves with its NIC's traffic. Temporary ones (RFC 8981) do not: the kernel makes new ones. Nor do
/// floating ones, which are a lab's.
fn moves(raw: &RawAddress) -> bool {
    match raw.local {
        Some(IpAddr::V4(_)) => !floating::is_any(raw),
        Some(IpAddr::V6(_)) => raw.scope != "link" && !raw.temporary,
        None => false,
    }
}

/// Whether a route comes with the link or with one of its addresses. What has the kernel's name and does not is
/// somebody else's: NetworkManager makes such routes, and a router's advertisement does.
fn made_by_kernel(hop: &Hop, addresses: &[Address]) -> bool {
    let route = &hop.route;
    let of_link = matches!(route.to, IpNet::V6(net) if net.addr().is_unicast_link_local());
    let of_address = addresses.iter().any(|address| {
        // The metrics that the kernel gives: 0, which is printed as none, and IP6_RT_PRIO_ADDRCONF.
        let (metric, source) = if address.is_ipv4() {
            (address.metric, Some(address.net.addr()))
        } else {
            (address.metric.or(Some(256)), None)
        };
        let same = address.net.trunc() == route.to && route.metric == metric && route.source == source;
        same && !address.noprefixroute
    });
    route.protocol.as_deref() == Some("kernel") && (of_link || of_address)
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

    /// The lines that put it on `link` where the host had it a moment ago: whether somebody else has it too (RFC 4862,
    /// 5.4) is not asked, since meanwhile it could be no route's source. Said again without the flag, the address
    /// loses just that.
    pub fn put_back_on(&self, link: &str) -> impl Iterator<Item = String> + use<> {
        let unasked =
            (!self.is_ipv4() && !self.nodad).then(|| format!("address replace {} nodad dev {link}", self.words()));
        unasked
            .into_iter()
            .chain([format!("address replace {} dev {link}", self.words())])
    }

    /// The address as it stands on a bridge meanwhile: a label starts with its own link's name, temporary addresses
    /// are not worth making there, and whether it is in use twice on this wire (RFC 4862, 5.4) has been found out
    /// already.
    pub fn on_bridge(&self) -> Self {
        Self {
            label: None,
            mngtmpaddr: false,
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
        // Routes of one cost: IPv6 keeps each for itself and only prints them together, an IPv4 one is whole.
        let shared = raw.nexthops.iter().find(|hop| hop.dev.as_deref() == Some(link));
        if raw.dev.as_deref() != Some(link) && shared.is_none() {
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
        if shared.is_some() && !is_ipv6 {
            return refuse(SHARED);
        }
        if let Some(key) = raw.rest.keys().next() {
            return refuse(key);
        }
        if raw.pref.as_deref().is_some_and(|pref| pref != "medium") {
            return refuse("a router preference");
        }
        let via = match shared {
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
            first: false,
        }))
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.route.to, IpNet::V4(_))
    }

    /// The same route, whatever time it has left and wherever it stands.
    pub fn is(&self, other: &Self) -> bool {
        let bare = |hop: &Self| Self {
            expires: None,
            first: false,
            ..hop.clone()
        };
        bare(self) == bare(other)
    }

    /// The line that adds the route through `link` beside the same one through another link: before others of its
    /// destination and metric if that is where it stands, else behind them.
    pub fn add(&self, link: &str) -> String {
        let place = if self.first && self.is_ipv4() {
            "prepend"
        } else {
            "append"
        };
        format!("route {place} {}", self.words(link))
    }

    /// The line that removes the route through `link`, whatever time it has left.
    pub fn remove(&self, link: &str) -> String {
        let timeless = Self {
            expires: None,
            ..self.clone()
        };
        format!("route del {}", timeless.words(link))
    }

    /// What follows `ip route add` and the like.
    fn words(&self, link: &str) -> String {
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
