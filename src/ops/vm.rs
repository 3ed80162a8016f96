//! Finds one running VM of a lab by name.

use std::path::Path;
use std::sync::Arc;

use super::connect::emulated;
use super::{Env, ImageChoice, LoadOptions, Loaded, OpsError, belongs, connect, lab_name, load, observe, passwords};
use crate::host::Host;
use crate::lab::ImageConsole;
use crate::run::Journal;
use crate::state::DomainName;

/// A running VM.
pub struct Vm {
    /// Its domain.
    pub name: DomainName,
    /// Its host.
    pub host: Arc<dyn Host>,
    /// Its console and login, where known: `up` records it when it configures the guest, and a lab's file has it.
    pub console: Option<ImageConsole>,
}

impl Vm {
    /// Returns its console and login, or an error where they are unknown.
    pub fn console(&self) -> Result<&ImageConsole, OpsError> {
        self.console.as_ref().ok_or_else(|| OpsError::NoConsole {
            vm: self.name.vm().to_string(),
        })
    }
}

/// Finds the VM `vm` of `lab`, a lab's name or file; an error lists the VMs of the lab where it has no such VM.
pub fn find_vm(env: &Env, lab: &str, vm: &str) -> Result<Vm, OpsError> {
    let file = Path::new(lab);
    let lab = lab_name(lab)?;
    belongs::check(env, &lab)?;
    let past = Journal::read(&env.folders.lab(&lab))?;
    let mut known = past.hosts;
    known.extend(emulated(env, &lab)?);
    let hosts = connect(env, &lab, &known)?;
    let mut site = observe(&hosts, &lab)?;
    passwords::reveal(env, &lab, &mut site);
    let all = || {
        site.iter()
            .flat_map(|(host, state)| state.domains.iter().map(move |pair| (host, pair)))
    };
    if all().next().is_none() {
        return Err(OpsError::NotUp { lab, file: None });
    }
    let found = all().find_map(|(host, (name, domain))| {
        let host = hosts.get(host).filter(|_| name.vm().as_str() == vm)?;
        Some((host, name, domain))
    });
    let Some((host, name, domain)) = found else {
        return Err(OpsError::NoSuchVm {
            lab,
            vm: vm.to_owned(),
            known: all().map(|(_, (name, _))| name.vm().to_string()).collect(),
        });
    };
    let mut seen = site.values().filter_map(|state| state.seen.domains.get(name));
    let why = seen.find_map(|seen| seen.halted.clone());
    if !domain.running || why.is_some() {
        return Err(OpsError::VmNotRunning { vm: vm.to_owned(), why });
    }
    // The file, if there is one, where the password is known by its digest only.
    let is_whole = |console: &&ImageConsole| {
        let password = console.login.as_ref().and_then(|login| login.password.as_ref());
        password.is_none_or(|password| password.text().is_some())
    };
    let recorded = domain.configured.as_ref().map(|config| &config.console);
    let configured = recorded.filter(is_whole).cloned();
    Ok(Vm {
        name: name.clone(),
        host: host.clone(),
        console: configured
            .or_else(|| console_in(env, file, vm))
            .or_else(|| recorded.cloned()),
    })
}

/// Returns the console of the VM's image by the lab's file, where a file was given.
fn console_in(env: &Env, file: &Path, vm: &str) -> Option<ImageConsole> {
    let options = LoadOptions {
        image: ImageChoice::LastUp,
        emulate: false,
    };
    let Loaded { topology, .. } = file.is_file().then(|| load(env, file, &options).ok())??;
    let guest = topology.guests.iter().find(|(name, _)| name.as_str() == vm)?.1;
    Some(topology.images.get(&guest.image)?.console.clone())
}
