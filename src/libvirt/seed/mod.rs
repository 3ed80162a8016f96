//! The seed disk, which a guest's cloud-init reads: beside the guest's own disk, written whenever the domain is defined.

use virt::connect::Connect;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

mod blank;
pub mod iso;
mod user_data;

pub use blank::blank;
pub(super) use blank::{BLANK_MAC, describe};
pub use iso::{Seed, SeedNic};
pub use user_data::user_data;

use super::error::{LibvirtError, Operation, failed, is, xml_failed};
use super::{upload, volumes};
use crate::state::{DomainName, GuestConfig};
use crate::topology::derive;

/// Returns the path of a domain's seed disk.
pub(super) fn path(name: &DomainName) -> String {
    format!("{}/{}", volumes::folder(name.lab()), name.seed_file())
}

/// Writes the seed disk of a guest, replacing the one it has.
pub(super) fn write(conn: &Connect, name: &DomainName, config: &GuestConfig) -> Result<(), LibvirtError> {
    let operation = Operation::WriteSeed(name.clone());
    let Some(pool) = volumes::own_pool(conn, name.lab())? else {
        return Err(LibvirtError::NoPool(name.lab().clone()));
    };
    let login = config.console.login.as_ref();
    if login
        .and_then(|login| login.password.as_ref())
        .is_some_and(|password| password.text().is_none())
    {
        return Err(LibvirtError::UnknownPassword(name.clone()));
    }
    if config
        .cloud_init
        .user_data
        .as_ref()
        .is_some_and(|data| data.text().is_none())
    {
        return Err(LibvirtError::UnknownUserData(name.clone()));
    }
    let seed = seed(config).map_err(|source| LibvirtError::Json {
        operation: operation.clone(),
        source,
    })?;
    let disk = seed.disk();
    delete(&pool, name, &operation)?;
    let size = disk.len() as u64;
    // It holds a password: only root may read it.
    let xml = upload::volume_xml(&name.seed_file(), size, "0600").map_err(xml_failed(&operation))?;
    let volume = StorageVol::create_xml(&pool, &xml, 0).map_err(failed(&operation))?;
    let written = upload::fill(conn, &volume, size, &mut disk.as_slice(), &operation, &|_| ());
    if written.is_err() {
        // The error of the transfer is the one to report, not one of the clean-up.
        drop(volume.delete(0));
    }
    written
}

/// Returns whether a guest's seed disk has the size of a blank one, which the guest that is saved has seen.
pub(super) fn has_usual_size(conn: &Connect, name: &DomainName) -> Result<bool, LibvirtError> {
    let operation = Operation::WriteSeed(name.clone());
    let Some(pool) = volumes::own_pool(conn, name.lab())? else {
        return Ok(false);
    };
    let info = pool
        .lookup_storage_vol_by_name(&name.seed_file())
        .and_then(|volume| volume.info())
        .map_err(failed(&operation))?;
    Ok(info.capacity == blank("").len() as u64)
}

/// Deletes the seed disk of a guest. One that does not exist counts as deleted.
pub(super) fn delete(pool: &StoragePool, name: &DomainName, operation: &Operation) -> Result<(), LibvirtError> {
    match pool
        .lookup_storage_vol_by_name(&name.seed_file())
        .and_then(|volume| volume.delete(0))
    {
        Err(error) if !is(&error, ErrorNumber::NoStorageVolume) => Err(failed(operation)(error)),
        _ => Ok(()),
    }
}

/// Returns what cloud-init is configured with. The instance id is derived from all of it, so that a change takes effect
/// at the next start and an unchanged configuration is not applied twice.
fn seed(config: &GuestConfig) -> Result<Seed, serde_json::Error> {
    let instance = format!("netlab-{}", derive::uuid(&serde_json::to_string(config)?));
    Ok(Seed::of(config, instance))
}
