//! A lab file from a nova.conf: takes the text of nova-network's configuration, returns the text of a lab that builds the
//! same networks on emulated hosts. Both forms are read: the flag file of the first releases (`--vlan_start=100`)
//! and oslo.config's INI file (`vlan_start = 100` in `[DEFAULT]`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;

use super::file::{At, CableEndFile, HostFile, HostNicFile, LabFile, Manager, NovaFile};
use super::names::{HostName, IfName, LabName, VlanId};
use super::{Connect, Problem, check, nova, write};

/// nova's options about networks that have an equivalent in a lab.
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
    /// A value is not of its option's type.
    #[error("line {line}: {option} = {value}: {message}")]
    Value {
        /// The line, from 1.
        line: usize,
        /// The option.
        option: String,
        /// What is written.
        value: String,
        /// Why it is wrong.
        message: String,
    },
    /// The manager is none of the three.
    #[error("line {line}: network_manager = {value}: not one of FlatManager, FlatDHCPManager and VlanManager")]
    Manager {
        /// The line, from 1.
        line: usize,
        /// What is written.
        value: String,
    },
    /// There is no option about networks.
    #[error("no option of nova-network found: this is not its nova.conf")]
    Nothing,
    /// The networks are not possible.
    #[error("{}", messages(problems))]
    Lab {
        /// What is wrong with them.
        problems: Vec<Problem>,
    },
}

/// Comments at the top of the file.
const HEAD: &str = "# From a nova.conf. It names one or two hosts; add the others, and vms.\n\
                    # Prefix lengths of hosts' addresses are not in it: /24 is assumed.\n";

/// Returns the lab file for the nova.conf `text`, called `name`.
pub fn import(name: &LabName, text: &str) -> Result<String, ImportError> {
    let conf = Conf::read(text);
    if conf.options.is_empty() {
        return Err(ImportError::Nothing);
    }
    let mut file = file(name, &conf)?;
    let mut problems = Vec::new();
    nova::expand(&mut file, &mut problems);
    let lab = check::check(&file, &BTreeSet::new(), problems).map_err(|problems| ImportError::Lab { problems })?;
    Ok(format!("{HEAD}{}", write(&lab)))
}

