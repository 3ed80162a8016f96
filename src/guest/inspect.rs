//! Reads what a running guest has of what it was given: NICs, addresses, default route, name servers, host name. One
//! exchange, in the guest's dialect; changes nothing.

mod dialects;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::error::SessionError;
use super::session::Session;
use crate::lab::{Dialect, MacAddr};
use crate::state::GuestConfig;

/// Deadline of the script: five processes that wait for nothing.
const LIMIT: Duration = Duration::from_secs(30);

/// What a guest has, as far as its programs print it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Its NICs; none has a MAC address where they cannot be read.
    pub nics: Vec<InspectedNic>,
    /// Its default route.
    pub default_route: DefaultRoute,
    /// The name servers of /etc/resolv.conf; none where it cannot be read.
    pub nameservers: Option<Vec<IpAddr>>,
    /// Its host name.
    pub hostname: Option<String>,
}

/// The default route of a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DefaultRoute {
    /// The routes cannot be read.
    #[default]
    Unreadable,
    /// There is none, or the one with the lowest metric has no gateway.
    Absent,
    /// The gateway of the one with the lowest metric.
    Via(Ipv4Addr),
}

/// A NIC of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedNic {
    /// Its name in the guest.
    pub name: String,
    /// Its MAC address; the loopback device has none.
    pub mac: Option<MacAddr>,
    /// Whether it is set up (IFF_UP).
    pub up: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Net>,
}

/// What a guest has not, or has otherwise than it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deviation {
    /// No NIC has this MAC address.
    NicMissing(MacAddr),
    /// A NIC is down.
    Down(String),
    /// A NIC has not the address, or has it with another prefix length.
    Address {
        /// The NIC's name in the guest.
        nic: String,
        /// The address.
        wanted: Ipv4Net,
        /// What it has.
        has: Vec<Ipv4Net>,
    },
    /// A NIC has another MTU.
    Mtu {
        /// The NIC's name in the guest.
        nic: String,
        /// In bytes.
        wanted: u32,
        /// In bytes.
        has: u32,
    },
    /// The default route is missing or has another gateway.
    DefaultRoute {
        /// The gateway.
        wanted: Ipv4Addr,
        /// That of its default route.
        has: Option<Ipv4Addr>,
    },
    /// A name server is missing.
    NameServer(IpAddr),
    /// The host name differs.
    HostName {
        /// The name.
        wanted: String,
        /// Its name.
        has: String,
    },
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NicMissing(mac) => write!(f, "no NIC has the MAC address {mac}"),
            Self::Down(nic) => write!(f, "{nic} is down"),
            Self::Address { nic, wanted, has } if has.is_empty() => {
                write!(f, "{nic} does not have {wanted}: it has no address")
            }
            Self::Address { nic, wanted, has } => {
                let has: Vec<String> = has.iter().map(ToString::to_string).collect();
                write!(f, "{nic} does not have {wanted}: it has {}", has.join(", "))
            }
            Self::Mtu { nic, wanted, has } => write!(f, "{nic} has MTU {has} instead of {wanted}"),
            Self::DefaultRoute { wanted, has: None } => write!(f, "there is no default route via {wanted}"),
            Self::DefaultRoute { wanted, has: Some(has) } => {
                write!(f, "the default route is via {has} instead of {wanted}")
            }
            Self::NameServer(server) => write!(f, "/etc/resolv.conf does not have name server {server}"),
            Self::HostName { wanted, has } => write!(f, "the host name is {has} instead of {wanted}"),
        }
    }
}

/// Reads what the guest has. The deadline is 30 s.
pub fn inspect(session: &mut Session<'_>, dialect: Dialect) -> Result<Inspected, SessionError> {
    let output = session.run_idempotent(dialects::script(dialect), LIMIT)?;
    Ok(dialects::read(dialect, &output.text))
}

impl Inspected {
    /// Returns where the guest differs from `config`. What cannot be read is no deviation, and neither are further
    /// addresses and routes, which a user may add.
    pub fn deviations(&self, config: &GuestConfig) -> Vec<Deviation> {
        let mut found = Vec::new();
        let readable = self.nics.iter().any(|nic| nic.mac.is_some());
        for wanted in config.nics.iter().filter(|_| readable) {
            let Some(nic) = self.nics.iter().find(|nic| nic.mac == Some(wanted.mac)) else {
                found.push(Deviation::NicMissing(wanted.mac));
                continue;
            };
            let name = nic.name.clone();
            if !nic.up {
                found.push(Deviation::Down(name.clone()));
            }
            if !nic.addresses.contains(&wanted.address) {
                found.push(Deviation::Address {
                    nic: name.clone(),
                    wanted: wanted.address,
                    has: nic.addresses.clone(),
                });
            }
            let mtu = u32::from(wanted.mtu.unwrap_or(super::configure::ETHERNET_MTU));
            if nic.mtu != mtu {
                found.push(Deviation::Mtu {
                    nic: name,
                    wanted: mtu,
                    has: nic.mtu,
                });
            }
        }
        if let Some(wanted) = config.default_route {
            match self.default_route {
                DefaultRoute::Absent => found.push(Deviation::DefaultRoute { wanted, has: None }),
                DefaultRoute::Via(has) if has != wanted => {
                    found.push(Deviation::DefaultRoute { wanted, has: Some(has) });
                }
                DefaultRoute::Via(_) | DefaultRoute::Unreadable => {}
            }
        }
        if let Some(has) = &self.nameservers {
            // A resolver on the guest itself has the name servers in its own configuration (systemd-resolved(8)).
            let local = has.iter().any(IpAddr::is_loopback);
            let missing = config
                .nameservers
                .iter()
                .filter(|server| !local && !has.contains(server));
            found.extend(missing.copied().map(Deviation::NameServer));
        }
        if let Some(has) = &self.hostname {
            let wanted = config.hostname.as_str();
            if has.split('.').next() != Some(wanted) {
                found.push(Deviation::HostName {
                    wanted: wanted.to_owned(),
                    has: has.clone(),
                });
            }
        }
        found
    }
}
