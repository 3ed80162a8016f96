//! Guests' disks: qcow2 overlays in the lab's own storage pool, which is created with the first disk and removed with
//! the last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::error::{LibvirtError, Operation, failed, is, xml_failed};
use super::saved::Blank;
use super::{base, further, seed};
use crate::lab::LabName;
use crate::libvirt::domain_xml::{Node, XmlError, XmlWriter};
use crate::state::{Disk, DiskName, DomainName, Volume};
use crate::topology::derive;
use crate::transport::cmd::Shell;

fn pool_name(lab: &LabName) -> String {
    format!("netlab.{lab}")
}

pub(super) fn folder(lab: &LabName) -> String {
    format!("/var/lib/libvirt/images/netlab.{lab}")
}

/// Returns the path of a domain's overlay.
pub(super) fn path(name: &DomainName) -> String {
    format!("{}/{}", folder(name.lab()), name.disk_file())
}

/// The storage pool of the lab's name.
enum Pool {
    None,
    Own(StoragePool),
    /// Not netlab's, with this UUID.
    Foreign(String),
}

/// Returns the pool of the lab's name, started if it is netlab's.
fn pool(conn: &Connect, lab: &LabName) -> Result<Pool, LibvirtError> {
    let operation = Operation::FindPool(lab.clone());
    let pool = match conn.lookup_storage_pool_by_name(&pool_name(lab)) {
        Ok(pool) => pool,
        Err(error) if is(&error, ErrorNumber::NoStoragePool) => return Ok(Pool::None),
        Err(error) => return Err(failed(&operation)(error)),
    };
    let uuid = pool.uuid_string().map_err(failed(&operation))?;
    if uuid != derive::pool_uuid(lab).to_string() {
        return Ok(Pool::Foreign(uuid));
    }
    if !pool.is_active().map_err(failed(&operation))? {
        // Its folder is missing where a run was killed between two of the calls that create or remove a pool.
        pool.build(0)
            .and_then(|()| pool.create(0))
            .map_err(failed(&operation))?;
    }
    Ok(Pool::Own(pool))
}

/// A lab's disks, and the domains that have a seed disk.
#[derive(Default)]
pub(super) struct Disks {
    pub volumes: BTreeMap<DomainName, Volume>,
    pub further: BTreeMap<DiskName, Disk>,
    pub seeds: BTreeSet<DomainName>,
}

/// Returns the lab's storage pool, if it exists and is netlab's.
pub(super) fn own_pool(conn: &Connect, lab: &LabName) -> Result<Option<StoragePool>, LibvirtError> {
    Ok(match pool(conn, lab)? {
        Pool::Own(pool) => Some(pool),
        Pool::None | Pool::Foreign(_) => None,
    })
}

/// Returns the lab's disks.
pub(super) fn observe(conn: &Connect, lab: &LabName) -> Result<Disks, LibvirtError> {
    let operation = Operation::ListDisks(lab.clone());
    let mut disks = Disks::default();
    let Pool::Own(pool) = pool(conn, lab)? else {
        return Ok(disks);
    };
    pool.refresh(0).map_err(failed(&operation))?;
    for volume in pool.list_all_volumes(0).map_err(failed(&operation))? {
        let file = volume.name().map_err(failed(&operation))?;
        let own = |name: &DomainName| name.lab() == lab;
        if let Some(name) = DomainName::of_disk_file(&file).filter(own) {
            disks.volumes.insert(name, read(&volume, &operation)?);
        } else if let Some(name) = DiskName::of_file(&file).filter(|disk| own(disk.domain())) {
            disks.further.insert(name, further::read(&volume, &operation)?);
        } else if let Some(name) = DomainName::of_seed_file(&file).filter(own) {
            disks.seeds.insert(name);
        }
    }
    Ok(disks)
}

/// Removes what a run that was killed left: records of disks that it had not created yet, files of a guest that was to be
/// saved, and the pool if there is nothing else in it.
pub(super) fn settle(conn: &Connect, lab: &LabName, operation: &Operation) -> Result<(), LibvirtError> {
    let Pool::Own(pool) = pool(conn, lab)? else {
        return Ok(());
    };
    pool.refresh(0).map_err(failed(operation))?;
    let mut files = BTreeMap::new();
    for volume in pool.list_all_volumes(0).map_err(failed(operation))? {
        files.insert(volume.name().map_err(failed(operation))?, volume);
    }
    for (file, record) in &files {
        if Blank::has(file) || base::of_record(file).is_some_and(|(_, disk)| !files.contains_key(&disk)) {
            record.delete(0).map_err(failed(operation))?;
        }
    }
    drop_if_empty(&pool, operation)
}

