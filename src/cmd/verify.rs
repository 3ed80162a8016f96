//! `netlab verify`: nothing to do, and every guest reaches whom it must and nobody else.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;

use super::error::Failure;
use super::{Context, plan as plan_verb, sight};
use crate::guest::{Answer, ProbeOptions, Session, Transcript, probe};
use crate::host::NamedHosts;
use crate::lab::VmName;
use crate::run::{Events, chain};
use crate::state::DomainName;
use crate::topology::Topology;
use crate::verify::{Expectation, Matrix, expected, text};

#[derive(clap::Args)]
pub struct Args {
    /// The lab file.
    #[arg(default_value = "lab.toml")]
    file: PathBuf,
    /// Emulate every host on this machine, whatever `connect` says; cables are the lab's.
    #[arg(long)]
    emulate: bool,
}

type Answers = BTreeMap<VmName, Result<BTreeMap<IpAddr, Answer>, String>>;

pub fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    let topology = sight::load_as(&context.folders, &args.file, args.emulate)?;
    let hosts = sight::reach(&context.folders, &topology.lab, &sight::connects(&topology))?;
    let observed = sight::observe(&hosts, &topology.lab)?;
    if observed.is_empty() {
        return Err(Failure::Failed {
            message: format!("lab {} is not up", topology.lab),
            help: Some(format!("netlab up {}", args.file.display())),
        });
    }
    let (drift, _) = plan_verb::judge(&topology, &hosts, &observed, &Events::none())?;
    if !drift.is_empty() {
        return Err(Failure::Failed {
            message: format!(
                "the lab is not as described; `up` would do:\n{}",
                plan_verb::text(&drift).trim_end()
            ),
            help: Some(format!("netlab up {}", args.file.display())),
        });
    }
    let expectations = expected(&topology);
    let answers = ask(context, &topology, &hosts, &expectations);
    let matrix = Matrix::new(expectations, &answers);
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    context.answer(&text(&matrix, colour), &matrix)?;
    if matrix.is_as_expected() {
        return Ok(());
    }
    Err(sight::failed("not every answer is as it should be".to_owned()))
}

/// Asks every guest at the same time, each in one console exchange.
fn ask(context: &Context, topology: &Topology, hosts: &NamedHosts, expectations: &[Expectation]) -> Answers {
    thread::scope(|scope| {
        let asked: Vec<_> = topology
            .guests
            .keys()
            .map(|vm| {
                let mut targets: Vec<IpAddr> = expectations
                    .iter()
                    .filter(|one| one.from == *vm)
                    .map(|one| one.address)
                    .collect();
                targets.sort();
                targets.dedup();
                (
                    vm.clone(),
                    scope.spawn(move || ask_one(context, topology, hosts, vm, &targets)),
                )
            })
            .collect();
        asked
            .into_iter()
            .map(|(vm, answer)| {
                (
                    vm,
                    answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                )
            })
            .collect()
    })
}

fn ask_one(
    context: &Context,
    topology: &Topology,
    hosts: &NamedHosts,
    vm: &VmName,
    targets: &[IpAddr],
) -> Result<BTreeMap<IpAddr, Answer>, String> {
    let guest = topology.guests.get(vm).ok_or("no such guest")?;
    let image = topology
        .images
        .get(&guest.image)
        .ok_or("its image is not in the catalog")?;
    let host = hosts.get(&guest.host).ok_or("its host is not known")?;
    let name = DomainName::new(&topology.lab, vm);
    let console = host.open_console(&name).map_err(|error| chain(&error))?;
    let transcript = context
        .folders
        .lab(&topology.lab)
        .join("transcripts")
        .join(format!("{vm}.log"));
    let transcript = Transcript::append(&transcript).map_err(|error| error.to_string())?;
    let mut session = Session::open(console, &image.console, transcript, &mut |_| ()).map_err(|error| chain(&error))?;
    probe(&mut session, targets, &ProbeOptions::default()).map_err(|error| chain(&error))
}
