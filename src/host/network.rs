//! The network of one host: observes the lab's part of it and applies its steps, consecutive ones of one kind as one
//! batch: links and addresses ([`ip`]), rules ([`nftables`]), DHCP servers ([`dnsmasq`](crate::linux::dnsmasq)).

use std::collections::BTreeMap;

use crate::host::steps::Failed;
use crate::host::{HostError, StepError, StepFailure, StepLog};
use crate::lab::{HostName, LabName};
use crate::linux::dnsmasq::DhcpServers;
use crate::linux::{FailedAt, flows, ip, nftables, tc};
use crate::plan::Step;
use crate::state::{Firewall, HostState};
use crate::transport::{CmdError, Shell};

/// Returns what `lab` owns of the network of `host`; the rest of the state is empty.
pub(super) fn observe(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<HostState, HostError> {
    let ip::Network {
        links,
        uplinks,
        floating,
        shaped,
        sysctls,
        seen,
    } = ip::observe(shell, lab)?;
    Ok(HostState {
        links,
        uplinks,
        floating,
        sysctls,
        seen,
        firewall: firewall(shell, lab)?,
        dhcp: DhcpServers::default().observe(shell, lab)?,
        shaped: if shaped.is_empty() {
            BTreeMap::new()
        } else {
            [(host.clone(), shaped)].into()
        },
        ..HostState::default()
    })
}

/// Returns the lab's rules, those of nftables and those of Open vSwitch's bridges.
fn firewall(shell: &dyn Shell, lab: &LabName) -> Result<Option<Firewall>, CmdError> {
    let mut rules = nftables::observe(shell, lab)?;
    if let Some((wanted, altered)) = flows::observe(shell, lab)? {
        let rules = rules.get_or_insert_default();
        rules.flows = wanted.ports;
        rules.gateway_flows = wanted.gateways;
        rules.altered |= altered;
    }
    Ok(rules)
}

/// The tool that applies a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Ip,
    Nft,
    Dnsmasq,
    Tc,
}

fn tool(step: &Step) -> Tool {
    match step {
        Step::LoadRuleset(_) | Step::DeleteRuleset => Tool::Nft,
        Step::StartDhcp(..) | Step::StopDhcp(_) => Tool::Dnsmasq,
        Step::Shape(..) | Step::Unshape(..) => Tool::Tc,
        _ => Tool::Ip,
    }
}

/// Applies steps on links and addresses.
type Links<'a> = &'a dyn Fn(&[Step]) -> Result<(), FailedAt<ip::NetworkError>>;

/// Applies the steps, each batch recorded in the log before and after; those on links and addresses by `links`.
pub(super) fn apply(
    shell: &dyn Shell,
    lab: &LabName,
    steps: &[Step],
    log: &dyn StepLog,
    links: Links<'_>,
) -> Vec<StepError> {
    let mut errors = Vec::new();
    let kind = |step: &Step| (tool(step), step.is_removal());
    for batch in steps.chunk_by(|a, b| kind(a) == kind(b)) {
        let ends = |error: &StepError| !error.step.is_removal() || error.cause.is_cut_off();
        if log.cancelled() || errors.iter().any(ends) {
            break;
        }
        errors.extend(apply_batch(shell, lab, batch, log, links));
    }
    errors
}

/// Applies steps of one tool. Removal continues after a failure, without the step that failed.
fn apply_batch(
    shell: &dyn Shell,
    lab: &LabName,
    mut steps: &[Step],
    log: &dyn StepLog,
    links: Links<'_>,
) -> Vec<StepError> {
    let mut errors = Vec::new();
    while let Some(first) = steps.first() {
        if let Err(error) = log.begin(steps) {
            errors.push(StepError::new(first, StepFailure::Journal(error)));
            break;
        }
        let Err(Failed { at, cause }) = run_tool(shell, lab, steps, links) else {
            log.end(steps, Ok(()));
            break;
        };
        let (before, rest) = steps.split_at(at);
        let failed = &rest[0];
        let error = StepError::new(failed, *cause);
        if !before.is_empty() {
            log.end(before, Ok(()));
        }
        log.end(std::slice::from_ref(failed), Err(&error));
        let ends = !failed.is_removal() || error.cause.is_cut_off();
        errors.push(error);
        if ends {
            break;
        }
        steps = &rest[1..];
    }
    errors
}

fn run_tool(shell: &dyn Shell, lab: &LabName, steps: &[Step], links: Links<'_>) -> Result<(), Failed> {
    match steps.first().map(tool) {
        None => Ok(()),
        Some(Tool::Ip) => {
            links(steps).map_err(|failed| Failed::new(failed.at, failed.cause))?;
            let added = steps.iter().filter_map(|step| match step {
                Step::AddFloating(address, nic) => Some((*address, nic)),
                _ => None,
            });
            let mut added = added.peekable();
            if added.peek().is_some() {
                // Harmless where it does not work.
                let _ = shell.run(&ip::announcement(added));
            }
            Ok(())
        }
        Some(Tool::Tc) => tc::apply(shell, lab, steps).map_err(|failed| Failed::new(failed.at, failed.cause)),
        Some(Tool::Nft) => {
            for (at, step) in steps.iter().enumerate() {
                let done = match step {
                    Step::LoadRuleset(rules) => nftables::load(shell, lab, rules)
                        .and_then(|()| Ok(flows::load(shell, lab, &flows::Wanted::of(rules))?)),
                    _ => nftables::delete(shell, lab).and_then(|()| Ok(flows::delete(shell, lab)?)),
                };
                done.map_err(|error| Failed::new(at, error))?;
            }
            Ok(())
        }
        Some(Tool::Dnsmasq) => {
            let started = steps.iter().filter_map(|step| match step {
                Step::StartDhcp(network, dhcp) => Some((network, dhcp.as_ref())),
                _ => None,
            });
            let stopped = steps.iter().filter_map(|step| match step {
                Step::StopDhcp(network) => Some(network),
                _ => None,
            });
            let (started, stopped): (Vec<_>, Vec<_>) = (started.collect(), stopped.collect());
            // A batch has steps of one kind only, so the index among these is the index in the batch.
            let servers = DhcpServers::default();
            let done = if started.is_empty() {
                servers.stop(shell, lab, &stopped)
            } else {
                servers.start(shell, lab, &started)
            };
            done.map_err(|failed| Failed::new(failed.at, failed.cause))
        }
    }
}
