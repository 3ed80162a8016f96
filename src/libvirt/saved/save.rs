//! Saves a running domain to a file. The `virt` crate has no safe call for it, so this calls libvirt directly.
#![expect(unsafe_code, reason = "virDomainSave is not in the safe bindings")]

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
