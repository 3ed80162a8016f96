//! Configures a guest's addresses, default route, name servers, host name and services: one script, one exchange. A guest that
//! reads them from its seed disk is only asked whether it has them.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::cloud_init;
use super::embedded::{code, quoted};
use super::error::{SessionError, SessionFault};
use super::privilege::Privilege;
use super::session::Session;
use crate::lab::{ConsoleKind, Dialect, ETHERNET_MTU, MacAddr, Serve};
use crate::state::{GuestConfig, GuestNicConfig};

/// Deadline of the script without its NICs: enough for its few dozen processes even in a guest that shares its CPU with many.
const LIMIT: Duration = Duration::from_secs(60);
/// Deadline of each NIC: a DHCP client may ask for a minute before it gives up (dhclient.conf(5), timeout), and each call of
/// nmcli(1) takes seconds in emulation.
const NIC_LIMIT: Duration = Duration::from_secs(75);

/// Deadline of cloud-init once a guest shows its prompt: it configures the network before anybody can log in, but a
/// DHCP server may keep it waiting.
const SEEDED_WITHIN: Duration = Duration::from_secs(180);
/// Checks of such a guest, one per second.
const SEEDED_ATTEMPTS: u32 = 120;

/// What both dialects begin with.
const COMMON: &str = include_str!("configure/common.sh");
/// The functions that give NetworkManager an address, and their substitute where it is not expected.
const MANAGER: &str = include_str!("configure/manager.sh");
const NO_MANAGER: &str = "managed() { false; }\n";
/// The functions that lease addresses by DHCP, for both dialects.
const DHCP: &str = include_str!("configure/dhcp.sh");
const IP: Functions = Functions {
    functions: include_str!("configure/ip.sh"),
    dhcp: include_str!("configure/ip-dhcp.sh"),
};
const IFCONFIG: Functions = Functions {
    functions: include_str!("configure/ifconfig.sh"),
    dhcp: include_str!("configure/ifconfig-dhcp.sh"),
};
/// The function that lets packets in whose replies leave by another NIC.
const REVERSE_PATH: &str = include_str!("configure/reverse-path.sh");
/// The functions that end and start services.
const END_SERVICES: &str = include_str!("configure/end-services.sh");
const SERVE: &str = include_str!("configure/serve.sh");
/// The check of a guest that reads its configuration from a seed disk.
const SEEDED: &str = include_str!("configure/seeded.sh");

/// The shell functions of a dialect.
#[derive(Clone, Copy)]
struct Functions {
    functions: &'static str,
    /// Needed only where a NIC leases its address by DHCP.
    dhcp: &'static str,
}

/// Why a guest could not be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The guest does not have a NIC that its domain has.
    #[error("the guest has no NIC with the MAC address {mac}; it has {}", list(.has))]
    NicMissing {
        /// The missing address.
        mac: MacAddr,
        /// The NICs that it has, e.g. `eth0 52:54:00:12:34:56`.
        has: Vec<String>,
    },
    /// A command failed in the guest.
    #[error("`{command}` failed in the guest: {output}")]
    Command {
        /// The command.
        command: String,
        /// Its output.
        output: String,
    },
    /// cloud-init could not do what the lab file asks for.
    #[error("{}{}", .failed.join("; "), printed(.output))]
    CloudInit {
        /// Its modules that failed, with their messages.
        failed: Vec<String>,
        /// The end of what its modules printed; empty where that cannot be read.
        output: String,
    },
    /// cloud-init did not apply the seed disk.
    #[error("cloud-init has not configured the guest: {missing} is missing; it has {}", list(.has))]
    NotSeeded {
        /// What is missing, e.g. `10.0.0.2/24`.
        missing: String,
        /// The addresses and the host name that it has.
        has: Vec<String>,
    },
}

impl ConfigureError {
    /// Returns what a user can do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Session(error) => error.help(),
            Self::NicMissing { .. } => "the guest's kernel may lack a driver for the image's `nic_model`",
            Self::Command { .. } => "check that the image's `dialect` fits, and run the command on the guest's console",
            Self::CloudInit { .. } => {
                "what the lab file asks for (`packages`, `user_data`, `user`, `ssh_keys`) cannot be done in this guest: \
                 correct it and run `netlab up` again; /var/log/cloud-init-output.log in the guest has more"
            }
            Self::NotSeeded { .. } => {
                "in the guest, `cloud-init status --long` and /var/log/cloud-init.log give the reason"
            }
        }
    }
}

