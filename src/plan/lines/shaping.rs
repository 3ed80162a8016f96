//! The lines that limit a link, for ip(8) and tc(8): one queueing discipline at its root. Its handle is the lab's mark; a
//! link that is down has a queue of one packet as its mark.

use crate::lab::{IfName, LabName, Rate, Shaping};
use crate::topology::derive::shaping_handle;

/// Bytes that pass at once at the least: a few full frames of 9000 bytes, since tbf drops a frame that is longer.
const LEAST_BURST: u64 = 20_000;
/// A hundredth of a second of the rate in bytes, so that a kernel with 100 ticks a second reaches it (tc-tbf(8)).
const BURST_PART: u64 = 800;

/// The discipline that marks a link which is down.
pub(crate) const DOWN_KIND: &str = "pfifo";

/// Returns the lines that remove a lab's limits from a link.
pub(crate) fn unshape(link: &IfName, was: &Shaping) -> Vec<String> {
    let up = was.down.then(|| format!("link set dev {link} up"));
    up.into_iter()
        .chain([format!("tc qdisc del dev {link} root")])
        .collect()
}

/// Returns the lines that limit a link without limits.
pub(crate) fn shape(link: &IfName, shaping: &Shaping, marks: Option<&LabName>) -> Vec<String> {
    let handle = marks.map(|lab| format!(" handle {:x}:", shaping_handle(lab)));
    let set = format!("tc qdisc replace dev {link} root{}", handle.unwrap_or_default());
    if shaping.down {
        let mark = marks.map(|_| format!("{set} {DOWN_KIND} limit 1"));
        return mark.into_iter().chain([format!("link set dev {link} down")]).collect();
    }
    vec![format!("{set} {}", discipline(shaping))]
}

/// The discipline with its parameters: netem where it is needed, which limits the rate as well, else tbf.
fn discipline(shaping: &Shaping) -> String {
    if !shaping.needs_netem() {
        let bits = shaping.rate.map(Rate::bits).unwrap_or_default();
        let burst = (bits / BURST_PART).max(LEAST_BURST);
        return format!("tbf rate {bits}bit burst {burst} latency 200ms");
    }
    let delay = shaping.delay.map(|delay| format!("delay {}us", delay.micros()));
    let jitter = shaping.jitter.map(|jitter| format!("{}us", jitter.micros()));
    let loss = shaping.loss.map(|loss| format!("loss {loss}"));
    let rate = shaping.rate.map(|rate| format!("rate {}bit", rate.bits()));
    let words = ["netem limit 10000".to_owned()];
    let words = words
        .into_iter()
        .chain([delay, jitter, loss, rate].into_iter().flatten());
    words.collect::<Vec<_>>().join(" ")
}
