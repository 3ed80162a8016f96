//! The configuration of a dnsmasq: dnsmasq(8), one option per line. Pure.

use std::fmt::Write as _;

use crate::state::{Dhcp, Lease};

/// Returns the configuration of the server that `dhcp` describes.
pub fn text(dhcp: &Dhcp) -> String {
    // Exhaustive, so that a new field must be handled here.
    let Dhcp {
        bridge,
        subnet,
        gateway,
        domain,
        leases,
        nameservers,
        mtu,
        lease,
        running: _,
    } = dhcp;
    let lasts = lease.map_or_else(|| "infinite".to_owned(), |seconds| seconds.to_string());
    let mut conf = String::new();
    // Writing to a `String` cannot fail.
    let mut write = |line: std::fmt::Arguments| _ = writeln!(conf, "{line}");

    // This bridge and nothing else: no other address is bound, so it does not conflict with another server on the host.
    write(format_args!("interface={bridge}"));
    write(format_args!("except-interface=lo"));
    write(format_args!("bind-interfaces"));

    // Fixed leases only: a client that is not listed gets no answer, not even a refusal, since on a shared segment it may
    // have an address from another server.
    write(format_args!(
        "dhcp-range={},static,{},{lasts}",
        subnet.network(),
        subnet.netmask()
    ));
    write(format_args!("dhcp-ignore=tag:!known"));
    write(format_args!("dhcp-authoritative"));
    write(format_args!("dhcp-option=option:router,{gateway}"));
    write(format_args!("dhcp-option=option:dns-server,{gateway}"));
    if let Some(mtu) = mtu {
        // Forced, because not every client asks for it.
        write(format_args!("dhcp-option-force=option:mtu,{mtu}"));
    }

    // The lab's names, what the upstream servers know, and none of this machine's own names.
    write(format_args!("domain={domain}"));
    write(format_args!("local=/{domain}/"));
    write(format_args!("domain-needed"));
    write(format_args!("bogus-priv"));
    write(format_args!("no-hosts"));
    write(format_args!("no-resolv"));
    write(format_args!("no-poll"));
    for server in nameservers {
        write(format_args!("server={server}"));
    }
    for (mac, Lease { vm, address }) in leases {
        write(format_args!("dhcp-host={mac},{address},{vm},{lasts}"));
        // A reverse lookup of the address gives the first name.
        write(format_args!("host-record={vm}.{domain},{vm},{address}"));
    }
    conf
}
