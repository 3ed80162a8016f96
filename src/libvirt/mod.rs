//! libvirt: takes steps on domains and disks of one host and applies them over one connection; gives what is there, and
//! guests' consoles. What libvirt does not make (the folder of logs, the note beside a disk) is made by a shell there.
//! Takes no decision about what is wanted.

mod base;
mod connection;
mod console;
pub mod domain_xml;
mod domains;
mod kvm;
mod logs;
mod messages;
mod observe;
mod peek;
mod screen;
pub mod seed;
mod stream;
mod upload;
mod volumes;

pub(super) use kvm::kvm_to_come;
pub use upload::label;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use virt::error::Error;

use crate::guest::Console;
use crate::host::HostError;
use crate::lab::LabName;
use crate::libvirt::domain_xml::{Template, XmlError};
use crate::state::survey::Survey;
use crate::state::{Domain, DomainName, DomainSeen, GuestConfig, Volume};
use crate::transport::cmd::Shell;

// virErrorNumber, which is part of libvirt's stable interface.
const NO_DOMAIN: u32 = 42;
const NO_POOL: u32 = 49;
const NO_VOLUME: u32 = 50;
const OPERATION_INVALID: u32 = 55;
const VOLUME_EXISTS: u32 = 90;

/// A lab's domains and disks on one host.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Its domains.
    pub domains: BTreeMap<DomainName, Domain>,
    /// How the domains were found.
    pub seen: BTreeMap<DomainName, DomainSeen>,
    /// Their disks.
    pub volumes: BTreeMap<DomainName, Volume>,
}

/// One host's libvirt. A connection that breaks is made again, so that a daemon may be restarted at any time.
pub struct Libvirt {
    line: connection::Connection,
    shell: Arc<dyn Shell>,
    template: Result<Template, XmlError>,
}

/// How often a connection was made again: a moment in its life, to be compared with a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age(u64);

fn failed(doing: &str) -> impl Fn(Error) -> HostError + '_ {
    move |error| HostError::Libvirt {
        doing: doing.to_owned(),
        message: error.message().to_owned(),
        code: code(&error),
    }
}

fn code(error: &Error) -> u32 {
    error.code().to_raw()
}

fn other(doing: &str, message: impl std::fmt::Display) -> HostError {
    HostError::Other {
        doing: doing.to_owned(),
        message: message.to_string(),
    }
}

fn xml_failed(doing: &str) -> impl Fn(XmlError) -> HostError + '_ {
    move |error| other(doing, error)
}

impl Libvirt {
    /// Connects, e.g. to `qemu:///system`. `shell` runs commands on the same host. What is wrong with the template is
    /// told where it is needed: a lab can be taken away without one.
    pub fn open(uri: &str, shell: Arc<dyn Shell>, template: Result<Template, XmlError>) -> Result<Self, HostError> {
        Ok(Self {
            line: connection::Connection::open(uri)?,
            shell,
            template,
        })
    }

    fn template(&self) -> Result<&Template, HostError> {
        let template = self.template.as_ref();
        template.map_err(|error| xml_failed("reading the template of domains")(error.clone()))
    }

    /// What `lab` has here.
    pub fn observe(&self, lab: &LabName) -> Result<Observed, HostError> {
        self.line.with(|conn| {
            let (mut domains, seen) = observe::domains(conn, lab)?;
            let volumes::Disks { volumes, seeds } = volumes::observe(conn, lab)?;
            for (name, domain) in &mut domains {
                domain.seed.take_if(|_| !seeds.contains(name));
            }
            Ok(Observed { domains, seen, volumes })
        })
    }

    /// Adds to `survey` what libvirt knows: domains and MAC addresses that are not `lab`'s, architectures and KVM.
    pub fn survey(&self, lab: &LabName, survey: &mut Survey) -> Result<(), HostError> {
        self.template()?;
        let found = self.line.with(|conn| {
            let mut found = Survey::default();
            observe::survey(conn, lab, self.shell.as_ref(), &mut found)?;
            Ok(found)
        })?;
        survey.foreign_macs.extend(found.foreign_macs);
        survey.foreign_domains.extend(found.foreign_domains);
        survey.arches.extend(found.arches);
        survey.kvm = found.kvm;
        Ok(())
    }

    /// Defines a domain, or changes one of ours. A domain of the same name that is not ours is left alone.
    pub fn define(&self, name: &DomainName, domain: &Domain) -> Result<(), HostError> {
        let template = self.template()?;
        self.line
            .with(|conn| domains::define(conn, name, domain, template, self.shell.as_ref()))
    }

    /// Removes a domain's definition and its logs; one that has gone counts as removed.
    pub fn undefine(&self, name: &DomainName, uuid: &str) -> Result<(), HostError> {
        self.line
            .with(|conn| domains::undefine(conn, name, uuid, self.shell.as_ref()))
    }

    /// Starts a domain paused, so that its console can be opened before it prints anything. One that is already there
    /// (from a start cut short) is taken as it is. A disk whose base has changed is not started from.
    pub fn start_paused(&self, name: &DomainName) -> Result<(), HostError> {
        self.line
            .with(|conn| domains::start_paused(conn, name, self.shell.as_ref()))
    }

    /// Lets a paused domain run.
    pub fn resume(&self, name: &DomainName) -> Result<(), HostError> {
        self.line.with(|conn| domains::resume(conn, name))
    }

    /// Stops a domain at once; one that is not running, or has gone, counts as stopped.
    pub fn stop(&self, name: &DomainName, uuid: &str) -> Result<(), HostError> {
        self.line.with(|conn| domains::stop(conn, name, uuid))
    }

    /// Notes at the running domain what its guest was told; the note goes when the domain stops.
    pub fn set_configured(&self, name: &DomainName, config: &GuestConfig) -> Result<(), HostError> {
        self.line.with(|conn| domains::set_configured(conn, name, config))
    }

    /// Makes a guest's disk, a qcow2 overlay in the lab's storage pool; the pool is made with its first one. After a
    /// failure nothing of it is left.
    pub fn create_volume(&self, name: &DomainName, volume: &Volume) -> Result<(), HostError> {
        self.line
            .with(|conn| volumes::create(conn, name, volume, self.shell.as_ref()))
    }

    /// Deletes a guest's disk, and the lab's storage pool with the last one; one that has gone counts as deleted.
    pub fn delete_volume(&self, name: &DomainName) -> Result<(), HostError> {
        self.line.with(|conn| volumes::delete(conn, name, self.shell.as_ref()))
    }

    /// Opens the console of a running or paused domain; an error that says who has it, where it is open already.
    pub fn open_console(&self, name: &DomainName) -> Result<Box<dyn Console>, HostError> {
        let doing = format!("opening the console of {name}");
        let patience = match self.line.now()? {
            (_, 0) => Duration::ZERO,
            // A connection was lost: the daemon may still hold it for a living one, and our console with it.
            _ => console::LOST_WITHIN,
        };
        self.line.with(|conn| {
            let domain = domains::ours(conn, name, &doing)?;
            console::open(conn, &domain, name, &doing, patience)
        })
    }

    /// The connection's age. Once it is another, consoles opened before are closed, and nothing is wrong with the
    /// guests. Connects again if need be.
    pub fn age(&self) -> Result<Age, HostError> {
        self.line.now().map(|(_, renewed)| Age(renewed))
    }
}
