//! Hosts, switches, routers and the cables between them.

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::file::{At, BondFile, CableEndFile, CableFile, HostFile, HostNicFile, RouterFile, SwitchFile};
use crate::lab::problem::suggest;
use crate::lab::schema::choices::{BOND_MODES, HASH_POLICIES, LACP_RATES, MOST_MIIMON};
use crate::lab::{Connect, HostName, IfName, PortMode, VlanId};

/// What to write for a cable.
const ENDS: &str = "write `ends = [\"host1:eth0\", \"host2:eth0\"]`";

/// The outside that is the network of the machine netlab runs on.
const TO_HOST: &str = "host";

impl Reader {
    pub(super) fn host(&mut self, name: At<HostName>, table: &DeTable<'_>) -> HostFile {
        let mut connect = Connect::Emulated;
        if let Some(value) = get(table, "connect") {
            match self.string(value) {
                None | Some("emulated") => {}
                Some("local") => connect = Connect::Local,
                Some(text) if text.starts_with("ssh:") => {
                    if let Some(At { value, .. }) = self.name(text, value.span()) {
                        connect = Connect::Ssh(value);
                    }
                }
                Some(text) => {
                    let help = suggest(text, ["emulated", "local", "ssh://user@host"]);
                    self.add(value.span(), format!("unknown connection `{text}`"), help);
                }
            }
        }
        let mut nics = self.host_nics(table);
        nics.extend(self.bonds(table));
        HostFile { name, connect, nics }
    }

    fn host_nics(&mut self, table: &DeTable<'_>) -> Vec<HostNicFile> {
        let mut nics = Vec::new();
        for (name, table) in self.named(table, "nics") {
            let address = self.subnet(get(table, "address"));
            nics.push(HostNicFile {
                name,
                address: self.kept(table, "address", address),
                gateway: self.address(get(table, "gateway")),
                takeover: self.boolean(get(table, "takeover")),
                bond: None,
                shaping: self.shaping(table),
            });
        }
        nics
    }

    fn bonds(&mut self, table: &DeTable<'_>) -> Vec<HostNicFile> {
        let mut bonds = Vec::new();
        for (name, table) in self.named::<IfName>(table, "bonds") {
            if get(table, "nics").is_none() {
                let message = format!("bond `{}` has no NICs", name.value);
                self.add(name.span.clone(), message, "write `nics = [\"eth0\", \"eth1\"]`");
            }
            let nics = self.list(get(table, "nics"));
            let bond = BondFile {
                nics: nics.into_iter().filter_map(|nic| self.parsed(Some(nic))).collect(),
                mode: self.choice(get(table, "mode"), "mode", &BOND_MODES).unwrap_or_default(),
                miimon: self
                    .ranged(get(table, "miimon"), "miimon", MOST_MIIMON)
                    .map(|at| at.value),
                lacp_rate: self.at_choice(get(table, "lacp_rate"), "LACP rate", &LACP_RATES),
                xmit_hash_policy: self.at_choice(get(table, "xmit_hash_policy"), "hash policy", &HASH_POLICIES),
                primary: self.parsed(get(table, "primary")),
            };
            let address = self.subnet(get(table, "address"));
            bonds.push(HostNicFile {
                name,
                address: self.kept(table, "address", address),
                gateway: self.address(get(table, "gateway")),
                takeover: self.boolean(get(table, "takeover")),
                bond: Some(bond),
                shaping: None,
            });
        }
        bonds
    }

    fn at_choice<T: Clone>(&mut self, value: Option<&Value<'_>>, what: &str, names: &[(&str, T)]) -> Option<At<T>> {
        let span = value?.span();
        Some(At {
            value: self.choice(value, what, names)?,
            span,
        })
    }

    pub(super) fn switch(&mut self, name: At<HostName>, table: &DeTable<'_>) -> SwitchFile {
        let ports = self.named(table, "ports");
        let ports = ports.into_iter().map(|(port, table)| (port, self.port(table)));
        SwitchFile {
            name,
            ports: ports.collect(),
            stp: self.boolean(get(table, "stp")),
            lags: self.lags(get(table, "lags")),
        }
    }

    fn lags(&mut self, value: Option<&Value<'_>>) -> Vec<Vec<At<IfName>>> {
        let lags = self.list(value);
        let mut read = Vec::new();
        for lag in lags {
            let ports = self.list(Some(lag));
            read.push(ports.into_iter().filter_map(|port| self.parsed(Some(port))).collect());
        }
        read
    }

    fn port(&mut self, table: &DeTable<'_>) -> PortMode {
        match (get(table, "access"), get(table, "trunk")) {
            (Some(_), Some(trunk)) => {
                self.add(
                    trunk.span(),
                    "a port has either `access` or `trunk`",
                    "remove one of them",
                );
                PortMode::Open
            }
            (Some(access), None) => self
                .vlan(access)
                .map_or(PortMode::Open, |vlan| PortMode::Access(vlan.value)),
            (None, Some(trunk)) => {
                if matches!(trunk.get_ref(), DeValue::Array(list) if list.is_empty()) {
                    self.add(trunk.span(), "`trunk` is empty", "name at least one VLAN");
                }
                let vlans = self.list(Some(trunk));
                PortMode::Trunk(vlans.into_iter().filter_map(|v| Some(self.vlan(v)?.value)).collect())
            }
            (None, None) => PortMode::Open,
        }
    }

    /// An 802.1Q id.
    pub(super) fn vlan(&mut self, value: &Value<'_>) -> Option<At<VlanId>> {
        let At { value, span } = self.integer(Some(value))?;
        match VlanId::try_from(value) {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.add(span, error.to_string(), "");
                None
            }
        }
    }

    pub(super) fn router(&mut self, name: At<HostName>, table: &DeTable<'_>) -> RouterFile {
        let nics = self.host_nics(table);
        let is_host = |value: &&Value<'_>| matches!(value.get_ref(), DeValue::String(text) if text == TO_HOST);
        let (to_host, outside): (Vec<_>, Vec<_>) = self
            .one_or_more(get(table, "outside"))
            .into_iter()
            .partition(|value| is_host(value));
        RouterFile {
            name,
            nics,
            to_host: to_host.first().map(|value| value.span()),
            outside: outside.into_iter().filter_map(|v| self.subnet(Some(v))).collect(),
            names: self.resolved(get(table, "names")),
        }
    }

    pub(super) fn cable(&mut self, value: &Value<'_>) -> Option<CableFile> {
        let table = self.table(value)?;
        let Some(ends) = get(table, "ends") else {
            self.add(value.span(), "a cable needs `ends`", ENDS);
            return None;
        };
        let list = self.list(Some(ends));
        let read: Vec<_> = list.iter().map(|v| self.cable_end(v)).collect();
        if let Ok([a, b]) = <[_; 2]>::try_from(read) {
            let shaping = self.shaping(table);
            let ends = [a?, b?];
            return Some(CableFile { ends, shaping });
        }
        self.add(ends.span(), "a cable has two ends", ENDS);
        None
    }

    fn cable_end(&mut self, value: &Value<'_>) -> Option<At<CableEndFile>> {
        let text = self.string(value)?;
        let (machine, nic) = match text.split_once(':') {
            Some((machine, nic)) => (machine, Some(self.name::<IfName>(nic, value.span())?.value)),
            None => (text, None),
        };
        let machine = self.name::<HostName>(machine, value.span())?.value;
        Some(At {
            value: CableEndFile { machine, nic },
            span: value.span(),
        })
    }
}
