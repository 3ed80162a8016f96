//! What is configured on a NIC, in full: everything that is needed to restore it, and its text for `ip`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::state::{NicConfig, Route};

/// What is configured on a NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NicState {
    pub up: bool,
    /// All but the link-local ones of IPv6, which belong to the link itself and stay with it.
    pub addresses: Vec<Address>,
    /// Routes of the main table that the kernel did not make by itself.
    pub routes: Vec<Hop>,
    /// Routes to the subnets of IPv6 addresses with a lifetime. The kernel made them, but does not remove them with
    /// the address (net/ipv6/addrconf.c, ipv6_del_addr). Not part of a record.
    pub dated: Vec<Hop>,
    /// Its alias, empty without one.
    pub alias: String,
}

/// An address with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
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
pub(crate) struct Hop {
    pub route: Route,
    /// Absent: `link` without a gateway, else `global`.
    pub scope: Option<String>,
    pub onlink: bool,
    /// Seconds from now; absent: for ever.
    pub expires: Option<u32>,
    /// The first of several with its destination and metric, so the one in effect.
    pub first: bool,
}

impl From<&NicConfig> for NicState {
    /// Addresses and routes without attributes of their own, and no alias.
    fn from(config: &NicConfig) -> Self {
        let NicConfig { up, addresses, routes } = config;
        Self {
            up: *up,
            addresses: addresses.iter().map(|net| Address::plain(*net)).collect(),
            routes: routes.iter().cloned().map(Hop::plain).collect(),
            ..Self::default()
        }
    }
}

impl NicState {
    /// Returns the part of it that a site holds.
    pub fn config(&self) -> NicConfig {
        NicConfig {
            up: self.up,
            addresses: self.addresses.iter().map(|address| address.net).collect(),
            routes: self.routes.iter().map(|hop| hop.route.clone()).collect(),
        }
    }

    /// Returns the addresses in the order in which adding them gives the kernel's order again: IPv4 appends, and of two in one
    /// subnet the first is primary (net/ipv4/devinet.c, __inet_insert_ifa); IPv6 puts the newest first
    /// (net/ipv6/addrconf.c, ipv6_link_dev_addr). Deleting is in reverse order, since with a primary IPv4 address
    /// its secondaries are deleted.
    pub fn in_order_of_adding(&self) -> impl DoubleEndedIterator<Item = &Address> {
        let (four, six): (Vec<_>, Vec<_>) = self.addresses.iter().partition(|address| address.is_ipv4());
        four.into_iter().chain(six.into_iter().rev())
    }

    /// Returns the state as `ip link set` has it.
    pub fn up_or_down(&self) -> &'static str {
        if self.up { "up" } else { "down" }
    }

    /// Has this address, with any attributes.
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

    /// Takes over what no record holds, since it changes: the lifetimes that `other`'s addresses and routes have left.
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

impl Address {
    /// Returns an address with the attributes that it usually has.
    fn plain(net: IpNet) -> Self {
        Self {
            net,
            broadcast: Self::usual_broadcast(net),
            scope: None,
            label: None,
            metric: None,
            noprefixroute: false,
            mngtmpaddr: false,
            nodad: false,
            lifetime: None,
        }
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.net, IpNet::V4(_))
    }

    /// Returns the lines that add it to `link` after the host had it on another one. There is no duplicate address
    /// detection (RFC 4862, 5.4), since until its end the address could not be the source of a route. Added again
    /// without the flag, the address loses just the flag.
    pub fn restore_on(&self, link: &str) -> impl Iterator<Item = String> + use<> {
        let without_detection =
            (!self.is_ipv4() && !self.nodad).then(|| format!("address replace {} nodad dev {link}", self.arguments()));
        without_detection
            .into_iter()
            .chain([format!("address replace {} dev {link}", self.arguments())])
    }

    /// Returns the address as a bridge has it: a label starts with its own link's name, temporary addresses are not
    /// needed there, and duplicate address detection has passed on this segment already.
    pub fn on_bridge(&self) -> Self {
        Self {
            label: None,
            mngtmpaddr: false,
            nodad: !self.is_ipv4(),
            ..self.clone()
        }
    }

    /// Returns what follows `ip address add`, except the link.
    pub fn arguments(&self) -> String {
        let mut arguments = self.net.to_string();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(arguments, " {name} {value}");
            }
        };
        option("broadcast", self.broadcast.map(|address| address.to_string()));
        option("scope", self.scope.clone());
        option("label", self.label.clone());
        option("metric", self.metric.map(|metric| metric.to_string()));
        option("valid_lft", self.lifetime.map(|(valid, _)| valid.to_string()));
        option(
            "preferred_lft",
            self.lifetime.map(|(_, preferred)| preferred.to_string()),
        );
        for (flag, name) in [
            (self.noprefixroute, " noprefixroute"),
            (self.mngtmpaddr, " mngtmpaddr"),
            (self.nodad, " nodad"),
        ] {
            if flag {
                arguments.push_str(name);
            }
        }
        arguments
    }

    /// Returns the broadcast address that a subnet of this size usually has.
    pub fn usual_broadcast(net: IpNet) -> Option<Ipv4Addr> {
        match net {
            IpNet::V4(net) if net.prefix_len() <= 30 => Some(Ipv4Net::broadcast(&net)),
            _ => None,
        }
    }
}

impl Hop {
    /// Returns a route with the attributes that it usually has.
    fn plain(route: Route) -> Self {
        Self {
            route,
            scope: None,
            onlink: false,
            expires: None,
            first: false,
        }
    }

    pub fn is_ipv4(&self) -> bool {
        matches!(self.route.to, IpNet::V4(_))
    }

    /// The same route, with any lifetime and at any place.
    pub fn is(&self, other: &Self) -> bool {
        let bare = |hop: &Self| Self {
            expires: None,
            first: false,
            ..hop.clone()
        };
        bare(self) == bare(other)
    }

    /// Returns the line that adds the route through `link` beside the same one through another link: before others of
    /// its destination and metric if it is the first of them, else after them.
    pub fn add(&self, link: &str) -> String {
        let place = if self.first && self.is_ipv4() {
            "prepend"
        } else {
            "append"
        };
        format!("route {place} {}", self.arguments(link))
    }

    /// Returns the line that removes the route through `link`, with any lifetime.
    pub fn remove(&self, link: &str) -> String {
        let timeless = Self {
            expires: None,
            ..self.clone()
        };
        format!("route del {}", timeless.arguments(link))
    }

    /// Returns what follows `ip route add`.
    fn arguments(&self, link: &str) -> String {
        let Route {
            to,
            via,
            source,
            metric,
            protocol,
        } = &self.route;
        let mut arguments = to.to_string();
        match via {
            // The family is required only where it differs from the destination's, and always accepted.
            Some(via @ IpAddr::V4(_)) => _ = write!(arguments, " via inet {via}"),
            Some(via @ IpAddr::V6(_)) => _ = write!(arguments, " via inet6 {via}"),
            None => {}
        }
        let _ = write!(arguments, " dev {link}");
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(arguments, " {name} {value}");
            }
        };
        option("proto", protocol.clone());
        option("scope", self.scope.clone());
        option("src", source.map(|source| source.to_string()));
        option("metric", metric.map(|metric| metric.to_string()));
        option("expires", self.expires.map(|seconds| seconds.to_string()));
        if self.onlink {
            arguments.push_str(" onlink");
        }
        arguments
    }
}
