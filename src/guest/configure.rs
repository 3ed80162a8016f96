//! Tells a guest its addresses, default route, name servers and host name: one script, one exchange. A guest that reads
//! them from its seed disk is only asked whether it has.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::error::SessionError;
use super::session::Session;
use crate::lab::{Dialect, MacAddr};
use crate::state::{GuestConfig, GuestNicConfig};

/// Far more than the few dozen processes of the script need, even in a guest that shares its CPU with many.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a guest that shows its prompt may take until cloud-init is done with its addresses: it sets up the network
/// before anybody can log in, but a DHCP server may keep it waiting.
const SEEDED_WITHIN: Duration = Duration::from_secs(180);
/// Questions to such a guest, one a second.
const SEEDED_TRIES: u32 = 120;

/// Ethernet's MTU in bytes (RFC 894).
const USUAL_MTU: u16 = 1500;

/// Why a guest could not be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// The conversation broke.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The guest does not see a NIC that it was given.
    #[error(
        "the guest has no NIC with the MAC address {mac}; it has {}\n  help: its kernel may lack a driver for the \
         image's `nic_model`",
        list(.has)
    )]
    NicMissing {
        /// The address looked for.
        mac: MacAddr,
        /// What there is, e.g. `eth0 52:54:00:12:34:56`.
        has: Vec<String>,
    },
    /// A command failed in the guest.
    #[error("`{command}` failed in the guest: {said}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// cloud-init has not done what the seed disk says.
    #[error(
        "cloud-init has not set up the guest: {missing} is missing; it has {}\n  help: in the guest, `cloud-init \
         status --long` and /var/log/cloud-init.log say why",
        list(.has)
    )]
    NotSeeded {
        /// What the guest has not, e.g. `10.0.0.2/24`.
        missing: String,
        /// The addresses it has.
        has: Vec<String>,
    },
}

fn list(things: &[String]) -> String {
    if things.is_empty() {
        "none at all".into()
    } else {
        things.join(", ")
    }
}

/// Gives the guest what `config` says. Run again it gives the same state; addresses and default routes that stood
/// on these NICs before are replaced.
pub fn configure(session: &mut Session<'_>, config: &GuestConfig) -> Result<(), ConfigureError> {
    let (script, limit) = if config.seeded {
        (ask(config), SEEDED_WITHIN)
    } else {
        (script(config), LIMIT)
    };
    let output = session.run_idempotent(&script, limit)?;
    if output.status == 0 {
        return Ok(());
    }
    Err(explain(&output.text, config))
}

/// Why the script gave a status other than 0, from the lines that it marked.
fn explain(text: &str, config: &GuestConfig) -> ConfigureError {
    let marked = |mark: &'static str| text.lines().filter_map(move |line| line.strip_prefix(mark));
    let missing = marked("netlab-missing ").find_map(|mac| mac.trim().parse::<MacAddr>().ok());
    if let Some(mac) = missing.filter(|mac| config.nics.iter().any(|nic| nic.mac == *mac)) {
        let has: BTreeSet<String> = marked("netlab-has ").map(|nic| nic.trim().to_owned()).collect();
        let has = has.into_iter().collect();
        return ConfigureError::NicMissing { mac, has };
    }
    if let Some(missing) = marked("netlab-unseeded ").next() {
        let has = marked("netlab-has ").map(|address| address.trim().to_owned());
        let has: BTreeSet<String> = has.collect();
        return ConfigureError::NotSeeded {
            missing: missing.trim().to_owned(),
            has: has.into_iter().collect(),
        };
    }
    let failed = marked("netlab-failed ").find_map(|line| line.split_once(" netlab-said "));
    let (command, said) = failed.unwrap_or(("the configuration", text));
    ConfigureError::Command {
        command: command.to_owned(),
        said: said.trim().to_owned(),
    }
}

