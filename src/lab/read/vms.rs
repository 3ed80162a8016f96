//! Virtual machines.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};
use crate::lab::file::{At, ForwardFile, NicFile, VmFile};
use crate::lab::schema::choices;
use crate::lab::{ExtraDisk, HostName, VmName};

/// Further disks of one VM: as many as the slots of a PCI bus allow besides its NICs and other devices.
const MOST_DISKS: usize = 16;

impl Reader {
    /// Reads a VM; `folder` is the base of relative paths.
    pub(super) fn vm(&mut self, name: At<VmName>, table: &DeTable<'_>, folder: &Path) -> VmFile {
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
        let disks = self.disks(get(table, "disks"), folder);
        let cdrom = get(table, "cdrom").and_then(|value| self.path(value, folder));
        let list = self.list(get(table, "nics"));
        VmFile {
            name,
            hosts: places,
            placed: host.is_some() || hosts.is_some(),
            count: self.ranged(get(table, "count"), "count", choices::MOST_COUNT),
            image: self.parsed(get(table, "image")),
            memory_mib,
            disk_mib,
            disks,
            cdrom,
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

    /// Reads the further disks: each has a size or begins with a file.
    fn disks(&mut self, value: Option<&Value<'_>>, folder: &Path) -> Vec<ExtraDisk> {
        let list = self.list(value);
        if let (Some(value), true) = (value, list.len() > MOST_DISKS) {
            let message = format!("{} further disks are too many", list.len());
            self.add(value.span(), message, format!("a vm has at most {MOST_DISKS}"));
        }
        list.into_iter()
            .filter_map(|value| self.disk_of_vm(value, folder))
            .collect()
    }

    fn disk_of_vm(&mut self, value: &Value<'_>, folder: &Path) -> Option<ExtraDisk> {
        let table = self.table(value)?;
        match (get(table, "size"), get(table, "file")) {
            (Some(size), None) => {
                let mib = self.mib(Some(size))?;
                Some(ExtraDisk::Blank { mib })
            }
            (None, Some(file)) => Some(ExtraDisk::File(self.path(file, folder)?)),
            (Some(_), Some(file)) => {
                let message = "a disk has either `size` or `file`";
                self.add(file.span(), message, "remove one of them");
                None
            }
            (None, None) => {
                let help = "write `{ size = \"1GiB\" }` or `{ file = \"data.qcow2\" }`";
                self.add(value.span(), "a disk needs a `size` or a `file`", help);
                None
            }
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
        let network = self.parsed(get(table, "network"));
        let network = self.kept(table, "network", network)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::lab::{ExtraDisk, Lab, parse, write};

    fn read(keys: &str) -> Result<Lab, Vec<String>> {
        let text = format!("name = \"a\"\n[hosts.h]\n[vms.v]\n{keys}\n");
        parse("/labs/lab.toml", &text, &BTreeSet::from(["mini".parse().unwrap()]))
            .map_err(|problems| problems.problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn a_vm_has_further_disks_and_a_cd() {
        let lab = read("disks = [{ size = \"1GiB\" }, { file = \"data.qcow2\" }]\ncdrom = \"/srv/x.iso\"").unwrap();
        let vm = &lab.vms[&"v".parse().unwrap()];
        let file = ExtraDisk::File("/labs/data.qcow2".into());
        assert_eq!(vm.disks, [ExtraDisk::Blank { mib: 1024 }, file]);
        assert_eq!(vm.cdrom, Some("/srv/x.iso".into()));
        let written = write(&lab);
        let again = parse("lab.toml", &written, &BTreeSet::from(["mini".parse().unwrap()])).unwrap();
        assert_eq!(again.vms, lab.vms, "{written}");
    }

    #[test]
    fn a_disk_has_either_a_size_or_a_file() {
        for (keys, wanted) in [
            ("disks = [{}]", "a disk needs a `size` or a `file`"),
            (
                "disks = [{ size = \"1GiB\", file = \"x\" }]",
                "a disk has either `size` or `file`",
            ),
            ("disks = [{ size = \"1GB\" }]", "is not a size"),
            ("disks = [{ file = \"\" }]", "this is not a path"),
            ("disks = [{ files = \"x\" }]", "unknown key `files`"),
            ("cdrom = \"\"", "this is not a path"),
        ] {
            let problems = read(keys).unwrap_err();
            assert!(
                problems.iter().any(|problem| problem.contains(wanted)),
                "{keys}: {problems:?}"
            );
        }
        let many = vec!["{ size = \"1GiB\" }"; 17].join(", ");
        assert_eq!(
            read(&format!("disks = [{many}]")).unwrap_err(),
            ["17 further disks are too many"]
        );
    }
}
