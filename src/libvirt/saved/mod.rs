//! Guests that are started from the saved state of another one: the first of a kind boots without NICs and is saved; each
//! further one is restored from that file under its own name, and its NICs are plugged in.

mod head;
pub(super) mod save;

use std::path::{Path, PathBuf};

use virt::connect::Connect;
use virt::domain::Domain as VirDomain;
use virt::sys;

use super::error::{LibvirtError, Operation, failed, xml_failed};
use super::{domains, volumes};
use crate::lab::{Firmware, MacAddr};
use crate::libvirt::domain_xml::{
    Definitions, Files, Parts, Template, places_for_nics, read, render_nic, render_parts,
};
use crate::state::{Accel, Domain, DomainName};
use crate::topology::derive;

pub use head::Head;

/// Guests that a saved state can start in each other's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Everything that they have in common, but for the files.
    pub description: String,
    /// The files that they boot from.
    pub files: Vec<PathBuf>,
    /// The disk of the guest that was asked for, which is over one of the files.
    pub disk: Option<PathBuf>,
    /// Models of the NICs that are plugged in.
    pub nic_models: Vec<String>,
    /// MAC addresses of the guest that was asked for.
    pub macs: Vec<MacAddr>,
}

impl Kind {
    /// Returns an identifier of the kind, different for every other one; `files` describes the files as they are.
    pub fn id(&self, files: &str) -> String {
        derive::uuid(&format!("{}\n{files}", self.description)).to_string()
    }
}

/// Returns the kind of a defined guest; none where it runs or is paused, or has further disks, a CD, a seed or UEFI, which
/// a saved state cannot give it.
pub(super) fn kind(conn: &Connect, name: &DomainName, template: &Template) -> Result<Option<Kind>, LibvirtError> {
    let operation = Operation::Start(name.clone());
    let (handle, domain) = definition(conn, name, &operation)?;
    // One that was paused goes on.
    if handle.is_active().map_err(failed(&operation))? {
        return Ok(None);
    }
    let plain = domain.disks.is_empty() && domain.cdrom.is_none() && domain.seed.is_none();
    if !plain || domain.firmware != Firmware::Bios {
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
    Ok(Some(Kind {
        description: format!(
            "{versions:?}\n{nic_models:?}\n{}\n{:?}\n{capabilities}\n{xml}",
            places_for_nics(&domain),
            domain.disk_mib,
        ),
        files: domain.boot.files().into_iter().cloned().collect(),
        disk: domain.boot.disk().map(|_| volumes::path(name).into()),
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

/// Starts a defined guest without its NICs, paused. Its definition stays as it is.
pub(super) fn start_paused(conn: &Connect, name: &DomainName, template: &Template) -> Result<(), LibvirtError> {
    let xml = without_nics(conn, name, template)?;
    conn.create_domain_xml(&xml, sys::VIR_DOMAIN_START_PAUSED)
        .map(drop)
        .map_err(failed(&Operation::Start(name.clone())))
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
