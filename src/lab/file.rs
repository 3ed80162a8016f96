//! Reads the words of a lab file, each with its place. Knows keys, types and single values; what values mean
//! together is [`super::check`]'s.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::str::FromStr;

use ipnet::Ipv4Net;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::{HostName, IfName, ImageName, LabName, MacAddr, NetworkName, VlanId, VmName};
use super::problem::{Problem, suggest};
use super::{Connect, size};

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

#[derive(Debug)]
pub(super) struct LabFile {
    pub name: Option<LabName>,
    pub image: Option<At<ImageName>>,
    pub hosts: Vec<HostFile>,
    pub cables: Vec<[At<(HostName, IfName)>; 2]>,
    pub networks: Vec<NetworkFile>,
    pub vms: Vec<VmFile>,
    pub outside: Vec<IpAddr>,
}

#[derive(Debug)]
pub(super) struct HostFile {
    pub name: At<HostName>,
    pub connect: Connect,
    pub nics: Vec<HostNicFile>,
}

#[derive(Debug)]
pub(super) struct HostNicFile {
    pub name: At<IfName>,
    pub address: Option<At<Ipv4Net>>,
    pub gateway: Option<At<Ipv4Addr>>,
    pub takeover: bool,
}

#[derive(Debug)]
pub(super) enum UplinkFile {
    Everywhere(At<IfName>),
    PerHost(Vec<(At<HostName>, At<IfName>)>),
}

#[derive(Debug)]
pub(super) struct NetworkFile {
    pub name: At<NetworkName>,
    pub subnet: Option<At<Ipv4Net>>,
    pub uplink: Option<UplinkFile>,
    pub vlan: Option<At<VlanId>>,
    pub bridge: Option<At<IfName>>,
    pub stp: bool,
    pub gateway: Option<GatewayFile>,
    pub nameservers: Vec<IpAddr>,
}

#[derive(Debug)]
pub(super) struct GatewayFile {
    pub address: At<Ipv4Addr>,
    /// Absent: not written. `Some(None)`: written and wrong, already reported.
    #[allow(clippy::option_option)] // three cases, told apart once
    pub on: Option<Option<At<HostName>>>,
}

#[derive(Debug)]
pub(super) struct VmFile {
    pub name: At<VmName>,
    pub hosts: Vec<At<HostName>>,
    /// Whether a host was written at all, right or wrong.
    pub placed: bool,
    pub count: Option<At<u32>>,
    pub image: Option<At<ImageName>>,
    pub memory_mib: Option<u64>,
    pub cpus: u32,
    pub nics: Vec<NicFile>,
}

#[derive(Debug)]
pub(super) struct NicFile {
    pub network: At<NetworkName>,
    pub address: Option<At<Ipv4Addr>>,
    pub mac: Option<At<MacAddr>>,
}

type Value<'i> = Spanned<DeValue<'i>>;

/// The value of a key.
pub(super) fn get<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a Value<'i>> {
    table.iter().find(|(k, _)| k.get_ref().as_ref() == key).map(|(_, v)| v)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Collects problems while it reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub problems: Vec<Problem>,
}

