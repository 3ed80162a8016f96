//! What of the observed state a lab keeps when it changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Disk, Domain, DomainName, HostState, Site, Survey, Volume, localhost};
use crate::lab::{BaseDisk, HostName, MacAddr};
use crate::topology::{Existing, ExistingNic, GuestDisk};

/// Returns what the hosts have already. `surveys` may be empty: then only the addresses that uplinks had are known.
///
/// What was assigned is read from the hosts and not from a file of netlab's: the domains are what has to keep it, and
/// so it survives a lost state folder, another machine to run netlab on, and an interrupted run.
pub fn existing(observed: &Site, surveys: &BTreeMap<HostName, Survey>) -> Existing {
    let mut existing = Existing::default();
    for state in observed.values() {
        for (name, domain) in &state.domains {
            let nics = domain.nics.iter().map(|nic| ExistingNic {
                tap: nic.tap.clone(),
                mac: nic.mac,
                address: address(observed, state, name, domain, nic.mac),
            });
            let nics: Vec<_> = nics.collect();
            if let Some(seed) = &domain.seed {
                existing
                    .ssh_keys
                    .insert(name.vm().clone(), seed.cloud_init.ssh_keys.clone());
            }
            // A VM that is moved may be defined on both hosts; the one that runs has the addresses in use.
            if domain.running || !existing.guests.contains_key(name.vm()) {
                existing.guests.insert(name.vm().clone(), nics);
            }
        }
        for (name, disk) in &state.disks {
            let disks = existing.disks.entry(name.domain().vm().clone()).or_default();
            disks.insert(name.number(), further(disk));
        }
        let moved = state.uplinks.values().flat_map(|uplink| &uplink.was.addresses);
        existing.hosts.extend(moved.filter_map(|net| v4(net.addr())));
    }
    // The machine that netlab runs on is no part of a lab whose hosts are emulated on it.
    for (_, survey) in surveys.iter().filter(|(host, _)| **host != localhost()) {
        existing.hosts.extend(survey.addresses.keys().copied().filter_map(v4));
        let nics = survey.nics.values().flat_map(|nic| &nic.addresses);
        existing.hosts.extend(nics.filter_map(|net| v4(net.addr())));
    }
    existing
}

/// Returns the address of a guest's NIC: what the running guest was configured with; of one that does not run, what its
/// definition records, its seed disk contains, or a DHCP server gives it.
fn address(observed: &Site, state: &HostState, name: &DomainName, domain: &Domain, mac: MacAddr) -> Option<Ipv4Addr> {
    let configs = domain.configured.iter().chain(&domain.seed);
    let mut configured = configs.flat_map(|config| &config.nics).filter(|nic| nic.mac == mac);
    let recorded = || state.seen.domains.get(name)?.addresses.get(&mac).copied();
    let lease = || {
        let mut servers = observed.values().flat_map(|state| state.dhcp.values());
        servers.find_map(|server| Some(server.leases.get(&mac)?.address))
    };
    configured
        .next()
        .map(|nic| nic.address.addr())
        .or_else(recorded)
        .or_else(lease)
}

fn further(disk: &Disk) -> GuestDisk {
    match disk {
        Disk::Blank { mib } => GuestDisk::Blank { mib: *mib },
        Disk::Over(Volume { base, base_format }) => GuestDisk::Over(BaseDisk {
            base: base.clone(),
            format: base_format.clone(),
        }),
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::example::{topology, up};
    use crate::state::{Condition, DomainSeen};

    #[test]
    fn guests_have_what_they_were_configured_with() {
        let topology = topology();
        let existing = existing(&up(), &BTreeMap::new());
        assert_eq!(existing.guests.len(), topology.guests.len());
        for (name, guest) in &topology.guests {
            let nics = guest.nics.iter().map(|nic| ExistingNic {
                tap: nic.tap.clone(),
                mac: nic.mac,
                address: Some(nic.address.addr()),
            });
            assert_eq!(existing.guests[name], nics.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_guest_that_does_not_run_has_what_its_definition_records() {
        let mut site = up();
        let recorded: Ipv4Addr = [10, 0, 1, 77].into();
        for state in site.values_mut() {
            for (name, domain) in &mut state.domains {
                (domain.running, domain.configured) = (false, None);
                let seen = DomainSeen {
                    condition: Condition::ShutOff,
                    halted: None,
                    screen: None,
                    console_log: None,
                    addresses: domain.nics.iter().map(|nic| (nic.mac, recorded)).collect(),
                };
                state.seen.domains.insert(name.clone(), seen);
            }
        }
        let existing = existing(&site, &BTreeMap::new());
        assert!(
            existing
                .guests
                .values()
                .flatten()
                .all(|nic| nic.address == Some(recorded))
        );
    }

    #[test]
    fn the_addresses_of_a_real_host_are_known_and_those_of_the_machine_below_emulated_ones_are_not() {
        let survey = |address: [u8; 4]| Survey {
            addresses: [(IpAddr::from(address), "eth7".to_owned())].into(),
            ..Survey::default()
        };
        let surveys = [
            ("node1".parse().unwrap(), survey([10, 0, 1, 5])),
            (localhost(), survey([10, 0, 1, 6])),
        ];
        let existing = existing(&Site::new(), &surveys.into());
        assert_eq!(existing.hosts, [Ipv4Addr::from([10, 0, 1, 5])].into());
    }

    #[test]
    fn an_uplinks_own_addresses_are_those_of_a_host() {
        let existing = existing(&up(), &BTreeMap::new());
        assert!(
            existing.hosts.contains(&Ipv4Addr::from([172, 16, 99, 2])),
            "{:?}",
            existing.hosts
        );
    }
}
