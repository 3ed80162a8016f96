//! Named network namespaces: one per emulated machine, under /run/netns so that `ip netns exec` finds them.
//!
//! The owner's mark is on the object itself: the alias of the namespace's loopback device, set before the namespace
//! gets its name. A namespace of the right name without the mark is somebody else's. A switch or a router is nothing
//! but such a namespace, and its mark says which of the two it is.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{doing, other, switch};
use crate::host::HostError;
use crate::lab::{HostName, LabName};
use crate::state::MachineKind;
use crate::transport::{Cmd, CmdError, Shell};

/// Where iproute2 keeps names of network namespaces (ip-netns(8)).
const FOLDER: &str = "/run/netns";

/// `f_type` of a file that is a namespace: NSFS_MAGIC, include/uapi/linux/magic.h.
const NSFS: u64 = 0x6e73_6673;

/// Makes a namespace with mark `$1` and name `$2` for a machine of kind `$3`, a switch with its bridge `$4`. It lives in
/// this one process until it has all of that, so that nobody ever sees it without, not even after a kill -9 in between.
const MAKE: &str = r#"set -e
ip link set dev lo up alias "$1"
case $3 in
switch)
    ip link add name "$4" type bridge stp_state 0 forward_delay 0
    ip link set dev "$4" up alias "$1"
    ;;
router)
    echo 1 >/proc/sys/net/ipv4/ip_forward
    ;;
esac
exec ip netns attach "$2" $$
"#;

/// The namespace of an emulated machine, as `ip netns` knows it.
pub(super) fn name(lab: &LabName, host: &HostName) -> String {
    format!("netlab.{lab}.{host}")
}

/// The file that stands for it.
pub(super) fn path(lab: &LabName, host: &HostName) -> PathBuf {
    Path::new(FOLDER).join(name(lab, host))
}

fn mark(lab: &LabName, host: &HostName, kind: MachineKind) -> String {
    match kind {
        MachineKind::Host => format!("netlab:{lab}:{host}"),
        MachineKind::Switch | MachineKind::Router => format!("netlab:{lab}:{host}:{kind}"),
    }
}

/// What stands under a namespace's name.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A file that is no namespace: what a reboot leaves where /run is on disk.
    Stale,
    /// A namespace without the lab's mark.
    Foreign,
    /// The lab's, with the links in it.
    Ours(MachineKind, Vec<Link>),
}

/// A link as `ip -details -json address` shows it; only what the rig asks for.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are those of ip(8)")]
pub(super) struct Link {
    /// Its name.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    ifalias: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    addr_info: Vec<Address>,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// Of a veth whose peer is in another namespace: the peer's index there.
    pub link_index: Option<u32>,
    /// Of such a veth: this namespace's number for that one.
    link_netnsid: Option<i32>,
    /// Of a veth whose peer is in the same namespace: the peer's name.
    pub link: Option<String>,
    /// Of such a veth: the name of that namespace, if it has one.
    #[serde(skip)]
    pub peer_namespace: Option<String>,
    linkinfo: Option<LinkInfo>,
}

#[derive(Debug, Clone, Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
    info_data: Option<LinkDetails>,
}

/// What only links of some kinds have.
#[derive(Debug, Clone, Deserialize)]
struct LinkDetails {
    /// Of a bridge: 1 where it looks at VLAN tags.
    vlan_filtering: Option<u8>,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    prefixlen: u8,
    scope: String,
}

impl Link {
    /// The kernel's word for what it is, e.g. `veth`, `tun`, `bridge`.
    pub fn kind(&self) -> &str {
        let info = self.linkinfo.as_ref();
        info.and_then(|info| info.info_kind.as_deref()).unwrap_or_default()
    }

    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    /// A bridge that looks at VLAN tags.
    pub fn filters_vlans(&self) -> bool {
        let details = self.linkinfo.as_ref().and_then(|info| info.info_data.as_ref());
        details.and_then(|details| details.vlan_filtering) == Some(1)
    }

    /// Its global IPv4 addresses, in the kernel's order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Net> {
        let global = self.addr_info.iter().filter(|address| address.scope == "global");
        global.filter_map(|address| match address.local {
            Some(IpAddr::V4(local)) => Ipv4Net::new(local, address.prefixlen).ok(),
            Some(IpAddr::V6(_)) | None => None,
        })
    }
}

/// A namespace's number for another one, as `ip -json netns list-id` shows it.
#[derive(Debug, Deserialize)]
struct Number {
    nsid: i32,
    name: Option<String>,
}

/// What a command of iproute2 prints as JSON.
pub(super) fn json<T: DeserializeOwned>(shell: &dyn Shell, argv: &[&str]) -> Result<T, CmdError> {
    let cmd = Cmd::new(argv.iter().copied());
    serde_json::from_slice(&shell.check(&cmd)?).map_err(|error| CmdError::Unreadable {
        command: cmd.to_string(),
        message: error.to_string(),
    })
}