/// The hosts with their NICs and cables, and the `[nova]` table.
fn file(name: &LabName, conf: &Conf) -> Result<LabFile, ImportError> {
    let manager = conf.manager()?;
    let my_ip: Option<Ipv4Addr> = conf.value("my_ip")?;
    let source: Option<Ipv4Addr> = conf.value("routing_source_ip")?;
    let inner: Option<IfName> = match manager {
        Manager::Vlan => conf.value("vlan_interface")?,
        Manager::Flat | Manager::FlatDhcp => conf.value("flat_interface")?,
    };
    let public: Option<IfName> = conf.value("public_interface")?;
    let multi_host = conf.flag("multi_host")?;
    // nova's network_host is a host's name or address; `network` replaces a name that no lab can have.
    let network_host = conf
        .text("network_host")
        .filter(|host| Some(*host) != my_ip.map(|ip| ip.to_string()).as_deref());
    let network_host = network_host.and_then(|text| HostName::new(text).or_else(|_| HostName::new("network")).ok());
    let (router, other) = match network_host {
        Some(host) if !multi_host => (Some(host), HostName::new("compute1").ok()),
        _ => (HostName::new("node1").ok(), None),
    };

    let host = |name: &HostName| {
        let is_router = Some(name) == router.as_ref();
        let mut nics = Vec::new();
        if let Some(nic) = &inner {
            // my_ip is the address of the host that has this nova.conf: a compute host, if there is one.
            nics.push(host_nic(nic, my_ip.filter(|_| !is_router || other.is_none())));
        }
        if let Some(nic) = public.as_ref().filter(|nic| Some(*nic) != inner.as_ref()) {
            nics.push(host_nic(nic, source.filter(|_| is_router)));
        }
        HostFile {
            name: at(name.clone()),
            connect: Connect::Emulated,
            nics,
        }
    };
    let end = |machine: &HostName, nic: &IfName| {
        at(CableEndFile {
            machine: machine.clone(),
            nic: Some(nic.clone()),
        })
    };
    let cable = match (&router, &other, &inner) {
        (Some(router), Some(other), Some(nic)) => Some([end(router, nic), end(other, nic)]),
        _ => None,
    };
    let routed = manager != Manager::Flat;
    let nova = NovaFile {
        span: 0..0,
        manager,
        tenants: Vec::new(),
        fixed_range: conf.value("fixed_range")?.map(at),
        network_size: conf.value("network_size")?.map(at),
        vlan_start: conf.vlan("vlan_start")?.map(at),
        vlan_interface: inner.clone().filter(|_| manager == Manager::Vlan).map(at),
        flat_interface: inner.clone().filter(|_| manager != Manager::Vlan).map(at),
        flat_network_bridge: conf.value("flat_network_bridge")?.map(at),
        public_interface: public.clone().map(at),
        routing_source_ip: source.filter(|_| routed && !multi_host).map(at),
        network_host: router.clone().filter(|_| routed && !multi_host).map(at),
        multi_host: (routed && multi_host).then_some(0..0),
        dns: conf.value("flat_network_dns")?.into_iter().collect(),
    };
    Ok(LabFile {
        name: Some(name.clone()),
        image: None,
        hosts: router.iter().chain(&other).map(host).collect(),
        switches: Vec::new(),
        routers: Vec::new(),
        cables: cable.into_iter().collect(),
        networks: Vec::new(),
        nat: Vec::new(),
        vms: Vec::new(),
        outside: Vec::new(),
        pings: Vec::new(),
        nova: Some(nova),
    })
}

/// A value that has no place in a lab file.
fn at<T>(value: T) -> At<T> {
    At { value, span: 0..0 }
}

fn host_nic(name: &IfName, address: Option<Ipv4Addr>) -> HostNicFile {
    HostNicFile {
        name: at(name.clone()),
        address: address.and_then(|address| Ipv4Net::new(address, 24).ok()).map(at),
        gateway: None,
        takeover: false,
    }
}

fn messages(problems: &[Problem]) -> String {
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    messages.join("; ")
}

/// The options found, each with its line; of one that is given twice the last is used, as in nova.
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
            // A flag of the flag file without a value is true.
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

    /// A boolean as oslo.config accepts it.
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

    /// An 802.1Q id.
    fn vlan(&self, option: &str) -> Result<Option<VlanId>, ImportError> {
        let number: Option<i64> = self.value(option)?;
        let id = number.map(VlanId::try_from).transpose();
        id.map_err(|error| self.wrong(option, &error.to_string()))
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
    fn an_error_names_its_line() {
        let wrong = |text: &str| import(&"nova".parse().unwrap(), text).unwrap_err().to_string();
        assert_eq!(wrong("[DEFAULT]\nverbose = true\n"), ImportError::Nothing.to_string());
        let error = wrong("--my_ip=1.2.3\n");
        assert!(error.starts_with("line 1: my_ip = 1.2.3: "), "{error}");
        let error = wrong("--fixed_range=10.0.0.0/8\n--network_manager=nova.network.quantum.Manager\n");
        assert!(
            error.starts_with("line 2: network_manager = nova.network.quantum.Manager: not one of"),
            "{error}"
        );
        assert!(wrong("--vlan_interface=a/b\n").contains("vlan_interface"));
        assert!(wrong("--vlan_start=4095\n").contains("4095"));
        let error = wrong("--fixed_range=10.0.0.0/24\n--network_size=512\n--vlan_interface=eth0\n");
        assert!(error.contains("network_size 512 is larger than fixed_range"), "{error}");
    }
}