/// What both dialects begin with. `t` tries a command and remembers that one failed. Later `n` finds the NIC with the
/// MAC address `$1` (lower case) or `$2` (upper case) and puts its name into `$d`, `h` lists what there is and `m` says
/// what is missing. Short names spare the console bytes; the subshell keeps them out of the user's shell.
const TRY: &str = "( bad=0
t() { s=$(\"$@\" 2>&1) || { bad=1; echo \"netlab-failed $* netlab-said\" $s; return 1; }; }
m() { bad=1; echo \"netlab-missing $1\"; h; }
write_resolv_conf() { for a; do echo nameserver $a; done > /etc/resolv.conf; }
";

/// Asks the DHCP server on NIC `$1`, with the client that the guest has. Each of them gives up by itself; those that
/// stay behind to renew a lease let go of the console. A name server that it was told it writes down itself.
const ASK_DHCP: &str = "has() { type $1 >/dev/null 2>&1; }
ask_dhcp() { if has udhcpc; then udhcpc -i $1 -n -q -f -t 5 -T 2; \
elif has dhclient; then dhclient -1 -v $1; elif has dhcpcd; then dhcpcd -4 -w -t 20 $1; \
else echo the guest has neither udhcpc nor dhclient nor dhcpcd; return 1; fi; }
add_nameserver() { grep -qx \"nameserver $1\" /etc/resolv.conf 2>/dev/null || \
echo nameserver $1 >> /etc/resolv.conf; }
has_address() { case \" $(echo $(addresses $1)) \" in *\" $2 \"*) ;; *) echo it has $(addresses $1); return 1;; esac; }
";

/// `/sys/class/net/*/device` are the NICs with a device behind them: a bridge or a VLAN device on top of one has its
/// MAC address too (Documentation/ABI/testing/sysfs-class-net).
const FIND_BY_SYSFS: &str = "h() { for p in /sys/class/net/*/device; do p=${p%/device}; \
read -r a < $p/address && echo \"netlab-has ${p##*/} $a\"; done; }
n() { for p in /sys/class/net/*/device; do p=${p%/device}; d=${p##*/}; a=; \
read -r a < $p/address; [ \"$a\" = $1 ] && return; done; m $1; return 1; }
";

/// The words of `ifconfig -a`: a name stands before `Link` (busybox, net-tools 1) or, with a colon, before `flags=`
/// (net-tools 2), a MAC address after `HWaddr` or `ether`.
const FIND_BY_IFCONFIG: &str = "i() { p=; d=; a=; for w in $(ifconfig -a); do \
case $w in Link|flags=*) d=${p%:};; esac; \
case $p in HWaddr|ether) a=$w; \"$@\" && return;; esac; p=$w; done; return 1; }
o() { echo \"netlab-has $d $a\"; return 1; }
h() { i o; }
q() { [ $a = $x ] || [ $a = $y ]; }
n() { x=$1; y=$2; i q || { m $1; return 1; }; }
";

/// The script for `config`.
fn script(config: &GuestConfig) -> String {
    let mut script = TRY.to_owned();
    match config.console.dialect {
        Dialect::Ip => speak_ip(&mut script, config),
        Dialect::Ifconfig => speak_ifconfig(&mut script, config),
    }
    // Writing to a `String` cannot fail.
    let _ = writeln!(script, "t hostname {}", config.hostname);
    if asks(config) {
        // What the DHCP client has written stays.
        for server in &config.nameservers {
            let _ = writeln!(script, "t add_nameserver {server}");
        }
    } else {
        script.push_str("t write_resolv_conf");
        for server in &config.nameservers {
            let _ = write!(script, " {server}");
        }
        script.push('\n');
    }
    script.push_str("[ $bad = 0 ] )\n");
    script
}

/// The question whether a guest has what its seed disk says; asked until it has, changes nothing.
fn ask(config: &GuestConfig) -> String {
    let mut wanted = String::new();
    for nic in &config.nics {
        let _ = write!(wanted, " {}", nic.address);
    }
    format!(
        "( a() {{ ip -4 -o addr show | sed 's/.* inet \\([^ ]*\\).*/\\1/'; }}\n\
         l() {{ for w in{wanted}; do case \" $(echo $(a)) \" in *\" $w \"*) ;; *) m=$w; return 1;; esac; done; \
         [ \"$(hostname)\" = {hostname} ] || {{ m={hostname}; return 1; }}; }}\n\
         n={SEEDED_TRIES}; until l; do n=$((n-1)); [ $n -gt 0 ] || {{ echo \"netlab-unseeded $m\"; \
         for w in $(a) $(hostname); do echo \"netlab-has $w\"; done; exit 1; }}; sleep 1; done )\n",
        hostname = config.hostname,
    )
}

/// A NIC of the guest asks a DHCP server.
fn asks(config: &GuestConfig) -> bool {
    config.nics.iter().any(|nic| nic.dhcp)
}

fn speak_ip(script: &mut String, config: &GuestConfig) {
    script.push_str(FIND_BY_SYSFS);
    script.push_str("u() { n $1 || return; t ip link set dev $d mtu $2 up; t ip -4 addr flush dev $d; }\n");
    script.push_str("c() { u $1 $2 && t ip addr add $3 ${4:+broadcast $4} dev $d; }\n");
    if asks(config) {
        script.push_str("addresses() { ip -4 addr show dev $1 | sed -n 's/^ *inet \\([^ ]*\\).*/\\1/p'; }\n");
        script.push_str(ASK_DHCP);
        // Once more: the server may have told an MTU, and whatever the client did about it, this is the lab's.
        script.push_str("l() { u $1 $2 && t ask_dhcp $d && t has_address $d $3 && t ip link set dev $d mtu $2; }\n");
    }
    script.push_str("t ip link set dev lo up\n");
    for nic in &config.nics {
        let GuestNicConfig {
            mac,
            address,
            dhcp,
            mtu,
        } = nic;
        let mtu = mtu.unwrap_or(USUAL_MTU);
        if *dhcp {
            let _ = writeln!(script, "l {mac} {mtu} {address}");
        } else {
            let broadcast = broadcast(*address).map_or_else(String::new, |address| address.to_string());
            let _ = writeln!(script, "c {mac} {mtu} {address} {broadcast}");
        }
    }
    if let Some(gateway) = config.default_route {
        let _ = writeln!(script, "[ $bad = 1 ] || t ip route replace default via {gateway}");
    }
}

fn speak_ifconfig(script: &mut String, config: &GuestConfig) {
    script.push_str(FIND_BY_IFCONFIG);
    script.push_str("u() { n $1 $2 || return; t ifconfig $d mtu $3 up; }\n");
    script.push_str("c() { u $1 $2 $3 && t ifconfig $d $4 netmask $5 ${6:+broadcast $6} up; }\n");
    if asks(config) {
        // `inet addr:10.0.1.2` or, in net-tools 2, `inet 10.0.1.2`.
        script.push_str("addresses() { ifconfig $1 | sed -n 's/^ *inet \\(addr:\\)*\\([^ ]*\\).*/\\2/p'; }\n");
        script.push_str(ASK_DHCP);
        script.push_str("l() { u $1 $2 $3 && t ifconfig $d 0.0.0.0 && t ask_dhcp $d && t has_address $d $4 && ");
        script.push_str("t ifconfig $d mtu $3; }\n");
    }
    script.push_str("t ifconfig lo 127.0.0.1 up\nwhile route del default 2>/dev/null; do :; done\n");
    for nic in &config.nics {
        let GuestNicConfig {
            mac,
            address,
            dhcp,
            mtu,
        } = nic;
        let upper = mac.to_string().to_uppercase();
        let mtu = mtu.unwrap_or(USUAL_MTU);
        let own = address.addr();
        if *dhcp {
            let _ = writeln!(script, "l {mac} {upper} {mtu} {own}");
        } else {
            let mask = address.netmask();
            let broadcast = broadcast(*address).map_or_else(String::new, |address| address.to_string());
            let _ = writeln!(script, "c {mac} {upper} {mtu} {own} {mask} {broadcast}");
        }
    }
    if asks(config) {
        // The lab decides which way is the guest's, not the server that answered last.
        script.push_str("while route del default 2>/dev/null; do :; done\n");
    }
    if let Some(gateway) = config.default_route {
        let _ = writeln!(script, "[ $bad = 1 ] || t route add default gw {gateway}");
    }
}

/// The broadcast address, where the subnet has one: not in /31 (RFC 3021) and /32.
fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() <= 30).then(|| address.broadcast())
}
