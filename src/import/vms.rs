//! The VMs of an imported lab: on the hosts in turn, one on each for every network in turn.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::comments::Comments;
use super::conf::Conf;
use super::hosts::Machine;
use super::networks::{Manager, Networks};
use super::place::{Placed, public_subnets};
use super::source::{Source, quoted};
use super::value::Value;
use super::{ImportOptions, Wrong};

/// Where addresses come from, with the option that says so.
struct Pool {
    addresses: Box<dyn Iterator<Item = Ipv4Addr>>,
    from: Value,
}

pub(super) fn vms(
    conf: &Conf,
    options: &ImportOptions,
    networks: &Networks,
    machines: &[Machine],
    placed: &Placed,
    comments: &mut Comments,
    source: &mut Source,
) -> Result<(), Wrong> {
    let mut fixed = fixed(conf, networks, options.vms, comments)?;
    let around = public_subnets(networks, machines, placed);
    let mut floating = floating(conf, &around, options.vms, comments)?;
    let mut used = used(conf, networks, placed)?;
    used.extend(around.iter().flat_map(|net| [net.network(), net.broadcast()]));
    let mut next = |pool: &mut Option<Pool>| {
        let pool = pool.as_mut()?;
        let free = pool.addresses.find(|address| !used.contains(address))?;
        used.insert(free);
        Some((free, pool.from.clone()))
    };
    let places = (0..).flat_map(|round| machines.iter().map(move |machine| (round, machine)));
    for (number, (round, machine)) in (1..=options.vms).zip(places) {
        let several = networks.tenants.len().max(1);
        let network = networks.tenants.get(round % several).map_or("private", String::as_str);
        source.line(format_args!("[vms.vm{number}]\nhost = {}", quoted(&machine.name)));
        let network = format!("network = {}", quoted(network));
        match next(&mut fixed) {
            Some((address, from)) => {
                let table = format!("[{{ {network}, address = {} }}]", quoted(address));
                source.entry("nics", table, Some(&from));
            }
            None => source.entry("nics", format_args!("[{{ {network} }}]"), None),
        }
        if let Some((address, from)) = next(&mut floating) {
            source.entry("floating", quoted(address), Some(&from));
        }
    }
    Ok(())
}

/// The addresses from `flat_network_dhcp_start` on.
fn fixed(conf: &Conf, networks: &Networks, vms: u32, comments: &mut Comments) -> Result<Option<Pool>, Wrong> {
    let Some(from) = conf.value("flat_network_dhcp_start")? else {
        return Ok(None);
    };
    let start = from.address()?;
    let subnet = networks
        .first()
        .filter(|net| networks.manager == Manager::FlatDhcp && net.contains(&start));
    let Some(subnet) = subnet else {
        comments.drop(&from, "only FlatDHCPManager starts there, in its own network");
        return Ok(None);
    };
    if vms == 0 {
        comments.drop(&from, "write `address` in the `nics` of a vm");
        return Ok(None);
    }
    let addresses = Box::new(subnet.hosts().filter(move |address| *address >= start));
    Ok(Some(Pool { addresses, from }))
}

/// The addresses of `floating_range`, where `auto_assign_floating_ip` gives each VM one of them. `around` are the subnets of
/// the public NICs: addresses outside of them lead to none.
fn floating(conf: &Conf, around: &[Ipv4Net], vms: u32, comments: &mut Comments) -> Result<Option<Pool>, Wrong> {
    let (range, assign) = (conf.value("floating_range")?, conf.value("auto_assign_floating_ip")?);
    let assigns = assign.as_ref().map_or(Ok(false), Value::flag)?;
    let net = range.as_ref().map(Value::subnet).transpose()?;
    let reachable =
        net.is_some_and(|net| !around.is_empty() && around.iter().all(|public| public.contains(&net.trunc())));
    if let (Some(from), Some(net), true) = (&range, net, assigns && reachable && vms > 0) {
        let (addresses, from) = (Box::new(net.hosts()), from.clone());
        return Ok(Some(Pool { addresses, from }));
    }
    let why = if assigns && vms > 0 && !reachable {
        "the public NIC has no known address in that subnet"
    } else {
        "write `floating` in a vm"
    };
    for value in range.iter().chain(&assign) {
        comments.drop(value, why);
    }
    Ok(None)
}

/// Addresses that no VM may get.
fn used(conf: &Conf, networks: &Networks, placed: &Placed) -> Result<BTreeSet<Ipv4Addr>, Wrong> {
    let nics = placed.hosts.iter().flatten();
    let mut used: BTreeSet<Ipv4Addr> = nics.filter_map(|nic| Some(nic.address.as_ref()?.0.addr())).collect();
    used.extend(networks.first().and_then(|net| net.hosts().next()));
    for option in ["dns_server", "flat_network_dns", "gateway"] {
        let values = conf.values(option)?;
        used.extend(values.iter().filter_map(|value| value.text.parse::<Ipv4Addr>().ok()));
    }
    Ok(used)
}
