//! How a running guest differs from what it was given: NICs, addresses, default route, name servers, host name, services. Read in
//! one exchange; changes nothing.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::error::SessionError;
use super::frame::fresh_nonce;
use super::seen::{self, GuestLink, GuestView};
use super::session::Session;
use crate::lab::{ConsoleKind, ETHERNET_MTU, MacAddr};
use crate::state::{GuestConfig, GuestNicConfig};

/// Deadline of the script, which waits for nothing.
const LIMIT: Duration = Duration::from_secs(30);
/// On a screen it is typed first, some 900 characters: 6 s, on a busy machine several times that.
const SCREEN_LIMIT: Duration = Duration::from_secs(120);

/// What a guest has not, or has otherwise than it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deviation {
    /// It has nothing of what it was given: neither its addresses nor its host name, as after a boot.
    Restarted {
        /// Its host name.
        hostname: String,
    },
    /// No NIC has this MAC address.
    NicMissing(MacAddr),
    /// A NIC is down.
    Down(String),
    /// A NIC has not the address.
    Address {
        /// The NIC's name in the guest, or its MAC address where only addresses were read.
        nic: String,
        /// The address.
        wanted: Ipv4Net,
        /// The addresses of the guest.
        has: BTreeSet<Ipv4Addr>,
    },
    /// A NIC has the address with another prefix length.
    Mask {
        /// The NIC's name in the guest.
        nic: String,
        /// The address.
        wanted: Ipv4Net,
        /// The prefix length that it has.
        has: u8,
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
    /// A NIC drops packets whose replies leave by another NIC (rp_filter), which the lab's routes cause.
    Strict {
        /// The NIC's name in the guest.
        nic: String,
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
    /// Nothing listens on the port of a service.
    NotServing(u16),
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
            Self::Restarted { hostname } => write!(
                f,
                "it was restarted since it was configured: no NIC has its address, and its host name is {hostname}"
            ),
            Self::NicMissing(mac) => write!(f, "no NIC has the MAC address {mac}"),
            Self::Down(nic) => write!(f, "NIC {nic} is down"),
            Self::Address { nic, wanted, has } if has.is_empty() => {
                write!(f, "NIC {nic} lacks its address {wanted}: the guest has none")
            }
            Self::Address { nic, wanted, has } => {
                let has: Vec<String> = has.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "NIC {nic} lacks its address {wanted}: the guest has {}",
                    has.join(", ")
                )
            }
            Self::Mask { nic, wanted, has } => write!(
                f,
                "NIC {nic} has {} with the mask /{has}, not /{}",
                wanted.addr(),
                wanted.prefix_len()
            ),
            Self::Mtu { nic, wanted, has } => write!(f, "NIC {nic} has an MTU of {has} bytes, not {wanted}"),
            Self::Strict { nic } => write!(
                f,
                "NIC {nic} drops packets whose replies leave by another NIC: rp_filter is 1"
            ),
            Self::DefaultRoute { wanted, has: None } => write!(f, "there is no default route via {wanted}"),
            Self::DefaultRoute { wanted, has: Some(has) } => {
                write!(f, "the default route is via {has} instead of {wanted}")
            }
            Self::NameServer(server) => write!(f, "/etc/resolv.conf does not have name server {server}"),
            Self::NotServing(port) => write!(f, "nothing listens on TCP port {port}, where it serves a text"),
            Self::HostName { wanted, has } => write!(f, "the host name is {has} instead of {wanted}"),
        }
    }
}

/// Returns what the guest has; none where its answer was cut. On a screen neither its services nor its kernel's settings
/// are read. The deadline is 30 s, on a screen 120 s.
pub fn inspect(session: &mut Session<'_>, kind: ConsoleKind) -> Result<Option<GuestView>, SessionError> {
    let mark = fresh_nonce();
    let (screen, limit) = match kind {
        ConsoleKind::Serial => (false, LIMIT),
        ConsoleKind::Vga => (true, SCREEN_LIMIT),
    };
    let output = session.run_idempotent(&seen::script(&mark, screen), limit)?;
    Ok(seen::read(&output.text, &mark))
}

