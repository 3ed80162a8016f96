//! libvirt: domains, their disks and their consoles, over one connection.

mod stream;
mod upload;

pub use upload::label;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::error::Error;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt::sys;

use super::HostError;
use super::cmd::{Cmd, Shell};
use super::domain_xml::{self, CONFIGURED_URI, METADATA_URI, Node, Pen, XmlError};
use super::survey::{Kvm, Survey};
use crate::guest::Console;
use crate::lab::{Boot, LabName};
use crate::state::{Domain, DomainName, GuestConfig, Volume};

// virErrorNumber and virDomainState, which are part of libvirt's stable interface.
const NO_DOMAIN: u32 = 42;
const NO_POOL: u32 = 49;
const NO_VOLUME: u32 = 50;
const OPERATION_INVALID: u32 = 55;

/// A lab's domains and disks on one host.
pub type Observed = (BTreeMap<DomainName, Domain>, BTreeMap<DomainName, Volume>);

/// A connection to one host's libvirt. Clones share it.
#[derive(Clone)]
pub struct Libvirt {
    conn: Connect,
}

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

/// Registers libvirt's event loop, before the first connection, and runs it for ever in one thread.
fn event_loop() -> Result<(), HostError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        virt::error::clear_error_callback();
        virt::event::event_register_default_impl().map_err(|e| e.message().to_owned())?;
        let run = || {
            loop {
                if virt::event::event_run_default_impl().is_err() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        };
        let thread = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(run);
        thread.map(drop).map_err(|e| e.to_string())
    };
    STARTED
        .get_or_init(start)
        .clone()
        .map_err(|e| other("starting libvirt's event loop", e))
}

fn pool_name(lab: &LabName) -> String {
    format!("netlab.{lab}")
}
fn pool_path(lab: &LabName) -> String {
    format!("/var/lib/libvirt/images/netlab.{lab}")
}
fn volume_file(name: &DomainName) -> String {
    format!("{name}.qcow2")
}
fn volume_path(name: &DomainName) -> String {
    format!("{}/{}", pool_path(name.lab()), volume_file(name))
}

impl Libvirt {
    /// Connects, e.g. to `qemu:///system`.
    pub fn open(uri: &str) -> Result<Self, HostError> {
        event_loop()?;
        let conn = Connect::open(Some(uri)).map_err(failed(&format!("connecting to {uri}")))?;
        Ok(Self { conn })
    }

    /// What `lab` has here: its domains and its disks.
    pub fn observe(&self, lab: &LabName) -> Result<Observed, HostError> {
        let mut domains = BTreeMap::new();
        for (handle, root) in self.all_domains()? {
            let doing = "reading a domain";
            let Some((name, mut domain)) = domain_xml::read_node(&root).map_err(xml_failed(doing))? else {
                continue;
            };
            if name.lab() != lab {
                continue;
            }
            domain.running = match handle.state() {
                Ok((state, _)) => state.to_raw() == sys::VIR_DOMAIN_RUNNING,
                Err(error) if code(&error) == NO_DOMAIN => continue,
                Err(error) => return Err(failed(doing)(error)),
            };
            // An unreadable note counts as none: the guest is then told again.
            let told = root.metadata(CONFIGURED_URI).filter(|_| domain.running);
            domain.configured = told.and_then(|note| serde_json::from_str(&note.text).ok());
            domains.insert(name, domain);
        }
        Ok((domains, self.volumes(lab)?))
    }

    fn all_domains(&self) -> Result<Vec<(VirDomain, Node)>, HostError> {
        let doing = "listing domains";
        let mut all = Vec::new();
        for handle in self.conn.list_all_domains(0).map_err(failed(doing))? {
            match handle.xml_desc(0) {
                Ok(xml) => all.push((handle, Node::parse(&xml).map_err(xml_failed(doing))?)),
                // Gone since it was listed.
                Err(error) if code(&error) == NO_DOMAIN => {}
                Err(error) => return Err(failed(doing)(error)),
            }
        }
        Ok(all)
    }

