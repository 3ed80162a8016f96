//! Guests' disks: qcow2 overlays in a storage pool of the lab's, which comes with the first disk and goes with the
//! last.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::{NO_POOL, NO_VOLUME, VOLUME_EXISTS, base, code, failed, other, seed, xml_failed};
use crate::host::HostError;
use crate::lab::LabName;
use crate::libvirt::domain_xml::{Node, XmlError, XmlWriter};
use crate::state::{DomainName, Volume};
use crate::topology::derive;
use crate::transport::cmd::Shell;

fn pool_name(lab: &LabName) -> String {
    format!("netlab.{lab}")
}

pub(super) fn folder(lab: &LabName) -> String {
    format!("/var/lib/libvirt/images/netlab.{lab}")
}

/// The overlay of a domain.
pub(super) fn path(name: &DomainName) -> String {
    format!("{}/{}", folder(name.lab()), name.disk_file())
}

/// Whose the pool of this name is.
enum Pool {
    None,
    Ours(StoragePool),
    /// Somebody else's, with this UUID.
    Foreign(String),
}

/// The pool of the lab's name; if it is ours, it is started.
fn pool(conn: &Connect, lab: &LabName) -> Result<Pool, HostError> {
    let doing = "looking for the lab's storage pool";
    let pool = match conn.lookup_storage_pool_by_name(&pool_name(lab)) {
        Ok(pool) => pool,
        Err(error) if code(&error) == NO_POOL => return Ok(Pool::None),
        Err(error) => return Err(failed(doing)(error)),
    };
    let uuid = pool.uuid_string().map_err(failed(doing))?;
    if uuid != derive::pool_uuid(lab).to_string() {
        return Ok(Pool::Foreign(uuid));
    }
    if !pool.is_active().map_err(failed(doing))? {
        pool.create(0).map_err(failed(doing))?;
    }
    Ok(Pool::Ours(pool))
}

/// A lab's disks, and whose seeds there are.
#[derive(Default)]
pub(super) struct Disks {
    pub volumes: BTreeMap<DomainName, Volume>,
    pub seeds: BTreeSet<DomainName>,
}

/// The lab's storage pool, if there is one.
pub(super) fn own_pool(conn: &Connect, lab: &LabName) -> Result<Option<StoragePool>, HostError> {
    Ok(match pool(conn, lab)? {
        Pool::Ours(pool) => Some(pool),
        Pool::None | Pool::Foreign(_) => None,
    })
}

/// The lab's disks.
pub(super) fn observe(conn: &Connect, lab: &LabName) -> Result<Disks, HostError> {
    let doing = "listing disks";
    let mut disks = Disks::default();
    let Pool::Ours(pool) = pool(conn, lab)? else {
        return Ok(disks);
    };
    pool.refresh(0).map_err(failed(doing))?;
    for volume in pool.list_all_volumes(0).map_err(failed(doing))? {
        let file = volume.name().map_err(failed(doing))?;
        let ours = |name: &DomainName| name.lab() == lab;
        if let Some(name) = DomainName::of_disk_file(&file).filter(ours) {
            disks.volumes.insert(name, read(&volume, doing)?);
        } else if let Some(name) = DomainName::of_seed_file(&file).filter(ours) {
            disks.seeds.insert(name);
        }
    }
    Ok(disks)
}

fn read(volume: &StorageVol, doing: &str) -> Result<Volume, HostError> {
    let xml = volume.xml_desc(0).map_err(failed(doing))?;
    let root = Node::parse(&xml).map_err(xml_failed(doing))?;
    let base = root.at(&["backingStore", "path"]).map(|path| path.text.clone());
    let format = root
        .at(&["backingStore", "format"])
        .and_then(|format| format.attr("type"));
    Ok(Volume {
        base: PathBuf::from(base.unwrap_or_default()),
        base_format: format.unwrap_or_default().to_owned(),
    })
}

