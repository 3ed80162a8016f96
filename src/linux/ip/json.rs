//! The JSON that iproute2 prints, field by field as far as netlab needs it. The only reader of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::mark;
use crate::lab::{Bond, BondMode, Partner};
use crate::transport::{Cmd, CmdError, Shell};

/// Runs a command of iproute2 that prints a JSON array and returns the array. One command.
pub(crate) fn query<T: DeserializeOwned>(shell: &dyn Shell, argv: &[&str]) -> Result<Vec<T>, CmdError> {
    let cmd = Cmd::new(argv.iter().copied());
    parse(&cmd, &shell.check(&cmd)?)
}

/// Parses the JSON array that `cmd` printed. Printing nothing at all is how `ip` prints an empty one.
pub(super) fn parse<T: DeserializeOwned>(cmd: &Cmd, stdout: &[u8]) -> Result<Vec<T>, CmdError> {
    // An alias may hold any byte; one that is not text is not netlab's mark, so its content does not matter.
    let text = escaped(&String::from_utf8_lossy(stdout));
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(|cause| CmdError::Json {
        command: cmd.to_string(),
        cause,
    })
}

/// Returns iproute2's JSON with the control characters in its strings escaped, as RFC 8259 asks for. iproute2 escapes the
/// most common ones only (lib/json_writer.c), and a name or an alias may have any.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut behind_backslash) = (false, false);
    for one in json.chars() {
        if one == '"' && !behind_backslash {
            in_string = !in_string;
        }
        behind_backslash = one == '\\' && !behind_backslash;
        if in_string && one < ' ' {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(one));
        } else {
            out.push(one);
        }
    }
    out
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RawLink {
    pub ifindex: u32,
    pub ifname: String,
    /// The lower device, e.g. a VLAN's parent, or a veth's peer in the same namespace.
    pub link: Option<String>,
    #[serde(default)]
    pub flags: Vec<String>,
    pub mtu: Option<u32>,
    pub master: Option<String>,
    pub qdisc: Option<String>,
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
    /// Of a veth whose peer is in another namespace: the peer's index there.
    pub link_index: Option<u32>,
    /// Of such a veth: this namespace's number for the other one.
    pub link_netnsid: Option<i32>,
    /// Only `ip address` prints it.
    #[serde(default)]
    pub addr_info: Vec<RawAddress>,
}

/// A link's addresses, as `ip address` prints them.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawAddresses {
    pub ifindex: u32,
    pub addr_info: Vec<RawAddress>,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RawInfo {
    pub info_kind: Option<String>,
    #[serde(default)]
    pub info_data: RawData,
    /// What it is as a port of its master.
    #[serde(default, rename = "info_slave_data")]
    pub slave: Value,
}

/// What only links of some kinds have: a bridge the first four, VLAN and VXLAN devices an id, a VXLAN
/// device the address and the UDP port of its end, a tap whether it persists. Links of other kinds have the same names for
/// something else, e.g. `"local": "any"` of a GRE device.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RawData {
    #[serde(default, deserialize_with = "if_known")]
    pub stp_state: Option<u32>,
    #[serde(default, deserialize_with = "if_known")]
    pub forward_delay: Option<u32>,
    #[serde(default, deserialize_with = "if_known")]
    pub root_port: Option<u32>,
    #[serde(default, deserialize_with = "if_known")]
    pub vlan_filtering: Option<u32>,
    #[serde(default, deserialize_with = "if_known")]
    pub id: Option<i64>,
    #[serde(default, deserialize_with = "if_known")]
    pub local: Option<Ipv4Addr>,
    #[serde(default, deserialize_with = "if_known")]
    pub port: Option<u16>,
    #[serde(default, deserialize_with = "if_known")]
    pub persist: Option<bool>,
    /// These are a bond's.
    #[serde(default)]
    pub mode: Value,
    #[serde(default, deserialize_with = "if_known")]
    pub active_slave: Option<String>,
    #[serde(default, deserialize_with = "if_known")]
    pub miimon: Option<u32>,
    #[serde(default, deserialize_with = "if_known")]
    pub primary: Option<String>,
    #[serde(default)]
    pub xmit_hash_policy: Value,
    #[serde(default)]
    pub ad_lacp_rate: Value,
}

impl RawLink {
    /// Returns whether something is connected at its other end.
    pub fn has_carrier(&self) -> bool {
        self.flags.iter().any(|flag| flag == "LOWER_UP")
    }

    /// Returns the hardware address that it has by itself: as a member of a bond it has that of the first member meanwhile.
    pub fn own_address(&self) -> Option<&str> {
        let bonded = self.linkinfo.slave.get("perm_hwaddr").and_then(Value::as_str);
        bonded.or(self.address.as_deref())
    }

    /// Returns whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    /// Returns the kernel's name of its kind: `bridge`, `vlan`, `veth`…; hardware has none.
    pub fn kind(&self) -> Option<&str> {
        self.linkinfo.info_kind.as_deref()
    }

    /// Returns whether a bridge is the root of its spanning tree; only then the kernel shows its own forward delay.
    pub fn is_root(&self) -> bool {
        self.linkinfo.info_data.root_port.is_none_or(|port| port == 0)
    }

