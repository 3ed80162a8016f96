//! `netlab doctor`: what of a lab's hosts is as it must be, and what mends the rest. Looks at every host at the same
//! time and changes nothing.

mod facts;
mod path;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use serde::Serialize;

use super::error::Failure;
use super::output::{one_line, table};
use super::{Context, sight};
use crate::host::ssh::SshError;
use crate::host::{Host, HostError, NamedHosts, Survey};
use crate::lab::{Connect, HostName};
use crate::plan::{Severity, preflight};
use crate::run::chain;
use crate::state::{HostState, Site};
use crate::topology::Topology;
use facts::Facts;

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
    let findings = examine(&topology, &hosts);
    let mut rows = vec![["HOST", "CHECK", "", "FINDING", "MEND"].map(ToOwned::to_owned).to_vec()];
    rows.extend(findings.iter().map(|finding| {
        vec![
            finding.host.to_string(),
            finding.check.to_owned(),
            finding.verdict.word().to_owned(),
            one_line(&finding.what),
            one_line(&finding.mend),
        ]
    }));
    context.answer(&table(&rows), &findings)?;
    match findings.iter().filter(|one| one.verdict == Verdict::Error).count() {
        0 => Ok(()),
        1 => Err(sight::failed("1 thing stands in the way of this lab".to_owned())),
        n => Err(sight::failed(format!("{n} things stand in the way of this lab"))),
    }
}

/// What one host tells.
struct Told {
    survey: Survey,
    state: HostState,
    facts: Facts,
}

fn examine(topology: &Topology, hosts: &NamedHosts) -> Vec<Finding> {
    let lab = &topology.lab;
    let real: Vec<(&HostName, &dyn Host)> = hosts
        .iter()
        .filter(|(name, _)| {
            let connect = topology.hosts.get(*name).map(|host| &host.connect);
            connect.is_some_and(|connect| *connect != Connect::Emulated)
        })
        .map(|(name, host)| (name, host.as_ref()))
        .collect();
    let told: BTreeMap<&HostName, Result<Told, HostError>> = thread::scope(|scope| {
        let asked: Vec<_> = real
            .iter()
            .map(|(name, host)| {
                let ask = move || {
                    Ok(Told {
                        survey: host.survey(lab)?,
                        state: host.observe(lab)?,
                        facts: Facts::read(*host)?,
                    })
                };
                (*name, scope.spawn(ask))
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
                add("reachable", Verdict::Ok, "commands run there".to_owned(), "");
                add("libvirt", Verdict::Ok, "it answers".to_owned(), "");
                surveys.insert((*name).clone(), survey.clone());
                observed.insert((*name).clone(), state.clone());
                facts.judge(topology, name, survey, &mut add);
            }
        }
    }
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

/// What helps where the error itself does not say so.
fn mend_for(error: &HostError) -> &'static str {
    match error {
        HostError::Libvirt { .. } | HostError::Ssh(SshError::NoLibvirt { .. }) => {
            "there: apt-get install libvirt-daemon-system && systemctl enable --now libvirtd"
        }
        HostError::Ssh(SshError::Connect { .. } | SshError::Silent { .. }) => {
            "is it on, is sshd running, is the address right?"
        }
        _ => "",
    }
}
