//! The disk that a guest's cloud-init reads: beside the guest's own disk, written anew whenever the domain is defined.

use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

pub mod iso;

pub use iso::{Seed, SeedNic, user_data};

use super::{NO_VOLUME, code, failed, other, upload, volumes, xml_failed};
use crate::host::HostError;
use crate::state::{DomainName, GuestConfig};
use crate::topology::derive;

/// The seed of a domain.
pub(super) fn path(name: &DomainName) -> String {
    format!("{}/{}", volumes::folder(name.lab()), name.seed_file())
}

/// Writes the seed of a guest, in place of the one it has.
pub(super) fn write(conn: &Connect, name: &DomainName, config: &GuestConfig) -> Result<(), HostError> {
    let doing = format!("writing the seed disk of {name}");
    let Some(pool) = volumes::own_pool(conn, name.lab())? else {
        return Err(other(
            &doing,
            "there is no storage pool of the lab's, thus no disk it could be beside",
        ));
    };
    let disk = seed(config).map_err(|error| other(&doing, error))?.disk();
    delete(&pool, name, &doing)?;
    let size = disk.len() as u64;
    // It holds a password: only libvirt reads it.
    let xml = upload::volume_xml(&name.seed_file(), size, "0600").map_err(xml_failed(&doing))?;
    let volume = StorageVol::create_xml(&pool, &xml, 0).map_err(failed(&doing))?;
    let written = upload::pour(conn, &volume, size, &mut disk.as_slice(), &doing, &|_| ());
    if written.is_err() {
        // It is what went wrong that the user should hear of.
        drop(volume.delete(0));
    }
    written
}

/// Deletes the seed of a guest; one that is not there counts as deleted.
pub(super) fn delete(pool: &StoragePool, name: &DomainName, doing: &str) -> Result<(), HostError> {
    match pool
        .lookup_storage_vol_by_name(&name.seed_file())
        .and_then(|volume| volume.delete(0))
    {
        Err(error) if code(&error) != NO_VOLUME => Err(failed(doing)(error)),
        _ => Ok(()),
    }
}

/// What cloud-init is told. The instance is named after all that it is told, so that a change is taken up at the next
/// start and nothing is done twice.
fn seed(config: &GuestConfig) -> Result<Seed, serde_json::Error> {
    let instance = format!("netlab-{}", derive::uuid(&serde_json::to_string(config)?));
    Ok(Seed::of(config, instance))
}