impl GuestView {
    /// Returns where the guest differs from `config`. What was not read is no deviation, and neither are further
    /// addresses and routes, which a user may add.
    pub fn deviations(&self, config: &GuestConfig) -> Vec<Deviation> {
        let mut found = Vec::new();
        let lacks = |wanted: &GuestNicConfig| !self.addresses.contains(&wanted.address.addr());
        if let Some(hostname) = self
            .hostname
            .as_ref()
            .filter(|name| name.split('.').next() != Some(config.hostname.as_str()))
            && !config.nics.is_empty()
            && config.nics.iter().all(lacks)
        {
            return vec![Deviation::Restarted {
                hostname: hostname.clone(),
            }];
        }
        for wanted in &config.nics {
            if self.links.is_empty() {
                found.extend(self.lacks(&wanted.mac.to_string(), wanted));
                continue;
            }
            match self.links.iter().find(|(_, link)| link.mac == wanted.mac) {
                Some((name, link)) => {
                    found.extend(self.of_nic(name, link, wanted));
                    if config.has_asymmetric_routes() && self.is_strict(name) {
                        found.push(Deviation::Strict { nic: name.clone() });
                    }
                }
                None => found.push(Deviation::NicMissing(wanted.mac)),
            }
        }
        if let Some(wanted) = config
            .default_route
            .filter(|_| !self.routes.is_empty() || !self.links.is_empty())
        {
            let defaults = self
                .routes
                .iter()
                .filter(|route| route.to.prefix_len() == 0 && !route.rejects);
            let has = defaults.min_by_key(|route| route.metric).and_then(|route| route.via);
            if has != Some(wanted) {
                found.push(Deviation::DefaultRoute { wanted, has });
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
        if let Some(has) = &self.listening {
            let ended = config.serve.iter().filter(|service| !has.contains(&service.tcp));
            found.extend(ended.map(|service| Deviation::NotServing(service.tcp)));
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

    fn of_nic(&self, name: &str, link: &GuestLink, wanted: &GuestNicConfig) -> Vec<Deviation> {
        let mut found = Vec::new();
        let nic = name.to_owned();
        if !link.up {
            found.push(Deviation::Down(nic.clone()));
        }
        let lacking = self.lacks(name, wanted);
        if lacking.is_none() && link.up {
            // The kernel's own route to the subnet has its prefix length.
            let connected = self
                .routes
                .iter()
                .filter(|route| route.link == name && route.via.is_none());
            let mut around = connected.filter(|route| route.to.contains(&wanted.address.addr()));
            let other = around
                .clone()
                .next()
                .filter(|_| !around.any(|route| route.to == wanted.address.trunc()));
            found.extend(other.map(|route| Deviation::Mask {
                nic: nic.clone(),
                wanted: wanted.address,
                has: route.to.prefix_len(),
            }));
        }
        found.extend(lacking);
        let mtu = u32::from(wanted.mtu.unwrap_or(ETHERNET_MTU));
        if link.mtu != mtu {
            found.push(Deviation::Mtu {
                nic,
                wanted: mtu,
                has: link.mtu,
            });
        }
        found
    }

    /// Whether source validation of a NIC is strict: the larger value of the NIC and of all counts (ip-sysctl, rp_filter).
    fn is_strict(&self, nic: &str) -> bool {
        let value = |of: &str| self.settings.get(&format!("conf/{of}/rp_filter")).copied().unwrap_or(0);
        value("all").max(value(nic)) == 1
    }

    fn lacks(&self, nic: &str, wanted: &GuestNicConfig) -> Option<Deviation> {
        (!self.addresses.contains(&wanted.address.addr())).then(|| Deviation::Address {
            nic: nic.to_owned(),
            wanted: wanted.address,
            has: self.addresses.clone(),
        })
    }
}
