//! The networks of a configuration. Defaults are nova's own (`nova/network/manager.py` and `linux_net.py`).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Wrong;
use super::comments::Comments;
use super::conf::Conf;
use super::value::Value;
use crate::lab::IfName;

/// `public_interface`, and `vlan_interface` of the first releases.
const NIC: &str = "eth0";
/// `flat_network_bridge`.
const BRIDGE: &str = "br100";
const FIXED_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8);
/// The prefix length of hosts' subnets, which is in no nova.conf.
const HOST_PREFIX: u8 = 24;
const NETWORK_SIZE: u32 = 256;
const VLAN_START: u32 = 100;
const LAST_VLAN: u32 = 4094;
/// The smallest network with an address for a gateway and one for a guest.
const LEAST_SIZE: u32 = 4;
/// Most networks that a lab gets: nova builds one on its hosts when a tenant gets it, a lab builds all of them.
const MOST_NETWORKS: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Flat,
    FlatDhcp,
    Vlan,
}

/// A NIC that hosts have, and the option that names it.
#[derive(Debug, Clone)]
pub(super) struct Nic {
    pub name: IfName,
    pub from: Option<Value>,
}

/// What has been decided about the networks.
pub(super) struct Networks {
    pub manager: Manager,
    /// Each host routes for its own guests.
    pub multi_host: bool,
    pub range: (Ipv4Net, Option<Value>),
    pub size: (u32, Option<Value>),
    /// Their names; empty: one with the usual name.
    pub tenants: Vec<String>,
    /// What carries them between hosts.
    pub inner: Option<Nic>,
    /// What leads to the outside.
    pub public: Option<Nic>,
}

impl Networks {
    pub(super) fn is_routed(&self) -> bool {
        self.manager != Manager::Flat
    }

    /// Chooses the range where the file has none: nova's default, else a part of it. Networks were then created by a
    /// command, whose range nobody knows; they must not have the subnets of the hosts' own `addresses`, each a /24.
    pub(super) fn choose_range(&mut self, addresses: impl Iterator<Item = Ipv4Addr>, comments: &mut Comments) {
        if self.range.1.is_some() {
            return;
        }
        let hosts = addresses.filter_map(|address| Ipv4Net::new(address, HOST_PREFIX).ok());
        let hosts: Vec<Ipv4Net> = hosts.collect();
        let count = u32::try_from(self.tenants.len().max(1)).unwrap_or(u32::MAX);
        let needed = self.size.0.saturating_mul(count.next_power_of_two());
        let is_free = |part: &Ipv4Net| !hosts.iter().any(|host| part.contains(host) || host.contains(part));
        let parts = prefix_of(needed).and_then(|prefix| FIXED_RANGE.subnets(prefix.max(FIXED_RANGE.prefix_len())).ok());
        let free = parts.into_iter().flatten().find(is_free);
        match free.filter(|part| part.network() != FIXED_RANGE.network()) {
            Some(part) => {
                self.range.0 = part;
                comments.assume(&format!(
                    "fixed_range = {part}: it is not in the file, and nova's default {FIXED_RANGE} has hosts' addresses \
                     where networks would begin"
                ));
            }
            None => comments.assume(&format!("fixed_range = {FIXED_RANGE}, nova's default")),
        }
    }

    /// The first network's subnet.
    pub(super) fn first(&self) -> Option<Ipv4Net> {
        Ipv4Net::new(self.range.0.network(), prefix_of(self.size.0)?).ok()
    }
}

/// Reads them.
pub(super) fn networks(conf: &Conf, comments: &mut Comments) -> Result<Networks, Wrong> {
    let manager = manager(conf, comments)?;
    let multi_host = match conf.value("multi_host")? {
        Some(value) => value.flag()? && manager != Manager::Flat,
        None => false,
    };
    let range = range(conf)?;
    let size = size(conf, &range, comments)?;
    let inner = match manager {
        Manager::Vlan => {
            let written = nic(conf, "vlan_interface")?;
            if written.is_none() {
                comments.assume(&format!("vlan_interface = {NIC}, nova's first default"));
            }
            written.or_else(default_nic)
        }
        Manager::Flat | Manager::FlatDhcp => nic(conf, "flat_interface")?,
    };
    if let Some(from) = inner.as_ref().and_then(|nic| nic.from.as_ref())
        && from.text == bridge(conf, manager)?
    {
        return Err(from.wrong("the name of the bridge; the option is for the NIC in it"));
    }
    for option in ["vlan_interface", "flat_interface"] {
        let used = if manager == Manager::Vlan {
            "vlan_interface"
        } else {
            "flat_interface"
        };
        if let Some(value) = conf.value(option)?.filter(|_| option != used) {
            comments.drop(&value, "not an option of this network_manager");
        }
    }
    if let Some(value) = conf.value("force_dhcp_release")?
        && !value.flag()?
    {
        comments.drop(&value, "the lease of a VM that is removed is always released");
    }
    let public = public(conf, manager, inner.as_ref(), comments)?;
    let tenants = tenants(conf, manager, &range, size.0, comments)?;
    Ok(Networks {
        manager,
        multi_host,
        range,
        size,
        tenants,
        inner,
        public,
    })
}

