//! What a page for people shows besides the result: the lab as a picture, versions, and what the consoles showed.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::thread;

use super::super::Env;
use super::super::marks::verified;
use super::ask::Asking;
use crate::graph::svg;
use crate::host::NamedHosts;
use crate::lab::{HostName, VmName};
use crate::state::localhost;
use crate::state::view::View;
use crate::topology::Topology;
use crate::transport::Cmd;
use crate::verify::Matrix;

/// The most bytes of a guest's transcript that are kept: the last ones.
const KEPT: u64 = 16 * 1024;
/// Prints a line for each program.
const VERSIONS: &str = "uname -sr; qemu-system-x86_64 --version | head -n 1; libvirtd --version || virtqemud --version";

/// What a page shows besides the result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The lab as an `svg` element, colored by the result.
    pub picture: String,
    /// Programs and their versions: of netlab, and of each host.
    pub versions: Vec<(String, String)>,
    /// What was typed into each guest's console during the run, and what it printed.
    pub transcripts: BTreeMap<String, String>,
}

/// Returns the length of each guest's transcript, in bytes: where the run's own part begins.
pub(super) fn lengths(env: &Env, topology: &Topology) -> BTreeMap<VmName, u64> {
    let length = |vm: &VmName| {
        let file = std::fs::metadata(env.folders.transcript(&topology.lab, vm));
        (vm.clone(), file.map_or(0, |file| file.len()))
    };
    topology.guests.keys().map(length).collect()
}

/// Collects everything; what cannot be read is left out.
pub(super) fn details(
    asking: Asking<'_>,
    views: &BTreeMap<HostName, View>,
    matrix: &Matrix,
    lengths: &BTreeMap<VmName, u64>,
) -> Details {
    let Asking {
        env,
        topology,
        hosts,
        observed,
    } = asking;
    let transcripts = lengths.iter().filter_map(|(vm, from)| {
        let mut file = std::fs::File::open(env.folders.transcript(&topology.lab, vm)).ok()?;
        let last = file.metadata().ok()?.len().saturating_sub(KEPT);
        file.seek(SeekFrom::Start(last.max(*from))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then(|| (vm.to_string(), text))
    });
    Details {
        picture: svg(topology, &verified(topology, observed, views, matrix)),
        versions: versions(topology, hosts),
        transcripts: transcripts.collect(),
    }
}

fn versions(topology: &Topology, hosts: &NamedHosts) -> Vec<(String, String)> {
    let mut all = vec![("netlab".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let of_lab = hosts
        .iter()
        .filter(|(name, _)| topology.hosts.contains_key(*name) || **name == localhost());
    let of_hosts = thread::scope(|scope| {
        let asked: Vec<_> = of_lab
            .map(|(name, host)| (name, scope.spawn(|| host.ask(&Cmd::new(["sh", "-c", VERSIONS])).ok())))
            .collect();
        asked
            .into_iter()
            .filter_map(|(name, answer)| {
                let output = answer.join().ok()??;
                let text = String::from_utf8_lossy(&output.stdout);
                let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                Some((name.to_string(), lines.join("; ")))
            })
            .collect::<Vec<_>>()
    });
    all.extend(of_hosts);
    all
}
