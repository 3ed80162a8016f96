//! A lab file out of a nova.conf: takes the text of nova-network's configuration, gives the text of a lab that builds
//! the same networks on emulated hosts. Both forms are read: the flag file of the first releases (`--vlan_start=100`)
//! and oslo.config's INI file (`vlan_start = 100` in `[DEFAULT]`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::Ipv4Net;

use super::names::{HostName, IfName, VlanId};

/// nova's options that say something about networks, as far as a lab can say it, too.
const KNOWN: [&str; 13] = [
    "network_manager",
    "public_interface",
    "vlan_interface",
    "flat_interface",
    "flat_network_bridge",
    "network_host",
    "fixed_range",
    "network_size",
    "vlan_start",
    "my_ip",
    "routing_source_ip",
    "multi_host",
    "flat_network_dns",
];

/// What is wrong with a nova.conf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A value is not of its option's kind.
    #[error("line {line}: {option} = {value}: {message}")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The option.
        option: String,
        /// What is written.
        value: String,
        /// Why it cannot be.
        message: String,
    },
    /// The manager is none of the three.
    #[error("line {line}: {value} is none of nova-network's managers (FlatManager, FlatDHCPManager, VlanManager)")]
    Manager {
        /// The line, from 1.
        line: usize,
        /// What is written.
        value: String,
    },
    /// There is no option about networks at all.
    #[error("this is no nova.conf of nova-network: none of its network options is in it")]
    Nothing,
}

/// The lab file for the nova.conf `text`, called `name`.
pub fn import(name: &super::LabName, text: &str) -> Result<String, ImportError> {
    let conf = Conf::read(text);
    if conf.options.is_empty() {
        return Err(ImportError::Nothing);
    }
    let manager = conf.manager()?;
    let my_ip: Option<Ipv4Addr> = conf.value("my_ip")?;
    let source: Option<Ipv4Addr> = conf.value("routing_source_ip")?;
    let inner: Option<IfName> = match manager {
        Manager::Vlan => conf.value("vlan_interface")?,
        Manager::Flat | Manager::FlatDhcp => conf.value("flat_interface")?,
    };
    let public: Option<IfName> = conf.value("public_interface")?;
    let multi_host = conf.flag("multi_host")?;
    // nova's network_host is a host's name or address; a name that no lab can have stands as `network`.
    let network_host = conf
        .text("network_host")
        .filter(|host| Some(*host) != my_ip.map(|ip| ip.to_string()).as_deref());
    let network_host =
        network_host.map(|text| HostName::new(text).map_or_else(|_| "network".to_owned(), |name| name.to_string()));
    let (router, others) = match (&network_host, multi_host) {
        (Some(host), false) => (host.clone(), vec!["compute1".to_owned()]),
        (None, _) | (Some(_), true) => ("node1".to_owned(), Vec::new()),
    };

    let mut out = String::new();
    // Writing to a `String` cannot fail; here and below.
    let _ = writeln!(
        out,
        "# From a nova.conf. It names one or two hosts; add the others beside them, and vms."
    );
    let _ = writeln!(
        out,
        "# Prefix lengths of hosts' addresses are not in it: /24 is assumed."
    );
    let _ = writeln!(out, "name = \"{name}\"");
    let mut inner_address = my_ip;
    for host in std::iter::once(&router).chain(&others) {
        let _ = writeln!(out, "\n[hosts.{host}]");
        if let Some(nic) = &inner {
            match inner_address.filter(|_| *host != router || others.is_empty()) {
                Some(address) => _ = writeln!(out, "nics.{nic}.address = \"{address}/24\""),
                None => _ = writeln!(out, "nics.{nic} = {{}}"),
            }
        }
        if let Some(nic) = public.as_ref().filter(|nic| Some(*nic) != inner.as_ref()) {
            match source.filter(|_| *host == router) {
                Some(address) => _ = writeln!(out, "nics.{nic}.address = \"{address}/24\""),
                None => _ = writeln!(out, "nics.{nic} = {{}}"),
            }
        }
        if *host != router {
            inner_address = None;
        }
    }
    if let (Some(nic), [other]) = (&inner, others.as_slice()) {
        let _ = writeln!(out, "\n[[cables]]\nends = [\"{router}:{nic}\", \"{other}:{nic}\"]");
    }
    let _ = writeln!(out, "\n[nova]\nmanager = \"{}\"", manager.word());
    conf.copy::<Ipv4Net>(&mut out, "fixed_range", true)?;
    conf.copy::<u32>(&mut out, "network_size", false)?;
    match manager {
        Manager::Vlan => {
            if let Some(number) = conf.value::<i64>("vlan_start")? {
                let id = VlanId::try_from(number).map_err(|error| conf.wrong("vlan_start", &error.to_string()))?;
                let _ = writeln!(out, "vlan_start = {id}");
            }
            conf.copy::<IfName>(&mut out, "vlan_interface", true)?;
        }
        Manager::Flat | Manager::FlatDhcp => {
            conf.copy::<IfName>(&mut out, "flat_interface", true)?;
            conf.copy::<IfName>(&mut out, "flat_network_bridge", true)?;
        }
    }
    conf.copy::<IfName>(&mut out, "public_interface", true)?;
    if manager != Manager::Flat {
        if multi_host {
            let _ = writeln!(out, "multi_host = true");
        } else {
            let _ = writeln!(out, "network_host = \"{router}\"");
            conf.copy::<Ipv4Addr>(&mut out, "routing_source_ip", true)?;
        }
    }
    if let Some(dns) = conf.value::<IpAddr>("flat_network_dns")? {
        let _ = writeln!(out, "dns = [\"{dns}\"]");
    }
    Ok(out)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Flat,
    FlatDhcp,
    Vlan,
}

