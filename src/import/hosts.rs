//! The machines that a configuration names: the one that it is from, the network host where that is another one, and those
//! that the user adds.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::comments::Comments;
use super::conf::Conf;
use super::value::Value;
use super::{ImportOptions, Wrong};
use crate::lab::HostName;

/// A machine of the cloud.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub name: HostName,
    /// Its own `my_ip`, and the option that it is from.
    pub address: Option<(Ipv4Addr, Option<Value>)>,
    /// Whether it has the gateways.
    pub routes: bool,
}

/// Returns the machines; `has_one_router`: the networks have one network host.
pub(super) fn machines(
    conf: &Conf,
    options: &ImportOptions,
    has_one_router: bool,
    comments: &mut Comments,
) -> Result<Vec<Machine>, Wrong> {
    let my_ip = own_address(conf, "my_ip", comments)?;
    let source = own_address(conf, "routing_source_ip", &mut comments.clone())?;
    let mut others: Vec<Machine> = Vec::new();
    let mut this: Option<HostName> = None;
    for added in &options.hosts {
        let twice =
            |other: &Machine| other.name == added.name || other.address.as_ref().is_some_and(|a| a.0 == added.address);
        if others.iter().any(twice) || this.as_ref() == Some(&added.name) {
            return Err(wrong_host(&format!("{}={}", added.name, added.address), "given twice"));
        }
        if my_ip.as_ref().is_some_and(|(address, _)| *address == added.address) {
            this = Some(added.name.clone());
        } else {
            others.push(Machine {
                name: added.name.clone(),
                address: Some((added.address, None)),
                routes: false,
            });
        }
    }
    let own = conf.value("host")?.and_then(|value| label(&value.text));
    let this = this.or(own);
    let network_host = conf.value("network_host")?;
    // The machine itself, by whatever name, is the one that the file is from.
    let is_elsewhere = |written: &Value| match written.text.parse::<Ipv4Addr>() {
        Ok(address) => !address.is_loopback(),
        Err(_) => written.text.split('.').next() != Some("localhost"),
    };
    let Some(written) = network_host.filter(|written| has_one_router && is_elsewhere(written)) else {
        return Ok(with_this(this, my_ip, others, true));
    };
    let router = match written.text.parse::<Ipv4Addr>() {
        Ok(at) => {
            let is_this = |own: &Option<(Ipv4Addr, Option<Value>)>| own.as_ref().is_some_and(|(own, _)| *own == at);
            if is_this(&my_ip) || is_this(&source) {
                return Ok(with_this(this, my_ip, others, true));
            }
            let found = others.iter().find(|other| is_this(&other.address));
            found.map_or_else(
                || free_name(&["network"], &names(&others, this.as_ref())),
                |other| Some(other.name.clone()),
            )
        }
        Err(_) => label(&written.text).or_else(|| {
            comments.note(&written, "no name that a lab can have: the host is called `network`");
            HostName::new("network").ok()
        }),
    };
    let Some(router) = router else {
        return Ok(with_this(this, my_ip, others, true));
    };
    if let Some(found) = others.iter_mut().find(|other| other.name == router) {
        found.routes = true;
    } else if written.text.parse::<Ipv4Addr>().is_err() && this.as_ref().is_none_or(|this| *this == router) {
        // The file has the network host's own address: it is the network host's file.
        return Ok(with_this(Some(router), my_ip, others, true));
    } else {
        let at = written.text.parse().ok();
        others.insert(
            0,
            Machine {
                name: router,
                address: at.map(|at| (at, Some(written.clone()))),
                routes: true,
            },
        );
    }
    Ok(with_this(this, my_ip, others, false))
}

/// Adds the machine that the file is from.
fn with_this(
    name: Option<HostName>,
    address: Option<(Ipv4Addr, Option<Value>)>,
    mut others: Vec<Machine>,
    routes: bool,
) -> Vec<Machine> {
    let name = name.or_else(|| free_name(&["node1", "node2", "node3"], &names(&others, None)));
    if let Some(name) = name {
        let this = Machine { name, address, routes };
        let at = others.iter().take_while(|other| other.routes).count();
        others.insert(at, this);
    }
    others
}

fn names<'a>(machines: &'a [Machine], this: Option<&'a HostName>) -> BTreeSet<&'a str> {
    let others = machines.iter().map(|machine| &machine.name);
    others.chain(this).map(HostName::as_str).collect()
}

/// Returns the first of some names that is not used, or one made of the last one.
fn free_name(wanted: &[&str], used: &BTreeSet<&str>) -> Option<HostName> {
    let plain = wanted.iter().map(|name| (*name).to_owned());
    let numbered = (1..=used.len() + 1).filter_map(|number| Some(format!("{}-{number}", wanted.last()?)));
    let name = plain.chain(numbered).find(|name| !used.contains(name.as_str()))?;
    HostName::new(&name).ok()
}

/// Returns a machine's name without its domain; none where a lab cannot have it.
fn label(text: &str) -> Option<HostName> {
    let plain = text.split('.').next().unwrap_or_default().replace('_', "-");
    HostName::new(&plain).ok().filter(|name| name.as_str() != "localhost")
}

/// Returns the address of an option that can be loopback, as in clouds of one machine: as good as none.
pub(super) fn own_address(
    conf: &Conf,
    option: &str,
    comments: &mut Comments,
) -> Result<Option<(Ipv4Addr, Option<Value>)>, Wrong> {
    let Some(value) = conf.value(option)? else {
        return Ok(None);
    };
    let found = value.address()?;
    if found.is_loopback() {
        comments.drop(&value, "a loopback address");
        return Ok(None);
    }
    Ok(Some((found, Some(value))))
}

fn wrong_host(value: &str, message: &str) -> Wrong {
    Wrong {
        line: 0,
        option: "--host".to_owned(),
        value: value.to_owned(),
        message: message.to_owned(),
    }
}