    fn volumes(&self, lab: &LabName) -> Result<BTreeMap<DomainName, Volume>, HostError> {
        let doing = "listing disks";
        let mut volumes = BTreeMap::new();
        let Some(pool) = self.pool(lab)? else {
            return Ok(volumes);
        };
        pool.refresh(0).map_err(failed(doing))?;
        for volume in pool.list_all_volumes(0).map_err(failed(doing))? {
            let file = volume.name().map_err(failed(doing))?;
            let Some(name) = file
                .strip_suffix(".qcow2")
                .and_then(|n| DomainName::try_from(n.to_owned()).ok())
            else {
                continue;
            };
            if name.lab() != lab {
                continue;
            }
            let xml = volume.xml_desc(0).map_err(failed(doing))?;
            let root = Node::parse(&xml).map_err(xml_failed(doing))?;
            let base = root
                .at(&["backingStore", "path"])
                .map(|p| p.text.clone())
                .unwrap_or_default();
            let format = root
                .at(&["backingStore", "format"])
                .and_then(|f| f.attr("type"))
                .unwrap_or_default();
            let volume = Volume {
                base: PathBuf::from(base),
                base_format: format.to_owned(),
            };
            volumes.insert(name, volume);
        }
        Ok(volumes)
    }

    /// The lab's storage pool, started; none when there is none.
    fn pool(&self, lab: &LabName) -> Result<Option<StoragePool>, HostError> {
        let doing = "looking for the lab's storage pool";
        let pool = match self.conn.lookup_storage_pool_by_name(&pool_name(lab)) {
            Ok(pool) => pool,
            Err(error) if code(&error) == NO_POOL => return Ok(None),
            Err(error) => return Err(failed(doing)(error)),
        };
        if !pool.is_active().map_err(failed(doing))? {
            pool.create(0).map_err(failed(doing))?;
        }
        Ok(Some(pool))
    }

    /// Adds to `survey` what libvirt knows: domains and MAC addresses that are not `lab`'s, architectures and KVM.
    pub fn survey(&self, lab: &LabName, shell: &dyn Shell, survey: &mut Survey) -> Result<(), HostError> {
        for (_, root) in self.all_domains()? {
            let owner = match domain_xml::read_node(&root) {
                Ok(Some((name, _))) if name.lab() == lab => continue,
                Ok(Some((name, _))) => format!("lab {}", name.lab()),
                _ => "someone else".to_owned(),
            };
            let name = root.child("name").map(|n| n.text.clone()).unwrap_or_default();
            for nic in root.child("devices").iter().flat_map(|d| d.all("interface")) {
                if let Some(Ok(mac)) = nic.child("mac").and_then(|m| m.attr("address")).map(str::parse) {
                    survey.foreign_macs.insert(mac, name.clone());
                }
            }
            survey.foreign_domains.insert(name, owner);
        }
        let doing = "reading libvirt's capabilities";
        let xml = self.conn.capabilities().map_err(failed(doing))?;
        let caps = Node::parse(&xml).map_err(xml_failed(doing))?;
        let host = caps
            .at(&["host", "cpu", "arch"])
            .map(|a| a.text.trim().to_owned())
            .unwrap_or_default();
        let mut offered = false;
        for arch in caps.all("guest").filter_map(|g| g.child("arch")) {
            let name = arch.attr("name").unwrap_or_default();
            survey.arches.insert(name.to_owned());
            offered |= name == host && arch.all("domain").any(|d| d.attr("type") == Some("kvm"));
        }
        survey.kvm = kvm(offered, shell)?;
        Ok(())
    }

    /// Defines a domain, or changes one of ours. A domain of the same name that is not ours is left alone.
    pub fn define(&self, lab: &LabName, name: &DomainName, domain: &Domain) -> Result<(), HostError> {
        let doing = format!("defining {name}");
        if let Some(old) = self.find(name, &doing)? {
            own(&old, name, &doing)?;
        }
        // What the guest was told is live only and must not come back with the definition.
        let wanted = Domain {
            configured: None,
            ..domain.clone()
        };
        let disk = matches!(domain.boot, Boot::Disk { .. }).then(|| volume_path(name));
        let log = format!("/var/log/libvirt/qemu/{name}.console.log");
        let xml = domain_xml::render(lab, name, &wanted, disk.as_deref(), &log).map_err(xml_failed(&doing))?;
        self.conn.define_domain_xml(&xml).map(drop).map_err(failed(&doing))
    }

