//! Tells a guest its addresses, default route, name servers and host name: one script, one exchange.

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
}

fn list(nics: &[String]) -> String {
    if nics.is_empty() {
        "none at all".into()
    } else {
        nics.join(", ")
    }
}

/// Gives the guest what `config` says. Run again it gives the same state; addresses and default routes that stood
/// on these NICs before are replaced.
pub fn configure(session: &mut Session<'_>, config: &GuestConfig) -> Result<(), ConfigureError> {
    let output = session.run_idempotent(&script(config), LIMIT)?;
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
t() { s=$(\"$@\" 2>&1) || { bad=1; echo \"netlab-failed $* netlab-said\" $s; }; }
m() { bad=1; echo \"netlab-missing $1\"; h; }
write_resolv_conf() { for a; do echo nameserver $a; done > /etc/resolv.conf; }
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
    script.push_str("t write_resolv_conf");
    for server in &config.nameservers {
        let _ = write!(script, " {server}");
    }
    script.push_str("\n[ $bad = 0 ] )\n");
    script
}

fn speak_ip(script: &mut String, config: &GuestConfig) {
    script.push_str(FIND_BY_SYSFS);
    script.push_str("c() { n $1 || return; t ip link set dev $d up; t ip -4 addr flush dev $d; ");
    script.push_str("t ip addr add $2 ${3:+broadcast $3} dev $d; }\nt ip link set dev lo up\n");
    for GuestNicConfig { mac, address, .. } in &config.nics {
        let broadcast = broadcast(*address).map_or_else(String::new, |address| address.to_string());
        let _ = writeln!(script, "c {mac} {address} {broadcast}");
    }
    if let Some(gateway) = config.default_route {
        let _ = writeln!(script, "[ $bad = 1 ] || t ip route replace default via {gateway}");
    }
}

fn speak_ifconfig(script: &mut String, config: &GuestConfig) {
    script.push_str(FIND_BY_IFCONFIG);
    script.push_str("c() { n $1 $2 || return; t ifconfig $d $3 netmask $4 ${5:+broadcast $5} up; }\n");
    script.push_str("t ifconfig lo 127.0.0.1 up\nwhile route del default 2>/dev/null; do :; done\n");
    for GuestNicConfig { mac, address, .. } in &config.nics {
        let upper = mac.to_string().to_uppercase();
        let broadcast = broadcast(*address).map_or_else(String::new, |address| address.to_string());
        let _ = writeln!(
            script,
            "c {mac} {upper} {} {} {broadcast}",
            address.addr(),
            address.netmask()
        );
    }
    if let Some(gateway) = config.default_route {
        let _ = writeln!(script, "[ $bad = 1 ] || t route add default gw {gateway}");
    }
}

/// The broadcast address, where the subnet has one: not in /31 (RFC 3021) and /32.
fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() <= 30).then(|| address.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::scripted::{Scripted, Shell, image, open};
    use crate::guest::{LINE_LIMIT, Trouble};

    fn nic(mac: &str, address: &str) -> GuestNicConfig {
        GuestNicConfig {
            mac: mac.parse().unwrap(),
            address: address.parse().unwrap(),
            dhcp: false,
            mtu: None,
        }
    }

    fn config(dialect: Dialect) -> GuestConfig {
        let mut console = image();
        console.dialect = dialect;
        GuestConfig {
            hostname: "vm1".parse().unwrap(),
            console,
            nics: vec![
                nic("52:54:00:aa:00:01", "10.0.1.2/24"),
                nic("52:54:00:aa:00:02", "10.0.2.2/31"),
            ],
            default_route: Some("10.0.1.1".parse().unwrap()),
            nameservers: vec!["10.0.1.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
        }
    }

    /// What `configure` says about a guest in which the script prints `text` and ends with `status`.
    fn told(text: &'static str, status: i32) -> Result<(), ConfigureError> {
        let shell = Shell::running(move |script| {
            let is_ours = script.starts_with("( bad=0");
            if is_ours {
                (text.into(), status)
            } else {
                (String::new(), 0)
            }
        });
        configure(&mut open(Scripted::new(shell)), &config(Dialect::Ip))
    }

    #[test]
    fn everything_is_said_once_in_the_words_of_the_dialect() {
        let ip = script(&config(Dialect::Ip));
        for line in [
            "c 52:54:00:aa:00:01 10.0.1.2/24 10.0.1.255\n",
            "c 52:54:00:aa:00:02 10.0.2.2/31 \n",
            "t ip route replace default via 10.0.1.1\n",
            "t hostname vm1\n",
            "t write_resolv_conf 10.0.1.53 2001:db8::53\n",
        ] {
            assert_eq!(ip.matches(line).count(), 1, "{line} in {ip}");
        }
        let ifconfig = script(&config(Dialect::Ifconfig));
        for line in [
            "c 52:54:00:aa:00:01 52:54:00:AA:00:01 10.0.1.2 255.255.255.0 10.0.1.255\n",
            "c 52:54:00:aa:00:02 52:54:00:AA:00:02 10.0.2.2 255.255.255.254 \n",
            "t route add default gw 10.0.1.1\n",
        ] {
            assert_eq!(ifconfig.matches(line).count(), 1, "{line} in {ifconfig}");
        }
    }

    #[test]
    fn a_hundred_nics_fit_into_lines_that_a_terminal_takes() {
        for dialect in [Dialect::Ip, Dialect::Ifconfig] {
            let mut config = config(dialect);
            config.nics = config.nics.repeat(50);
            assert!(script(&config).lines().all(|line| line.len() <= LINE_LIMIT));
        }
    }

    #[test]
    fn a_missing_nic_is_reported_with_those_that_are_there() {
        let text = "netlab-missing 52:54:00:aa:00:02\r\nnetlab-has eth0 52:54:00:aa:00:01\r\n";
        let error = told(text, 1).unwrap_err();
        assert_eq!(
            error.to_string().lines().next().unwrap(),
            "the guest has no NIC with the MAC address 52:54:00:aa:00:02; it has eth0 52:54:00:aa:00:01"
        );
    }

    #[test]
    fn the_command_that_failed_is_named() {
        let text = "netlab-failed ip route replace default via 10.0.1.1 netlab-said ip: Network is unreachable\r\n";
        let error = told(text, 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "`ip route replace default via 10.0.1.1` failed in the guest: ip: Network is unreachable"
        );
    }

    #[test]
    fn a_failure_without_a_readable_reason_is_still_one() {
        for text in [
            "",
            "netlab-miss[   3.1] eth0: link up\r\ning 52:54:00:aa:00:02\r\n",
            "netlab-missing 52:54:00:aa:00:99",
        ] {
            assert!(matches!(told(text, 1), Err(ConfigureError::Command { .. })), "{text}");
        }
        assert_eq!(told("netlab-failed is only a word", 0), Ok(()));
    }

    #[test]
    fn a_broken_conversation_is_reported_as_such() {
        let mut session = open(Scripted::new(Shell::simple()));
        let mut config = config(Dialect::Ip);
        config.nameservers = config.nameservers.repeat(100);
        let error = configure(&mut session, &config).unwrap_err();
        assert!(matches!(error, ConfigureError::Session(error) if matches!(error.trouble, Trouble::LineTooLong(_))));
    }
}
