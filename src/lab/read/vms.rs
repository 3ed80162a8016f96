//! Virtual machines.

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::file::{At, ForwardFile, NicFile, VmFile};
use crate::lab::schema::choices;
use crate::lab::{HostName, VmName};

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
        let memory_mib = self.mib(get(table, "memory"));
        let disk_mib = self.mib(get(table, "disk"));
        let list = self.list(get(table, "nics"));
        VmFile {
            name,
            hosts: places,
            placed: host.is_some() || hosts.is_some(),
            count: self.ranged(get(table, "count"), "count", choices::MOST_COUNT),
            image: self.parsed(get(table, "image")),
            memory_mib,
            disk_mib,
            cpus: self
                .ranged(get(table, "cpus"), "cpus", choices::MOST_CPUS)
                .map_or(1, |at| at.value),
            nics: list.into_iter().filter_map(|v| self.nic(v)).collect(),
            setup: self.setup(table),
            floating: self.address(get(table, "floating")),
            serve: self.serve(get(table, "serve")),
            forward: {
                let list = self.list(get(table, "forward"));
                list.into_iter().filter_map(|value| self.forward(value)).collect()
            },
        }
    }

    fn forward(&mut self, value: &Value<'_>) -> Option<ForwardFile> {
        let table = self.table(value)?;
        for key in ["host", "guest"] {
            if get(table, key).is_none() {
                let example = "write e.g. `{ host = 8080, guest = 80 }`";
                self.add(value.span(), format!("a forward needs `{key}`"), example);
            }
        }
        let mut port = |key: &'static str| {
            let At { value, span } = self.ranged(get(table, key), key, choices::MOST_PORT)?;
            let value = u16::try_from(value).ok()?;
            Some(At { value, span })
        };
        let (host, guest) = (port("host"), port("guest"));
        Some(ForwardFile {
            host: host?,
            guest: guest?,
        })
    }

    fn nic(&mut self, value: &Value<'_>) -> Option<NicFile> {
        let table = self.table(value)?;
        if get(table, "network").is_none() {
            self.add(value.span(), "a NIC needs a `network`", "");
        }
        let address = self.address(get(table, "address"));
        let mac = self.parsed(get(table, "mac"));
        let network = self.parsed(get(table, "network"))?;
        let port_security = get(table, "port_security").map(|value| self.boolean(Some(value)));
        let shaping = self.shaping(table);
        Some(NicFile {
            network,
            address,
            mac,
            port_security,
            shaping,
        })
    }
}
