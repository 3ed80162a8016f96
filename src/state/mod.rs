//! What is owned on every host: one type, [`Site`], for what was observed and for what is desired. Plain data with
//! one value for one meaning, so that `==` is "nothing to do". Knows no host, no libvirt, no clock.

mod desired;
mod machine;
mod services;
pub mod survey;

pub use desired::desired;
pub use machine::{Machine, MachineKind, MachineNic};
pub use services::{Dhcp, Firewall, Floating, Lease, LocalGateway, Nat};
pub use survey::Survey;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::lab::{Boot, Cable, HostName, IfName, ImageConsole, LabName, MacAddr, NetworkName, VlanId, VmName};

/// Everything that is owned, host by host. A host without an entry has nothing of ours.
pub type Site = BTreeMap<HostName, HostState>;

/// What netlab owns on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Emulated hosts, switches and routers; only on the machine that netlab runs on ([`localhost`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<HostName, Machine>,
    /// Cables between them; only on [`localhost`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cables: BTreeSet<Cable>,
    /// Bridges and VLAN devices.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<IfName, Link>,
    /// Host NICs taken into a bridge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uplinks: BTreeMap<IfName, Uplink>,
    /// Floating addresses on NICs that netlab did not make, each as a /32; known by their metric. (One on a bridge of
    /// ours is among that link's addresses.)
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floating: BTreeMap<Ipv4Addr, IfName>,
    /// Kernel settings changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<Sysctl, String>,
    /// The lab's nftables rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    /// DHCP and DNS servers, by the network they serve.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dhcp: BTreeMap<NetworkName, Dhcp>,
    /// Disks of guests, by domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<DomainName, Volume>,
    /// libvirt domains.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<DomainName, Domain>,
    /// Which very objects were seen, to be compared before deleting; not part of equality.
    #[serde(default, skip_serializing_if = "Identities::is_empty")]
    pub seen: Identities,
}

/// The kernel's and libvirt's own identifiers of what was observed. A name can be given to another object between
/// look and act; these cannot. Always equal, because *which* object has the wanted shape is not a difference.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Identities {
    /// Interface index by name.
    #[serde(default)]
    pub links: BTreeMap<IfName, u32>,
    /// How domains were found, for whoever asks for the lab's status.
    #[serde(default)]
    pub domains: BTreeMap<DomainName, DomainSeen>,
}

/// What is seen of a domain and is never a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSeen {
    /// Whether it runs, and if not, why.
    pub condition: Condition,
    /// Where its screen can be seen on the host, e.g. `127.0.0.1:5900`; only while it runs.
    pub screen: Option<String>,
    /// The file on the host in which its console is logged.
    pub console_log: Option<PathBuf>,
}

/// Whether a domain runs, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It runs.
    Running,
    /// It is there and does not run: a start was cut short, or somebody paused it.
    Paused,
    /// It was shut down or stopped, or was never started.
    ShutOff,
    /// Its QEMU died, its guest panicked, or it failed to start.
    Crashed,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ShutOff => "shut off",
            Self::Crashed => "crashed",
        })
    }
}

impl PartialEq for Identities {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Identities {}
impl Identities {
    fn is_empty(&self) -> bool {
        self.links.is_empty() && self.domains.is_empty()
    }
}

/// The key under which the machine that netlab runs on stands in a [`Site`] as the owner of the emulated hosts.
/// `localhost` cannot be the name of a host in a lab.
pub const LOCALHOST: &str = "localhost";

/// [`LOCALHOST`] as a name.
///
/// # Panics
/// Never: the constant is a legal name.
pub fn localhost() -> HostName {
    #[expect(clippy::expect_used, reason = "a constant that a test checks")]
    HostName::new(LOCALHOST).expect("a legal name")
}

/// A link that netlab made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is.
    pub kind: LinkKind,
    /// The bridge it is a port of.
    pub master: Option<IfName>,
    /// Its own addresses: the lab's, not those that came with an uplink.
    pub addresses: BTreeSet<IpNet>,
    /// What it is for, in the lab's words; kept in the alias behind the owner's mark.
    pub purpose: String,
}

/// The kinds of link that netlab makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A Linux bridge; forward delay is 0 where `stp` is off.
    Bridge {
        /// Spanning tree.
        stp: bool,
        /// Its MAC address; absent: that of its uplink.
        mac: Option<MacAddr>,
    },
    /// An 802.1Q device over another link.
    ///
    /// It has the MTU of its parent, 1500 as a rule: the tag's 4 bytes are not counted, and frames of 1518 bytes pass
    /// (IEEE 802.3ac; the kernel's is_skb_forwardable() and every NIC with VLAN_HLEN to spare), so guests keep 1500
    /// and full-size pings of 1472 bytes go through. Of a parent with a smaller MTU the device takes over the smaller
    /// one, and the bridge the smallest of its ports': what the host itself sends or routes is then cut to size. A
    /// guest is not told: its full frames vanish at the bridge until it is given that MTU.
    Vlan {
        /// The tagged link.
        parent: IfName,
        /// The tag.
        id: VlanId,
    },
}

/// A NIC of the host enslaved to one of our bridges: the one thing touched that netlab did not make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The bridge that has it. The NIC itself is only ever observed: such a NIC was half taken or half given back
    /// when a run was interrupted, or somebody took it out of its bridge; it is given back and taken anew.
    pub bridge: IfName,
    /// What stood on the NIC before, moved to the bridge meanwhile and put back exactly.
    pub was: NicConfig,
}

