//! The NICs of an emulated host: their addresses, and the NICs without a cable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::batch::batch;
use super::error::{EmulatedError, Operation, failed};
use super::links::Link;
use super::namespace::{links, name};
use super::router::{DefaultRoute, default_routes};
use super::{Emulator, shaping};
use crate::atomic_file;
use crate::lab::{ETHERNET_MTU, HostName, IfName, LabName};
use crate::state::{Machine, MachineNic};
use crate::topology::derive::nic_mac;

/// What each NIC was configured with. It cannot be read back from a NIC that is attached to a bridge, because the
/// addresses are then configured on the bridge.
pub(super) type Record = BTreeMap<IfName, MachineNic>;

fn record(machine: &Path) -> PathBuf {
    machine.join("nics.json")
}

/// Reads the record of the machine with the private folder `machine`; empty where nothing has been configured.
pub(super) fn read(machine: &Path) -> io::Result<Record> {
    match fs::read(record(machine)) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::new()),
        Err(error) => Err(error),
    }
}

fn write(machine: &Path, nics: &Record) -> io::Result<()> {
    atomic_file::replace(&record(machine), 0o600, &serde_json::to_vec_pretty(nics)?).map(|_| ())
}

/// Removes a NIC that is about to be replaced from the record. Cables of one machine are unplugged in parallel, so
/// this takes a lock.
pub(super) fn forget(machine: &Path, nic: &IfName) -> io::Result<()> {
    static RECORD: Mutex<()> = Mutex::new(());
    let _lock = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut nics = read(machine)?;
    nics.remove(nic).map_or(Ok(()), |_| write(machine, &nics))
}

/// Returns whether a link is a NIC without a cable: a tap device that no process has opened, which can be attached to a
/// bridge like any other NIC and has no carrier.
pub(super) fn is_unplugged(link: &Link) -> bool {
    link.kind() == Some("tun")
}

impl Emulator {
    /// Configures addresses and default routes of an emulated host's NICs, and creates those without a cable. A NIC that
    /// is configured as wanted is left unchanged.
    pub(crate) fn configure(&self, lab: &LabName, host: &HostName, wanted: &Machine) -> Result<(), EmulatedError> {
        let machine = self.folders.machine(lab, host);
        let record = read(&machine).map_err(failed(Operation::ReadNics(host.clone())))?;
        let links = links(&self.shell, lab, host)?;
        let changed = self.changed_nics(lab, host, &links, &record)?;
        let links: BTreeMap<_, _> = links.into_iter().map(|link| (link.ifname.clone(), link)).collect();

        let mut lines = Vec::new();
        for nic in record.keys().filter(|nic| !wanted.nics.contains_key(*nic)) {
            match links.get(nic.as_str()) {
                Some(link) if is_unplugged(link) => lines.push(format!("link delete dev {nic}")),
                // A cable's end is deleted with its cable.
                Some(_) | None => {}
            }
        }
        for (nic, config) in &wanted.nics {
            let link = links.get(nic.as_str());
            if link.is_some() && record.get(nic) == Some(config) && !changed.contains(nic) {
                continue;
            }
            if let Some(bridge) = link.and_then(|link| link.master.as_ref()) {
                return Err(EmulatedError::NicInBridge {
                    host: host.clone(),
                    nic: nic.clone(),
                    bridge: bridge.clone(),
                });
            }
            if changed.contains(nic) && record.get(nic) == Some(config) {
                lines.extend(lines_to_set(nic, config));
            } else {
                lines.extend(lines_for(lab, host, nic, config, link.is_none()));
            }
        }
        batch(&self.shell, Some(&name(lab, host)), &lines)?;
        write(&machine, &wanted.nics).map_err(failed(Operation::WriteNics(host.clone())))
    }
}

