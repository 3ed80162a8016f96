//! What every verb does first: reach the hosts of a lab, look at them, and work out what is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::Failure;
use super::output::complain;
use crate::emulated::Emulator;
use crate::folders::Folders;
use crate::host::guests::BootSlots;
use crate::host::linux::{LinuxHost, Place};
use crate::host::{Host, HostError, NamedHosts};
use crate::image::{self, Used};
use crate::lab::{self, Connect, HostName, ImageEntry, ImageName, Lab, LabName};
use crate::run::{chain, on_each};
use crate::state::{HostState, MachineKind, Site, Survey, localhost};
use crate::topology::{Topology, allocate};
use crate::transport::ssh::confirm::CONFIRM_WITHIN;

/// Images by name, those of the catalog and a lab's own.
pub type Entries = BTreeMap<ImageName, ImageEntry>;

/// Loads a lab file and makes every choice in it; what makes little sense is told on stderr.
/// `instead` stands in the place of the lab's own `image`.
pub fn load(folders: &Folders, file: &Path, instead: Option<&ImageName>) -> Result<(Topology, Entries), Failure> {
    let (lab, entries) = load_lab(file, instead)?;
    for warning in &lab.warnings {
        let help = warning.help.iter().map(|help| format!(" (help: {help})"));
        let help = help.collect::<String>();
        complain(&format!("warning: {}: {warning}{help}", file.display()));
    }
    let topology = allocate(&lab, &image::resolve(&entries, folders));
    Ok((topology, entries))
}

/// The lab as the last `up` made it: that may have run with another image than the file's.
pub fn as_made(folders: &Folders, file: &Path, instead: Option<&ImageName>) -> Result<Topology, Failure> {
    let lab = std::fs::read_to_string(file)
        .ok()
        .and_then(|text| lab::name_only(&text));
    let used = lab.map(|lab| Used::read(folders, &lab)).transpose();
    let used = used.map_err(|error| failed(format!("cannot read which image was used: {error}")))?;
    let used = used.and_then(|used| used.image);
    Ok(load(folders, file, instead.or(used.as_ref()))?.0)
}

/// Loads a lab file, with every choice in it open, and the images it knows.
pub fn load_lab(file: &Path, instead: Option<&ImageName>) -> Result<(Lab, Entries), Failure> {
    let mut entries = image::entries().map_err(|error| failed(chain(&error)))?;
    let known: BTreeSet<_> = entries.keys().cloned().collect();
    let lab = lab::load(file, &known, instead).map_err(|error| Failure::Invalid(miette::Report::new(error)))?;
    entries.extend(lab.images.clone());
    if let Some(name) = instead
        && !lab.vms.is_empty()
        && lab.vms.values().all(|vm| vm.image != *name)
    {
        return Err(Failure::Usage(format!(
            "--image {name} changes nothing: every vm of lab {} names its own image",
            lab.name
        )));
    }
    Ok((lab, entries))
}

/// How the hosts of a topology are reached.
pub fn connects(topology: &Topology) -> BTreeMap<HostName, Connect> {
    topology
        .hosts
        .iter()
        .map(|(name, host)| (name.clone(), host.connect.clone()))
        .collect()
}

/// The ways to `hosts`, and to this machine as the owner of the emulated ones. Nothing is opened yet.
pub fn reach(folders: &Folders, lab: &LabName, connects: &BTreeMap<HostName, Connect>) -> Result<NamedHosts, Failure> {
    reach_confirming(folders, lab, connects, CONFIRM_WITHIN)
}

/// The same; a change that may cut the way to a host behind ssh has to be confirmed within `within`.
pub fn reach_confirming(
    folders: &Folders,
    lab: &LabName,
    connects: &BTreeMap<HostName, Connect>,
    within: Duration,
) -> Result<NamedHosts, Failure> {
    let slots = Arc::new(BootSlots::default());
    let program = std::env::current_exe().map_err(|error| failed(format!("where is netlab itself? {error}")))?;
    let rig = Emulator::new(folders, &program).map_err(|error| failed(error.to_string()))?;
    let mut hosts: NamedHosts = BTreeMap::new();
    hosts.insert(localhost(), Arc::new(rig));
    for (name, connect) in connects {
        let place = match connect {
            Connect::Emulated => Place::Emulated(lab.clone(), name.clone()),
            Connect::Local => Place::Local,
            Connect::Ssh(target) => Place::Ssh(target.clone()),
        };
        let slots = match connect {
            Connect::Emulated | Connect::Local => slots.clone(),
            // It has processors of its own.
            Connect::Ssh(_) => Arc::default(),
        };
        hosts.insert(
            name.clone(),
            Arc::new(LinuxHost::new(place, folders.clone(), slots).confirmed_within(within)),
        );
    }
    Ok(hosts)
}