    fn find(&self, name: &DomainName, doing: &str) -> Result<Option<VirDomain>, HostError> {
        match self.conn.lookup_domain_by_name(&name.to_string()) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if code(&error) == NO_DOMAIN => Ok(None),
            Err(error) => Err(failed(doing)(error)),
        }
    }

    /// The domain of this name, after checking that it is ours.
    fn ours(&self, name: &DomainName, doing: &str) -> Result<VirDomain, HostError> {
        let domain = self
            .conn
            .lookup_domain_by_name(&name.to_string())
            .map_err(failed(doing))?;
        own(&domain, name, doing)?;
        Ok(domain)
    }

    /// The very domain that was observed; none when it has gone.
    fn same(&self, name: &DomainName, uuid: &str, doing: &str) -> Result<Option<VirDomain>, HostError> {
        let Some(domain) = self.find(name, doing)? else {
            return Ok(None);
        };
        let found = domain.uuid_string().map_err(failed(doing))?;
        if !found.eq_ignore_ascii_case(uuid) {
            return Err(other(
                doing,
                format!("it is another domain now (uuid {found}, not {uuid}); left alone"),
            ));
        }
        own(&domain, name, doing)?;
        Ok(Some(domain))
    }

    /// Removes a domain's definition; one that has gone counts as removed.
    pub fn undefine(&self, name: &DomainName, uuid: &str) -> Result<(), HostError> {
        let doing = format!("removing {name}");
        let Some(domain) = self.same(name, uuid, &doing)? else {
            return Ok(());
        };
        // Paused, it counts as not running; undefined, it would live on without a definition.
        gone_is_fine(domain.destroy(), &doing)?;
        match domain.undefine() {
            Err(error) if code(&error) != NO_DOMAIN => Err(failed(&doing)(error)),
            _ => Ok(()),
        }
    }

    /// Starts a domain paused, so that its console can be opened before it prints anything. One that is already
    /// there paused (from a start cut short) is taken as it is.
    pub fn start_paused(&self, name: &DomainName) -> Result<(), HostError> {
        let doing = format!("starting {name}");
        let domain = self.ours(name, &doing)?;
        let (state, _) = domain.state().map_err(failed(&doing))?;
        if state.to_raw() == sys::VIR_DOMAIN_PAUSED {
            return Ok(());
        }
        domain
            .create_with_flags(sys::VIR_DOMAIN_START_PAUSED)
            .map_err(failed(&doing))
    }

    /// Lets a paused domain run.
    pub fn resume(&self, name: &DomainName) -> Result<(), HostError> {
        let doing = format!("resuming {name}");
        self.ours(name, &doing)?.resume().map_err(failed(&doing))
    }

    /// Stops a domain at once; one that is not running, or has gone, counts as stopped.
    pub fn stop(&self, name: &DomainName, uuid: &str) -> Result<(), HostError> {
        let doing = format!("stopping {name}");
        match self.same(name, uuid, &doing)? {
            Some(domain) => gone_is_fine(domain.destroy(), &doing),
            None => Ok(()),
        }
    }

    /// Notes at the running domain what its guest was told; the note goes when the domain stops.
    pub fn set_configured(&self, name: &DomainName, config: &GuestConfig) -> Result<(), HostError> {
        let doing = format!("noting the configuration of {name}");
        let json = serde_json::to_string(config).map_err(|e| other(&doing, e))?;
        let mut pen = Pen::new();
        pen.text("configured", &[], &json).map_err(xml_failed(&doing))?;
        let xml = pen.done().map_err(xml_failed(&doing))?;
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or(2);
        let (key, uri) = (Some("netlab-configured"), Some(CONFIGURED_URI));
        self.ours(name, &doing)?
            .set_metadata(kind, Some(&xml), key, uri, sys::VIR_DOMAIN_AFFECT_LIVE)
            .map_err(failed(&doing))
    }

    /// Makes a guest's disk, a qcow2 overlay in the lab's storage pool; the pool is made with its first one.
    pub fn create_volume(&self, name: &DomainName, volume: &Volume) -> Result<(), HostError> {
        let doing = format!("making the disk of {name}");
        let xml = volume_xml(name, volume).map_err(xml_failed(&doing))?;
        let pool = match self.pool(name.lab())? {
            Some(pool) => pool,
            None => self.create_pool(name.lab())?,
        };
        StorageVol::create_xml(&pool, &xml, 0).map(drop).map_err(failed(&doing))
    }

    fn create_pool(&self, lab: &LabName) -> Result<StoragePool, HostError> {
        let doing = format!("making the storage pool of {lab}");
        let xml = pool_xml(lab).map_err(xml_failed(&doing))?;
        let pool = self.conn.define_storage_pool_xml(&xml, 0).map_err(failed(&doing))?;
        let begin = pool
            .build(0)
            .and_then(|()| pool.create(0))
            .and_then(|()| pool.set_autostart(true));
        if let Err(error) = begin {
            let _ = pool.destroy();
            let _ = pool.undefine();
            return Err(failed(&doing)(error));
        }
        Ok(pool)
    }

    /// Deletes a guest's disk, and the lab's storage pool with the last one; one that has gone counts as deleted.
    pub fn delete_volume(&self, name: &DomainName) -> Result<(), HostError> {
        let doing = format!("deleting the disk of {name}");
        let Some(pool) = self.pool(name.lab())? else {
            return Ok(());
        };
        match pool
            .lookup_storage_vol_by_name(&volume_file(name))
            .and_then(|v| v.delete(0))
        {
            Ok(()) => {}
            Err(error) if code(&error) == NO_VOLUME => {}
            Err(error) => return Err(failed(&doing)(error)),
        }
        pool.refresh(0).map_err(failed(&doing))?;
        if pool.num_of_volumes().map_err(failed(&doing))? > 0 {
            return Ok(());
        }
        pool.destroy().map_err(failed(&doing))?;
        // Removes the folder, if it is empty: what else lies there is not ours.
        let _ = pool.delete(0);
        pool.undefine().map_err(failed(&doing))
    }

    /// Opens the console of a running or paused domain.
    pub fn open_console(&self, name: &DomainName) -> Result<Box<dyn Console>, HostError> {
        let doing = format!("opening the console of {name}");
        let domain = self.ours(name, &doing)?;
        let stream = Stream::new(&self.conn, sys::VIR_STREAM_NONBLOCK).map_err(failed(&doing))?;
        match domain.open_console(None, &stream, 0) {
            Ok(()) => Ok(Box::new(stream::StreamConsole::new(stream))),
            Err(error) if error.message().contains("Active console session exists") => Err(HostError::Libvirt {
                doing,
                message: format!("the console of {name} is open elsewhere (virsh console?); close that one first"),
                code: code(&error),
            }),
            Err(error) => Err(failed(&doing)(error)),
        }
    }
}

