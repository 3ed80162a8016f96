//! Checks the hosts of a lab: what is as it must be, and what fixes the rest. Reads every host at the same time, this
//! machine in place of emulated ones, and changes nothing.

mod facts;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde::Serialize;

use super::plan::unreachable_sockets;
use super::{Env, Loaded, OpsError, connect, connects};
use crate::causes::chain;
use crate::emulated::EmulatedError;
use crate::host::{HostError, NamedHosts};
use crate::lab::{Connect, HostName};
use crate::preflight::{Obstacle, Severity, preflight};
use crate::state::{HostState, Site, Survey, localhost};
use crate::topology::Topology;
use crate::transport::ssh::SshError;
use crate::transport::{LocalShell, Shell};
use facts::{Case, Facts};

/// Where libvirt keeps disks of guests by default, and netlab the images it copies to a host.
const IMAGES: &str = "/var/lib/libvirt/images";

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The host.
    pub host: HostName,
    /// What was checked: `reachable`, `libvirt`, `rights`, `kvm`, `firewall`, `clock`, `memory`, `disk`, `path`, or
    /// `lab` for what preflight found.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// A command or an action that fixes it; empty where nothing needs to be.
    pub help: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// The lab works, but not as well as it could.
    Warning,
    /// The lab cannot come up, or does not work.
    Error,
}

/// Checks every host of the lab; returns the findings sorted by host.
pub fn doctor(env: &Env, loaded: &Loaded) -> Result<Vec<Finding>, OpsError> {
    let topology = &loaded.topology;
    let hosts = connect(env, &topology.lab, &connects(topology))?;
    let too_long = unreachable_sockets(env, topology);
    Ok(examine(
        topology,
        &hosts,
        &env.folders.state.display().to_string(),
        too_long,
    ))
}

/// The answers of one host.
struct Answers {
    survey: Survey,
    state: HostState,
    /// None: it is emulated, and this machine is checked in its place.
    facts: Option<Facts>,
}

/// `state`: netlab's state folder on this machine; `also`: what was found of the lab so far.
fn examine(topology: &Topology, hosts: &NamedHosts, state: &str, also: Vec<Obstacle>) -> Vec<Finding> {
    let lab = &topology.lab;
    let connect = |name: &HostName| topology.hosts.get(name).map(|host| &host.connect);
    let answers: BTreeMap<&HostName, Result<Answers, HostError>> = thread::scope(|scope| {
        let asked: Vec<_> = hosts
            .iter()
            .map(|(name, host)| {
                let folder = match connect(name) {
                    Some(Connect::Ssh(_) | Connect::Local) => Some(IMAGES),
                    Some(Connect::Emulated) | None => None,
                };
                let ask = move || {
                    Ok(Answers {
                        survey: host.survey(lab)?,
                        state: host.observe(lab)?,
                        facts: folder
                            .map(|folder| Facts::read(folder, |cmd| host.ask(cmd)))
                            .transpose()?,
                    })
                };
                (name, scope.spawn(ask))
            })
            .collect();
        let join = |(name, asked): (_, thread::ScopedJoinHandle<'_, _>)| {
            (
                name,
                asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        };
        asked.into_iter().map(join).collect()
    });

    let mut findings = Vec::new();
    let mut surveys = BTreeMap::new();
    let mut observed = Site::new();
    for (name, answers) in &answers {
        let mut add = |check, verdict, what: String, help: &str| {
            findings.push(Finding {
                host: (*name).clone(),
                check,
                verdict,
                what,
                help: help.to_owned(),
            });
        };
        match answers {
            Err(error) => {
                let check = match error {
                    HostError::Libvirt(_) | HostError::Ssh(SshError::NoLibvirt { .. }) => "libvirt",
                    HostError::Emulated(EmulatedError::NeedsRoot) => "rights",
                    _ => "reachable",
                };
                add(check, Verdict::Error, chain(error), &error.help().unwrap_or_default());
            }
            Ok(Answers { survey, state, facts }) => {
                surveys.insert((*name).clone(), survey.clone());
                observed.insert((*name).clone(), state.clone());
                if let Some(facts) = facts {
                    add("reachable", Verdict::Ok, "commands run".to_owned(), "");
                    add("libvirt", Verdict::Ok, "it answers".to_owned(), "");
                    let case = Case {
                        topology,
                        hosts: [*name].into(),
                        remote: matches!(connect(name), Some(Connect::Ssh(_))),
                        emulates: false,
                        folder: IMAGES,
                    };
                    facts.check(&case, survey, &mut add);
                }
            }
        }
    }
    findings.extend(this_machine(topology, &surveys, state));
    for obstacle in also.into_iter().chain(preflight(topology, &surveys, &observed)) {
        let same = |finding: &Finding| finding.host == obstacle.host && finding.what == obstacle.what;
        if findings.iter().any(same) {
            continue;
        }
        findings.push(Finding {
            host: obstacle.host,
            check: "lab",
            verdict: match obstacle.severity {
                Severity::Error => Verdict::Error,
                Severity::Warning => Verdict::Warning,
            },
            what: obstacle.what,
            help: obstacle.help,
        });
    }
    findings.extend(path::mtus(topology, hosts, &surveys));
    findings.sort_by(|a, b| a.host.cmp(&b.host));
    findings
}

/// Checks this machine for the hosts that are emulated on it, if any are.
fn this_machine(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, state: &str) -> Vec<Finding> {
    let emulated = topology
        .hosts
        .iter()
        .filter(|(_, host)| host.connect == Connect::Emulated);
    let emulated: BTreeSet<&HostName> = emulated.map(|(name, _)| name).collect();
    // Kernel, processor and memory are the same for all of them.
    let Some(survey) = emulated.iter().find_map(|name| surveys.get(*name)) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut add = |check, verdict, what: String, help: &str| {
        findings.push(Finding {
            host: localhost(),
            check,
            verdict,
            what,
            help: help.to_owned(),
        });
    };
    // Where this machine could not be surveyed, that has been reported, and what is installed is unknown.
    if let Some(Survey { programs, .. }) = surveys.get(&localhost()) {
        let has = |program: &str| programs.contains(program);
        if (has("libvirtd") || has("virtqemud")) && has("virtlogd") {
            add("libvirt", Verdict::Ok, "its daemons are installed".to_owned(), "");
        } else {
            add(
                "libvirt",
                Verdict::Error,
                "emulated hosts have daemons of their own, and libvirtd (or virtqemud) or virtlogd is not installed"
                    .to_owned(),
                "apt-get install libvirt-daemon-system qemu-system-x86",
            );
        }
    }
    match Facts::read(state, |cmd| Ok(LocalShell.run(cmd)?)) {
        Err(error) => add("rights", Verdict::Error, chain(&error), ""),
        Ok(facts) => {
            let case = Case {
                topology,
                hosts: emulated,
                remote: false,
                emulates: true,
                folder: state,
            };
            facts.check(&case, survey, &mut add);
        }
    }
    findings
}