/// Looks at what stands under the name.
pub(super) fn look(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<Found, HostError> {
    let path = path(lab, host);
    let stat = match rustix::fs::statfs(&path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Absent),
        Err(error) => return Err(doing(format!("looking at {}", path.display()))(error.into())),
    };
    if u64::try_from(stat.f_type) != Ok(NSFS) {
        return Ok(Found::Stale);
    }
    let name = name(lab, host);
    let mut links: Vec<Link> = json(shell, &["ip", "-n", &name, "-details", "-json", "address", "show"])?;
    if links.iter().any(|link| link.link_netnsid.is_some()) {
        let numbers: Vec<Number> = json(shell, &["ip", "-n", &name, "-json", "netns", "list-id"])?;
        for link in &mut links {
            let named = |number: &&Number| Some(number.nsid) == link.link_netnsid;
            link.peer_namespace = numbers.iter().find(named).and_then(|number| number.name.clone());
        }
    }
    let found = links.iter().find(|link| link.ifname == "lo");
    let found = found.and_then(|lo| lo.ifalias.as_deref()).unwrap_or_default();
    let kind = [MachineKind::Host, MachineKind::Switch, MachineKind::Router]
        .into_iter()
        .find(|kind| found == mark(lab, host, *kind));
    Ok(kind.map_or(Found::Foreign, |kind| Found::Ours(kind, links)))
}

/// The links of a namespace that must be the lab's.
pub(super) fn links(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<Vec<Link>, HostError> {
    match look(shell, lab, host)? {
        Found::Ours(_, links) => Ok(links),
        Found::Foreign => Err(foreign(lab, host)),
        Found::Absent | Found::Stale => Err(other(
            &format!("looking at emulated machine {host}"),
            "its network namespace is not there",
        )),
    }
}

/// Names of the hosts of `lab` under which a namespace stands, whosever it is.
pub(super) fn named(lab: &LabName) -> Result<Vec<HostName>, HostError> {
    let files = match fs::read_dir(FOLDER) {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(doing(format!("listing {FOLDER}"))(error)),
    };
    let prefix = format!("netlab.{lab}.");
    Ok(files
        .filter_map(|file| file.ok()?.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
        .collect())
}

/// Makes the namespace, its loopback device up; of a switch with its bridge, of a router one that forwards. Whatever
/// has the name already is left alone.
pub(crate) fn create(shell: &dyn Shell, lab: &LabName, host: &HostName, kind: MachineKind) -> Result<(), HostError> {
    match look(shell, lab, host)? {
        Found::Absent => {}
        Found::Foreign => return Err(foreign(lab, host)),
        Found::Stale | Found::Ours(..) => {
            return Err(other(
                &format!("making network namespace {}", name(lab, host)),
                "it is there already",
            ));
        }
    }
    let (mark, name, kind) = (mark(lab, host, kind), name(lab, host), kind.to_string());
    // Dies with netlab, so that no namespace gets its name after a run that comes next has looked.
    let dying = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net"];
    let script = ["sh", "-c", MAKE, "sh", &mark, &name, &kind, switch::BRIDGE];
    shell.check(&Cmd::new(dying.into_iter().chain(script)))?;
    Ok(())
}

/// Removes a namespace of ours; goes on where a foreign one or none stands. Its cables are gone on return.
pub(super) fn remove(shell: &dyn Shell, lab: &LabName, host: &HostName) -> Result<(), HostError> {
    match look(shell, lab, host)? {
        Found::Absent | Found::Foreign => Ok(()),
        Found::Stale => {
            let path = path(lab, host);
            fs::remove_file(&path).map_err(doing(format!("deleting {}", path.display())))
        }
        Found::Ours(_, links) => {
            // The kernel clears a namespace some time after its name is gone; until then the far end of a cable
            // would stand in the way of a new one.
            let cables = links.iter().filter(|link| link.kind() == "veth");
            let lines: Vec<_> = cables.map(|link| format!("link delete dev {}", link.ifname)).collect();
            // One whose both ends are in here goes with the first of them: that the second is missing is no error.
            let _ = batch(shell, Some(&name(lab, host)), &lines);
            shell.check(&Cmd::new(["ip", "netns", "delete", &name(lab, host)]))?;
            Ok(())
        }
    }
}

fn foreign(lab: &LabName, host: &HostName) -> HostError {
    let name = name(lab, host);
    other(
        &format!("making emulated machine {host}"),
        &format!("network namespace {name} is there and not netlab's: `ip netns delete {name}` if it is not needed"),
    )
}

/// `ip -batch` with `lines`, inside `namespace` if one is given.
pub(super) fn batch(shell: &dyn Shell, namespace: Option<&str>, lines: &[String]) -> Result<(), Failed> {
    batch_of("ip", shell, namespace, lines)
}

/// The same with another `program` of iproute2.
pub(super) fn batch_of(
    program: &str,
    shell: &dyn Shell,
    namespace: Option<&str>,
    lines: &[String],
) -> Result<(), Failed> {
    let Some(last) = lines.len().checked_sub(1) else {
        return Ok(());
    };
    let place = namespace.into_iter().flat_map(|name| ["-n", name]);
    let argv = [program].into_iter().chain(place).chain(["-batch", "-"]);
    let output = shell
        .run(&Cmd::new(argv).fed(lines.join("\n") + "\n"))
        .map_err(|error| Failed {
            at: 0,
            error: error.into(),
        })?;
    if output.status == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let at = said
        .rsplit_once("Command failed -:")
        .and_then(|(_, number)| number.trim().parse::<usize>().ok())
        .map_or(0, |number| number.saturating_sub(1).min(last));
    Err(Failed {
        at,
        error: other(
            &format!("{program} {}", lines[at]),
            said.lines().next().unwrap_or_default(),
        ),
    })
}

/// One of several things in a row failed; those before it were done.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Which, from 0.
    pub at: usize,
    /// Why.
    pub error: HostError,
}

impl From<HostError> for Failed {
    fn from(error: HostError) -> Self {
        Self { at: 0, error }
    }
}

impl From<Failed> for HostError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}
