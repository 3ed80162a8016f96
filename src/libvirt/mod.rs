//! The libvirt of one host: takes operations on domains and disks and carries them out over one connection; gives what
//! exists, and guests' consoles and screens. What libvirt does not create (the folder of logs, the record beside a disk)
//! is created through a shell on the same host. Decides nothing about what is wanted.

mod base;
mod cause;
mod checkpoints;
mod connection;
mod console;
pub mod domain_xml;
mod domains;
mod error;
mod further;
mod halted;
mod kvm;
mod logs;
mod machines;
mod observe;
mod peek;
mod processes;
mod saved;
mod screen;
pub mod seed;
mod stream;
mod upload;
mod volumes;
mod watchdog;

pub use base::BaseError;
pub use cause::Cause;
pub use checkpoints::CheckpointError;
pub use error::{LibvirtError, Operation};
pub(crate) use kvm::kvm_of_emulated_host;
pub(crate) use machines::of_cache as cached_machines;
pub use saved::{Blank, Head, Kind};
pub use upload::label;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use processes::Processes;

use crate::guest::Console;
use crate::lab::{HostName, LabName, Task};
use crate::libvirt::domain_xml::{Template, XmlError};
use crate::state::survey::Survey;
use crate::state::{Disk, DiskName, Domain, DomainName, DomainSeen, GuestConfig, Volume};
use crate::transport::cmd::Shell;

/// A lab's domains and disks on one host.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Its domains.
    pub domains: BTreeMap<DomainName, Domain>,
    /// The condition that each domain was found in.
    pub seen: BTreeMap<DomainName, DomainSeen>,
    /// Their disks.
    pub volumes: BTreeMap<DomainName, Volume>,
    /// Their further disks.
    pub disks: BTreeMap<DiskName, Disk>,
}

/// Returns the labs that domains of the libvirt at `uri` are marked with. The connection is read-only, which libvirt
/// gives to every user.
pub fn labs(uri: &str) -> Result<BTreeSet<LabName>, LibvirtError> {
    observe::labs(&connection::read_only(uri)?)
}

/// One host's libvirt. A connection that is lost is opened again, so the daemon may be restarted at any time.
pub struct Libvirt {
    connection: connection::Connection,
    processes: Processes,
    shell: Arc<dyn Shell>,
    template: Result<Template, XmlError>,
}

/// How long a call may take for which libvirt waits for a running QEMU. libvirt itself gives up a domain that another
/// call has not released for 30 s.
const QEMU_WITHIN: Duration = Duration::from_secs(60);
/// The same for the start of a domain: libvirt may first find out what its QEMU can do, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(300);
/// The same for the end of one: libvirt sends SIGTERM, then SIGKILL, and waits for the process for 40 s.
const STOP_WITHIN: Duration = Duration::from_secs(120);

/// How often a connection was opened again, to be compared with a later value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(u64);

impl Libvirt {
    /// Connects to the libvirt of `host` at `uri`, e.g. `qemu:///system`. `shell` runs commands on the same host. An
    /// error in the template is returned only where the template is needed: a lab can be removed without one.
    pub fn open(
        host: HostName,
        uri: &str,
        shell: Arc<dyn Shell>,
        template: Result<Template, XmlError>,
    ) -> Result<Self, LibvirtError> {
        Self::open_inside(host, uri, shell, template, None)
    }

    /// Like [`Self::open`], for an emulated host whose first process is `init`.
    pub fn open_inside(
        host: HostName,
        uri: &str,
        shell: Arc<dyn Shell>,
        template: Result<Template, XmlError>,
        init: Option<u32>,
    ) -> Result<Self, LibvirtError> {
        let processes = Processes::new(shell.clone(), init, uri);
        Ok(Self {
            connection: connection::Connection::open(host, uri, processes.clone())?,
            processes,
            shell,
            template,
        })
    }

    fn template(&self) -> Result<&Template, LibvirtError> {
        let template = self.template.as_ref();
        template.map_err(|error| LibvirtError::Template(error.clone()))
    }

    /// Removes what a run on `lab` that was killed left and no plan removes: storage pools that hold nothing of it.
    pub fn settle(&self, lab: &LabName) -> Result<(), LibvirtError> {
        let operation = Operation::ListDisks(lab.clone());
        self.connection.with(&operation, |conn| {
            volumes::settle(conn, lab, &operation)?;
            upload::remove_stale_pool(conn, &operation)
        })
    }

