//! Hosts, switches, routers and the cables between them.

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::file::{At, CableEndFile, CableFile, HostFile, HostNicFile, RouterFile, SwitchFile};
use crate::lab::problem::suggest;
use crate::lab::{Connect, HostName, IfName, PortMode, VlanId};

/// What to write for a cable.
const ENDS: &str = "write `ends = [\"host1:eth0\", \"host2:eth0\"]`";

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
        let nics = self.host_nics(table);
        HostFile { name, connect, nics }
    }

    fn host_nics(&mut self, table: &DeTable<'_>) -> Vec<HostNicFile> {
        let mut nics = Vec::new();
        for (name, table) in self.named(table, "nics") {
            nics.push(HostNicFile {
                name,
                address: self.subnet(get(table, "address")),
                gateway: self.address(get(table, "gateway")),
                takeover: self.boolean(get(table, "takeover")),
                shaping: self.shaping(table),
            });
        }
        nics
    }

    pub(super) fn switch(&mut self, name: At<HostName>, table: &DeTable<'_>) -> SwitchFile {
        let ports = self.named(table, "ports");
        let ports = ports.into_iter().map(|(port, table)| (port, self.port(table)));
        SwitchFile {
            name,
            ports: ports.collect(),
            stp: self.boolean(get(table, "stp")),
        }
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
        let outside = self.one_or_more(get(table, "outside"));
        RouterFile {
            name,
            nics,
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
