//! What libvirt and QEMU say when a guest does not start, in plain words.

/// What a user can make of `message`, where it is one of those that everybody meets sooner or later.
pub(super) fn plain(message: &str) -> Option<&'static str> {
    let known: [(&[&str], &str); 8] = [
        (
            &["Cannot get interface MTU on"],
            "the bridge of one of its NICs is not there",
        ),
        (
            &["Cannot allocate memory"],
            "the host has too little free memory for it",
        ),
        (
            &["/dev/kvm", "KVM kernel module", "failed to initialize kvm"],
            "the host's KVM does not work",
        ),
        (
            &["Permission denied", "Cannot access storage file"],
            "a file that it starts from is missing, or the user that QEMU runs as may not read it or may not enter a \
             folder above it",
        ),
        (
            &[
                "No such file or directory",
                "could not load kernel",
                "could not open kernel",
            ],
            "a file that it starts from is not there",
        ),
        (
            &["Failed to get \"write\" lock", "Failed to get shared \"write\" lock"],
            "another program is writing to its disk",
        ),
        (
            &["does not support machine type", "unsupported machine type"],
            "the host's QEMU does not have this machine type",
        ),
        (
            &["Image is not in", "not in qcow2 format"],
            "its disk is not of the format that it should be",
        ),
    ];
    known
        .into_iter()
        .find(|(signs, _)| signs.iter().any(|sign| message.contains(sign)))
        .map(|(_, words)| words)
}