    /// Returns the domains and disks of `lab`.
    pub fn observe(&self, lab: &LabName) -> Result<Observed, LibvirtError> {
        let (mut domains, mut seen) = self
            .connection
            .with(&Operation::ListDomains, |conn| observe::domains(conn, lab))?;
        let volumes::Disks {
            volumes,
            further: disks,
            seeds,
        } = self
            .connection
            .with(&Operation::ListDisks(lab.clone()), |conn| volumes::observe(conn, lab))?;
        for (name, domain) in &mut domains {
            domain.seed.take_if(|_| !seeds.contains(name));
        }
        if domains.values().any(|domain| domain.running) {
            for (name, why) in self.processes.halted(lab) {
                if let Some(seen) = seen.get_mut(&name) {
                    seen.halted = Some(why);
                }
            }
        }
        Ok(Observed {
            domains,
            seen,
            volumes,
            disks,
        })
    }

    /// Adds to `survey` what libvirt knows: domains and MAC addresses that are not `lab`'s, architectures and KVM.
    pub fn survey(&self, lab: &LabName, survey: &mut Survey) -> Result<(), LibvirtError> {
        self.template()?;
        let domains = self.connection.with(&Operation::ListDomains, |conn| {
            let mut found = Survey::default();
            observe::survey_domains(conn, lab, &mut found)?;
            Ok(found)
        })?;
        let capabilities = self.connection.with(&Operation::ReadCapabilities, |conn| {
            let mut found = Survey::default();
            observe::survey_capabilities(conn, self.shell.as_ref(), &mut found)?;
            Ok(found)
        })?;
        survey.foreign_macs.extend(domains.foreign_macs);
        survey.foreign_domains.extend(domains.foreign_domains);
        survey.foreign_uuids.extend(domains.foreign_uuids);
        survey.arches = capabilities.arches;
        survey.machines = capabilities.machines;
        survey.kvm = capabilities.kvm;
        Ok(())
    }

    /// Defines a domain, or changes one of netlab's. A domain of the same name without netlab's mark is an error.
    pub fn define(&self, name: &DomainName, domain: &Domain) -> Result<(), LibvirtError> {
        let template = self.template()?;
        self.connection.with(&Operation::Define(name.clone()), |conn| {
            domains::define(conn, name, domain, template, self.shell.as_ref())
        })
    }

    /// Removes a domain's definition and its logs. A domain that no longer exists counts as removed.
    pub fn undefine(&self, name: &DomainName, uuid: &str) -> Result<(), LibvirtError> {
        let operation = Operation::Undefine(name.clone());
        let (name, uuid, shell) = (name.clone(), uuid.to_owned(), self.shell.clone());
        self.connection.within(&operation, STOP_WITHIN, move |conn| {
            domains::undefine(conn, &name, &uuid, shell.as_ref())
        })
    }

    /// Starts a domain paused, so that its console can be opened before it prints anything. A domain that is paused or
    /// running already (an earlier start was interrupted) is left unchanged. A disk whose image file has changed is an
    /// error.
    pub fn start_paused(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::Start(name.clone());
        let (name, shell) = (name.clone(), self.shell.clone());
        self.connection.within(&operation, START_WITHIN, move |conn| {
            domains::start_paused(conn, &name, shell.as_ref())
        })
    }

    /// Cuts the power of a domain and starts it again, paused.
    pub fn restart_paused(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::Start(name.clone());
        let (name, shell) = (name.clone(), self.shell.clone());
        self.connection
            .within(&operation, STOP_WITHIN + START_WITHIN, move |conn| {
                domains::restart_paused(conn, &name, shell.as_ref())
            })
    }

    /// Returns which guests a saved state could start in each other's place, for a defined guest; none where it cannot be
    /// started so.
    pub fn kind(&self, name: &DomainName) -> Result<Option<Kind>, LibvirtError> {
        let template = self.template()?;
        self.connection.with(&Operation::Start(name.clone()), |conn| {
            saved::kind(conn, name, template)
        })
    }

