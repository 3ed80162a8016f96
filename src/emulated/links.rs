//! The links of a machine's network namespace, as iproute2 prints them.

use std::net::IpAddr;

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::transport::{Cmd, CmdError, Shell};

/// A link as `ip -details -json address` shows it; only the fields that are used.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of ip(8)")]
pub(super) struct Link {
    /// Its name.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// Its alias.
    pub ifalias: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// Of a veth whose peer is in another namespace: the peer's index there.
    pub link_index: Option<u32>,
    /// Of such a veth: this namespace's number for that one.
    link_netnsid: Option<i32>,
    /// Of a veth whose peer is in the same namespace: the peer's name.
    pub link: Option<String>,
    /// Of such a veth: the name of that namespace, if it has one.
    #[serde(skip)]
    pub peer_namespace: Option<String>,
    linkinfo: Option<LinkInfo>,
}

#[derive(Debug, Clone, Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
    info_data: Option<LinkDetails>,
}

/// What only links of some kinds have.
#[derive(Debug, Clone, Deserialize)]
struct LinkDetails {
    /// Of a bridge: 1 where it filters by VLAN tags.
    vlan_filtering: Option<u8>,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    prefixlen: u8,
    scope: String,
}

impl Link {
    /// Returns the kernel's name for its kind, e.g. `veth`, `tun`, `bridge`.
    pub fn kind(&self) -> &str {
        let info = self.linkinfo.as_ref();
        info.and_then(|info| info.info_kind.as_deref()).unwrap_or_default()
    }

    /// Returns whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    /// Returns whether it is a bridge that filters by VLAN tags.
    pub fn filters_vlans(&self) -> bool {
        let details = self.linkinfo.as_ref().and_then(|info| info.info_data.as_ref());
        details.and_then(|details| details.vlan_filtering) == Some(1)
    }

    /// Returns its global IPv4 addresses, in the kernel's order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Net> {
        let global = self.addr_info.iter().filter(|address| address.scope == "global");
        global.filter_map(|address| match address.local {
            Some(IpAddr::V4(local)) => Ipv4Net::new(local, address.prefixlen).ok(),
            Some(IpAddr::V6(_)) | None => None,
        })
    }
}

/// A namespace's number for another one, as `ip -json netns list-id` shows it.
#[derive(Debug, Deserialize)]
struct Number {
    nsid: i32,
    name: Option<String>,
}

/// Reads the links of network namespace `name`, and which namespaces the peers of its veths are in.
pub(super) fn read(shell: &dyn Shell, name: &str) -> Result<Vec<Link>, CmdError> {
    let mut links: Vec<Link> = json(shell, &["ip", "-n", name, "-details", "-json", "address", "show"])?;
    if links.iter().any(|link| link.link_netnsid.is_some()) {
        let numbers: Vec<Number> = json(shell, &["ip", "-n", name, "-json", "netns", "list-id"])?;
        for link in &mut links {
            let named = |number: &&Number| Some(number.nsid) == link.link_netnsid;
            link.peer_namespace = numbers.iter().find(named).and_then(|number| number.name.clone());
        }
    }
    Ok(links)
}

/// Runs a command of iproute2 and parses the JSON it prints.
pub(super) fn json<T: DeserializeOwned>(shell: &dyn Shell, argv: &[&str]) -> Result<T, CmdError> {
    let cmd = Cmd::new(argv.iter().copied());
    serde_json::from_slice(&shell.check(&cmd)?).map_err(|error| CmdError::Unreadable {
        command: cmd.to_string(),
        message: error.to_string(),
    })
}
