//! What `ip -json` prints, field by field as far as it is needed: one snapshot at a host's links, addresses and routes in
//! three commands.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::transport::cmd::{Cmd, CmdError, Shell};

/// Links with their addresses, and routes of every table and family, at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub links: Vec<RawLink>,
    pub routes: Vec<RawRoute>,
}

impl Snapshot {
    /// Looks.
    pub fn take(shell: &dyn Shell) -> Result<Self, CmdError> {
        let cmds = [
            &["ip", "-json", "-details", "link", "show"][..],
            &["ip", "-json", "address", "show"],
            &["ip", "-json", "route", "show", "table", "all"],
        ];
        let cmds = cmds.map(|argv| Cmd::new(argv.iter().copied()));
        let printed = shell.check_all(&cmds)?;
        let printed = |at: usize| (&cmds[at], printed.get(at).map(Vec::as_slice).unwrap_or_default());
        let mut links: Vec<RawLink> = read(printed(0))?;
        let addresses: Vec<RawAddresses> = read(printed(1))?;
        let mut addresses: BTreeMap<u32, _> = addresses.into_iter().map(|of| (of.ifindex, of.addr_info)).collect();
        for link in &mut links {
            link.addr_info = addresses.remove(&link.ifindex).unwrap_or_default();
        }
        Ok(Self {
            links,
            routes: read(printed(2))?,
        })
    }

    /// The kernel has IPv6 (it may have been booted with `ipv6.disable=1`).
    pub fn has_ipv6(&self) -> bool {
        self.links.iter().any(|link| link.inet6_addr_gen_mode.is_some())
    }

    /// The link of that name.
    pub fn link(&self, name: &str) -> Option<&RawLink> {
        self.links.iter().find(|link| link.ifname == name)
    }
}

/// The JSON array that a command printed; printing nothing at all is how `ip` says "none".
fn read<T: DeserializeOwned>((cmd, stdout): (&Cmd, &[u8])) -> Result<Vec<T>, CmdError> {
    // An alias may hold any byte; one that is not text is nobody's mark, so what it says does not matter.
    let text = String::from_utf8_lossy(stdout);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|error| CmdError::Unreadable {
        command: cmd.to_string(),
        message: error.to_string(),
    })
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawLink {
    pub ifindex: u32,
    pub ifname: String,
    /// The lower device, e.g. a VLAN's parent.
    pub link: Option<String>,
    #[serde(default)]
    pub flags: Vec<String>,
    pub mtu: Option<u32>,
    pub master: Option<String>,
    /// A name of /etc/iproute2/group, or a number.
    pub group: Option<String>,
    pub link_type: Option<String>,
    /// The hardware address.
    pub address: Option<String>,
    pub ifalias: Option<String>,
    #[serde(default)]
    pub linkinfo: RawInfo,
    /// How it makes its IPv6 link-local address; absent: no IPv6.
    pub inet6_addr_gen_mode: Option<String>,
    #[serde(skip)]
    pub addr_info: Vec<RawAddress>,
}

#[derive(Debug, Clone, Deserialize)]
struct RawAddresses {
    ifindex: u32,
    addr_info: Vec<RawAddress>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawInfo {
    pub info_kind: Option<String>,
    #[serde(default)]
    pub info_data: RawData,
}

/// Of a bridge the first two, of a VLAN device the third, of a tap the last.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RawData {
    pub stp_state: Option<u32>,
    pub forward_delay: Option<u32>,
    pub id: Option<i64>,
    pub persist: Option<bool>,
}

impl RawLink {
    /// Something is at its other end.
    pub fn has_carrier(&self) -> bool {
        self.flags.iter().any(|flag| flag == "LOWER_UP")
    }

    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    /// `bridge`, `vlan`, `veth`…; hardware has none.
    pub fn kind(&self) -> Option<&str> {
        self.linkinfo.info_kind.as_deref()
    }

    /// Can be the NIC that carries a network: Ethernet, not a bridge, not a guest's tap. A tap that is there without
    /// a program behind it (`persist`) was made to be a NIC: of an emulated host without a cable, of a VPN.
    pub fn is_nic(&self) -> bool {
        self.link_type.as_deref() == Some("ether")
            && match self.kind() {
                None => true,
                Some("tun") => self.linkinfo.info_data.persist == Some(true),
                Some(kind) => [
                    "veth", "vlan", "bond", "team", "dummy", "macvlan", "vxlan", "geneve", "gretap",
                ]
                .contains(&kind),
            }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "`ip` prints each flag as a field of its own"
)]
pub(super) struct RawAddress {
    pub local: Option<std::net::IpAddr>,
    /// The other end of a point-to-point address.
    pub address: Option<std::net::IpAddr>,
    pub prefixlen: u8,
    pub broadcast: Option<std::net::Ipv4Addr>,
    #[serde(default)]
    pub scope: String,
    pub label: Option<String>,
    pub metric: Option<u32>,
    #[serde(default)]
    pub dynamic: bool,
    #[serde(default)]
    pub temporary: bool,
    #[serde(default)]
    pub noprefixroute: bool,
    #[serde(default)]
    pub mngtmpaddr: bool,
    #[serde(default)]
    pub nodad: bool,
    pub valid_life_time: Option<u32>,
    pub preferred_life_time: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawRoute {
    /// Absent: unicast.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub dst: String,
    pub gateway: Option<std::net::IpAddr>,
    /// A gateway of the other family (RFC 5549).
    pub via: Option<RawVia>,
    pub dev: Option<String>,
    /// Absent: main.
    pub table: Option<String>,
    pub protocol: Option<String>,
    pub scope: Option<String>,
    pub prefsrc: Option<std::net::IpAddr>,
    pub metric: Option<u32>,
    #[serde(default)]
    pub flags: Vec<String>,
    /// Router preference (RFC 4191); the kernel gives one to every IPv6 route and to no other.
    pub pref: Option<String>,
    pub expires: Option<u32>,
    #[serde(default)]
    pub nexthops: Vec<RawHop>,
    /// Whatever else the route has, e.g. `metrics`, `encap`, `tos`.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl RawRoute {
    /// Of two such routes the kernel keeps both and uses the first.
    pub fn rivals(&self, other: &Self) -> bool {
        let key = |route: &Self| {
            (
                route.dst.clone(),
                route.table.clone(),
                route.metric,
                route.pref.is_some(),
            )
        };
        key(self) == key(other)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawVia {
    pub host: std::net::IpAddr,
}

/// One of several ways of a route.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawHop {
    pub gateway: Option<std::net::IpAddr>,
    pub dev: Option<String>,
}
