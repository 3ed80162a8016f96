//! `netlab status`: what is there, read from the hosts themselves.

use serde::Serialize;

use super::error::Failure;
use super::output::table;
use super::{Context, sight};
use crate::run::Journal;
use crate::state::Site;

#[derive(clap::Args)]
pub struct Args {
    /// The lab's name, or its file; without one, all labs are listed.
    lab: Option<String>,
}

#[derive(Serialize)]
struct Labs {
    labs: Vec<String>,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let Some(lab) = &args.lab else {
        let mut labs: Vec<String> = std::fs::read_dir(context.folders.state.join("labs"))
            .map(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        labs.sort();
        let text = if labs.is_empty() {
            "no lab is up\n".to_owned()
        } else {
            labs.join("\n") + "\n"
        };
        return context.answer(&text, &Labs { labs });
    };
    let lab = sight::lab_name(lab)?;
    let past = Journal::read(&context.folders.lab(&lab)).map_err(|error| sight::failed(error.to_string()))?;
    let mut connects = past.hosts;
    connects.extend(sight::machines(&context.folders, &lab)?);
    let hosts = sight::reach(&context.folders, &lab, &connects)?;
    let site = sight::observe(&hosts, &lab)?;
    context.answer(&text(&site), &site)
}

fn text(site: &Site) -> String {
    let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<String>>();
    let mut hosts = vec![row(&["HOST", "KIND", "STATE"])];
    let mut networks = vec![row(&["NETWORK", "HOST", "LINK", "ADDRESSES", "UPLINK"])];
    let mut vms = vec![row(&["VM", "HOST", "STATE", "ADDRESS", "MAC", "VNC", "CONSOLE LOG"])];
    for (host, state) in site {
        for (name, machine) in &state.machines {
            hosts.push(row(&[
                name.as_str(),
                "emulated",
                if machine.alive { "running" } else { "dead" },
            ]));
        }
        for (name, link) in &state.links {
            let addresses: Vec<String> = link.addresses.iter().map(ToString::to_string).collect();
            let uplinks: Vec<String> = state
                .uplinks
                .iter()
                .filter(|(_, up)| up.bridge == *name)
                .map(|(nic, _)| nic.to_string())
                .collect();
            networks.push(row(&[
                &link.purpose,
                host.as_str(),
                name.as_str(),
                &addresses.join(" "),
                &uplinks.join(" "),
            ]));
        }
        for (name, domain) in &state.domains {
            let seen = state.seen.domains.get(name);
            let condition = match (domain.running, &domain.configured, seen) {
                (true, None, _) => "running, not configured".to_owned(),
                (true, ..) => "running".to_owned(),
                (false, _, Some(seen)) => seen.condition.to_string(),
                (false, ..) => "not running".to_owned(),
            };
            let screen = seen.and_then(|seen| seen.screen.as_deref()).unwrap_or_default();
            let log = seen.and_then(|seen| seen.console_log.as_ref());
            let log = log.map(|log| log.display().to_string()).unwrap_or_default();
            let addresses: Vec<String> = domain
                .configured
                .iter()
                .flat_map(|config| &config.nics)
                .map(|nic| nic.address.to_string())
                .collect();
            let macs: Vec<String> = domain.nics.iter().map(|nic| nic.mac.to_string()).collect();
            let vm = name.vm().to_string();
            vms.push(row(&[
                &vm,
                host.as_str(),
                &condition,
                &addresses.join(" "),
                &macs.join(" "),
                screen,
                &log,
            ]));
        }
    }
    if hosts.len() == 1 && networks.len() == 1 && vms.len() == 1 {
        return "this lab is not up\n".to_owned();
    }
    [hosts, networks, vms]
        .iter()
        .filter(|rows| rows.len() > 1)
        .map(|rows| table(rows))
        .collect::<Vec<_>>()
        .join("\n")
}