/// nova's default is the VLAN manager.
fn manager(conf: &Conf, comments: &mut Comments) -> Result<Manager, Wrong> {
    let Some(value) = conf.value("network_manager")? else {
        comments.assume("network_manager = nova.network.manager.VlanManager, nova's default");
        return Ok(Manager::Vlan);
    };
    match value.text.rsplit('.').next().unwrap_or_default() {
        "FlatManager" => Ok(Manager::Flat),
        "FlatDHCPManager" => Ok(Manager::FlatDhcp),
        "VlanManager" => Ok(Manager::Vlan),
        _ => Err(value.wrong("not one of FlatManager, FlatDHCPManager and VlanManager")),
    }
}

/// The range of all networks; the first releases called it `private_range`.
fn range(conf: &Conf) -> Result<(Ipv4Net, Option<Value>), Wrong> {
    let written = match conf.value("fixed_range")? {
        Some(value) => Some(value),
        None => conf.value("private_range")?,
    };
    let Some(value) = written else {
        return Ok((FIXED_RANGE, None));
    };
    let net = value.subnet()?;
    Ok((net.trunc(), Some(value)))
}

/// The size of a network: rounded up as nova does, and at most that of the range.
fn size(conf: &Conf, range: &(Ipv4Net, Option<Value>), comments: &mut Comments) -> Result<(u32, Option<Value>), Wrong> {
    let written = conf.value("network_size")?;
    let wanted = written
        .as_ref()
        .map_or(Ok(NETWORK_SIZE), |value| value.number(1, 1 << 24))?;
    let mut size = wanted.next_power_of_two().max(LEAST_SIZE);
    if let Some(value) = written.as_ref().filter(|_| size != wanted) {
        comments.note(
            value,
            &format!("{size}, the next power of two that is a subnet, as nova rounds it"),
        );
    }
    let most = 1_u32
        .checked_shl(32 - u32::from(range.0.prefix_len()))
        .unwrap_or(u32::MAX);
    if size > most {
        size = most;
        let text = format!("network_size = {most}, that of fixed_range");
        match &written {
            Some(value) => comments.note(value, &text),
            None => comments.assume(&text),
        }
        return Ok((size, range.1.clone()));
    }
    Ok((size, written))
}

/// The NIC to the outside. Clouds of one NIC name the bridge, of which that NIC is a port.
fn public(conf: &Conf, manager: Manager, inner: Option<&Nic>, comments: &mut Comments) -> Result<Option<Nic>, Wrong> {
    let Some(value) = conf.value("public_interface")? else {
        if manager != Manager::Flat {
            comments.assume(&format!("public_interface = {NIC}, nova's default"));
        }
        return Ok(default_nic());
    };
    if value.text != bridge(conf, manager)? {
        return nic(conf, "public_interface");
    }
    if let Some(nic) = inner {
        comments.note(&value, &format!("{}, the port of that bridge", nic.name));
    } else {
        comments.drop(&value, "a bridge without a port does not lead to the outside");
    }
    Ok(inner.cloned())
}

/// The name of the first network's bridge.
fn bridge(conf: &Conf, manager: Manager) -> Result<String, Wrong> {
    Ok(match manager {
        Manager::Vlan => format!("br{}", vlan_start(conf)?.0),
        Manager::Flat | Manager::FlatDhcp => {
            let written = conf.value("flat_network_bridge")?;
            written.map_or_else(|| BRIDGE.to_owned(), |value| value.text)
        }
    })
}

/// The names of several networks.
fn tenants(
    conf: &Conf,
    manager: Manager,
    range: &(Ipv4Net, Option<Value>),
    size: u32,
    comments: &mut Comments,
) -> Result<Vec<String>, Wrong> {
    let Some(value) = conf.value("num_networks")? else {
        return Ok(Vec::new());
    };
    let wanted = value.number(1, u32::MAX)?;
    if manager != Manager::Vlan {
        if wanted > 1 {
            comments.drop(&value, "a flat manager has one network");
        }
        return Ok(Vec::new());
    }
    let fits = (1_u64 << (32 - u32::from(range.0.prefix_len()))) / u64::from(size);
    let fits = u32::try_from(fits).unwrap_or(u32::MAX).max(1);
    let vlans = LAST_VLAN.saturating_sub(vlan_start(conf)?.0) + 1;
    let most = [
        (fits, "that fixed_range has room for"),
        (vlans, "that there are VLANs for"),
        (MOST_NETWORKS, ""),
    ];
    let (most, why) = most.into_iter().min().unwrap_or((1, ""));
    if wanted > most {
        let why = if why.is_empty() {
            "nova builds a network when a tenant gets it; add more where you need them"
        } else {
            why
        };
        comments.note(&value, &format!("the first {most}: {why}"));
    }
    let count = wanted.min(most);
    if count == 1 {
        return Ok(Vec::new());
    }
    Ok((1..=count).map(|number| format!("private-{number}")).collect())
}

pub(super) fn vlan_start(conf: &Conf) -> Result<(u32, Option<Value>), Wrong> {
    match conf.value("vlan_start")? {
        Some(value) => Ok((value.number(1, LAST_VLAN)?, Some(value))),
        None => Ok((VLAN_START, None)),
    }
}

fn default_nic() -> Option<Nic> {
    let name = IfName::new(NIC).ok()?;
    Some(Nic { name, from: None })
}

fn nic(conf: &Conf, option: &str) -> Result<Option<Nic>, Wrong> {
    let Some(value) = conf.value(option)? else {
        return Ok(None);
    };
    let name = IfName::new(&value.text).map_err(|error| value.wrong(error))?;
    Ok(Some(Nic {
        name,
        from: Some(value),
    }))
}

fn prefix_of(size: u32) -> Option<u8> {
    u8::try_from(32 - size.checked_ilog2()?).ok()
}
