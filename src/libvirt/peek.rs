//! Reads a guest's physical memory. The `virt` crate has no safe call for it, so this calls libvirt directly.
#![expect(unsafe_code, reason = "virDomainMemoryPeek is not in the safe bindings")]

use std::ffi::c_ulonglong;

use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

/// Returns `size` bytes of physical memory from `address` on: RAM and memory of devices. At most 64 KiB, the limit of
/// libvirt's protocol (virDomainMemoryPeek).
pub(super) fn physical(domain: &Domain, address: u64, size: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0_u8; size];
    // SAFETY: the pointer is a live domain's for as long as `domain` is borrowed; libvirt writes at most `size` bytes
    // into the buffer, which has as many and outlives the call.
    let done = unsafe {
        sys::virDomainMemoryPeek(
            domain.as_ptr(),
            c_ulonglong::from(address),
            size,
            bytes.as_mut_ptr().cast(),
            sys::VIR_MEMORY_PHYSICAL,
        )
    };
    if done < 0 { Err(Error::last_error()) } else { Ok(bytes) }
}
