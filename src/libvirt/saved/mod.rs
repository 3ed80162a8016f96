//! Guests that are started from the saved state of another one: the first of a kind boots without NICs and is saved; each
//! further one is restored from that file under its own name, and its NICs are plugged in.

mod head;
pub(super) mod save;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::sys;

use super::error::{LibvirtError, Operation, failed, xml_failed};
use super::{domains, logs, seed, volumes};
use crate::lab::{Firmware, MacAddr};
use crate::libvirt::domain_xml::{
    Definitions, Files, Node, Parts, Template, XmlError, has_generation_id, places_for_nics, read, render_nic,
    render_parts, render_unconnected_nic,
};
use crate::state::{Accel, Domain, DomainName};
use crate::topology::derive;

pub use head::Head;

/// How long a guest may take to let a NIC go: with PCI Express it waits 5 s for another press of a button (PCI Express Base
/// Specification, 6.7.1.5).
const UNPLUGGED_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Guests that a saved state can start in each other's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Everything that they have in common, but for the files.
    pub description: String,
    /// The files that they boot from.
    pub files: Vec<PathBuf>,
    /// The disk of the guest that was asked for, which is over one of the files.
    pub disk: Option<PathBuf>,
    /// What the guest that is saved has in place of its disk and its seed disk: files beside them.
    pub blank: Blank,
    /// Models of the NICs that are plugged in.
    pub nic_models: Vec<String>,
    /// MAC addresses of the guest that was asked for.
    pub macs: Vec<MacAddr>,
}

/// Files of a guest that boots to be saved; absent where guests of its kind have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blank {
    /// Its disk.
    pub disk: Option<PathBuf>,
    /// Its seed disk: guests of its kind have cloud-init.
    pub seed: Option<PathBuf>,
}

impl Blank {
    /// Returns the files.
    pub fn files(&self) -> Vec<&Path> {
        [&self.disk, &self.seed]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect()
    }

    /// Ends of the files' names; no other file of a lab has them.
    const ENDS: [&str; 2] = [".blank.disk", ".blank.seed"];

    /// Returns whether a file of this name is such a one.
    pub(super) fn has(file: &str) -> bool {
        Self::ENDS.iter().any(|end| file.ends_with(end))
    }

    /// Returns the paths that a guest's files have, whether it has them or not.
    fn paths(name: &DomainName) -> [String; 2] {
        Self::ENDS.map(|end| format!("{}/{name}{end}", volumes::folder(name.lab())))
    }
}

impl Kind {
    /// Returns an identifier of the kind, different for every other one; `files` describes the files as they are.
    pub fn id(&self, files: &str) -> String {
        derive::uuid(&format!("{}\n{files}", self.description)).to_string()
    }
}

/// Returns the kind of a defined guest; none where it runs or is paused, or has further disks, a CD or UEFI, which a saved state
/// cannot give it, or a seed disk of an unusual size. What cloud-init makes for one guest only is secret: its kernel has to take
/// other random numbers than its like.
pub(super) fn kind(conn: &Connect, name: &DomainName, template: &Template) -> Result<Option<Kind>, LibvirtError> {
    let operation = Operation::Start(name.clone());
    let (handle, domain) = definition(conn, name, &operation)?;
    // One that was paused goes on.
    if handle.is_active().map_err(failed(&operation))? {
        return Ok(None);
    }
    let plain = domain.disks.is_empty() && domain.cdrom.is_none();
    if !plain || domain.firmware != Firmware::Bios {
        return Ok(None);
    }
    if domain.seed.is_some() && !(has_generation_id(&domain) && seed::has_usual_size(conn, name)?) {
        return Ok(None);
    }
    // What guests of one kind share, and the template.
    let common = Domain {
        uuid: String::new(),
        nics: Vec::new(),
        ..domain.clone()
    };
    let files = Files {
        disk: "",
        further: "",
        seed: "",
        console_log: "",
    };
    let xml = render_parts(template, name, &common, files, Parts::Unmarked).map_err(xml_failed(&operation))?;
    let xml = xml.replace(&name.to_string(), "");
    let versions = (
        Connect::version().map_err(failed(&operation))?,
        conn.lib_version().map_err(failed(&operation))?,
        conn.hyp_version().map_err(failed(&operation))?,
    );
    let capabilities = match domain.accel {
        // The emulated CPU is the same on every machine.
        Accel::Qemu => String::new(),
        Accel::Kvm => conn.capabilities().map_err(failed(&operation))?,
    };
    let mut nic_models: Vec<String> = domain.nics.iter().map(|nic| nic.model.clone()).collect();
    nic_models.sort();
    nic_models.dedup();
    let seeded = domain.seed.as_ref().map(|_| seed::describe());
    let disk = domain.boot.disk();
    let [blank_disk, blank_seed] = Blank::paths(name).map(PathBuf::from);
    Ok(Some(Kind {
        description: format!(
            "{versions:?}\n{nic_models:?}\n{}\n{:?}\n{capabilities}\n{xml}{}",
            places_for_nics(&domain),
            domain.disk_mib,
            seeded.clone().unwrap_or_default(),
        ),
        files: domain.boot.files().into_iter().cloned().collect(),
        disk: disk.map(|_| volumes::path(name).into()),
        blank: Blank {
            disk: disk.map(|_| blank_disk),
            seed: seeded.map(|_| blank_seed),
        },
        nic_models,
        macs: domain.nics.iter().map(|nic| nic.mac).collect(),
    }))
}

