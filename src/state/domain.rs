//! Guests of a host: libvirt domains, their volumes, and what is configured in them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::lab::{
    Boot, Content, Datapath, Firmware, IfName, ImageConsole, LabName, MacAddr, NameError, Proxies, Serve, Task, Video,
    VmName,
};

/// A libvirt domain's name: `<lab>.<vm>`. The dot, which neither part can contain, makes it unambiguous.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName {
    lab: LabName,
    vm: VmName,
}

impl DomainName {
    /// Returns the name of `vm`'s domain in `lab`.
    pub fn new(lab: &LabName, vm: &VmName) -> Self {
        Self {
            lab: lab.clone(),
            vm: vm.clone(),
        }
    }
    /// Returns the lab.
    pub fn lab(&self) -> &LabName {
        &self.lab
    }
    /// Returns the vm.
    pub fn vm(&self) -> &VmName {
        &self.vm
    }
    /// Returns the file name of the guest's own disk.
    pub fn disk_file(&self) -> String {
        format!("{self}{DISK_SUFFIX}")
    }
    /// Returns the file name of the disk that its cloud-init reads.
    pub fn seed_file(&self) -> String {
        format!("{self}{SEED_SUFFIX}")
    }
    /// Returns the domain whose own disk has this file name.
    pub fn of_disk_file(file: &str) -> Option<Self> {
        Self::try_from(file.strip_suffix(DISK_SUFFIX)?.to_owned()).ok()
    }
    /// Returns the domain whose seed disk has this file name.
    pub fn of_seed_file(file: &str) -> Option<Self> {
        Self::try_from(file.strip_suffix(SEED_SUFFIX)?.to_owned()).ok()
    }
}

/// Suffixes of the file names of a guest's disks, after its domain's name.
const DISK_SUFFIX: &str = ".qcow2";
const SEED_SUFFIX: &str = ".seed.iso";

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.lab, self.vm))
    }
}
impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.to_string()
    }
}
impl TryFrom<String> for DomainName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (lab, vm) = text.split_once('.').unwrap_or((&text, ""));
        Ok(Self {
            lab: lab.parse()?,
            vm: vm.parse()?,
        })
    }
}

/// The name of a guest's further disk: its domain's, and its number. `<lab>.<vm>.<number>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DiskName {
    domain: DomainName,
    number: u8,
}

impl DiskName {
    /// Returns the name of the disk `number`, counted from 1, of `domain`.
    pub fn new(domain: &DomainName, number: u8) -> Self {
        Self {
            domain: domain.clone(),
            number,
        }
    }
    /// Returns the domain.
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }
    /// Returns its number among the domain's further disks, from 1: at first its place, which it keeps when that changes.
    pub fn number(&self) -> u8 {
        self.number
    }
    /// Returns its file's name.
    pub fn file(&self) -> String {
        format!("{self}{DISK_SUFFIX}")
    }
    /// Returns the disk whose file has this name.
    pub fn of_file(file: &str) -> Option<Self> {
        Self::try_from(file.strip_suffix(DISK_SUFFIX)?.to_owned()).ok()
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.domain, self.number))
    }
}
impl From<DiskName> for String {
    fn from(name: DiskName) -> Self {
        name.to_string()
    }
}
impl TryFrom<String> for DiskName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is not the name of a disk");
        let (domain, digits) = text.rsplit_once('.').ok_or_else(wrong)?;
        let number: u8 = digits.parse().map_err(|_| wrong())?;
        let name = Self {
            domain: DomainName::try_from(domain.to_owned()).map_err(|error| error.to_string())?,
            number,
        };
        // Written in one form only: `01` is another file's name.
        if number == 0 || name.to_string() != text {
            return Err(wrong());
        }
        Ok(name)
    }
}

/// A guest's further disk, a qcow2 file in the lab's storage pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// Empty when it was created.
    Blank {
        /// Its size in MiB.
        mib: u64,
    },
    /// An overlay.
    Over(Volume),
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank { mib } => write!(f, "{mib} MiB, empty at first"),
            Self::Over(Volume { base, .. }) => write!(f, "over {}", base.display()),
        }
    }
}

/// A further disk in a domain's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainDisk {
    /// The number of its file.
    pub number: u8,
    /// What it is an overlay over; absent: it was empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Volume>,
}

/// A guest's disk: a qcow2 overlay over a base that is never written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The base file on the host.
    pub base: PathBuf,
    /// The base's format, which is always given explicitly.
    pub base_format: String,
}

