//! What a dnsmasq reads: dnsmasq(8), one option a line.

use std::fmt::Write as _;

use crate::state::{Dhcp, Lease};

/// The configuration of the server that `dhcp` describes.
pub fn text(dhcp: &Dhcp) -> String {
    // Taken apart exhaustively, so that whoever adds a field comes by here.
    let Dhcp {
        bridge,
        subnet,
        gateway,
        domain,
        leases,
        nameservers,
        mtu,
        running: _,
    } = dhcp;
    let mut conf = String::new();
    // Writing to a `String` cannot fail.
    let mut say = |line: std::fmt::Arguments| _ = writeln!(conf, "{line}");

    // This bridge and nothing else: no other address is even bound, so another server on the host is no rival.
    say(format_args!("interface={bridge}"));
    say(format_args!("except-interface=lo"));
    say(format_args!("bind-interfaces"));

    // Fixed leases only: whoever is not in the list is not answered, not even told that he has no address, since on a
    // wire that others share he may have it from another server.
    say(format_args!(
        "dhcp-range={},static,{},infinite",
        subnet.network(),
        subnet.netmask()
    ));
    say(format_args!("dhcp-ignore=tag:!known"));
    say(format_args!("dhcp-authoritative"));
    say(format_args!("dhcp-option=option:router,{gateway}"));
    say(format_args!("dhcp-option=option:dns-server,{gateway}"));
    if let Some(mtu) = mtu {
        // Forced, because not every client asks for it.
        say(format_args!("dhcp-option-force=option:mtu,{mtu}"));
    }

    // The lab's names, those behind them and none of this machine's own.
    say(format_args!("domain={domain}"));
    say(format_args!("local=/{domain}/"));
    say(format_args!("domain-needed"));
    say(format_args!("bogus-priv"));
    say(format_args!("no-hosts"));
    say(format_args!("no-resolv"));
    say(format_args!("no-poll"));
    for server in nameservers {
        say(format_args!("server={server}"));
    }
    for (mac, Lease { vm, address }) in leases {
        say(format_args!("dhcp-host={mac},{address},{vm},infinite"));
        // The first name is what the address is asked back to.
        say(format_args!("host-record={vm}.{domain},{vm},{address}"));
    }
    conf
}
