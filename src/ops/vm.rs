//! Finds the running VMs of a lab, and one of them by name.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::connect::known;
use super::named::file_at;
use super::{Env, ImageChoice, LoadOptions, Loaded, OpsError, belongs, connect, lab_name, load, observe, passwords};
use crate::host::{Host, NamedHosts};
use crate::lab::{HostName, ImageConsole, LabName, Login};
use crate::state::{Domain, DomainName, GuestConfig, Site, reached_from};

/// A running VM.
pub struct Vm {
    /// Its domain.
    pub name: DomainName,
    /// Its host.
    pub host: Arc<dyn Host>,
    /// Its console and login, where known: `up` records it when it configures the guest, and a lab's file has it.
    pub console: Option<ImageConsole>,
    /// The host with an address in its network, from which it is reached, and its address there.
    pub reached: Option<(Arc<dyn Host>, Ipv4Addr)>,
}

impl Vm {
    /// Returns its console and login, or an error where they are unknown.
    pub fn console(&self) -> Result<&ImageConsole, OpsError> {
        self.console.as_ref().ok_or_else(|| OpsError::NoConsole {
            vm: self.name.vm().to_string(),
        })
    }

    /// Connects to one of its TCP ports, from a host that is connected to its network.
    pub fn dial(&self, port: u16) -> Result<OwnedFd, OpsError> {
        let vm = || self.name.vm().to_string();
        let Some((host, address)) = &self.reached else {
            return Err(OpsError::NotReached { vm: vm() });
        };
        let to = SocketAddrV4::new(*address, port);
        host.dialer()?
            .dial(to)
            .map_err(|source| OpsError::Dial { vm: vm(), source })
    }
}

/// A lab that is up, and what was observed of it.
pub struct UpLab {
    /// Its name.
    pub lab: LabName,
    /// Its hosts, connected.
    pub hosts: NamedHosts,
    /// What it has on them.
    pub site: Site,
    /// Its file, where a file named it.
    file: Option<PathBuf>,
}

/// Observes the lab `lab`, a lab's name or file; [`OpsError::NotUp`] where nothing of it is there.
pub fn up_lab(env: &Env, lab: &str) -> Result<UpLab, OpsError> {
    let file = file_at(lab);
    let lab = lab_name(lab)?;
    belongs::check(env, &lab)?;
    let (known, _) = known(env, &lab)?;
    let hosts = connect(env, &lab, &known)?;
    let mut site = observe(&hosts, &lab)?;
    passwords::reveal(env, &lab, &mut site);
    if site.is_empty() {
        return Err(OpsError::NotUp { lab, file: None });
    }
    Ok(UpLab { lab, hosts, site, file })
}

/// Finds the VM `vm` of `lab`, a lab's name or file; an error lists the VMs of the lab where it has no such VM.
pub fn find_vm(env: &Env, lab: &str, vm: &str) -> Result<Vm, OpsError> {
    let lab = up_lab(env, lab)?;
    if lab.domains().next().is_none() {
        return Err(OpsError::NotUp {
            lab: lab.lab,
            file: None,
        });
    }
    lab.vm(env, vm)
}

impl UpLab {
    /// Returns every VM, running or not, with its host.
    pub fn domains(&self) -> impl Iterator<Item = (&HostName, &DomainName, &Domain)> {
        let states = self.site.iter();
        states.flat_map(|(host, state)| state.domains.iter().map(move |(name, domain)| (host, name, domain)))
    }

    /// Returns the VM `vm`, which must run.
    pub fn vm(&self, env: &Env, vm: &str) -> Result<Vm, OpsError> {
        let found = self.domains().find_map(|(host, name, domain)| {
            let connected = self.hosts.get(host).filter(|_| name.vm().as_str() == vm)?;
            Some((host, connected, name, domain))
        });
        let Some((host, connected, name, domain)) = found else {
            return Err(OpsError::NoSuchVm {
                lab: self.lab.clone(),
                vm: vm.to_owned(),
                known: self.domains().map(|(_, name, _)| name.vm().to_string()).collect(),
            });
        };
        let mut seen = self.site.values().filter_map(|state| state.seen.domains.get(name));
        let why = seen.find_map(|seen| seen.halted.clone());
        if !domain.running || why.is_some() {
            return Err(OpsError::VmNotRunning { vm: vm.to_owned(), why });
        }
        // The file, if there is one, where the password is known by its digest only.
        let is_whole = |console: &&ImageConsole| !console.login.as_ref().is_some_and(Login::lacks_passwords);
        let recorded = domain.configured.as_ref().map(|config| &config.console);
        let configured = recorded.filter(is_whole).cloned();
        let config = configuration(domain);
        let addresses: Vec<Ipv4Addr> = config
            .map(|config| config.addresses().into_values().collect())
            .unwrap_or_default();
        let reached = reached_from(&self.site, host, &addresses);
        let reached = reached.and_then(|(host, address)| Some((self.hosts.get(&host)?.clone(), address)));
        Ok(Vm {
            name: name.clone(),
            host: connected.clone(),
            console: configured
                .or_else(|| console_in(env, self.file.as_deref()?, vm))
                .or_else(|| recorded.cloned()),
            reached,
        })
    }
}

/// Returns what a guest was configured with over its console, or is by its seed disk.
pub(super) fn configuration(domain: &Domain) -> Option<&GuestConfig> {
    domain.configured.as_ref().or(domain.seed.as_ref())
}

/// Returns the console of the VM's image by the lab's file, where a file was given.
fn console_in(env: &Env, file: &Path, vm: &str) -> Option<ImageConsole> {
    let options = LoadOptions {
        image: ImageChoice::LastUp,
        emulate: false,
    };
    let Loaded { topology, .. } = load(env, file, &options).ok()?;
    let guest = topology.guests.iter().find(|(name, _)| name.as_str() == vm)?.1;
    Some(topology.images.get(&guest.image)?.console.clone())
}