/// Emulated hosts of the lab that are on this machine, whatever any file says.
pub fn machines(folders: &Folders, lab: &LabName) -> Result<BTreeMap<HostName, Connect>, Failure> {
    let hosts = reach(folders, lab, &BTreeMap::new())?;
    let site = on_each(&hosts, |host| host.observe(lab)).map_err(|errors| unreachable(&errors))?;
    Ok(site
        .into_values()
        .flat_map(|state| state.machines)
        .filter(|(_, machine)| machine.kind == MachineKind::Host)
        .map(|(name, _)| (name, Connect::Emulated))
        .collect())
}

/// Looks at every host to change it: after what earlier runs on the lab left under way there was ended.
pub fn observe_to_change(hosts: &NamedHosts, lab: &LabName) -> Result<Site, Failure> {
    on_each(hosts, |host| host.settle(lab)).map_err(|errors| unreachable(&errors))?;
    observe(hosts, lab)
}

/// Looks at every host at the same time; at emulated ones only where they live.
pub fn observe(hosts: &NamedHosts, lab: &LabName) -> Result<Site, Failure> {
    let rig: NamedHosts = hosts
        .iter()
        .filter(|(name, _)| **name == localhost())
        .map(pair)
        .collect();
    let mut site = on_each(&rig, |host| host.observe(lab)).map_err(|errors| unreachable(&errors))?;
    let dead: BTreeSet<HostName> = site
        .values()
        .flat_map(|state| &state.machines)
        .filter(|(_, machine)| !machine.alive)
        .map(|(name, _)| name.clone())
        .collect();
    let rest: NamedHosts = hosts
        .iter()
        .filter(|(name, _)| **name != localhost() && !dead.contains(*name))
        .map(pair)
        .collect();
    site.extend(on_each(&rest, |host| host.observe(lab)).map_err(|errors| unreachable(&errors))?);
    site.retain(|_, state| *state != HostState::default());
    Ok(site)
}

/// What the hosts of a topology are and have, and this machine as the owner of the emulated ones.
pub fn survey(hosts: &NamedHosts, lab: &LabName) -> Result<BTreeMap<HostName, Survey>, Failure> {
    on_each(hosts, |host| host.survey(lab)).map_err(|errors| unreachable(&errors))
}

fn pair((name, host): (&HostName, &Arc<dyn Host>)) -> (HostName, Arc<dyn Host>) {
    (name.clone(), host.clone())
}

fn unreachable(errors: &[(HostName, HostError)]) -> Failure {
    let lines: Vec<String> = errors
        .iter()
        .map(|(host, error)| format!("{host}: {}", chain(error)))
        .collect();
    failed(lines.join("\n"))
}

/// A failure without further help.
pub fn failed(message: String) -> Failure {
    Failure::Failed { message, help: None }
}

/// The hosts by the lab file that a user gave, as far as there is one that can be read.
pub fn hint(folders: &Folders, text: &str) -> Option<BTreeMap<HostName, Connect>> {
    let path = Path::new(text);
    path.is_file()
        .then(|| load(folders, path, None).ok())
        .flatten()
        .map(|(topology, _)| connects(&topology))
}

/// How a host is reached, as a word for the user.
pub fn connect_word(connect: &Connect) -> String {
    if let Connect::Ssh(target) = connect {
        return target.to_string();
    }
    match serde_json::to_value(connect) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(value) => value.to_string(),
        Err(_) => String::new(),
    }
}

/// An error where a host of the journal is now reached another way: what is on it would be out of sight.
pub fn same_ways(
    lab: &LabName,
    past: &BTreeMap<HostName, Connect>,
    wanted: &BTreeMap<HostName, Connect>,
) -> Result<(), Failure> {
    let changed = wanted.iter().filter_map(|(host, now)| {
        let was = past.get(host).filter(|was| *was != now)?;
        let (was, now) = (connect_word(was), connect_word(now));
        Some(format!(
            "host {host} was `{was}` when the lab came up and is `{now}` in its file"
        ))
    });
    let changed: Vec<String> = changed.collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed {
        message: changed.join("\n"),
        help: Some(format!(
            "take away what is on it first: `netlab down {lab}`, then `netlab up`"
        )),
    })
}

/// The lab that a user means by `text`: a lab's name, or a file that names one.
pub fn lab_name(text: &str) -> Result<LabName, Failure> {
    let path = Path::new(text);
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        return lab::name_only(&text).ok_or_else(|| Failure::Failed {
            message: format!("{} names no lab that can be read", path.display()),
            help: Some("say the lab's name instead of the file; `netlab status` lists the labs".to_owned()),
        });
    }
    text.parse().map_err(|error| Failure::Failed {
        message: format!("{text} is neither a file nor the name of a lab: {error}"),
        help: Some("`netlab status` lists the labs".to_owned()),
    })
}
