//! `netlab doctor`: what of a lab's hosts is as it must be, and what mends the rest. Looks at every host at the same
//! time, at this machine in the place of emulated ones, and changes nothing.

mod facts;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;

use serde::Serialize;

use super::error::Failure;
use super::output::{one_line, table};
use super::{Context, sight};
use crate::host::{HostError, NamedHosts};
use crate::lab::{Connect, HostName};
use crate::preflight::{Severity, preflight};
use crate::run::chain;
use crate::state::{HostState, Site, Survey, localhost};
use crate::topology::Topology;
use crate::transport::ssh::SshError;
use crate::transport::{LocalShell, Shell};
use facts::{Case, Facts};

/// Where libvirt keeps disks of guests, unless told otherwise, and netlab what it brings to a host.
const IMAGES: &str = "/var/lib/libvirt/images";

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    host: HostName,
    check: &'static str,
    verdict: Verdict,
    what: String,
    /// What to run or do.
    mend: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Ok,
    Warning,
    Error,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        }
    }
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let (topology, _) = sight::load(&context.folders, &args.file, None)?;
    let hosts = sight::reach(&context.folders, &topology.lab, &sight::connects(&topology))?;
    let findings = examine(&topology, &hosts, &context.folders.state.display().to_string());
    context.answer(&text(&findings), &findings)?;
    match findings.iter().filter(|one| one.verdict == Verdict::Error).count() {
        0 => Ok(()),
        1 => Err(sight::failed("1 thing stands in the way of this lab".to_owned())),
        n => Err(sight::failed(format!("{n} things stand in the way of this lab"))),
    }
}

/// A line a finding, and below it what mends it: as it is typed, so that it can be copied.
fn text(findings: &[Finding]) -> String {
    let mut rows = vec![["HOST", "CHECK", "", "FINDING"].map(ToOwned::to_owned).to_vec()];
    for finding in findings {
        rows.push(vec![
            finding.host.to_string(),
            finding.check.to_owned(),
            finding.verdict.word().to_owned(),
            one_line(&finding.what),
        ]);
        if !finding.mend.is_empty() {
            let mend = format!("  mend: {}", one_line(&finding.mend));
            rows.push([String::new(), String::new(), String::new(), mend].to_vec());
        }
    }
    table(&rows)
}

/// What one host tells.
struct Told {
    survey: Survey,
    state: HostState,
    /// None: it is emulated, and the machine below it is judged in its place.
    facts: Option<Facts>,
}

/// `state`: netlab's own folder on this machine.
fn examine(topology: &Topology, hosts: &NamedHosts, state: &str) -> Vec<Finding> {
    let lab = &topology.lab;
    let connect = |name: &HostName| topology.hosts.get(name).map(|host| &host.connect);
    let told: BTreeMap<&HostName, Result<Told, HostError>> = thread::scope(|scope| {
        let asked: Vec<_> = hosts
            .iter()
            .map(|(name, host)| {
                let folder = match connect(name) {
                    Some(Connect::Ssh(_) | Connect::Local) => Some(IMAGES),
                    Some(Connect::Emulated) | None => None,
                };
                let ask = move || {
                    Ok(Told {
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
    for (name, told) in &told {
        let mut add = |check, verdict, what: String, mend: &str| {
            findings.push(Finding {
                host: (*name).clone(),
                check,
                verdict,
                what,
                mend: mend.to_owned(),
            });
        };
        match told {
            Err(error) => {
                let check = match error {
                    HostError::Libvirt { .. } | HostError::Ssh(SshError::NoLibvirt { .. }) => "libvirt",
                    _ => "reachable",
                };
                add(check, Verdict::Error, chain(error), mend_for(error));
            }
            Ok(Told { survey, state, facts }) => {
                surveys.insert((*name).clone(), survey.clone());
                observed.insert((*name).clone(), state.clone());
                if let Some(facts) = facts {
                    add("reachable", Verdict::Ok, "commands run there".to_owned(), "");
                    add("libvirt", Verdict::Ok, "it answers".to_owned(), "");
                    let case = Case {
                        topology,
                        hosts: [*name].into(),
                        far: matches!(connect(name), Some(Connect::Ssh(_))),
                        emulates: false,
                        folder: IMAGES,
                    };
                    facts.judge(&case, survey, &mut add);
                }
            }
        }
    }
    findings.extend(below_the_emulated(topology, &surveys, state));
    for obstacle in preflight(topology, &surveys, &observed) {
        findings.push(Finding {
            host: obstacle.host,
            check: "lab",
            verdict: match obstacle.severity {
                Severity::Error => Verdict::Error,
                Severity::Warning => Verdict::Warning,
            },
            what: obstacle.what,
            mend: obstacle.help,
        });
    }
    findings.extend(path::mtus(topology, hosts, &surveys));
    findings.sort_by(|a, b| a.host.cmp(&b.host));
    findings
}

/// What this machine has for the hosts that are emulated on it, if any are.
fn below_the_emulated(topology: &Topology, surveys: &BTreeMap<HostName, Survey>, state: &str) -> Vec<Finding> {
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
    let mut add = |check, verdict, what: String, mend: &str| {
        findings.push(Finding {
            host: localhost(),
            check,
            verdict,
            what,
            mend: mend.to_owned(),
        });
    };
    let programs = surveys.get(&localhost()).map(|rig| &rig.programs);
    let has = |program: &str| programs.is_some_and(|programs| programs.contains(program));
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
    match Facts::read(state, |cmd| Ok(LocalShell.run(cmd)?)) {
        Err(error) => add("rights", Verdict::Error, chain(&error), ""),
        Ok(facts) => {
            let case = Case {
                topology,
                hosts: emulated,
                far: false,
                emulates: true,
                folder: state,
            };
            facts.judge(&case, survey, &mut add);
        }
    }
    findings
}

/// What helps where the error itself does not say so.
fn mend_for(error: &HostError) -> &'static str {
    match error {
        HostError::Libvirt { .. } | HostError::Ssh(SshError::NoLibvirt { .. }) => {
            "apt-get install libvirt-daemon-system qemu-system-x86 && systemctl enable --now libvirtd"
        }
        HostError::Ssh(SshError::Connect { .. } | SshError::Silent { .. }) => {
            "is it on, is sshd running, is the address right?"
        }
        _ => "",
    }
}