pub(super) fn read(volume: &StorageVol, operation: &Operation) -> Result<Volume, LibvirtError> {
    let xml = volume.xml_desc(0).map_err(failed(operation))?;
    let root = Node::parse(&xml).map_err(xml_failed(operation))?;
    let base = root.at(&["backingStore", "path"]).map(|path| path.text.clone());
    let format = root
        .at(&["backingStore", "format"])
        .and_then(|format| format.attr("type"));
    Ok(Volume {
        base: PathBuf::from(base.unwrap_or_default()),
        base_format: format.unwrap_or_default().to_owned(),
    })
}

/// Creates a guest's disk. A failure leaves nothing behind.
pub(super) fn create(
    conn: &Connect,
    name: &DomainName,
    volume: &Volume,
    shell: &dyn Shell,
) -> Result<(), LibvirtError> {
    let operation = Operation::CreateDisk(name.clone());
    let disk = name.to_string();
    let xml = volume_xml(&name.disk_file(), None, Some(volume)).map_err(xml_failed(&operation))?;
    base::check(volume, shell)?;
    base::admit(conn, volume, shell)?;
    let pool = pool_for(conn, name.lab())?;
    // The record is written before the disk, so that no disk is without one.
    let created = base::record(&folder(name.lab()), &disk, &volume.base, shell).and_then(|()| {
        match StorageVol::create_xml(&pool, &xml, 0) {
            Ok(_) => Ok(()),
            // Created by this very call, before the connection was lost.
            Err(error) if is(&error, ErrorNumber::StorageVolExist) && exists_as(&pool, name, volume) => Ok(()),
            Err(error) => Err(failed(&operation)(error)),
        }
    });
    if created.is_err() {
        // The error of the creation is the one to report, not one of the clean-up.
        let exists = pool.lookup_storage_vol_by_name(&name.disk_file()).is_ok();
        if !exists {
            drop(base::forget(&folder(name.lab()), &disk, shell));
        }
        drop(drop_if_empty(&pool, &operation));
    }
    created
}

/// Returns the lab's pool, which is created if there is none.
pub(super) fn pool_for(conn: &Connect, lab: &LabName) -> Result<StoragePool, LibvirtError> {
    match pool(conn, lab)? {
        Pool::Own(pool) => Ok(pool),
        Pool::None => create_pool(conn, lab),
        Pool::Foreign(uuid) => Err(LibvirtError::ForeignPool {
            pool: pool_name(lab),
            uuid,
        }),
    }
}

fn exists_as(pool: &StoragePool, name: &DomainName, volume: &Volume) -> bool {
    let found = pool.lookup_storage_vol_by_name(&name.disk_file()).ok();
    found
        .and_then(|found| read(&found, &Operation::CreateDisk(name.clone())).ok())
        .is_some_and(|found| found == *volume)
}

fn create_pool(conn: &Connect, lab: &LabName) -> Result<StoragePool, LibvirtError> {
    let operation = Operation::CreatePool(lab.clone());
    let xml = pool_xml(lab).map_err(xml_failed(&operation))?;
    let pool = conn.define_storage_pool_xml(&xml, 0).map_err(failed(&operation))?;
    let begin = pool
        .build(0)
        .and_then(|()| pool.create(0))
        .and_then(|()| pool.set_autostart(true));
    if let Err(error) = begin {
        drop(pool.destroy());
        drop(pool.undefine());
        return Err(failed(&operation)(error));
    }
    Ok(pool)
}

/// Grows a guest's disk to at least `mib` MiB; never makes it smaller, which would cut off its end.
pub(super) fn grow(conn: &Connect, name: &DomainName, mib: u64) -> Result<(), LibvirtError> {
    let operation = Operation::GrowDisk(name.clone());
    let Pool::Own(pool) = pool(conn, name.lab())? else {
        return Err(LibvirtError::NoPool(name.lab().clone()));
    };
    let volume = pool
        .lookup_storage_vol_by_name(&name.disk_file())
        .map_err(failed(&operation))?;
    grow_to(&volume, mib, &operation)
}

