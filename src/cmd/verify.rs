//! `netlab verify`: nothing to do, and guests, hosts and routers reach whom they must and nobody else.

mod ask;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Serialize;

use super::error::Failure;
use super::{Context, sight};
use crate::host::NamedHosts;
use crate::lab::{HostName, ImageName, LabName};
use crate::plan::plan;
use crate::state::{Site, desired};
use crate::topology::Topology;
use crate::verify::{Evidence, Matrix, diagnose, expected, html, junit, text};

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
    /// Emulate every host on this machine, whatever `connect` says; cables are the lab's.
    #[arg(long)]
    emulate: bool,
    /// Also write the result as JUnit XML, for CI.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write the result as one HTML page that needs no other file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The image that `up --image` ran with; left out, the one of the last `up`.
    #[arg(long)]
    image: Option<ImageName>,
}

#[derive(Serialize)]
struct Report<'a> {
    lab: &'a LabName,
    as_expected: bool,
    /// What `up` would do, a line a step; none: nothing differs from the file.
    drift: &'a [String],
    #[serde(flatten)]
    matrix: &'a Matrix,
}

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let mut topology = sight::as_made(&context.folders, &args.file, args.image.as_ref())?;
    if args.emulate {
        topology.emulate();
    }
    let hosts = sight::reach(&context.folders, &topology.lab, &sight::connects(&topology))?;
    let observed = sight::observe(&hosts, &topology.lab)?;
    if observed.is_empty() {
        return Err(Failure::Failed {
            message: format!("lab {} is not up", topology.lab),
            help: Some(format!("netlab up {}", args.file.display())),
        });
    }
    let expectations = expected(&topology);
    // QEMU looks only once a second whether somebody has opened a console (chardev/char-pty.c): meanwhile the hosts
    // are looked at further.
    let (replies, surveys) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask::ask(context, &topology, &hosts, &observed, &expectations));
        let surveys = sight::survey(&hosts, &topology.lab);
        let replies = asking.join();
        (
            replies.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            surveys,
        )
    });
    // No preflight: the lab is up, and what stands in the way of making it anew is not asked here.
    let to_do = plan(&observed, &desired(&topology, &surveys?));
    let drift: Vec<String> = to_do.steps().map(|(host, step)| format!("{host}: {step}")).collect();
    let mut matrix = Matrix::new(expectations, &replies);
    explain(&topology, &hosts, &observed, &mut matrix);

    if let Some(path) = &args.junit {
        let report = junit(topology.lab.as_str(), &drift, &matrix);
        write(path, &report.map_err(|error| sight::failed(error.to_string()))?)?;
    }
    if let Some(path) = &args.html {
        write(path, &html(topology.lab.as_str(), &drift, &matrix))?;
    }
    let as_expected = drift.is_empty() && matrix.is_as_expected();
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let report = Report {
        lab: &topology.lab,
        as_expected,
        drift: &drift,
        matrix: &matrix,
    };
    context.answer(&text(&matrix, colour), &report)?;
    if !drift.is_empty() {
        return Err(Failure::Failed {
            message: format!("the lab is not as described; `up` would do:\n{}", drift.join("\n")),
            help: Some(format!("netlab up {}", args.file.display())),
        });
    }
    if as_expected {
        return Ok(());
    }
    Err(sight::failed("not every answer is as it should be".to_owned()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| sight::failed(format!("cannot write {}: {error}", path.display())))
}

/// Adds to each failed cell where its packets stop, as far as the hosts show it.
fn explain(topology: &Topology, hosts: &NamedHosts, observed: &Site, matrix: &mut Matrix) {
    if matrix.is_as_expected() {
        return;
    }
    // One host that cannot be looked at says nothing; the others do.
    let looked = hosts.iter().filter(|(name, _)| topology.hosts.contains_key(*name));
    let ports: BTreeMap<HostName, _> = looked
        .filter_map(|(name, host)| Some((name.clone(), host.ports().ok().filter(|ports| !ports.is_empty())?)))
        .collect();
    let sight = Evidence {
        topology,
        observed,
        ports: &ports,
    };
    for cell in &mut matrix.cells {
        cell.cause = diagnose(&sight, cell);
    }
}
