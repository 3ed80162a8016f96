//! `netlab script`: what `up` does on one host, as a shell script to read and to run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::Failure;
use super::{Context, sight};
use crate::lab::HostName;
use crate::libvirt::domain_xml::Template;
use crate::plan::{Step, plan};
use crate::script;
use crate::state::{Site, desired};

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    file: PathBuf,
    /// The host whose part is wanted.
    host: HostName,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (topology, _) = sight::load(&context.folders, &args.file, None)?;
    let Some(host) = topology.hosts.get(&args.host) else {
        let known: Vec<&str> = topology.hosts.keys().map(HostName::as_str).collect();
        return Err(Failure::Usage(format!(
            "lab {} has no host {}; there is: {}",
            topology.lab,
            args.host,
            known.join(", ")
        )));
    };
    // An emulated host is what the lab says; of any other, what stands on its NICs has to be looked up.
    let connects = BTreeMap::from([(args.host.clone(), host.connect.clone())]);
    let hosts = sight::reach(&context.folders, &topology.lab, &connects)?;
    let surveys = sight::survey(&hosts, &topology.lab).unwrap_or_default();
    let wanted = desired(&topology, &surveys);
    let steps = plan(&Site::new(), &wanted);
    let steps: Vec<Step> = steps
        .steps()
        .filter(|(name, _)| **name == args.host)
        .map(|(_, step)| step.clone())
        .collect();
    let text = Template::built_in()
        .map_err(script::ScriptError::from)
        .and_then(|template| script::script(&topology.lab, &args.host, &steps, &template))
        .map_err(|error| sight::failed(error.to_string()))?;
    context.answer(&text, &text)
}
