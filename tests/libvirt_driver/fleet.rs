//! A fleet: 500 hosts with 10,000 guests. Each host has a test driver of its own, in which its guests are defined and read
//! back; that driver does not start a guest paused, as netlab does, so what runs is simulated, and so are networks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use netlab::event::{Cancel, Events};
use netlab::folders::Folders;
use netlab::host::{Host, HostError, NamedHosts, StepError, StepFailure, StepLog, Survey};
use netlab::lab::{Connect, HostName, LabName};
use netlab::libvirt::Libvirt;
use netlab::libvirt::domain_xml::Template;
use netlab::plan::{Plan, Stage, Step, plan};
use netlab::run::{Journal, Report, Run, on_each};
use netlab::state::{DomainName, HostState, Site, desired};
use netlab::topology::allocate;
use netlab::transport::CmdError;

use super::NoFiles;
use crate::properties::simulated::{SimulatedHost, SimulatedSite};

const HOSTS: usize = 500;
const GUESTS: usize = 10_000;
/// Every how many guests one is drift.
const DRIFT: usize = 100;
/// Hosts on which no guest starts.
const FAILING: usize = 3;

/// A host of the fleet.
struct Node {
    simulated: SimulatedHost,
    libvirt: Libvirt,
    fails: AtomicBool,
    /// Observations, batches of steps on the network, and steps of guests.
    round_trips: AtomicUsize,
}

impl Node {
    fn count(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    fn one(&self, lab: &LabName, step: &Step) -> Result<(), StepFailure> {
        match step {
            Step::DefineDomain(name, domain) => {
                self.libvirt.define(name, domain).map_err(HostError::from)?;
            }
            Step::UndefineDomain { name, uuid } => {
                self.libvirt.undefine(name, uuid).map_err(HostError::from)?;
            }
            Step::StartDomain(..) if self.fails.load(Ordering::Relaxed) => {
                return Err(StepFailure::from(CmdError::Failed {
                    command: step.to_string(),
                    status: 1,
                    stderr: "no memory is left".to_owned(),
                }));
            }
            _ => {}
        }
        let done = self.simulated.apply(lab, std::slice::from_ref(step), &());
        done.map_err(|errors| errors.into_iter().next().unwrap().cause)
    }
}

impl Host for Node {
    fn observe(&self, lab: &LabName) -> Result<HostState, HostError> {
        self.count();
        let mut state = self.simulated.observe(lab)?;
        let guests = self.libvirt.observe(lab)?;
        assert_eq!(guests.domains.len(), state.domains.len());
        for (name, mut domain) in guests.domains {
            let simulated = &state.domains[&name];
            domain.running = simulated.running;
            domain.configured.clone_from(&simulated.configured);
            state.domains.insert(name, domain);
        }
        Ok(state)
    }

    fn survey(&self, _: &LabName) -> Result<Survey, HostError> {
        Ok(Survey::default())
    }