    /// Returns the forward delay that a bridge with spanning tree has or was given, in seconds; none for one without.
    pub fn stp(&self) -> Option<u8> {
        let data = &self.linkinfo.info_data;
        let shown = data.forward_delay.unwrap_or_default() / 100;
        let shown = u8::try_from(shown).unwrap_or(u8::MAX);
        let given = mark::delay_given(self).filter(|_| !self.is_root());
        (data.stp_state != Some(0)).then(|| given.unwrap_or(shown))
    }

    /// Returns the settings of a bond; none where they are not ones that netlab gives a bond.
    pub fn bond(&self) -> Option<Bond> {
        let data = &self.linkinfo.info_data;
        let mode: BondMode = known(&data.mode)?;
        let primary = data.primary.as_deref().and_then(|nic| nic.parse().ok());
        Some(Bond {
            mode,
            miimon: data.miimon,
            lacp_rate: known(&data.ad_lacp_rate).filter(|_| mode.partner() == Partner::Lacp),
            xmit_hash_policy: known(&data.xmit_hash_policy).filter(|_| mode.hashes()),
            primary,
        })
    }

    /// Returns whether a bridge filters VLANs.
    pub fn filters_vlans(&self) -> bool {
        self.linkinfo.info_data.vlan_filtering == Some(1)
    }

    /// Returns its global IPv4 addresses, in the kernel's order.
    pub fn ipv4_addresses(&self) -> impl Iterator<Item = Ipv4Net> {
        let global = self.addr_info.iter().filter(|address| address.scope == "global");
        global.filter_map(|address| match address.local {
            Some(IpAddr::V4(local)) => Ipv4Net::new(local, address.prefixlen).ok(),
            Some(IpAddr::V6(_)) | None => None,
        })
    }

    /// Returns whether it can be the NIC that carries a network: Ethernet, not a bridge, not a guest's tap. A tap that
    /// exists without a program behind it (`persist`) was made to be a NIC: of an emulated host without a cable, or of
    /// a VPN.
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

/// Returns a value that netlab has a name for; other links, and other versions of the kernel, have others.
fn known<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Reads a field that may be of another type; none where it is.
fn if_known<'de, D: Deserializer<'de>, T: DeserializeOwned>(field: D) -> Result<Option<T>, D::Error> {
    Ok(known(&Value::deserialize(field)?))
}

#[derive(Debug, Clone, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "`ip` prints each flag as a field of its own"
)]
pub(crate) struct RawAddress {
    pub local: Option<IpAddr>,
    /// The other end of a point-to-point address.
    pub address: Option<IpAddr>,
    pub prefixlen: u8,
    pub broadcast: Option<Ipv4Addr>,
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
pub(crate) struct RawRoute {
    /// Absent: unicast.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub dst: String,
    pub gateway: Option<IpAddr>,
    /// A gateway of the other family (RFC 5549).
    pub via: Option<RawVia>,
    pub dev: Option<String>,
    /// Absent: main.
    pub table: Option<String>,
    pub protocol: Option<String>,
    pub scope: Option<String>,
    pub prefsrc: Option<IpAddr>,
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
    /// Returns whether the two have one destination, table and metric: the kernel keeps both and uses the first.
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
pub(crate) struct RawVia {
    pub host: IpAddr,
}

/// An entry of a forwarding database, as `bridge fdb` prints it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawForward {
    pub mac: String,
    #[serde(default)]
    pub ifname: String,
    /// Of a VXLAN device: where frames for that address are sent.
    pub dst: Option<IpAddr>,
}

/// One of several next hops of a route.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RawHop {
    pub gateway: Option<IpAddr>,
    pub dev: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::{RawLink, escaped};

    #[test]
    fn links_of_other_kinds_are_read_too() {
        // The devices that the module ip_gre creates, as iproute2 6.1 prints them.
        let printed = r#"[{"ifindex":3,"link":null,"ifname":"gre0","flags":["NOARP"],"mtu":1476,"link_type":"gre",
            "address":"0.0.0.0","linkinfo":{"info_kind":"gre","info_data":{"remote":"any","local":"any","ttl":0,
            "pmtudisc":false}},"addr_info":[]},
            {"ifindex":6,"ifname":"gre_sys","flags":["UP"],"link_type":"ether","linkinfo":{"info_kind":"gretap",
            "info_data":{"external":true,"id":"any","port":"0x10000"}}}]"#;
        let links: Vec<RawLink> = serde_json::from_str(printed).unwrap();
        assert!(links.iter().all(|link| link.linkinfo.info_data.local.is_none()));
        let vxlan = r#"{"ifindex":7,"ifname":"v","linkinfo":{"info_data":{"id":5,"local":"10.0.0.1","port":4789}}}"#;
        let vxlan: RawLink = serde_json::from_str(vxlan).unwrap();
        let data = vxlan.linkinfo.info_data;
        assert_eq!(
            (data.id, data.local, data.port),
            (Some(5), Some([10, 0, 0, 1].into()), Some(4789))
        );
    }

    #[test]
    fn control_characters_are_escaped_in_strings_only() {
        assert_eq!(escaped("[\n\"a\u{1b}\\\"\t\"\t]"), "[\n\"a\\u001b\\\"\\u0009\"\t]");
    }
}