/// An error unless the domain carries our mark under this very name.
fn own(domain: &VirDomain, name: &DomainName, doing: &str) -> Result<(), HostError> {
    let xml = domain.xml_desc(0).map_err(failed(doing))?;
    let root = Node::parse(&xml).map_err(xml_failed(doing))?;
    let mark = root.metadata(METADATA_URI);
    let says = |what: &str, wanted: &str| mark.and_then(|m| m.child(what)).is_some_and(|n| n.text == wanted);
    if says("lab", name.lab().as_str()) && says("vm", name.vm().as_str()) {
        return Ok(());
    }
    Err(other(
        doing,
        format!("there is a domain {name} that netlab did not make; left alone"),
    ))
}

/// A domain that has gone or does not run is what was wanted.
fn gone_is_fine(result: Result<(), Error>, doing: &str) -> Result<(), HostError> {
    match result {
        Err(error) if !matches!(code(&error), NO_DOMAIN | OPERATION_INVALID) => Err(failed(doing)(error)),
        _ => Ok(()),
    }
}

fn kvm(offered: bool, shell: &dyn Shell) -> Result<Kvm, HostError> {
    if shell.run(&Cmd::new(["test", "-e", "/dev/kvm"]))?.status != 0 {
        return Ok(Kvm::Absent);
    }
    let info = shell.check(&Cmd::new(["cat", "/proc/cpuinfo"]))?;
    let info = String::from_utf8_lossy(&info);
    let has = info.split_whitespace().any(|word| word == "vmx" || word == "svm");
    Ok(match (has, offered) {
        (true, true) => Kvm::Usable,
        (false, _) => Kvm::Useless("the CPU has neither vmx nor svm".to_owned()),
        (true, false) => Kvm::Useless("libvirt does not offer it".to_owned()),
    })
}

fn volume_xml(name: &DomainName, volume: &Volume) -> Result<String, XmlError> {
    let base = volume
        .base
        .to_str()
        .ok_or_else(|| XmlError::Illegal(volume.base.display().to_string()))?;
    let mut pen = Pen::new();
    pen.open("volume", &[])?;
    pen.text("name", &[], &volume_file(name))?;
    pen.open("target", &[])?;
    pen.empty("format", &[("type", "qcow2")])?;
    pen.close("target")?;
    pen.open("backingStore", &[])?;
    pen.text("path", &[], base)?;
    pen.empty("format", &[("type", &volume.base_format)])?;
    pen.close("backingStore")?;
    pen.close("volume")?;
    pen.done()
}

fn pool_xml(lab: &LabName) -> Result<String, XmlError> {
    let mut pen = Pen::new();
    pen.open("pool", &[("type", "dir")])?;
    pen.text("name", &[], &pool_name(lab))?;
    pen.open("target", &[])?;
    pen.text("path", &[], &pool_path(lab))?;
    pen.close("target")?;
    pen.close("pool")?;
    pen.done()
}