impl Emulator {
    /// Returns the NICs of a host that are not as `record` has them. One that is attached to a bridge, or being attached,
    /// is not compared: what was on it is on the bridge. Nor is one that is down by request.
    pub(super) fn changed_nics(
        &self,
        lab: &LabName,
        host: &HostName,
        links: &[Link],
        record: &Record,
    ) -> Result<BTreeSet<IfName>, EmulatedError> {
        let held = shaping::held_down(lab, host, links)?;
        let is_held = |link: &Link| held.iter().any(|nic| nic.as_str() == link.ifname);
        let recorded = |link: &&Link| link.master.is_none() && link.ifalias.is_none() && !is_held(link);
        let own: Vec<_> = links
            .iter()
            .filter(recorded)
            .filter_map(|link| {
                let (nic, config) = record.iter().find(|(nic, _)| nic.as_str() == link.ifname)?;
                Some((link, nic, config))
            })
            .collect();
        let routes = if own.iter().any(|(_, _, config)| config.gateway.is_some()) {
            default_routes(&self.shell, &name(lab, host))?
        } else {
            Vec::new()
        };
        let as_recorded = |link: &Link, config: &MachineNic| {
            let is_route = |route: &DefaultRoute| {
                route.gateway == config.gateway && route.dev.as_deref() == Some(link.ifname.as_str())
            };
            link.is_up()
                && config.mtu.is_none_or(|mtu| link.mtu == Some(mtu.into()))
                && config
                    .address
                    .is_none_or(|address| link.ipv4_addresses().any(|one| one == address))
                && (config.gateway.is_none() || routes.iter().any(is_route))
        };
        let changed = own.iter().filter(|(link, _, config)| !as_recorded(link, config));
        Ok(changed.map(|(_, nic, _)| (*nic).clone()).collect())
    }
}

/// Returns the lines of `ip -batch` that create a NIC without a cable.
pub(super) fn lines_to_create(lab: &LabName, host: &HostName, nic: &IfName) -> [String; 2] {
    [
        format!("tuntap add dev {nic} mode tap"),
        format!("link set dev {nic} address {}", nic_mac(lab, host, nic)),
    ]
}

/// Returns the lines of `ip -batch` that configure a NIC, whatever was configured on it.
pub(super) fn lines_for(
    lab: &LabName,
    host: &HostName,
    nic: &IfName,
    config: &MachineNic,
    create: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    if create {
        lines.extend(lines_to_create(lab, host, nic));
    }
    // Routes are deleted with their addresses.
    lines.push(format!("address flush dev {nic} scope global"));
    lines.extend(lines_to_set(nic, config));
    lines
}

/// Returns the line of `ip -batch` that sets the MTU of a NIC; a NIC of Ethernet's MTU has it from its creation.
pub(super) fn line_for_mtu(nic: &IfName, config: &MachineNic) -> Option<String> {
    config.mtu.map(|mtu| format!("link set dev {nic} mtu {mtu}"))
}

/// Returns the MTU of a link where it is more than Ethernet's, in bytes.
pub(super) fn large_mtu(link: &Link) -> Option<u16> {
    let mtu = link.mtu.and_then(|mtu| u16::try_from(mtu).ok())?;
    (mtu > ETHERNET_MTU).then_some(mtu)
}

/// Returns the lines of `ip -batch` that add to a NIC what it lacks; what else is on it, as a floating address, stays.
fn lines_to_set(nic: &IfName, config: &MachineNic) -> Vec<String> {
    let mut lines: Vec<_> = line_for_mtu(nic, config).into_iter().collect();
    lines.push(format!("link set dev {nic} up"));
    if let Some(address) = config.address {
        lines.push(format!("address replace {address} brd + dev {nic}"));
    }
    if let Some(gateway) = config.gateway {
        lines.push(format!("route replace default via {gateway} dev {nic}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_nics_can_be_removed_from_it() {
        let machine = tempfile::tempdir().unwrap();
        let (machine, nic) = (machine.path(), IfName::new("eth0").unwrap());
        assert_eq!(read(machine).unwrap(), Record::new());
        forget(machine, &nic).unwrap();
        let nics = Record::from([(nic.clone(), MachineNic::default())]);
        write(machine, &nics).unwrap();
        assert_eq!(read(machine).unwrap(), nics);
        forget(machine, &nic).unwrap();
        assert_eq!(read(machine).unwrap(), Record::new());
    }

    #[test]
    fn nics_that_are_removed_from_the_record_in_parallel_are_all_removed() {
        let machine = tempfile::tempdir().unwrap();
        let nics: Vec<IfName> = (0..8).map(|n| format!("eth{n}").parse().unwrap()).collect();
        let record = nics.iter().map(|nic| (nic.clone(), MachineNic::default())).collect();
        write(machine.path(), &record).unwrap();
        std::thread::scope(|scope| {
            let threads: Vec<_> = nics
                .iter()
                .map(|nic| scope.spawn(|| forget(machine.path(), nic)))
                .collect();
            for thread in threads {
                thread.join().unwrap().unwrap();
            }
        });
        assert_eq!(read(machine.path()).unwrap(), Record::new());
    }
}
