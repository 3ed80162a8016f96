//! Everything of a machine that a lab could leave behind or change, for a comparison before and after.

use std::collections::BTreeSet;

/// What prints it; `$1` is [`WORD`].
pub const SCRIPT: &str = include_str!("whole.sh");
/// By which the script's own processes are recognized.
pub const WORD: &str = "netlab-whole-machine";

/// Where libvirt itself keeps files that come and go: there, only what has a lab's name counts.
const LIBVIRT: &[&str] = &["/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/etc/libvirt"];

/// Reads what the script has printed, on a machine that lab `lab` is on; what changes by itself is left out. Of mounts, only
/// the lab's are kept: those of other tests are propagated to this machine.
pub fn read(printed: &str, lab: &str) -> BTreeSet<String> {
    let kept = printed.lines().filter_map(|line| {
        let (kind, what) = line.split_once(' ')?;
        let what = match kind {
            "process" => process(what)?,
            "link" => link(what),
            "address" => address(what)?,
            "route" => route(what)?,
            "mount" => Some(what).filter(|what| what.contains(lab))?.to_owned(),
            "socket" => socket(what)?,
            "file" => file(what, lab)?,
            "setting" => setting(what)?,
            _ => what.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        Some(format!("{kind} {what}"))
    });
    kept.collect()
}

fn process(what: &str) -> Option<String> {
    let (state, arguments) = what.trim().split_once(' ')?;
    let arguments = arguments.trim();
    let own = arguments.contains(WORD) || arguments.starts_with("ps -e ") || arguments.starts_with("sed s/^/");
    // An ended one, and sshd's own for a connection, whose end it notices by itself.
    let passing = state.starts_with('Z') || arguments.starts_with("sshd");
    (!own && !passing).then(|| arguments.to_owned())
}

/// Without its number, its state and what depends on them.
fn link(what: &str) -> String {
    let (_, link) = what.split_once(": ").unwrap_or(("", what));
    let mut words = link.split_whitespace();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "state" | "link-netnsid" | "qlen" => drop(words.next()),
            _ if word.ends_with("_timer") => drop(words.next()),
            _ if word.starts_with('<') => {}
            _ => kept.push(
                word.split_once("@if")
                    .map_or(word, |(name, _)| name)
                    .trim_end_matches(':'),
            ),
        }
    }
    kept.join(" ")
}

/// Without a link-local address of IPv6, which appears a moment after its link.
fn address(what: &str) -> Option<String> {
    if what.contains("fe80::") {
        return None;
    }
    let (_, address) = what.split_once(": ").unwrap_or(("", what));
    let (address, _) = address.split_once("valid_lft").unwrap_or((address, ""));
    let words = address.split_whitespace();
    let kept = words.filter(|word| !matches!(*word, "tentative" | "\\"));
    let kept: Vec<_> = kept.map(|word| word.trim_end_matches('\\')).collect();
    Some(kept.join(" "))
}

/// Without the routes that the kernel derives from addresses, some when a link-local address is no longer tentative.
fn route(what: &str) -> Option<String> {
    if what.contains("table local") || what.contains("fe80::") {
        return None;
    }
    let words = what.split_whitespace();
    let kept: Vec<_> = words.filter(|word| !matches!(*word, "linkdown" | "dead")).collect();
    Some(kept.join(" "))
}

/// Which sockets listen where, without inode numbers and queues.
fn socket(what: &str) -> Option<String> {
    let mut words = what.split_whitespace();
    let (kind, state) = (words.next()?, words.next()?);
    let address = words.nth(2)?;
    Some(format!("{kind} {state} {address}"))
}

fn file(what: &str, lab: &str) -> Option<String> {
    let mut words = what.splitn(3, ' ');
    let path = words.nth(2)?;
    let of_libvirt = LIBVIRT.iter().any(|folder| path.starts_with(folder));
    // The images that were copied to a host stay there, as they do in the cache.
    let stays = path.contains("/netlab-images");
    (!stays && (!of_libvirt || path.contains(lab) || path.contains("netlab"))).then(|| what.to_owned())
}

/// Without what the kernel changes by itself: random secrets, and counters of memory in use.
fn setting(what: &str) -> Option<String> {
    let passing = [
        "stable_secret",
        "_mem:",
        "tcp_fastopen_key",
        "/route/",
        "nf_conntrack_count",
    ];
    (!passing.iter().any(|part| what.contains(part))).then(|| what.to_owned())
}

/// The lines of one of two that the other lacks, for a message.
pub fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> String {
    let lines = |a: &BTreeSet<String>, b: &BTreeSet<String>, sign: &str| {
        let lines = a.difference(b).map(|line| format!("{sign} {line}\n"));
        lines.collect::<String>()
    };
    lines(before, after, "-") + &lines(after, before, "+")
}