/// Makes a guest's disk. After a failure nothing of it is left.
pub(super) fn create(conn: &Connect, name: &DomainName, volume: &Volume, shell: &dyn Shell) -> Result<(), HostError> {
    let doing = format!("making the disk of {name}");
    let xml = volume_xml(name, volume).map_err(xml_failed(&doing))?;
    base::check(volume, shell)?;
    let pool = match pool(conn, name.lab())? {
        Pool::Ours(pool) => pool,
        Pool::None => create_pool(conn, name.lab())?,
        Pool::Foreign(uuid) => {
            let pool = pool_name(name.lab());
            return Err(other(
                &doing,
                format!("there is a storage pool {pool} that netlab did not make (uuid {uuid}); left alone"),
            ));
        }
    };
    // The note is there before the disk, so that there is no disk without one.
    let made = base::note(&folder(name.lab()), name, &volume.base, shell).and_then(|()| {
        match StorageVol::create_xml(&pool, &xml, 0) {
            Ok(_) => Ok(()),
            // Made by this very step, before the connection broke.
            Err(error) if code(&error) == VOLUME_EXISTS && is_there(&pool, name, volume) => Ok(()),
            Err(error) => Err(failed(&doing)(error)),
        }
    });
    if made.is_err() {
        // It is what went wrong that the user should hear of.
        let exists = pool.lookup_storage_vol_by_name(&name.disk_file()).is_ok();
        if !exists {
            drop(base::forget(&folder(name.lab()), name, shell));
        }
        drop(drop_if_empty(&pool, &doing));
    }
    made
}

fn is_there(pool: &StoragePool, name: &DomainName, volume: &Volume) -> bool {
    let found = pool.lookup_storage_vol_by_name(&name.disk_file()).ok();
    found
        .and_then(|found| read(&found, "").ok())
        .is_some_and(|found| found == *volume)
}

fn create_pool(conn: &Connect, lab: &LabName) -> Result<StoragePool, HostError> {
    let doing = format!("making the storage pool of {lab}");
    let xml = pool_xml(lab).map_err(xml_failed(&doing))?;
    let pool = conn.define_storage_pool_xml(&xml, 0).map_err(failed(&doing))?;
    let begin = pool
        .build(0)
        .and_then(|()| pool.create(0))
        .and_then(|()| pool.set_autostart(true));
    if let Err(error) = begin {
        drop(pool.destroy());
        drop(pool.undefine());
        return Err(failed(&doing)(error));
    }
    Ok(pool)
}

/// Deletes a guest's disk and its note; a disk that has gone counts as deleted.
pub(super) fn delete(conn: &Connect, name: &DomainName, shell: &dyn Shell) -> Result<(), HostError> {
    let doing = format!("deleting the disk of {name}");
    let Pool::Ours(pool) = pool(conn, name.lab())? else {
        return Ok(());
    };
    seed::delete(&pool, name, &doing)?;
    match pool
        .lookup_storage_vol_by_name(&name.disk_file())
        .and_then(|volume| volume.delete(0))
    {
        Err(error) if code(&error) != NO_VOLUME => return Err(failed(&doing)(error)),
        _ => base::forget(&folder(name.lab()), name, shell)?,
    }
    drop_if_empty(&pool, &doing)
}

/// What is left of a disk that was deleted by hand: its note, and the pool if it was the last.
pub(super) fn tidy(conn: &Connect, name: &DomainName, shell: &dyn Shell) {
    let Ok(Pool::Ours(pool)) = pool(conn, name.lab()) else {
        return;
    };
    // That something is left of what somebody else has broken is no failure of ours.
    drop(seed::delete(&pool, name, ""));
    if matches!(pool.lookup_storage_vol_by_name(&name.disk_file()), Err(error) if code(&error) == NO_VOLUME) {
        drop(base::forget(&folder(name.lab()), name, shell));
        drop(drop_if_empty(&pool, ""));
    }
}

/// Removes the pool if nothing is in it.
fn drop_if_empty(pool: &StoragePool, doing: &str) -> Result<(), HostError> {
    pool.refresh(0).map_err(failed(doing))?;
    if pool.num_of_volumes().map_err(failed(doing))? > 0 {
        return Ok(());
    }
    pool.destroy().map_err(failed(doing))?;
    // Removes the folder, if it is empty: what else lies there is not ours.
    drop(pool.delete(0));
    pool.undefine().map_err(failed(doing))
}

fn volume_xml(name: &DomainName, volume: &Volume) -> Result<String, XmlError> {
    let base = volume
        .base
        .to_str()
        .ok_or_else(|| XmlError::Illegal(volume.base.display().to_string()))?;
    let mut xml = XmlWriter::new();
    xml.open("volume", &[])?;
    xml.text("name", &[], &name.disk_file())?;
    xml.open("target", &[])?;
    xml.empty("format", &[("type", "qcow2")])?;
    xml.close("target")?;
    xml.open("backingStore", &[])?;
    xml.text("path", &[], base)?;
    xml.empty("format", &[("type", &volume.base_format)])?;
    xml.close("backingStore")?;
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