/// A libvirt domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Derived from lab and vm.
    pub uuid: String,
    /// `kvm` or `qemu`.
    pub accel: Accel,
    /// Architecture, by libvirt's name.
    pub arch: String,
    /// Machine type as desired (libvirt expands `pc` to a versioned one; reading it reverts that).
    pub machine: String,
    /// Disk bus; empty for a guest without any disk.
    pub disk_bus: String,
    /// Least size of its disk in MiB; absent: that of its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
    /// Further disks, in the guest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DomainDisk>,
    /// Image of a CD that is in its drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<PathBuf>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// How it starts.
    pub boot: Boot,
    /// What cloud-init reads in it from a seed disk of its own; absent where its image has no cloud-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<GuestConfig>,
    /// What starts the guest.
    #[serde(default, skip_serializing_if = "Firmware::is_default")]
    pub firmware: Firmware,
    /// Video card.
    #[serde(default, skip_serializing_if = "Video::is_default")]
    pub video: Video,
    /// NICs in the guest's order.
    pub nics: Vec<DomainNic>,
    /// Running; `false` in a desired state never occurs.
    pub running: bool,
    /// How it is to be started; observed: always the default.
    #[serde(default, skip_serializing_if = "Start::is_boot")]
    pub start: Start,
    /// What was configured in the running guest; absent when it stops.
    pub configured: Option<GuestConfig>,
    /// Files that were written and commands that were run in it; desired: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
}

/// How a guest is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// It boots.
    #[default]
    Boot,
    /// It is restored from the saved state of a guest of its kind that has booted, where its host can; otherwise it boots.
    Warm,
}

impl Start {
    /// Whether it boots.
    pub fn is_boot(&self) -> bool {
        *self == Self::Boot
    }
}

/// How the guest's CPU is virtualized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// Hardware virtualization.
    Kvm,
    /// Emulation by QEMU (TCG).
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
    /// Its MTU and its tap's in bytes, where its network states one; absent: that of the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The bridge is Open vSwitch's, with this data path; absent: a Linux bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovs: Option<Datapath>,
}

/// What is configured in a guest, over its console or by a seed disk.
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
    /// Services that it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub serve: Vec<Serve>,
    /// What only cloud-init is given.
    #[serde(default, skip_serializing_if = "CloudConfig::is_empty")]
    pub cloud_init: CloudConfig,
    /// Proxies for its commands and packages, from the caller's environment.
    #[serde(skip)]
    pub proxies: Proxies,
}

/// What a guest's cloud-init is given besides the network and the account of the console.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudConfig {
    /// Public SSH keys of the account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// Packages to install.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// The user's own settings, a `#cloud-config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Content>,
}

impl CloudConfig {
    /// Returns whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether cloud-init has more to do than what every guest needs.
    pub fn is_work(&self) -> bool {
        self.user_data.is_some() || !self.packages.is_empty()
    }
}

/// Files to write and commands to run in a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    /// How its console behaves.
    pub console: ImageConsole,
    /// It has cloud-init, which is waited for.
    pub seeded: bool,
    /// It has a disk, on which what was done stays when it restarts.
    pub lasting: bool,
    /// All files and commands, in order.
    pub tasks: Vec<Task>,
    /// How many of them are done already.
    pub done: usize,
    /// Proxies for the commands, from the caller's environment.
    #[serde(skip)]
    pub proxies: Proxies,
}

impl GuestConfig {
    /// Returns the address of each NIC.
    pub fn addresses(&self) -> BTreeMap<MacAddr, Ipv4Addr> {
        self.nics.iter().map(|nic| (nic.mac, nic.address.addr())).collect()
    }

    /// Returns whether packets from other networks can come in by one NIC while their replies leave by another: the guest
    /// has several and is routed to.
    pub fn has_asymmetric_routes(&self) -> bool {
        self.nics.len() > 1 && self.default_route.is_some()
    }
}

/// What is configured on a guest's NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNicConfig {
    /// By which the guest finds the NIC.
    pub mac: MacAddr,
    /// The address it must have in the end.
    pub address: Ipv4Net,
    /// It gets the address from the network's DHCP server.
    #[serde(default)]
    pub dhcp: bool,
    /// Its MTU in bytes; absent: Ethernet's 1500.
    #[serde(default)]
    pub mtu: Option<u16>,
}
