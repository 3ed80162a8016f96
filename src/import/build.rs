//! The lab of a configuration: its hosts, a `[nova]` table, and its VMs.

use super::comments::Comments;
use super::conf::Conf;
use super::hosts::{Machine, machines};
use super::networks::{Manager, Networks, networks, vlan_start};
use super::place::{HostNic, Placed, cables, place};
use super::source::{Source, quoted};
use super::{ImportError, ImportOptions, Wrong, vms};

/// Returns the lab file, as far as it is known without checking it.
pub(super) fn build(conf: &Conf, options: &ImportOptions, comments: &mut Comments) -> Result<Source, ImportError> {
    let mut networks = networks(conf, comments)?;
    let one_router = networks.is_routed() && !networks.multi_host;
    if let Some(value) = conf.value("network_host")?.filter(|_| !one_router) {
        let why = if networks.multi_host {
            "with multi_host every host routes"
        } else {
            "FlatManager routes nothing"
        };
        comments.drop(&value, why);
    }
    let machines = machines(conf, options, one_router, comments)?;
    let addresses = machines.iter().filter_map(|machine| Some(machine.address.as_ref()?.0));
    networks.choose_range(addresses, comments);
    if networks.inner.is_none() && machines.len() > 1 {
        return Err(Wrong {
            line: 0,
            option: String::new(),
            value: String::new(),
            message: "no flat_interface: guests of several hosts would not be connected".to_owned(),
        }
        .into());
    }
    let mut source = Source::default();
    source.entry("name", quoted(&options.name), None);
    let placed = place(conf, &networks, &machines, comments)?;
    for (machine, nics) in machines.iter().zip(&placed.hosts) {
        source.line(format_args!("[hosts.{}.nics]", machine.name));
        for HostNic { nic, address } in nics {
            let (table, from) = match address {
                Some((net, from)) => (format!("{{ address = {} }}", quoted(net)), from.as_ref()),
                None => ("{}".to_owned(), None),
            };
            source.entry(&quoted(&nic.name), table, from.or(nic.from.as_ref()));
        }
    }
    cables(&networks, &machines, &placed, &mut source);
    nova(conf, &networks, &machines, &placed, comments, &mut source)?;
    vms::vms(conf, options, &networks, &machines, &placed, comments, &mut source)?;
    Ok(source)
}

fn nova(
    conf: &Conf,
    networks: &Networks,
    machines: &[Machine],
    placed: &Placed,
    comments: &mut Comments,
    source: &mut Source,
) -> Result<(), Wrong> {
    source.line("[nova]");
    let manager = match networks.manager {
        Manager::Flat => "flat",
        Manager::FlatDhcp => "flat-dhcp",
        Manager::Vlan => "vlan",
    };
    source.entry("manager", quoted(manager), conf.value("network_manager")?.as_ref());
    if !networks.tenants.is_empty() {
        let names: Vec<String> = networks.tenants.iter().map(quoted).collect();
        source.entry(
            "tenants",
            format!("[{}]", names.join(", ")),
            conf.value("num_networks")?.as_ref(),
        );
    }
    source.entry("fixed_range", quoted(networks.range.0), networks.range.1.as_ref());
    source.entry("network_size", networks.size.0, networks.size.1.as_ref());
    let uplink = networks.inner.as_ref();
    match networks.manager {
        Manager::Vlan => {
            let (start, from) = vlan_start(conf)?;
            source.entry("vlan_start", start, from.as_ref());
            if let Some(nic) = uplink {
                source.entry("vlan_interface", quoted(&nic.name), nic.from.as_ref());
            }
            if let Some(value) = conf.value("flat_network_bridge")? {
                comments.drop(&value, "VlanManager names each bridge after its VLAN");
            }
        }
        Manager::Flat | Manager::FlatDhcp => {
            if let Some(nic) = uplink {
                source.entry("flat_interface", quoted(&nic.name), nic.from.as_ref());
            }
            source.option("flat_network_bridge", conf.value("flat_network_bridge")?.as_ref());
            if let Some(value) = conf.value("vlan_start")? {
                comments.drop(&value, "a flat manager has no VLANs");
            }
        }
    }
    if networks.is_routed() {
        if let Some(nic) = &networks.public {
            source.entry("public_interface", quoted(&nic.name), nic.from.as_ref());
        }
        source.option("routing_source_ip", placed.source.as_ref());
        if networks.multi_host {
            source.entry("multi_host", true, conf.value("multi_host")?.as_ref());
        } else if let Some(router) = machines.iter().find(|machine| machine.routes) {
            source.entry(
                "network_host",
                quoted(&router.name),
                conf.value("network_host")?.as_ref(),
            );
        }
        gateway(conf, networks, comments, source)?;
    } else {
        for option in ["public_interface", "multi_host", "gateway"] {
            if let Some(value) = conf.value(option)? {
                comments.drop(&value, "FlatManager routes nothing");
            }
        }
    }
    if let Some(value) = conf.value("network_device_mtu")? {
        source.entry("network_device_mtu", value.number(0, u32::MAX)?, Some(&value));
    }
    dns(conf, networks.manager, comments, source)
}

/// The gateway's address, where it is not the first of its network.
fn gateway(conf: &Conf, networks: &Networks, comments: &mut Comments, source: &mut Source) -> Result<(), Wrong> {
    let Some(value) = conf.value("gateway")? else {
        return Ok(());
    };
    let found = value.address()?;
    if networks.first().is_some_and(|first| first.contains(&found)) {
        source.option("gateway", Some(&value));
    } else {
        comments.drop(&value, "outside of the first network");
    }
    Ok(())
}

/// Name servers: `dns_server` is for dnsmasq, `flat_network_dns` for guests without it.
fn dns(conf: &Conf, manager: Manager, comments: &mut Comments, source: &mut Source) -> Result<(), Wrong> {
    let servers = conf.values("dns_server")?;
    let flat = conf.value("flat_network_dns")?;
    let (used, unused) = match (manager, servers.is_empty(), flat) {
        (Manager::Flat, _, Some(flat)) => (vec![flat], servers),
        (_, true, Some(flat)) => (vec![flat], Vec::new()),
        (_, _, flat) => (servers, flat.into_iter().collect()),
    };
    for value in &unused {
        comments.drop(value, "another option names the name servers");
    }
    let mut servers = Vec::new();
    for value in &used {
        for text in value.text.split([',', ' ']).filter(|text| !text.is_empty()) {
            let address = text.parse::<std::net::IpAddr>();
            let address = address.map_err(|error| value.wrong(error))?;
            servers.push(quoted(address));
        }
    }
    if let Some(first) = used.first() {
        source.entry("dns", format!("[{}]", servers.join(", ")), Some(first));
    }
    Ok(())
}
