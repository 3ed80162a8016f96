//! Renders what `up` does on one host as a shell script.

use std::collections::BTreeMap;

use super::{Env, Loaded, OpsError, connect, survey};
use crate::lab::HostName;
use crate::libvirt::domain_xml::Template;
use crate::plan::{Step, plan};
use crate::script::{self, ScriptError};
use crate::state::{Site, desired};

/// Returns the shell script that does on `name` what `up` would do on a host without anything of the lab.
pub fn script(env: &Env, loaded: &Loaded, name: &HostName) -> Result<String, OpsError> {
    let topology = &loaded.topology;
    let Some(host) = topology.hosts.get(name) else {
        return Err(OpsError::NoSuchHost {
            lab: topology.lab.clone(),
            host: name.clone(),
            known: topology.hosts.keys().cloned().collect(),
        });
    };
    // An emulated host is what the lab says; of any other, the configuration of its NICs has to be read.
    let connects = BTreeMap::from([(name.clone(), host.connect.clone())]);
    let hosts = connect(env, &topology.lab, &connects)?;
    let surveys = survey(&hosts, &topology.lab).unwrap_or_default();
    let mut topology = super::topology(env, loaded, &surveys)?.into_owned();
    // A person has the files themselves, and no copy of them in the cache.
    let (files, folders) = (&loaded.files, &env.folders);
    topology.with_files(|copy| files.own_disk(copy, folders), |copy| files.own_cd(copy, folders));
    let topology = &topology;
    let steps = plan(&Site::new(), &desired(topology, &surveys));
    let steps: Vec<Step> = steps
        .steps()
        .filter(|(host, _)| *host == name)
        .map(|(_, step)| step.clone())
        .collect();
    let template = Template::load(&env.folders.domain_template()).map_err(ScriptError::from)?;
    Ok(script::script(&topology.lab, name, &steps, &template)?)
}
