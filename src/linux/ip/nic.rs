//! Reads what is configured on a NIC, in full, from a [`Snapshot`]: everything that is needed to restore it.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::error::Unrestorable;
use super::floating;
use super::json::{RawAddress, RawLink, RawRoute};
use super::snapshot::Snapshot;
use crate::plan::lines::{Address, Hop, NicState};
use crate::state::Route;

/// Of such a route `ip` prints only what the first next hop has besides its gateway: enough to observe it, not enough
/// to restore it.
const SHARED: &str = "several next hops";

impl NicState {
    /// Reads the configuration of `link`, and the parts of it that netlab could not restore.
    pub(super) fn read(snapshot: &Snapshot, link: &RawLink) -> (Self, Vec<Unrestorable>) {
        let mut unrestored = Vec::new();
        let mut addresses = Vec::new();
        for raw in link.addr_info.iter().filter(|raw| moves(raw)) {
            match Address::read(raw, &link.ifname) {
                Ok(address) => addresses.push(address),
                Err(part) => unrestored.push(part),
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
                        unrestored.push(unrestorable(raw, SHARED));
                    }
                    let (before, after) = snapshot.routes.split_at(index);
                    let first = !before.iter().any(|other| raw.rivals(other))
                        && after.iter().skip(1).any(|other| raw.rivals(other));
                    routes.push(Hop { first, ..hop });
                }
                Ok(None) => {}
                Err(part) => unrestored.push(part),
            }
        }
        let state = Self {
            up: link.is_up(),
            addresses,
            routes,
            dated,
            alias: link.ifalias.clone().unwrap_or_default(),
        };
        (state, unrestored)
    }

    /// Returns the IPv6 addresses that belong to the link itself.
    pub(super) fn link_local(link: &RawLink) -> impl Iterator<Item = Address> + use<'_> {
        let is_own = |raw: &&RawAddress| raw.scope == "link" && matches!(raw.local, Some(IpAddr::V6(_)));
        let own = link.addr_info.iter().filter(is_own);
        own.filter_map(|raw| Address::read(raw, &link.ifname).ok())
    }
}

/// Returns whether an address moves with its NIC's traffic. Temporary ones (RFC 8981) do not: the kernel adds new ones.
/// Nor do floating ones, which are a lab's.
fn moves(raw: &RawAddress) -> bool {
    match raw.local {
        Some(IpAddr::V4(_)) => !floating::is_any(raw),
        Some(IpAddr::V6(_)) => raw.scope != "link" && !raw.temporary,
        None => false,
    }
}

/// Returns whether a route comes with the link or with one of its addresses. One of protocol `kernel` that does not is
/// somebody else's: NetworkManager adds such routes, and a router's advertisement does.
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
    fn read(raw: &RawAddress, link: &str) -> Result<Self, Unrestorable> {
        let Some((local, net)) = raw
            .local
            .and_then(|local| Some((local, IpNet::new(local, raw.prefixlen).ok()?)))
        else {
            return Err(Unrestorable::NoPrefix);
        };
        if let Some(peer) = raw.address {
            return Err(Unrestorable::PointToPoint { address: local, peer });
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
}

impl Hop {
    /// Reads a route through `link`; `None` where it goes through another one.
    fn read(raw: &RawRoute, link: &str) -> Result<Option<Self>, Unrestorable> {
        // Routes of equal cost: IPv6 keeps each separately and only prints them together, IPv4 keeps one route.
        let shared = raw.nexthops.iter().find(|hop| hop.dev.as_deref() == Some(link));
        if raw.dev.as_deref() != Some(link) && shared.is_none() {
            return Ok(None);
        }
        let is_ipv6 = raw.pref.is_some();
        let refuse = |feature: &str| Err(unrestorable(raw, feature));
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
}

/// Returns the error that names `feature` of a route.
fn unrestorable(route: &RawRoute, feature: &str) -> Unrestorable {
    Unrestorable::Route {
        to: route.dst.clone(),
        feature: feature.to_owned(),
    }
}

/// Parses a route's destination as `ip` prints it: `default`, a subnet, or one address.
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
