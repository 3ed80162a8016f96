//! The VMs of a lab, with commands that show their screens and console logs from the machine that netlab runs on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::super::{Deviations, Env};
use super::report::VmStatus;
use crate::lab::{Connect, HostName, LabName};
use crate::state::{Domain, DomainName, DomainSeen, Site};

/// Returns every VM of the lab.
pub(super) fn vms(
    env: &Env,
    site: &Site,
    connects: &BTreeMap<HostName, Connect>,
    deviations: &Deviations,
) -> Vec<VmStatus> {
    let floating = floating(site);
    let mut vms = Vec::new();
    for (host, state) in site {
        for (name, domain) in &state.domains {
            let place = Place {
                env,
                lab: name.lab(),
                host,
                connect: connects.get(host),
            };
            let differs = deviations.get(name).cloned().unwrap_or_default();
            let mut vm = vm(&place, name, domain, state.seen.domains.get(name), differs);
            let own = domain.configured.iter().flat_map(|config| &config.nics);
            let mut public = own.filter_map(|nic| floating.get(&nic.address.addr()));
            vm.floating = public.next().map(ToString::to_string);
            vms.push(vm);
        }
    }
    vms
}

/// Returns the floating address of each address of a VM that has one.
fn floating(site: &Site) -> BTreeMap<Ipv4Addr, Ipv4Addr> {
    let firewalls = site.values().filter_map(|state| state.firewall.as_ref());
    let floating = firewalls.flat_map(|firewall| &firewall.floating);
    floating.map(|one| (one.private, one.public)).collect()
}

/// Where a VM is.
struct Place<'a> {
    env: &'a Env,
    lab: &'a LabName,
    host: &'a HostName,
    connect: Option<&'a Connect>,
}

impl Place<'_> {
    /// Returns a path of the host as a path of this machine, where it has one.
    fn path(&self, path: &Path) -> PathBuf {
        match (self.connect, path.strip_prefix("/")) {
            (Some(Connect::Emulated), Ok(inside)) => self.env.folders.machine(self.lab, self.host).join(inside),
            _ => path.to_owned(),
        }
    }

    /// Returns the command that prints a file of the host, by its path from [`Self::path`], and what is added to it.
    fn follow(&self, path: &Path) -> String {
        let path = path.display();
        match self.connect {
            Some(Connect::Ssh(target)) => format!("ssh {target} tail -n +1 -f {path}"),
            _ => format!("tail -n +1 -f {path}"),
        }
    }

    /// Returns the command that shows the VNC screen at this address of the host.
    fn screen(&self, vnc: &str) -> Option<String> {
        let (address, port) = vnc.rsplit_once(':')?;
        let viewer = format!("vncviewer {address}::{port}");
        Some(match self.connect {
            Some(Connect::Emulated) => format!("ip netns exec netlab.{}.{} {viewer}", self.lab, self.host),
            Some(Connect::Ssh(target)) => {
                format!("ssh -f -L {port}:{vnc} {target} sleep 60 && {viewer}")
            }
            Some(Connect::Local) | None => viewer,
        })
    }
}

fn vm(
    place: &Place<'_>,
    name: &DomainName,
    domain: &Domain,
    seen: Option<&DomainSeen>,
    deviations: Vec<String>,
) -> VmStatus {
    let state = match (domain.running, &domain.configured, seen) {
        (.., Some(DomainSeen { halted: Some(why), .. })) => format!("halted: {why}"),
        (true, Some(_), _) if !deviations.is_empty() => "running, changed".to_owned(),
        (true, Some(_), _) => "running".to_owned(),
        (true, None, _) => "running, not configured".to_owned(),
        (false, _, Some(seen)) => seen.condition.to_string(),
        (false, _, None) => "not running".to_owned(),
    };
    let vnc = seen.and_then(|seen| seen.screen.clone());
    let console_log = seen
        .and_then(|seen| seen.console_log.as_ref())
        .map(|log| place.path(log));
    let configured = domain.configured.iter().flat_map(|config| &config.nics);
    VmStatus {
        name: name.vm().to_string(),
        host: place.host.to_string(),
        state,
        deviations,
        addresses: configured.map(|nic| nic.address.to_string()).collect(),
        macs: domain.nics.iter().map(|nic| nic.mac.to_string()).collect(),
        domain: name.to_string(),
        floating: None,
        screen: vnc.as_deref().and_then(|vnc| place.screen(vnc)),
        vnc,
        follow: console_log.as_deref().map(|log| place.follow(log)),
        console_log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_for_the_machine_that_netlab_runs_on() {
        let folders = crate::folders::Folders {
            state: "/s".into(),
            cache: "/c".into(),
        };
        let env = Env::new(folders, "netlab".into());
        let (lab, host) = ("small".parse().unwrap(), "node1".parse().unwrap());
        let of = |connect: &Connect| {
            let place = Place {
                env: &env,
                lab: &lab,
                host: &host,
                connect: Some(connect),
            };
            let log = place.path(Path::new("/var/log/libvirt/x.log"));
            (place.follow(&log), place.screen("127.0.0.1:5900").unwrap())
        };
        assert_eq!(
            of(&Connect::Emulated),
            (
                "tail -n +1 -f /s/labs/small/hosts/node1/var/log/libvirt/x.log".to_owned(),
                "ip netns exec netlab.small.node1 vncviewer 127.0.0.1::5900".to_owned()
            )
        );
        assert_eq!(of(&Connect::Local).0, "tail -n +1 -f /var/log/libvirt/x.log");
        let ssh = Connect::Ssh("ssh://root@h:2222".parse().unwrap());
        assert_eq!(of(&ssh).0, "ssh ssh://root@h:2222 tail -n +1 -f /var/log/libvirt/x.log");
    }
}