fn printed(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!("; its modules printed at last:\n{output}")
    }
}

fn list(things: &[String]) -> String {
    if things.is_empty() {
        "none".into()
    } else {
        things.join(", ")
    }
}

/// Gives the guest the configuration `config`, or waits until a seeded guest has it: one that had it before, `again`, is
/// configured like any other, since cloud-init configures a guest only as it boots. Idempotent; addresses and default
/// routes that these NICs had before are replaced. The deadlines are 60 s with 75 s per NIC and, for a seeded guest, 180 s, without the time that
/// cloud-init takes for packages and the user's own settings. `warn` is called with what cloud-init could not do of what only
/// the image asks for.
pub fn configure(
    session: &mut Session<'_>,
    config: &GuestConfig,
    again: bool,
    warn: &mut dyn FnMut(&str),
) -> Result<(), ConfigureError> {
    let (script, limit) = if config.seeded && !again {
        (seeded_script(config), SEEDED_WITHIN)
    } else {
        let root = Privilege::of(session, config.console.login.as_ref())?;
        (root.run(&script(config)), limit(config))
    };
    let mut output = session.run_idempotent(&script, limit)?;
    let besides = !config.serve.is_empty() || config.has_asymmetric_routes();
    if output.status == 0 && config.seeded && !again && besides {
        // cloud-init starts no service and leaves the kernel's settings unchanged.
        match Privilege::of(session, config.console.login.as_ref()) {
            Ok(root) => output = session.run_idempotent(&root.run(&besides_script(config)), LIMIT)?,
            // The lab may work as it is; `verify` shows whether it does.
            Err(error) if config.serve.is_empty() && matches!(error.fault, SessionFault::NotRoot { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if output.status == 0 {
        if config.seeded && !again {
            cloud_init::check(session, config, warn)?;
        }
        return Ok(());
    }
    Err(explain(&output.text, config))
}

/// Returns the deadline of the script for `config`.
fn limit(config: &GuestConfig) -> Duration {
    LIMIT + NIC_LIMIT * u32::try_from(config.nics.len()).unwrap_or(u32::MAX)
}

/// The reason for a status other than 0, from the lines that the script marked.
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
    let (command, output) = failed.unwrap_or(("the configuration", text));
    ConfigureError::Command {
        command: command.to_owned(),
        output: output.trim().to_owned(),
    }
}

fn functions(config: &GuestConfig) -> Functions {
    match config.console.dialect {
        Dialect::Ip => IP,
        Dialect::Ifconfig => IFCONFIG,
    }
}

/// Returns the script for `config`.
fn script(config: &GuestConfig) -> String {
    let mut script = format!("( bad=0\n{}", code(COMMON));
    let dialect = functions(config);
    script.push_str(&code(dialect.functions));
    let leases = config.nics.iter().any(|nic| nic.dhcp);
    // Each character that is typed on a keyboard takes 6 ms.
    if leases || config.console.kind == ConsoleKind::Serial {
        script.push_str(&code(MANAGER));
    } else {
        script.push_str(NO_MANAGER);
    }
    if leases {
        script.push_str(&code(dialect.dhcp));
        script.push_str(&code(DHCP));
    }
    if config.has_asymmetric_routes() {
        script.push_str(&code(REVERSE_PATH));
    }
    match config.console.dialect {
        Dialect::Ip => call_ip(&mut script, config),
        Dialect::Ifconfig => call_ifconfig(&mut script, config, leases),
    }
    // Writing to a `String` cannot fail.
    let _ = writeln!(script, "t hostname {}", config.hostname);
    if leases {
        // What the DHCP client has written stays.
        for server in &config.nameservers {
            let _ = writeln!(script, "t add_nameserver {server}");
        }
    } else if config.nameservers.is_empty() {
        // Where the file cannot be written, the lab lacks nothing.
        script.push_str("{ write_resolv_conf; } 2>/dev/null\n");
    } else {
        script.push_str("t write_resolv_conf");
        for server in &config.nameservers {
            let _ = write!(script, " {server}");
        }
        script.push('\n');
    }
    add_services(&mut script, config);
    script.push_str("[ $bad = 0 ] )\n");
    script
}

/// Returns the script of what cloud-init does not do: kernel settings and services.
fn besides_script(config: &GuestConfig) -> String {
    let mut script = format!("( bad=0\n{}", code(COMMON));
    if config.has_asymmetric_routes() {
        script.push_str(&code(functions(config).functions));
        script.push_str(&code(REVERSE_PATH));
        for GuestNicConfig { mac, .. } in &config.nics {
            let upper = mac.to_string().to_uppercase();
            // Writing to a `String` cannot fail.
            let _ = writeln!(script, "n {mac} {upper} && loose");
        }
    }
    add_services(&mut script, config);
    script.push_str("[ $bad = 0 ] )\n");
    script
}

/// Adds what ends the services of an earlier configuration and starts those of this one.
fn add_services(script: &mut String, config: &GuestConfig) {
    script.push_str(&code(END_SERVICES));
    script.push_str("end_services\n");
    if config.serve.is_empty() {
        return;
    }
    script.push_str(&code(SERVE));
    for Serve { tcp, text } in &config.serve {
        // Writing to a `String` cannot fail.
        let _ = writeln!(script, "t serve {tcp} {}", quoted(text));
    }
}

/// Returns the script that waits until a guest has what its seed disk says.
fn seeded_script(config: &GuestConfig) -> String {
    let addresses: Vec<String> = config.nics.iter().map(|nic| nic.address.to_string()).collect();
    format!(
        "( wanted='{}' name={} n={SEEDED_ATTEMPTS}\n{})\n",
        addresses.join(" "),
        config.hostname,
        code(SEEDED)
    )
}

/// Adds the calls of the dialect of ip(8).
fn call_ip(script: &mut String, config: &GuestConfig) {
    script.push_str("t ip link set dev lo up\n");
    for nic in &config.nics {
        let GuestNicConfig {
            mac,
            address,
            dhcp,
            mtu,
        } = nic;
        let mtu = mtu.unwrap_or(ETHERNET_MTU);
        if *dhcp {
            let _ = writeln!(script, "l {mac} {mtu} {address}");
        } else {
            let broadcast = broadcast(*address).map_or_else(String::new, |address| address.to_string());
            let _ = writeln!(script, "c {mac} {mtu} {address} {broadcast}");
        }
        add_loose(script, config);
    }
    if let Some(gateway) = config.default_route {
        let _ = writeln!(script, "[ $bad = 1 ] || t ip route replace default via {gateway}");
    }
}

/// Adds the calls of the dialect of ifconfig(8) and route(8).
fn call_ifconfig(script: &mut String, config: &GuestConfig, leases: bool) {
    const NO_DEFAULT_ROUTE: &str = "while route del default 2>/dev/null; do :; done\n";
    script.push_str("t ifconfig lo 127.0.0.1 up\n");
    script.push_str(NO_DEFAULT_ROUTE);
    for nic in &config.nics {
        let GuestNicConfig {
            mac,
            address,
            dhcp,
            mtu,
        } = nic;
        let upper = mac.to_string().to_uppercase();
        let mtu = mtu.unwrap_or(ETHERNET_MTU);
        let own = address.addr();
        if *dhcp {
            let _ = writeln!(script, "l {mac} {upper} {mtu} {own}");
        } else {
            let mask = address.netmask();
            let broadcast = broadcast(*address).map_or_else(String::new, |address| address.to_string());
            let _ = writeln!(script, "c {mac} {upper} {mtu} {own} {mask} {broadcast}");
        }
        add_loose(script, config);
    }
    if leases {
        // The lab decides on the default route, not the server that answered last.
        script.push_str(NO_DEFAULT_ROUTE);
    }
    if let Some(gateway) = config.default_route {
        let _ = writeln!(script, "[ $bad = 1 ] || t route add default gw {gateway}");
    }
}

/// Adds what lets in the packets whose replies leave by another NIC, for the NIC that was configured last.
fn add_loose(script: &mut String, config: &GuestConfig) {
    if config.has_asymmetric_routes() {
        script.push_str("loose\n");
    }
}

/// Returns the broadcast address, if the subnet has one: /31 (RFC 3021) and /32 have none.
fn broadcast(address: Ipv4Net) -> Option<Ipv4Addr> {
    (address.prefix_len() <= 30).then(|| address.broadcast())
}