    /// Starts a defined guest without its NICs, paused, with the disks of [`Blank`], to be saved. One with cloud-init has a NIC that
    /// leads nowhere.
    pub fn start_paused_without_nics(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let template = self.template()?.clone();
        let operation = Operation::Start(name.clone());
        let name = name.clone();
        self.connection.within(&operation, START_WITHIN, move |conn| {
            saved::start_paused(conn, &name, &template)
        })
    }

    /// Unplugs that NIC of a running guest.
    pub fn unplug_blank_nic(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::Save(name.clone());
        let name = name.clone();
        self.connection.within(&operation, STOP_WITHIN, move |conn| {
            saved::unplug_blank_nic(conn, &name)
        })
    }

    /// Returns whether a running guest was restored, or was started to be saved.
    pub fn is_restored(&self, name: &DomainName) -> Result<bool, LibvirtError> {
        let operation = Operation::Start(name.clone());
        self.connection.with(&operation, |conn| saved::is_restored(conn, name))
    }

    /// Saves a running guest to `file`, which only root can read; the guest is then off.
    pub fn save(&self, name: &DomainName, file: &Path) -> Result<(), LibvirtError> {
        let operation = Operation::Save(name.clone());
        let (name, file) = (name.clone(), file.to_owned());
        self.connection
            .within(&operation, STOP_WITHIN, move |conn| saved::save(conn, &name, &file))
    }

    /// Returns the head of a saved state by which it starts this guest.
    pub fn saved_head(&self, name: &DomainName, head: &Head) -> Result<Vec<u8>, LibvirtError> {
        let template = self.template()?;
        let operation = Operation::Restore(name.clone());
        let xml = self
            .connection
            .with(&operation, |conn| saved::without_nics(conn, name, template))?;
        head.with(&xml)
            .map_err(|source| LibvirtError::File { operation, source })
    }

    /// Starts a guest from the saved state in `file`, paused, without its NICs.
    pub fn restore_paused(&self, name: &DomainName, file: &Path) -> Result<(), LibvirtError> {
        let operation = Operation::Restore(name.clone());
        let (name, file) = (name.clone(), file.to_owned());
        self.connection.within(&operation, START_WITHIN, move |conn| {
            saved::restore_paused(conn, &name, &file)
        })
    }

    /// Plugs the NICs of a guest's definition into the guest that was started without them.
    pub fn plug_nics(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::PlugNics(name.clone());
        let name = name.clone();
        self.connection
            .within(&operation, QEMU_WITHIN, move |conn| saved::plug_nics(conn, &name))
    }

    /// Returns whether a guest is paused that was configured before; one whose start was interrupted was not.
    pub fn is_paused(&self, name: &DomainName) -> Result<bool, LibvirtError> {
        let operation = Operation::Start(name.clone());
        self.connection.with(&operation, |conn| domains::is_paused(conn, name))
    }

    /// Pauses a running domain. One that is paused stays so.
    pub fn pause(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::Pause(name.clone());
        let name = name.clone();
        self.connection
            .within(&operation, QEMU_WITHIN, move |conn| domains::pause(conn, &name))
    }

    /// Resumes a paused domain.
    pub fn resume(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::Resume(name.clone());
        let name = name.clone();
        self.connection
            .within(&operation, QEMU_WITHIN, move |conn| domains::resume(conn, &name))
    }

    /// Stops what was started of a guest that could not be saved or restored, so that the guest can boot.
    pub fn start_over(&self, name: &DomainName) -> Result<(), LibvirtError> {
        let operation = Operation::Stop(name.clone());
        let name = name.clone();
        self.connection
            .within(&operation, STOP_WITHIN, move |conn| saved::start_over(conn, &name))
    }

    /// Stops a domain at once. One that is not running, or no longer exists, counts as stopped.
    pub fn stop(&self, name: &DomainName, uuid: &str) -> Result<(), LibvirtError> {
        let operation = Operation::Stop(name.clone());
        let (name, uuid) = (name.clone(), uuid.to_owned());
        self.connection
            .within(&operation, STOP_WITHIN, move |conn| domains::stop(conn, &name, &uuid))
    }

    /// Records in the running domain what its guest was configured with; libvirt drops it when the domain stops.
    pub fn set_configured(&self, name: &DomainName, config: &GuestConfig) -> Result<(), LibvirtError> {
        let operation = Operation::RecordConfiguration(name.clone());
        let (name, config) = (name.clone(), config.clone());
        self.connection.within(&operation, QEMU_WITHIN, move |conn| {
            domains::set_configured(conn, &name, &config)
        })
    }