impl Reader {
    fn add(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span, message, help));
    }

    fn wrong_type(&mut self, value: &Value<'_>, wanted: &str) {
        let found = kind(value.get_ref());
        self.add(value.span(), format!("expected {wanted}, found {found}"), "");
    }

    fn known(&mut self, table: &DeTable<'_>, place: &str, keys: &[&str]) {
        for key in table.keys() {
            let word = key.get_ref().as_ref();
            if !keys.contains(&word) {
                let help = suggest(word, keys.iter().copied());
                self.add(key.span(), format!("unknown key `{word}` in {place}"), help);
            }
        }
    }

    fn table<'a, 'i>(&mut self, value: &'a Value<'i>) -> Option<&'a DeTable<'i>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.wrong_type(value, "a table");
        None
    }

    fn list<'a, 'i>(&mut self, value: Option<&'a Value<'i>>) -> Vec<&'a Value<'i>> {
        match value.map(|v| (v, v.get_ref())) {
            None => Vec::new(),
            Some((_, DeValue::Array(list))) => list.iter().collect(),
            Some((value, _)) => {
                self.wrong_type(value, "a list");
                Vec::new()
            }
        }
    }

    fn string<'a>(&mut self, value: &'a Value<'_>) -> Option<&'a str> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.as_ref());
        }
        self.wrong_type(value, "a string");
        None
    }

    fn word<T>(&mut self, text: &str, span: Range<usize>) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        match text.parse() {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.add(span, format!("`{text}`: {error}"), "");
                None
            }
        }
    }

    fn parsed<T>(&mut self, value: Option<&Value<'_>>) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let value = value?;
        let text = self.string(value)?;
        self.word(text, value.span())
    }

    fn integer(&mut self, value: Option<&Value<'_>>) -> Option<At<i64>> {
        let value = value?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(value, "an integer");
            return None;
        };
        // Past i64 is past every range here, too.
        let value_ = i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX);
        Some(At {
            value: value_,
            span: value.span(),
        })
    }

    fn ranged(&mut self, value: Option<&Value<'_>>, what: &str, most: u32) -> Option<At<u32>> {
        let At { value, span } = self.integer(value)?;
        if let Some(value) = u32::try_from(value).ok().filter(|n| (1..=most).contains(n)) {
            return Some(At { value, span });
        }
        self.add(
            span,
            format!("{what} is out of range"),
            format!("{what} is a number from 1 to {most}"),
        );
        None
    }

    fn boolean(&mut self, value: Option<&Value<'_>>) -> bool {
        match value.map(|v| (v, v.get_ref())) {
            None => false,
            Some((_, DeValue::Boolean(yes))) => *yes,
            Some((value, _)) => {
                self.wrong_type(value, "true or false");
                false
            }
        }
    }

    fn addresses(&mut self, value: Option<&Value<'_>>) -> Vec<IpAddr> {
        let list = self.list(value);
        list.into_iter()
            .filter_map(|v| self.parsed(Some(v)))
            .map(|at| at.value)
            .collect()
    }

    /// Named tables under `key`, e.g. every `[hosts.X]`.
    fn named<'a, 'i, N>(&mut self, root: &'a DeTable<'i>, key: &str) -> Vec<(At<N>, &'a DeTable<'i>)>
    where
        N: FromStr<Err: Display>,
    {
        let Some(table) = get(root, key).and_then(|v| self.table(v)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in table {
            let name = self.word(name.get_ref().as_ref(), name.span());
            let value = self.table(value);
            if let (Some(name), Some(value)) = (name, value) {
                found.push((name, value));
            }
        }
        found
    }

    /// Reads the whole file.
    pub(super) fn lab(&mut self, root: &DeTable<'_>) -> LabFile {
        self.known(
            root,
            "the lab",
            &["name", "image", "hosts", "cables", "networks", "vms", "verify"],
        );
        if get(root, "name").is_none() {
            self.add(
                0..0,
                "the lab has no name",
                "write `name = \"...\"` at the top of the file",
            );
        }
        let name = self.parsed(get(root, "name")).map(|at| at.value);
        let image = self.parsed(get(root, "image"));
        let hosts = self
            .named(root, "hosts")
            .into_iter()
            .map(|(n, t)| self.host(n, t))
            .collect();
        let cables = self
            .list(get(root, "cables"))
            .into_iter()
            .filter_map(|v| self.cable(v))
            .collect();
        let networks = self
            .named(root, "networks")
            .into_iter()
            .map(|(n, t)| self.network(n, t))
            .collect();
        let vms = self
            .named(root, "vms")
            .into_iter()
            .map(|(n, t)| self.vm(n, t))
            .collect();
        let mut outside = Vec::new();
        if let Some(table) = get(root, "verify").and_then(|v| self.table(v)) {
            self.known(table, "verify", &["outside"]);
            outside = self.addresses(get(table, "outside"));
        }
        LabFile {
            name,
            image,
            hosts,
            cables,
            networks,
            vms,
            outside,
        }
    }

    fn host(&mut self, name: At<HostName>, table: &DeTable<'_>) -> HostFile {
        self.known(table, "a host", &["connect", "nics"]);
        let mut connect = Connect::Emulated;
        if let Some(value) = get(table, "connect") {
            match self.string(value) {
                None | Some("emulated") => {}
                Some("local") => connect = Connect::Local,
                Some(text) if text.starts_with("ssh:") => {
                    if let Some(At { value, .. }) = self.word(text, value.span()) {
                        connect = Connect::Ssh(value);
                    }
                }
                Some(text) => {
                    let help = suggest(text, ["emulated", "local", "ssh://user@host"]);
                    self.add(value.span(), format!("`{text}` is no way to reach a host"), help);
                }
            }
        }
        let mut nics = Vec::new();
        for (name, table) in self.named(table, "nics") {
            self.known(table, "a host's NIC", &["address", "gateway", "takeover"]);
            nics.push(HostNicFile {
                name,
                address: self.parsed(get(table, "address")),
                gateway: self.parsed(get(table, "gateway")),
                takeover: self.boolean(get(table, "takeover")),
            });
        }
        HostFile { name, connect, nics }
    }

    fn cable(&mut self, value: &Value<'_>) -> Option<[At<(HostName, IfName)>; 2]> {
        let table = self.table(value)?;
        self.known(table, "a cable", &["ends"]);
        let Some(ends) = get(table, "ends") else {
            self.add(
                value.span(),
                "a cable needs `ends`",
                "write `ends = [\"host1:eth0\", \"host2:eth0\"]`",
            );
            return None;
        };
        let list = self.list(Some(ends));
        let read: Vec<_> = list.iter().map(|v| self.cable_end(v)).collect();
        if let Ok([a, b]) = <[_; 2]>::try_from(read) {
            return Some([a?, b?]);
        }
        self.add(
            ends.span(),
            "a cable has two ends",
            "write `ends = [\"host1:eth0\", \"host2:eth0\"]`",
        );
        None
    }

    fn cable_end(&mut self, value: &Value<'_>) -> Option<At<(HostName, IfName)>> {
        let text = self.string(value)?;
        let Some((host, nic)) = text.split_once(':') else {
            self.add(
                value.span(),
                format!("`{text}` is no cable end"),
                "write `host:nic`, e.g. `node1:eth0`",
            );
            return None;
        };
        let host = self.word::<HostName>(host, value.span());
        let nic = self.word::<IfName>(nic, value.span());
        Some(At {
            value: (host?.value, nic?.value),
            span: value.span(),
        })
    }

    fn network(&mut self, name: At<NetworkName>, table: &DeTable<'_>) -> NetworkFile {
        let keys = ["subnet", "uplink", "vlan", "bridge", "stp", "gateway", "nameservers"];
        self.known(table, "a network", &keys);
        if get(table, "subnet").is_none() {
            self.add(
                name.span.clone(),
                format!("network `{}` has no subnet", name.value),
                "write `subnet = \"10.0.1.0/24\"`",
            );
        }
        let uplink = get(table, "uplink").and_then(|value| match value.get_ref() {
            DeValue::Table(per_host) => {
                let mut ends = Vec::new();
                for (host, nic) in per_host {
                    let host = self.word(host.get_ref().as_ref(), host.span());
                    let nic = self.parsed(Some(nic));
                    ends.extend(host.zip(nic));
                }
                Some(UplinkFile::PerHost(ends))
            }
            DeValue::String(_) => self.parsed(Some(value)).map(UplinkFile::Everywhere),
            _ => {
                self.wrong_type(value, "a NIC's name or a table of host to NIC");
                None
            }
        });
        let vlan = self
            .integer(get(table, "vlan"))
            .and_then(|at| match VlanId::try_from(at.value) {
                Ok(value) => Some(At { value, span: at.span }),
                Err(error) => {
                    self.add(at.span, error.to_string(), "");
                    None
                }
            });
        NetworkFile {
            subnet: self.parsed(get(table, "subnet")),
            uplink,
            vlan,
            bridge: self.parsed(get(table, "bridge")),
            stp: self.boolean(get(table, "stp")),
            gateway: get(table, "gateway").and_then(|v| self.gateway(v)),
            nameservers: self.addresses(get(table, "nameservers")),
            name,
        }
    }

    fn gateway(&mut self, value: &Value<'_>) -> Option<GatewayFile> {
        let table = self.table(value)?;
        self.known(table, "a gateway", &["address", "on"]);
        if get(table, "address").is_none() {
            self.add(value.span(), "a gateway needs an `address`", "");
        }
        let on = get(table, "on").map(|on| {
            if matches!(on.get_ref(), DeValue::String(text) if text == "every-host") {
                self.add(
                    on.span(),
                    "a gateway on every host is not supported yet",
                    "name one host",
                );
                return None;
            }
            self.parsed(Some(on))
        });
        let address = self.parsed(get(table, "address"))?;
        Some(GatewayFile { address, on })
    }

    fn vm(&mut self, name: At<VmName>, table: &DeTable<'_>) -> VmFile {
        self.known(
            table,
            "a vm",
            &["host", "hosts", "count", "image", "memory", "cpus", "nics"],
        );
        let (host, hosts) = (get(table, "host"), get(table, "hosts"));
        if let (Some(_), Some(hosts)) = (host, hosts) {
            self.add(hosts.span(), "a vm has either `host` or `hosts`", "remove one of them");
        }
        if let Some(value) = hosts
            && matches!(value.get_ref(), DeValue::Array(list) if list.is_empty())
        {
            self.add(value.span(), "`hosts` is empty", "name at least one host");
        }
        let mut places: Vec<At<HostName>> = self.parsed(host).into_iter().collect();
        let list = self.list(hosts);
        places.extend(list.into_iter().filter_map(|v| self.parsed(Some(v))));
        let memory_mib = get(table, "memory").and_then(|value| {
            let text = self.string(value)?;
            match size::parse_mib(text) {
                Ok(mib) => Some(mib),
                Err(message) => {
                    self.add(value.span(), message, "write e.g. `128MiB` or `1GiB`");
                    None
                }
            }
        });
        let list = self.list(get(table, "nics"));
        VmFile {
            name,
            hosts: places,
            placed: host.is_some() || hosts.is_some(),
            count: self.ranged(get(table, "count"), "count", 1000),
            image: self.parsed(get(table, "image")),
            memory_mib,
            cpus: self.ranged(get(table, "cpus"), "cpus", 256).map_or(1, |at| at.value),
            nics: list.into_iter().filter_map(|v| self.nic(v)).collect(),
        }
    }

    fn nic(&mut self, value: &Value<'_>) -> Option<NicFile> {
        let table = self.table(value)?;
        self.known(table, "a NIC", &["network", "address", "mac"]);
        if get(table, "network").is_none() {
            self.add(value.span(), "a NIC needs a `network`", "");
        }
        let address = self.parsed(get(table, "address"));
        let mac = self.parsed(get(table, "mac"));
        let network = self.parsed(get(table, "network"))?;
        Some(NicFile { network, address, mac })
    }
}
