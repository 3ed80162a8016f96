//! Guests' further disks: qcow2 files in the lab's storage pool, empty at first or overlays over a file that is never
//! written.

use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::error::{LibvirtError, Operation, failed, is, xml_failed};
use super::{base, volumes};
use crate::state::{Disk, DiskName, Domain, DomainName};
use crate::transport::cmd::Shell;

/// Reads a disk. One without a file under it was empty.
pub(super) fn read(volume: &StorageVol, operation: &Operation) -> Result<Disk, LibvirtError> {
    let over = volumes::read(volume, operation)?;
    if !over.base.as_os_str().is_empty() {
        return Ok(Disk::Over(over));
    }
    let info = volume.info().map_err(failed(operation))?;
    Ok(Disk::Blank {
        mib: info.capacity >> 20,
    })
}

/// Creates a disk. A failure leaves nothing behind.
pub(super) fn create(conn: &Connect, name: &DiskName, disk: &Disk, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let lab = name.domain().lab();
    let operation = Operation::CreateFurtherDisk(name.clone());
    let (mib, over) = match disk {
        Disk::Blank { mib } => (Some(*mib), None),
        Disk::Over(volume) => (None, Some(volume)),
    };
    let xml = volumes::volume_xml(&name.file(), mib, over).map_err(xml_failed(&operation))?;
    if let Some(volume) = over {
        base::check(volume, shell)?;
        base::admit(conn, volume, shell)?;
    }
    let pool = volumes::pool_for(conn, lab)?;
    // The record is written before the disk, so that no overlay is without one.
    let recorded = match over {
        Some(volume) => base::record(&volumes::folder(lab), &name.to_string(), &volume.base, shell),
        None => Ok(()),
    };
    let created = recorded.and_then(|()| match StorageVol::create_xml(&pool, &xml, 0) {
        Ok(_) => Ok(()),
        // Created by this very call, before the connection was lost.
        Err(error) if is(&error, ErrorNumber::StorageVolExist) && exists_as(&pool, name, disk) => Ok(()),
        Err(error) => Err(failed(&operation)(error)),
    });
    if created.is_err() {
        // The error of the creation is the one to report, not one of the clean-up.
        if pool.lookup_storage_vol_by_name(&name.file()).is_err() {
            drop(base::forget(&volumes::folder(lab), &name.to_string(), shell));
        }
        drop(volumes::drop_if_empty(&pool, &operation));
    }
    created
}

fn exists_as(pool: &StoragePool, name: &DiskName, disk: &Disk) -> bool {
    let found = pool.lookup_storage_vol_by_name(&name.file()).ok();
    let operation = Operation::CreateFurtherDisk(name.clone());
    found.and_then(|found| read(&found, &operation).ok()).as_ref() == Some(disk)
}

/// Grows a disk to at least `mib` MiB; never makes it smaller, which would cut off its end.
pub(super) fn grow(conn: &Connect, name: &DiskName, mib: u64) -> Result<(), LibvirtError> {
    let lab = name.domain().lab();
    let operation = Operation::GrowFurtherDisk(name.clone());
    let Some(pool) = volumes::own_pool(conn, lab)? else {
        return Err(LibvirtError::NoPool(lab.clone()));
    };
    let volume = pool
        .lookup_storage_vol_by_name(&name.file())
        .map_err(failed(&operation))?;
    volumes::grow_to(&volume, mib, &operation)
}

/// Deletes a disk and its record. A disk that does not exist counts as deleted.
pub(super) fn delete(conn: &Connect, name: &DiskName, shell: &dyn Shell) -> Result<(), LibvirtError> {
    let lab = name.domain().lab();
    let operation = Operation::DeleteFurtherDisk(name.clone());
    let Some(pool) = volumes::own_pool(conn, lab)? else {
        return Ok(());
    };
    match pool
        .lookup_storage_vol_by_name(&name.file())
        .and_then(|volume| volume.delete(0))
    {
        Err(error) if !is(&error, ErrorNumber::NoStorageVolume) => return Err(failed(&operation)(error)),
        _ => base::forget(&volumes::folder(lab), &name.to_string(), shell)?,
    }
    volumes::drop_if_empty(&pool, &operation)
}

/// Returns an error if a file under one of `domain`'s disks has changed since the disk was created.
pub(super) fn compare(name: &DomainName, domain: &Domain, shell: &dyn Shell) -> Result<(), LibvirtError> {
    for disk in &domain.disks {
        if let Some(volume) = &disk.over {
            let disk = DiskName::new(name, disk.number).to_string();
            base::compare(&volumes::folder(name.lab()), (&disk, name), &volume.base, shell)?;
        }
    }
    Ok(())
}
