//! Completes names that exist now: labs, their VMs and machines, and images. Reads files only, so that a key press never
//! waits for a host.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};

use crate::folders::Folders;
use crate::image;
use crate::lab::LabName;
use crate::ops::{self, Env, LoadOptions};

/// Completes a lab: those that are up, and lab files.
pub fn labs(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = lab_names(current);
    let is_lab = |path: &Path| path.is_dir() || path.extension().is_some_and(|end| end == "toml");
    found.extend(PathCompleter::any().filter(is_lab).complete(current));
    found
}

/// Completes the name of a lab that is up.
fn lab_names(current: &OsStr) -> Vec<CompletionCandidate> {
    let folder = Folders::from_env().state.join("labs");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    starting_with(current, names.filter(|name| name.parse::<LabName>().is_ok()))
}

/// Completes a checkpoint of the lab on the command line.
pub fn checkpoints(current: &OsStr) -> Vec<CompletionCandidate> {
    let env = Env::new(Folders::from_env(), PathBuf::from("netlab"));
    let lab = words().find_map(|word| ops::lab_name(&word).ok());
    let known = lab
        .and_then(|lab| ops::checkpoints(&env, &lab).ok())
        .unwrap_or_default();
    starting_with(current, known.into_iter().map(|checkpoint| checkpoint.name.to_string()))
}

/// Completes an image of the catalog.
pub fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let entries = image::entries().unwrap_or_default();
    starting_with(current, entries.keys().map(ToString::to_string))
}

/// Completes a VM of the lab on the command line.
pub fn vms(current: &OsStr) -> Vec<CompletionCandidate> {
    starting_with(current, Names::of_lab().vms.into_iter())
}

/// Completes a VM, host, switch or router of the lab on the command line.
pub fn machines(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = Names::of_lab();
    starting_with(current, names.vms.into_iter().chain(names.hosts).chain(names.devices))
}

/// Completes a host of the lab on the command line.
pub fn hosts(current: &OsStr) -> Vec<CompletionCandidate> {
    starting_with(current, Names::of_lab().hosts.into_iter())
}

/// Completes what pings can come from and go to: VMs, also with a network, and hosts and routers.
pub fn ends(current: &OsStr) -> Vec<CompletionCandidate> {
    let Names {
        vms,
        hosts,
        devices,
        networks,
        ..
    } = Names::of_lab();
    let with_network = vms
        .iter()
        .flat_map(|vm| networks.iter().map(move |network| format!("{vm}/{network}")));
    let with_network: Vec<String> = if current.to_string_lossy().contains('/') {
        with_network.collect()
    } else {
        Vec::new()
    };
    starting_with(
        current,
        vms.clone().into_iter().chain(hosts).chain(devices).chain(with_network),
    )
}

/// Completes a link: a VM, or an end of a cable.
pub fn links(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = Names::of_lab();
    starting_with(current, names.vms.into_iter().chain(names.cable_ends))
}

fn starting_with(current: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let start = current.to_string_lossy().into_owned();
    names
        .filter(|name| name.starts_with(&start))
        .map(CompletionCandidate::new)
        .collect()
}

/// Returns the words on the command line that is being completed, behind netlab and the command: the lab, among options and
/// their values.
fn words() -> impl Iterator<Item = String> {
    let words = std::env::args().skip_while(|word| word != "--").skip(1);
    words.skip(2).filter(|word| !word.starts_with('-'))
}

/// The names in a lab file.
#[derive(Default)]
struct Names {
    vms: Vec<String>,
    hosts: Vec<String>,
    devices: Vec<String>,
    networks: Vec<String>,
    /// `node1:eth0`.
    cable_ends: Vec<String>,
}

impl Names {
    /// Reads the lab that is named on the command line that is being completed; nothing where there is none.
    fn of_lab() -> Self {
        words().find_map(|word| Self::read(&word)).unwrap_or_default()
    }

    fn read(lab: &str) -> Option<Self> {
        let env = Env::new(Folders::from_env(), PathBuf::from("netlab"));
        let topology = ops::load_named(&env, lab, &LoadOptions::default()).ok()?.topology;
        let routers = topology.routers.keys().map(ToString::to_string);
        let switches = topology.switches.keys().map(ToString::to_string);
        let segments = topology.hosts.values().flat_map(|host| host.segments.keys());
        let networks: BTreeSet<String> = segments.map(ToString::to_string).collect();
        let ends = topology.cables.iter().flat_map(|cable| &cable.ends);
        Some(Self {
            cable_ends: ends.map(|end| format!("{}:{}", end.host, end.nic)).collect(),
            vms: topology.guests.keys().map(ToString::to_string).collect(),
            hosts: topology.hosts.keys().map(ToString::to_string).collect(),
            devices: routers.chain(switches).collect(),
            networks: networks.into_iter().collect(),
        })
    }
}