impl Manager {
    fn word(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::FlatDhcp => "flat-dhcp",
            Self::Vlan => "vlan",
        }
    }
}

/// The options found, each with its line; of one that stands twice the last counts, as in nova.
struct Conf<'a> {
    options: BTreeMap<&'a str, (usize, &'a str)>,
}

impl<'a> Conf<'a> {
    fn read(text: &'a str) -> Self {
        let mut options = BTreeMap::new();
        let mut default = true;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(section) = line.strip_prefix('[') {
                default = section.trim_end_matches(']').trim() == "DEFAULT";
            }
            if line.starts_with(['#', ';', '[']) || !default {
                continue;
            }
            let line = line.trim_start_matches('-');
            // A flag of the flag file without a value is a switch that is on.
            let (option, value) = line.split_once('=').unwrap_or((line, "true"));
            if let Some(known) = KNOWN.iter().find(|known| **known == option.trim()) {
                options.insert(*known, (at + 1, value.trim().trim_matches(['"', '\''])));
            }
        }
        Self { options }
    }

    fn text(&self, option: &str) -> Option<&'a str> {
        self.options.get(option).map(|(_, value)| *value)
    }

    fn wrong(&self, option: &str, message: &str) -> ImportError {
        let (line, value) = self.options.get(option).copied().unwrap_or_default();
        ImportError::Value {
            line,
            option: option.to_owned(),
            value: value.to_owned(),
            message: message.to_owned(),
        }
    }

    fn value<T: FromStr<Err: std::fmt::Display>>(&self, option: &str) -> Result<Option<T>, ImportError> {
        let parsed = self.text(option).map(str::parse).transpose();
        parsed.map_err(|error: T::Err| self.wrong(option, &error.to_string()))
    }

    /// A boolean in oslo.config's words.
    fn flag(&self, option: &str) -> Result<bool, ImportError> {
        match self.text(option).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err(self.wrong(option, "neither true nor false")),
        }
    }

    /// nova's default is the VLAN manager.
    fn manager(&self) -> Result<Manager, ImportError> {
        let Some((line, value)) = self.options.get("network_manager") else {
            return Ok(Manager::Vlan);
        };
        match value.rsplit('.').next().unwrap_or_default() {
            "FlatManager" => Ok(Manager::Flat),
            "FlatDHCPManager" => Ok(Manager::FlatDhcp),
            "VlanManager" => Ok(Manager::Vlan),
            _ => Err(ImportError::Manager {
                line: *line,
                value: (*value).to_owned(),
            }),
        }
    }

    /// Writes an option as it is, if it is there and of kind `T`.
    fn copy<T>(&self, out: &mut String, option: &str, quoted: bool) -> Result<(), ImportError>
    where
        T: FromStr<Err: std::fmt::Display> + std::fmt::Display,
    {
        if let Some(value) = self.value::<T>(option)? {
            let quote = if quoted { "\"" } else { "" };
            let _ = writeln!(out, "{option} = {quote}{value}{quote}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lab::{GatewayHosts, ImageName, Lab, parse};

    fn lab(text: &str) -> Lab {
        let file = import(&"nova".parse().unwrap(), text).unwrap();
        let images = BTreeSet::from([ImageName::new("mini").unwrap()]);
        parse("lab.toml", &file, &images).unwrap_or_else(|error| panic!("{file}\n{:#?}", error.problems))
    }

    const FLAGS: &str = "--network_manager=nova.network.manager.VlanManager\n--public_interface=eth1\n\
        --vlan_interface=eth0\n--network_host=node1\n--fixed_range=10.0.0.0/8\n--network_size=256\n--my_ip=172.16.99.109\n\
        --routing_source_ip=192.168.99.108\n--vlan_start=1\n--verbose\n";

    #[test]
    fn a_flag_file_becomes_a_lab_with_a_network_host_and_a_compute_host() {
        let lab = lab(FLAGS);
        let hosts: Vec<_> = lab.hosts.keys().map(HostName::as_str).collect();
        assert_eq!((hosts, lab.cables.len()), (vec!["compute1", "node1"], 1));
        let network = lab.networks.values().next().unwrap();
        assert_eq!(
            (network.vlan.unwrap().get(), network.subnet.to_string().as_str()),
            (1, "10.0.0.0/24")
        );
        let on = &network.gateway.as_ref().unwrap().on;
        assert_eq!(*on, GatewayHosts::One("node1".parse().unwrap()));
        assert_eq!(lab.nat[0].source.unwrap().to_string(), "192.168.99.108");
    }

    #[test]
    fn an_ini_file_is_read_in_its_default_section_only() {
        let lab = lab(
            "[DEFAULT]\n# a comment\nnetwork_manager = nova.network.manager.FlatDHCPManager\nflat_interface=eth0\n\
             public_interface=eth1\nmulti_host = True\nmy_ip=172.16.99.108\nflat_network_bridge=br9\n\
             flat_network_dns=9.9.9.9\n[database]\nnetwork_size = 7\n",
        );
        let network = lab.networks.values().next().unwrap();
        assert_eq!(network.gateway.as_ref().unwrap().on, GatewayHosts::Every);
        assert_eq!((network.bridge.as_ref().unwrap().as_str(), network.dhcp), ("br9", true));
        assert_eq!(lab.hosts.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text: &str| import(&"nova".parse().unwrap(), text).unwrap_err().to_string();
        assert_eq!(wrong("[DEFAULT]\nverbose = true\n"), ImportError::Nothing.to_string());
        let error = wrong("--my_ip=1.2.3\n");
        assert!(error.starts_with("line 1: my_ip = 1.2.3: "), "{error}");
        let error = wrong("--fixed_range=10.0.0.0/8\n--network_manager=nova.network.quantum.Manager\n");
        assert!(
            error.starts_with("line 2: nova.network.quantum.Manager is none"),
            "{error}"
        );
        assert!(wrong("--vlan_interface=a/b\n").contains("vlan_interface"));
        assert!(wrong("--vlan_start=4095\n").contains("4095"));
    }
}
