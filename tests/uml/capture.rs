//! Frames on a cable, captured by the commands that run inside the kernel.

use crate::support::frames::tcpdump;

/// Lines of a shell that begin to capture every frame on `nic` of an emulated host, in the background, and wait until
/// tcpdump listens. The frames go to /tmp/cable.
pub fn begin(lab: &str, host: &str, nic: &str) -> String {
    format!(
        "ip netns exec netlab.{lab}.{host} {} >/tmp/cable 2>/tmp/cable.log &\n\
         tcpdump=$!\nuntil grep -q 'listening on' /tmp/cable.log; do kill -0 $tcpdump; sleep 0.1; done",
        tcpdump(nic).join(" ")
    )
}

/// What [`END`] prints before the frames.
pub const BEGIN: &str = "frames on the cable:\n";

/// Lines of a shell that end what [`begin`] began and print it. What came last is in transit from the kernel for a
/// moment, and would be lost.
pub const END: &str =
    "sleep 1; kill -INT $tcpdump; wait $tcpdump || true; echo 'frames on the cable:'; cat /tmp/cable; rm /tmp/cable*";