    fn apply(&self, lab: &LabName, steps: &[Step], log: &dyn StepLog) -> Result<(), Vec<StepError>> {
        let mut errors = Vec::new();
        // Those of the network are one batch, as on a real host.
        let is_guests = |step: &Step| matches!(step.stage(), Stage::Define | Stage::Guests | Stage::RemoveGuests);
        for batch in steps.chunk_by(|one, other| !is_guests(one) && !is_guests(other)) {
            log.begin(batch).unwrap();
            self.count();
            let failed = batch
                .iter()
                .find_map(|step| Some(StepError::new(step, self.one(lab, step).err()?)));
            log.end(batch, failed.as_ref().map_or(Ok(()), Err));
            errors.extend(failed);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn lab() -> String {
    let mut out = String::from("name = \"fleet\"\n");
    for n in 0..HOSTS {
        let (high, low) = (n / 250, n % 250);
        let _ = writeln!(out, "[hosts.h{n}]\nconnect = \"ssh://h{n}\"\nnics.eth0 = {{}}");
        let _ = writeln!(
            out,
            "[networks.n{n}]\nsubnet = \"10.{high}.{low}.0/24\"\nuplink = \"eth0\""
        );
        let _ = writeln!(
            out,
            "vlan = {}\ngateway = {{ address = \"10.{high}.{low}.1\", on = \"h{n}\" }}",
            n + 2
        );
    }
    for n in 0..GUESTS {
        let (host, network) = (n % HOSTS, (n + n / HOSTS) % HOSTS);
        let _ = writeln!(
            out,
            "[vms.v{n}]\nhost = \"h{host}\"\nnics = [{{ network = \"n{network}\" }}]"
        );
    }
    out
}

/// Returns the most memory that this process ever had, in MiB.
fn peak_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

struct Fleet {
    lab: LabName,
    nodes: BTreeMap<HostName, Arc<Node>>,
    hosts: NamedHosts,
    folder: tempfile::TempDir,
}

impl Fleet {
    fn observe(&self) -> Site {
        let mut site = on_each(&self.hosts, |host| host.observe(&self.lab)).unwrap();
        site.retain(|_, state| *state != HostState::default());
        site
    }

    /// Plans from what is observed to `desired` and runs that; prints what it took.
    #[expect(clippy::print_stdout, reason = "the bench shows it")]
    fn run(&self, what: &str, desired: &Site) -> (Plan, Report) {
        let began = Instant::now();
        let before: usize = self.round_trips();
        let to_do = plan(&self.observe(), desired);
        let connects: BTreeMap<HostName, Connect> = BTreeMap::new();
        let run = Run {
            lab: &self.lab,
            hosts: &self.hosts,
            journal: Mutex::new(Journal::begin(self.folder.path(), "up", &connects, None).unwrap()),
            events: Events::none(),
            cancel: Cancel::default(),
        };
        let report = run.run(&to_do);
        let round_trips = self.round_trips() - before;
        println!(
            "{what}: {:.1} s, {} steps, {} MiB at most, {} round trips per host",
            began.elapsed().as_secs_f64(),
            to_do.steps().count(),
            peak_mib(),
            round_trips / HOSTS,
        );
        (to_do, report)
    }

    fn round_trips(&self) -> usize {
        self.nodes
            .values()
            .map(|node| node.round_trips.load(Ordering::Relaxed))
            .sum()
    }

    fn is_as(&self, desired: &Site) -> bool {
        plan(&self.observe(), desired).is_empty()
    }
}

fn fleet(lab: &LabName, names: impl Iterator<Item = HostName>, site: &SimulatedSite) -> Fleet {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.xml");
    std::fs::write(&file, "<node/>").unwrap();
    // A driver for each connection: only `test:///default` is shared.
    let uri = format!("test://{}", Path::display(&file));
    let node = |name: HostName| {
        let libvirt = Libvirt::open(name.clone(), &uri, Arc::new(NoFiles), Template::built_in()).unwrap();
        let node = Node {
            simulated: site.host(&name),
            libvirt,
            fails: AtomicBool::new(false),
            round_trips: AtomicUsize::new(0),
        };
        (name, Arc::new(node))
    };
    let nodes: BTreeMap<HostName, Arc<Node>> = names.map(node).collect();
    let hosts = nodes
        .iter()
        .map(|(name, node)| (name.clone(), node.clone() as Arc<dyn Host>));
    Fleet {
        lab: lab.clone(),
        hosts: hosts.collect(),
        nodes,
        folder,
    }
}

#[test]
#[ignore = "soak: 10,000 guests on 500 hosts take minutes"]
fn ten_thousand_guests_on_500_hosts_come_up_and_go_and_three_hosts_that_fail_change_nothing_elsewhere() {
    let folders = Folders {
        state: "/state".into(),
        cache: "/cache".into(),
    };
    let images = netlab::image::catalog(&folders).unwrap();
    let lab = netlab::lab::parse("fleet.toml", &lab(), &images.keys().cloned().collect()).unwrap();
    let mut topology = allocate(&lab, &images);
    topology.images.values_mut().for_each(|image| image.warm = false);
    let desired = desired(&topology, &BTreeMap::new());
    let simulated = SimulatedSite::new(Site::new(), BTreeSet::new());
    let fleet = fleet(&lab.name, topology.hosts.keys().cloned(), &simulated);

    let (_, report) = fleet.run("up", &desired);
    assert!(report.is_complete(), "{:?}", report.failed.first());
    assert!(fleet.is_as(&desired));
    assert!(fleet.run("up again", &desired).0.is_empty());

    let guests = topology.guests.iter().step_by(DRIFT);
    for (vm, guest) in guests {
        let name = DomainName::new(&lab.name, vm);
        let uuid = guest.uuid.to_string();
        let stop = Step::StopDomain { name, uuid };
        fleet.nodes[&guest.host]
            .simulated
            .apply(&lab.name, &[stop], &())
            .unwrap();
    }
    let (done, report) = fleet.run("1 % drift", &desired);
    assert!(report.is_complete() && fleet.is_as(&desired));
    let started = done.steps().filter(|(_, step)| matches!(step, Step::StartDomain(..)));
    assert_eq!(started.count(), GUESTS / DRIFT);
    assert_eq!(done.steps().count(), 2 * GUESTS / DRIFT, "started and configured");

    assert!(fleet.run("down", &Site::new()).1.is_complete());
    assert_eq!(fleet.observe(), Site::new());

    let failing: BTreeSet<&HostName> = fleet.nodes.keys().step_by(HOSTS / FAILING).take(FAILING).collect();
    let fail = |yes| {
        for host in &failing {
            fleet.nodes[*host].fails.store(yes, Ordering::Relaxed);
        }
    };
    fail(true);
    let (_, report) = fleet.run("up, three hosts fail", &desired);
    assert_eq!(
        report.failed.iter().map(|(host, _)| host).collect::<BTreeSet<_>>(),
        failing
    );
    let of_others = |site: &Site| -> Site {
        let others = site.iter().filter(|(host, _)| !failing.contains(host));
        others.map(|(host, state)| (host.clone(), state.clone())).collect()
    };
    assert!(plan(&of_others(&fleet.observe()), &of_others(&desired)).is_empty());
    fail(false);
    let (done, report) = fleet.run("up, repaired", &desired);
    assert!(report.is_complete() && fleet.is_as(&desired));
    assert!(done.steps().all(|(host, _)| failing.contains(host)));

    assert!(fleet.run("down", &Site::new()).1.is_complete());
    assert_eq!(fleet.observe(), Site::new());
}