    /// Records which files were written and commands run in the running guest; `lasting`: also for its next start.
    pub fn set_tasks(&self, name: &DomainName, tasks: &[Task], lasting: bool) -> Result<(), LibvirtError> {
        let operation = Operation::RecordConfiguration(name.clone());
        let (name, tasks) = (name.clone(), tasks.to_vec());
        self.connection.within(&operation, QEMU_WITHIN, move |conn| {
            domains::set_tasks(conn, &name, &tasks, lasting)
        })
    }

    /// Returns whether the running domain was configured.
    pub fn was_configured(&self, name: &DomainName) -> Result<bool, LibvirtError> {
        let operation = Operation::RecordConfiguration(name.clone());
        self.connection
            .with(&operation, |conn| domains::was_configured(conn, name))
    }

    /// Creates a guest's disk, a qcow2 overlay in the lab's storage pool; the pool is created with the first one. A
    /// failure leaves nothing behind.
    pub fn create_volume(&self, name: &DomainName, volume: &Volume) -> Result<(), LibvirtError> {
        self.connection.with(&Operation::CreateDisk(name.clone()), |conn| {
            volumes::create(conn, name, volume, self.shell.as_ref())
        })
    }

    /// Grows a guest's disk to at least `mib` MiB. One that is as large already is left unchanged.
    pub fn grow_volume(&self, name: &DomainName, mib: u64) -> Result<(), LibvirtError> {
        self.connection.with(&Operation::GrowDisk(name.clone()), |conn| {
            volumes::grow(conn, name, mib)
        })
    }

    /// Deletes a guest's disk, and the lab's storage pool with the last one. A disk that does not exist counts as
    /// deleted.
    pub fn delete_volume(&self, name: &DomainName) -> Result<(), LibvirtError> {
        self.connection.with(&Operation::DeleteDisk(name.clone()), |conn| {
            volumes::delete(conn, name, self.shell.as_ref())
        })
    }

    /// Creates a guest's further disk in the lab's storage pool. A failure leaves nothing behind.
    pub fn create_disk(&self, name: &DiskName, disk: &Disk) -> Result<(), LibvirtError> {
        let operation = Operation::CreateFurtherDisk(name.clone());
        self.connection.with(&operation, |conn| {
            further::create(conn, name, disk, self.shell.as_ref())
        })
    }

    /// Grows a guest's further disk to at least `mib` MiB. One that is as large already is left unchanged.
    pub fn grow_disk(&self, name: &DiskName, mib: u64) -> Result<(), LibvirtError> {
        let operation = Operation::GrowFurtherDisk(name.clone());
        self.connection.with(&operation, |conn| further::grow(conn, name, mib))
    }

    /// Deletes a guest's further disk, and the lab's storage pool with the last disk. A disk that does not exist counts
    /// as deleted.
    pub fn delete_disk(&self, name: &DiskName) -> Result<(), LibvirtError> {
        let operation = Operation::DeleteFurtherDisk(name.clone());
        self.connection
            .with(&operation, |conn| further::delete(conn, name, self.shell.as_ref()))
    }

    /// Opens the serial console of a running or paused domain. Where it is open already, the error names the process
    /// that has it.
    pub fn open_console(&self, name: &DomainName) -> Result<Box<dyn Console>, LibvirtError> {
        let operation = Operation::OpenConsole(name.clone());
        let patience = match self.connection.now()? {
            // The daemon ends a session a moment after its client has closed it.
            (_, 0) => console::CLOSED_WITHIN,
            // A connection was lost: the daemon may not have noticed yet and still hold our console for it.
            _ => console::LOST_WITHIN,
        };
        self.connection.with(&operation, |conn| {
            let domain = domains::own(conn, name, &operation)?;
            console::open(conn, &domain, name, patience, &self.processes)
        })
    }

    /// Returns the connection's age. Once it has changed, consoles opened before are closed although their guests run
    /// on. Connects again if need be.
    pub fn age(&self) -> Result<Age, LibvirtError> {
        self.connection.now().map(|(_, renewed)| Age(renewed))
    }
}