/// What stands on a host's NIC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicConfig {
    /// Administratively up.
    pub up: bool,
    /// Global addresses, in the kernel's order (the first of a subnet is the primary one).
    pub addresses: Vec<IpNet>,
    /// Routes through it that the kernel did not make by itself, in the kernel's order.
    pub routes: Vec<Route>,
}

/// A route of the main table through one link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination; `0.0.0.0/0` is the default route.
    pub to: IpNet,
    /// Next hop; absent: on the link.
    pub via: Option<IpAddr>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Metric; absent: the kernel's 0 (IPv4) or 1024 (IPv6).
    pub metric: Option<u32>,
    /// The routing protocol field, e.g. `dhcp`, `static`, `boot`, as iproute2 prints it.
    pub protocol: Option<String>,
}

/// Kernel settings that netlab may change. An enum: nobody can ask for any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sysctl {
    /// `net.ipv4.ip_forward`: the host routes between its networks.
    Ipv4Forward,
}

/// A libvirt domain's name: `<lab>.<vm>`. The dot, which neither part can hold, makes it unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName {
    lab: LabName,
    vm: VmName,
}

impl DomainName {
    /// The name of `vm`'s domain in `lab`.
    pub fn new(lab: &LabName, vm: &VmName) -> Self {
        Self {
            lab: lab.clone(),
            vm: vm.clone(),
        }
    }
    /// The lab.
    pub fn lab(&self) -> &LabName {
        &self.lab
    }
    /// The vm.
    pub fn vm(&self) -> &VmName {
        &self.vm
    }
    /// The file name of the guest's own disk.
    pub fn disk_file(&self) -> String {
        format!("{self}{DISK_SUFFIX}")
    }
    /// The file name of the disk that its cloud-init reads.
    pub fn seed_file(&self) -> String {
        format!("{self}{SEED_SUFFIX}")
    }
    /// Whose own disk has this file name.
    pub fn of_disk_file(file: &str) -> Option<Self> {
        Self::try_from(file.strip_suffix(DISK_SUFFIX)?.to_owned()).ok()
    }
    /// Whose seed disk has this file name.
    pub fn of_seed_file(file: &str) -> Option<Self> {
        Self::try_from(file.strip_suffix(SEED_SUFFIX)?.to_owned()).ok()
    }
}

/// What the file names of a guest's disks have behind its domain's name.
const DISK_SUFFIX: &str = ".qcow2";
const SEED_SUFFIX: &str = ".seed.iso";

impl std::fmt::Display for DomainName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}.{}", self.lab, self.vm))
    }
}
impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.to_string()
    }
}
impl TryFrom<String> for DomainName {
    type Error = crate::lab::NameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (lab, vm) = text.split_once('.').unwrap_or((&text, ""));
        Ok(Self {
            lab: lab.parse()?,
            vm: vm.parse()?,
        })
    }
}

/// A guest's disk: a qcow2 overlay over a base that is never written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The base file on the host.
    pub base: PathBuf,
    /// The base's format, always stated.
    pub base_format: String,
}

/// A libvirt domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Derived from lab and vm.
    pub uuid: String,
    /// `kvm` or `qemu`.
    pub accel: Accel,
    /// Architecture, in libvirt's words.
    pub arch: String,
    /// Machine type as asked for (libvirt expands `pc` to a versioned one; reading it back undoes that).
    pub machine: String,
    /// Disk bus; empty for a guest without a disk.
    pub disk_bus: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// How it starts.
    pub boot: Boot,
    /// What cloud-init reads in it from a seed disk of its own; absent where its image has no cloud-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<GuestConfig>,
    /// NICs in the guest's order.
    pub nics: Vec<DomainNic>,
    /// Running; `false` in a desired state never occurs.
    pub running: bool,
    /// What the running guest was told over its console; gone when it stops.
    pub configured: Option<GuestConfig>,
}

/// How the guest's CPU is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// Hardware virtualization.
    Kvm,
    /// QEMU's translator (TCG).
    Qemu,
}

/// A domain's NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainNic {
    /// The bridge.
    pub bridge: IfName,
    /// The tap on the host.
    pub tap: IfName,
    /// MAC address.
    pub mac: MacAddr,
    /// NIC model.
    pub model: String,
}

/// What a guest is told, over its console or by a seed disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// Its host name.
    pub hostname: VmName,
    /// How its console behaves.
    pub console: ImageConsole,
    /// NICs in the guest's order.
    pub nics: Vec<GuestNicConfig>,
    /// Default route.
    pub default_route: Option<Ipv4Addr>,
    /// Name servers; those of a NIC's DHCP server are not among them.
    pub nameservers: Vec<IpAddr>,
    /// cloud-init reads all of this from the guest's seed disk; over its console it is only asked.
    #[serde(default)]
    pub seeded: bool,
}

/// What a guest is told about one NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNicConfig {
    /// By which the guest finds the NIC.
    pub mac: MacAddr,
    /// The address it must have in the end.
    pub address: Ipv4Net,
    /// It asks the network's DHCP server for the address, instead of being told.
    #[serde(default)]
    pub dhcp: bool,
    /// Its MTU in bytes; absent: Ethernet's 1500.
    #[serde(default)]
    pub mtu: Option<u16>,
}
