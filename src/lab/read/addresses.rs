//! Addresses: which a machine can have at all.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::Ipv4Net;

use super::{Reader, Value};
use crate::lab::HostName;
use crate::lab::file::At;

/// Parts of the address space that no machine can have an address of, with what they are for (RFC 6890).
const SPECIAL: [(Ipv4Net, &str); 4] = [
    (Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8), "\"this network\""),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "loopback"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4), "multicast"),
    (Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4), "reserved"),
];

impl Reader {
    /// An address that a machine can have.
    pub(super) fn address(&mut self, value: Option<&Value<'_>>) -> Option<At<Ipv4Addr>> {
        let at = self.parsed::<Ipv4Addr>(value)?;
        self.unicast(IpAddr::V4(at.value), &at.span).then_some(at)
    }

    /// The same of either family.
    pub(super) fn ip(&mut self, value: Option<&Value<'_>>) -> Option<At<IpAddr>> {
        let at = self.parsed::<IpAddr>(value)?;
        self.unicast(at.value, &at.span).then_some(at)
    }

    /// A list of such addresses.
    pub(super) fn addresses(&mut self, value: Option<&Value<'_>>) -> Vec<IpAddr> {
        let list = self.list(value);
        list.into_iter()
            .filter_map(|v| self.ip(Some(v)))
            .map(|at| at.value)
            .collect()
    }

    /// Such an address for each of several hosts.
    pub(super) fn host_addresses(&mut self, value: Option<&Value<'_>>) -> Vec<(At<HostName>, At<Ipv4Addr>)> {
        let mut found = self.per_host::<Ipv4Addr>(value);
        found.retain(|(_, at)| self.unicast(IpAddr::V4(at.value), &at.span));
        found
    }

    /// A subnet, or an address with the prefix length of its subnet, of which machines can have addresses.
    pub(super) fn subnet(&mut self, value: Option<&Value<'_>>) -> Option<At<Ipv4Net>> {
        let at = self.parsed::<Ipv4Net>(value)?;
        let overlapping = |(part, _): &&(Ipv4Net, &str)| part.contains(&at.value) || at.value.contains(part);
        let Some((part, purpose)) = SPECIAL.iter().find(overlapping) else {
            return Some(at);
        };
        let message = if part.contains(&at.value) {
            format!("`{}` is a {purpose} address", at.value)
        } else {
            format!("`{}` includes {purpose} addresses (`{part}`)", at.value)
        };
        self.add(
            at.span,
            message,
            "write a unicast address and the prefix length of its subnet, e.g. `10.0.1.5/24`",
        );
        None
    }

    /// Whether a machine can have the address; reports if not.
    fn unicast(&mut self, address: IpAddr, span: &Range<usize>) -> bool {
        let special = |purpose: &dyn Display| format!("`{address}` is a {purpose} address");
        let message = match address {
            IpAddr::V4(Ipv4Addr::BROADCAST) => special(&"broadcast"),
            IpAddr::V4(v4) => match SPECIAL.iter().find(|(part, _)| part.contains(&v4)) {
                Some((_, purpose)) => special(purpose),
                None => return true,
            },
            IpAddr::V6(v6) if v6.is_unspecified() => format!("`{address}` is no address"),
            IpAddr::V6(v6) if v6.is_loopback() => special(&"loopback"),
            IpAddr::V6(v6) if v6.is_multicast() => special(&"multicast"),
            IpAddr::V6(_) => return true,
        };
        self.add(span.clone(), message, "write an address that a machine can have");
        false
    }
}