/// Grows a volume to at least `mib` MiB.
pub(super) fn grow_to(volume: &StorageVol, mib: u64, operation: &Operation) -> Result<(), LibvirtError> {
    let info = volume.info().map_err(failed(operation))?;
    let wanted = mib << 20;
    if info.capacity >= wanted {
        return Ok(());
    }
    volume.resize(wanted, 0).map_err(failed(operation)).map(drop)
}

/// Deletes a guest's disk and its record. A disk that does not exist counts as deleted.
pub(super) fn delete(conn: &Connect, name: &DomainName, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let operation = Operation::DeleteDisk(name.clone());
    let Pool::Own(pool) = pool(conn, name.lab())? else {
        return Ok(());
    };
    seed::delete(&pool, name, &operation)?;
    match pool
        .lookup_storage_vol_by_name(&name.disk_file())
        .and_then(|volume| volume.delete(0))
    {
        Err(error) if !is(&error, ErrorNumber::NoStorageVolume) => return Err(failed(&operation)(error)),
        _ => base::forget(&folder(name.lab()), &name.to_string(), shell)?,
    }
    drop_if_empty(&pool, &operation)
}

/// Removes what is left of a disk that was deleted by hand: its record, and the pool if it was the last disk.
pub(super) fn clean_up(conn: &Connect, name: &DomainName, shell: &dyn Shell) {
    let Ok(Pool::Own(pool)) = pool(conn, name.lab()) else {
        return;
    };
    let operation = Operation::DeleteDisk(name.clone());
    // The disk was deleted by another program: what cannot be cleaned up after it is not an error of this operation.
    drop(seed::delete(&pool, name, &operation));
    let files: Vec<String> = pool
        .refresh(0)
        .and_then(|()| pool.list_all_volumes(0))
        .and_then(|volumes| volumes.iter().map(StorageVol::name).collect())
        .unwrap_or_default();
    for file in &files {
        if let Some((domain, disk)) = base::of_record(file)
            && domain == *name
            && !files.contains(&disk)
        {
            let disk = disk.trim_end_matches(".qcow2");
            drop(base::forget(&folder(name.lab()), disk, shell));
        }
    }
    drop(drop_if_empty(&pool, &operation));
}

/// Removes the pool if nothing is in it.
pub(super) fn drop_if_empty(pool: &StoragePool, operation: &Operation) -> Result<(), LibvirtError> {
    pool.refresh(0).map_err(failed(operation))?;
    if pool.num_of_volumes().map_err(failed(operation))? > 0 {
        return Ok(());
    }
    pool.destroy().map_err(failed(operation))?;
    // Removes the folder if it is empty: other files in it are not netlab's.
    drop(pool.delete(0));
    pool.undefine().map_err(failed(operation))
}

/// Returns the XML of the qcow2 volume `file`: an overlay over `over`, or empty; of `mib` MiB, or as large as `over`.
pub(super) fn volume_xml(file: &str, mib: Option<u64>, over: Option<&Volume>) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    xml.open("volume", &[])?;
    xml.text("name", &[], file)?;
    if let Some(mib) = mib {
        xml.text("capacity", &[("unit", "MiB")], &mib.to_string())?;
    }
    xml.open("target", &[])?;
    xml.empty("format", &[("type", "qcow2")])?;
    xml.close("target")?;
    if let Some(Volume { base, base_format }) = over {
        let base = base
            .to_str()
            .ok_or_else(|| XmlError::Illegal(base.display().to_string()))?;
        xml.open("backingStore", &[])?;
        xml.text("path", &[], base)?;
        xml.empty("format", &[("type", base_format)])?;
        xml.close("backingStore")?;
    }
    xml.close("volume")?;
    xml.done()
}

fn pool_xml(lab: &LabName) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    xml.open("pool", &[("type", "dir")])?;
    xml.text("name", &[], &pool_name(lab))?;
    xml.text("uuid", &[], &derive::pool_uuid(lab).to_string())?;
    xml.open("target", &[])?;
    xml.text("path", &[], &folder(lab))?;
    xml.close("target")?;
    xml.close("pool")?;
    xml.done()
}
