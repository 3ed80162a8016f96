//! Virtual machines, and what `netlab verify` pings.

use std::net::IpAddr;

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::file::{At, NicFile, PingFile, VmFile};
use crate::lab::schema::choices;
use crate::lab::{HostName, VmName, size};

impl Reader {
    pub(super) fn vm(&mut self, name: At<VmName>, table: &DeTable<'_>) -> VmFile {
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
            count: self.ranged(get(table, "count"), "count", choices::MOST_COUNT),
            image: self.parsed(get(table, "image")),
            memory_mib,
            cpus: self
                .ranged(get(table, "cpus"), "cpus", choices::MOST_CPUS)
                .map_or(1, |at| at.value),
            nics: list.into_iter().filter_map(|v| self.nic(v)).collect(),
            setup: self.setup(table),
            floating: self.address(get(table, "floating")),
        }
    }

    fn nic(&mut self, value: &Value<'_>) -> Option<NicFile> {
        let table = self.table(value)?;
        if get(table, "network").is_none() {
            self.add(value.span(), "a NIC needs a `network`", "");
        }
        let address = self.address(get(table, "address"));
        let mac = self.parsed(get(table, "mac"));
        let network = self.parsed(get(table, "network"))?;
        Some(NicFile { network, address, mac })
    }

    /// `outside` and the further pings.
    pub(super) fn verify(&mut self, value: &Value<'_>) -> (Vec<IpAddr>, Vec<PingFile>) {
        let Some(table) = self.table(value) else {
            return (Vec::new(), Vec::new());
        };
        let outside = self.addresses(get(table, "outside"));
        let pings = self.list(get(table, "ping"));
        (outside, pings.into_iter().filter_map(|v| self.ping(v)).collect())
    }

    fn ping(&mut self, value: &Value<'_>) -> Option<PingFile> {
        let table = self.table(value)?;
        for (key, example) in [("from", "from = [\"vm1\", \"node2\"]"), ("to", "to = \"192.0.2.1\"")] {
            if get(table, key).is_none() {
                self.add(
                    value.span(),
                    format!("a ping needs `{key}`"),
                    format!("write `{example}`"),
                );
            }
        }
        let mut from = Vec::new();
        for value in self.one_or_more(get(table, "from")) {
            from.extend(self.string(value).map(|text| At {
                value: text.to_owned(),
                span: value.span(),
            }));
        }
        let reach = get(table, "reach").is_none_or(|value| self.boolean(Some(value)));
        Some(PingFile {
            from,
            to: self.ip(get(table, "to"))?.value,
            reach,
        })
    }
}
