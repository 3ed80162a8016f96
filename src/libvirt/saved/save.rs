//! Saves a domain to a file. The `virt` crate has no safe calls for it, so this calls libvirt directly.
#![expect(
    unsafe_code,
    reason = "virDomainSave and virDomainSnapshotCreateXML are not in the safe bindings"
)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Saves the memory and devices of a running domain to `file`, which libvirt creates (virDomainSave).
pub(super) fn to_file(domain: &Domain, file: &Path) -> Result<(), Error> {
    let file = CString::new(file.as_os_str().as_bytes())?;
    // SAFETY: the pointer is a live domain's for as long as `domain` is borrowed, and the text outlives the call.
    let done = unsafe { sys::virDomainSave(domain.as_ptr(), file.as_ptr()) };
    if done < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// Makes the snapshot that `xml` describes, of which libvirt keeps no record (virDomainSnapshotCreateXML). The domain stays
/// as it is.
pub(in crate::libvirt) fn snapshot(domain: &Domain, xml: &str) -> Result<(), Error> {
    let xml = CString::new(xml)?;
    let flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA;
    // SAFETY: the pointer is a live domain's for as long as `domain` is borrowed, and the text outlives the call.
    let made = unsafe { sys::virDomainSnapshotCreateXML(domain.as_ptr(), xml.as_ptr(), flags) };
    if made.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: the call has returned this object to its caller, who frees it once.
    unsafe { sys::virDomainSnapshotFree(made) };
    Ok(())
}