/// Returns netlab's domain and its definition.
fn definition(conn: &Connect, name: &DomainName, operation: &Operation) -> Result<(VirDomain, Domain), LibvirtError> {
    let handle = domains::own(conn, name, operation)?;
    let inactive = handle
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(failed(operation))?;
    let found = read(Definitions {
        inactive: &inactive,
        live: None,
    })
    .map_err(xml_failed(operation))?;
    match found {
        Some((_, domain)) => Ok((handle, domain)),
        None => Err(LibvirtError::ForeignDomain(name.clone())),
    }
}

/// Returns the XML by which a defined guest starts without its NICs.
pub(super) fn without_nics(conn: &Connect, name: &DomainName, template: &Template) -> Result<String, LibvirtError> {
    let operation = Operation::Start(name.clone());
    let (_, domain) = definition(conn, name, &operation)?;
    domains::xml(template, name, &domain, Parts::WithoutNics).map_err(xml_failed(&operation))
}

/// Starts a defined guest without its NICs, paused, with the disks of [`Blank`]. Its definition stays as it is. A guest with
/// cloud-init has one NIC, which leads nowhere, until [`unplug_blank_nic`].
pub(super) fn start_paused(conn: &Connect, name: &DomainName, template: &Template) -> Result<(), LibvirtError> {
    let operation = Operation::Start(name.clone());
    let (_, definition) = definition(conn, name, &operation)?;
    let [disk, seed] = Blank::paths(name);
    let files = Files {
        disk: &disk,
        further: "",
        seed: &seed,
        console_log: &logs::console(name),
    };
    let xml = render_parts(template, name, &definition, files, Parts::WithoutNics).map_err(xml_failed(&operation))?;
    let started = conn
        .create_domain_xml(&xml, sys::VIR_DOMAIN_START_PAUSED)
        .map_err(failed(&operation))?;
    if definition.seed.is_some() {
        let nic = blank_nic(&definition).map_err(xml_failed(&operation))?;
        // Now, because libvirt gives a NIC that is there from the start the place of another device.
        started
            .attach_device_flags(&nic, sys::VIR_DOMAIN_AFFECT_LIVE)
            .map_err(failed(&operation))?;
    }
    Ok(())
}

/// Returns the XML of the NIC that a guest with cloud-init has while it boots to be saved.
fn blank_nic(definition: &Domain) -> Result<String, XmlError> {
    let model = definition.nics.first().map_or("virtio", |nic| &nic.model);
    render_unconnected_nic(seed::BLANK_MAC, model)
}

/// Unplugs that NIC and waits until the guest has let it go.
pub(super) fn unplug_blank_nic(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    let operation = Operation::Save(name.clone());
    let (handle, definition) = definition(conn, name, &operation)?;
    let nic = blank_nic(&definition).map_err(xml_failed(&operation))?;
    handle
        .detach_device_flags(&nic, sys::VIR_DOMAIN_AFFECT_LIVE)
        .map_err(failed(&operation))?;
    let began = Instant::now();
    while handle
        .xml_desc(0)
        .map_err(failed(&operation))?
        .contains(seed::BLANK_MAC)
    {
        if began.elapsed() > UNPLUGGED_WITHIN {
            return Err(LibvirtError::NicStays(name.clone()));
        }
        thread::sleep(ASK_EVERY);
    }
    Ok(())
}

/// Returns whether a running guest was restored, or was started to be saved: only such a one has a generation ID.
pub(super) fn is_restored(conn: &Connect, name: &DomainName) -> Result<bool, LibvirtError> {
    let operation = Operation::Start(name.clone());
    let live = domains::own(conn, name, &operation)?
        .xml_desc(0)
        .map_err(failed(&operation))?;
    let root = Node::parse(&live).map_err(xml_failed(&operation))?;
    Ok(root.child("genid").is_some())
}

/// Saves a running guest to `file`, which is created; the guest is then off.
pub(super) fn save(conn: &Connect, name: &DomainName, file: &Path) -> Result<(), LibvirtError> {
    let operation = Operation::Save(name.clone());
    let domain = domains::own(conn, name, &operation)?;
    save::to_file(&domain, file).map_err(failed(&operation))
}

/// Starts what `file` has, paused.
pub(super) fn restore_paused(conn: &Connect, name: &DomainName, file: &Path) -> Result<(), LibvirtError> {
    let operation = Operation::Restore(name.clone());
    let file = file.to_string_lossy();
    conn.restore_domain_flags(&file, None, sys::VIR_DOMAIN_SAVE_PAUSED)
        .map_err(failed(&operation))
}

/// Stops what was started of a guest that could not be saved or restored, and defines the guest again. libvirt handles the end
/// of a QEMU's monitor later, in another thread (`qemuProcessHandleMonitorEOF`), and would stop the QEMU that is started
/// next: it is then another domain's.
pub(super) fn start_over(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    domains::power_off(conn, name)?;
    let operation = Operation::Define(name.clone());
    let handle = domains::own(conn, name, &operation)?;
    let inactive = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    let xml = handle.xml_desc(inactive).map_err(failed(&operation))?;
    handle.undefine().map_err(failed(&operation))?;
    conn.define_domain_xml(&xml).map(drop).map_err(failed(&operation))
}

/// Plugs the NICs of a guest's definition into the running guest, in their order.
pub(super) fn plug_nics(conn: &Connect, name: &DomainName) -> Result<(), LibvirtError> {
    let operation = Operation::PlugNics(name.clone());
    let (handle, domain) = definition(conn, name, &operation)?;
    for nic in &domain.nics {
        let xml = render_nic(nic).map_err(xml_failed(&operation))?;
        handle
            .attach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)
            .map_err(failed(&operation))?;
    }
    Ok(())
}
