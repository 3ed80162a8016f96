//! One running VM of a lab, found by name.

use std::path::Path;
use std::sync::Arc;

use super::error::Failure;
use super::{Context, sight};
use crate::host::Host;
use crate::lab::{ImageConsole, suggest};
use crate::run::Journal;
use crate::state::DomainName;

/// Which VM is meant.
#[derive(clap::Args)]
#[group(skip)] // Flattened into verbs whose own arguments are a group of this name.
pub struct Args {
    /// The lab's name, or its file.
    pub lab: String,
    /// The VM's name.
    pub vm: String,
}

/// A running VM.
pub struct Vm {
    pub name: DomainName,
    pub host: Arc<dyn Host>,
    /// How it is talked to, as far as that is known: `up` notes it with what it told the guest; a lab's file says it.
    pub console: Option<ImageConsole>,
}

impl Vm {
    /// How it is talked to.
    pub fn console(&self) -> Result<&ImageConsole, Failure> {
        self.console.as_ref().ok_or_else(|| Failure::Failed {
            message: format!(
                "it is not known how {} is talked to: `up` did not get through to it",
                self.name.vm()
            ),
            help: Some("give the lab's file instead of its name, or run `netlab up` again".to_owned()),
        })
    }
}

/// Finds the VM; an error that says which there are when it is none of the lab's, or does not run.
pub fn find(context: &Context, args: &Args) -> Result<Vm, Failure> {
    let folders = &context.folders;
    let lab = sight::lab_name(&args.lab)?;
    let past = Journal::read(&folders.lab(&lab)).map_err(|error| sight::failed(error.to_string()))?;
    let mut connects = past.hosts;
    connects.extend(sight::machines(folders, &lab)?);
    let hosts = sight::reach(folders, &lab, &connects)?;
    let site = sight::observe(&hosts, &lab)?;
    let all = || {
        site.iter()
            .flat_map(|(host, state)| state.domains.iter().map(move |pair| (host, pair)))
    };
    if all().next().is_none() {
        return Err(sight::failed(format!("lab {lab} has no VM that is up")));
    }
    let found = all().find(|(_, (name, _))| name.vm().as_str() == args.vm);
    let (host, (name, domain)) = found.ok_or_else(|| Failure::Failed {
        message: format!("lab {lab} has no VM {:?}", args.vm),
        help: Some(suggest(&args.vm, all().map(|(_, (name, _))| name.vm().as_str()))),
    })?;
    if !domain.running {
        return Err(Failure::Failed {
            message: format!("{} is stopped or crashed", args.vm),
            help: Some("`netlab up` starts it again".to_owned()),
        });
    }
    let told = domain.configured.as_ref().map(|config| config.console.clone());
    Ok(Vm {
        name: name.clone(),
        host: hosts
            .get(host)
            .cloned()
            .ok_or_else(|| sight::failed(format!("{host} cannot be reached")))?,
        console: told.or_else(|| by_file(context, args)),
    })
}

/// What the lab's file says of the VM's image, where a file was given.
fn by_file(context: &Context, args: &Args) -> Option<ImageConsole> {
    let file = Path::new(&args.lab);
    let topology = file
        .is_file()
        .then(|| sight::as_made(&context.folders, file, None).ok())??;
    let guest = topology.guests.iter().find(|(name, _)| name.as_str() == args.vm)?.1;
    Some(topology.images.get(&guest.image)?.console.clone())
}
