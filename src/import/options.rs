//! nova-network's options, and what becomes of each.

/// An option of nova-network.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub name: &'static str,
    pub kind: Kind,
    /// Why it is not carried over; empty: it is.
    pub dropped: &'static str,
}

/// The type of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
}

const fn carried(name: &'static str, kind: Kind) -> Known {
    let dropped = "";
    Known { name, kind, dropped }
}

const fn dropped(name: &'static str, kind: Kind, dropped: &'static str) -> Known {
    Known { name, kind, dropped }
}

use Kind::{Flag, Text};

const FIXED: &str = "leases are fixed: each VM has its address as long as it exists";
const ARP: &str = "a gateway of a lab stays on its host, so nothing is to be announced";
const INTERNAL: &str = "part of nova's implementation";
const IPV6: &str = "a lab has IPv4 networks only";
const VPN: &str = "a lab has no cloudpipe VPN servers";
const METADATA: &str = "guests get their settings over the console, by DHCP or from a seed disk";
const OLD: &str = "described by fixed_range since the second release";

/// The options of `nova/network/` and those beside them that say something about networks, of all releases.
pub(super) const OPTIONS: &[Known] = &[
    carried("network_manager", Text),
    carried("public_interface", Text),
    carried("vlan_interface", Text),
    carried("flat_interface", Text),
    carried("flat_network_bridge", Text),
    carried("flat_network_dns", Text),
    carried("flat_network_dhcp_start", Text),
    carried("dns_server", Text),
    carried("network_host", Text),
    carried("host", Text),
    carried("fixed_range", Text),
    carried("private_range", Text),
    carried("floating_range", Text),
    carried("auto_assign_floating_ip", Flag),
    carried("network_size", Text),
    carried("num_networks", Text),
    carried("vlan_start", Text),
    carried("my_ip", Text),
    carried("routing_source_ip", Text),
    carried("multi_host", Flag),
    carried("network_device_mtu", Text),
    carried("gateway", Text),
    carried("use_neutron", Flag),
    carried("network_api_class", Text),
    carried("force_dhcp_release", Flag),
    dropped("fixed_ip_disassociate_timeout", Text, FIXED),
    dropped("update_dhcp_on_disassociate", Flag, FIXED),
    dropped("dhcp_lease_time", Text, FIXED),
    dropped("dhcpbridge", Text, INTERNAL),
    dropped("dhcpbridge_flagfile", Text, INTERNAL),
    dropped("flagfile", Text, "the other file is not read"),
    dropped("dnsmasq_config_file", Text, "netlab writes dnsmasq's configuration"),
    dropped("use_network_dns_servers", Flag, "write `nameservers` in the network"),
    dropped("dhcp_domain", Text, "the domain of guests is the lab's name"),
    dropped("dhcp_options_enabled", Flag, INTERNAL),
    dropped(
        "share_dhcp_address",
        Flag,
        "a gateway on every host has the same address everywhere",
    ),
    dropped("send_arp_for_ha", Flag, ARP),
    dropped("send_arp_for_ha_count", Text, ARP),
    dropped(
        "allow_same_net_traffic",
        Flag,
        "guests of one network reach each other in a lab",
    ),
    dropped("flat_injected", Flag, METADATA),
    dropped("injected_network_template", Text, METADATA),
    dropped("metadata_host", Text, METADATA),
    dropped("metadata_port", Text, METADATA),
    dropped("enabled_apis", Text, INTERNAL),
    dropped("use_ipv6", Flag, IPV6),
    dropped("fixed_range_v6", Text, IPV6),
    dropped("gateway_v6", Text, IPV6),
    dropped("ipv6_backend", Text, IPV6),
    dropped("my_ipv6", Text, IPV6),
    dropped("flat_network_ips", Text, OLD),
    dropped("flat_network_network", Text, OLD),
    dropped("flat_network_netmask", Text, OLD),
    dropped("flat_network_gateway", Text, OLD),
    dropped("flat_network_broadcast", Text, OLD),
    dropped("public_range", Text, "write `floating` in a vm"),
    dropped("default_floating_pool", Text, "write `floating` in a vm"),
    dropped("floating_ip_dns_manager", Text, INTERNAL),
    dropped("instance_dns_manager", Text, INTERNAL),
    dropped("instance_dns_domain", Text, INTERNAL),
    dropped("dns_update_periodic_interval", Text, INTERNAL),
    dropped("update_dns_entries", Flag, INTERNAL),
    dropped(
        "dmz_cidr",
        Text,
        "every packet that leaves by the public NIC is translated",
    ),
    dropped(
        "force_snat_range",
        Text,
        "every packet that leaves by the public NIC is translated",
    ),
    dropped("vpn_ip", Text, VPN),
    dropped("vpn_start", Text, VPN),
    dropped("vpn_image_id", Text, VPN),
    dropped("cnt_vpn_clients", Text, VPN),
    dropped("use_single_default_gateway", Flag, INTERNAL),
    dropped("teardown_unused_network_gateway", Flag, INTERNAL),
    dropped("create_unique_mac_address_attempts", Text, INTERNAL),
    dropped("fake_network", Flag, INTERNAL),
    dropped("fake_call", Flag, INTERNAL),
    dropped("network_driver", Text, INTERNAL),
    dropped("network_topic", Text, INTERNAL),
    dropped("networks_path", Text, INTERNAL),
    dropped("l3_lib", Text, INTERNAL),
    dropped("firewall_driver", Text, INTERNAL),
    dropped("security_group_api", Text, INTERNAL),
    dropped("libvirt_vif_driver", Text, INTERNAL),
    dropped("libvirt_vif_type", Text, INTERNAL),
    dropped("linuxnet_interface_driver", Text, INTERNAL),
    dropped("linuxnet_ovs_integration_bridge", Text, INTERNAL),
    dropped("ovs_vsctl_timeout", Text, INTERNAL),
    dropped("iptables_top_regex", Text, INTERNAL),
    dropped("iptables_bottom_regex", Text, INTERNAL),
    dropped("iptables_drop_action", Text, INTERNAL),
    dropped("ebtables_exec_attempts", Text, INTERNAL),
    dropped("quota_networks", Text, INTERNAL),
    dropped("enable_network_quota", Flag, INTERNAL),
    dropped("quota_floating_ips", Text, INTERNAL),
    dropped("quota_fixed_ips", Text, INTERNAL),
];

/// Options of which one alone does not make a file nova-network's.
const ALSO_ELSEWHERE: [&str; 7] = [
    "my_ip",
    "host",
    "flagfile",
    "gateway",
    "use_neutron",
    "firewall_driver",
    "network_api_class",
];

/// Returns the option of this name.
pub(super) fn known(name: &str) -> Option<&'static Known> {
    OPTIONS.iter().find(|known| known.name == name)
}

/// Whether an option is nova-network's alone.
pub(super) fn is_of_nova_network(name: &str) -> bool {
    known(name).is_some_and(|known| known.dropped != INTERNAL) && !ALSO_ELSEWHERE.contains(&name)
}

/// Most typing errors in the name of an option.
const MOST_ERRORS: usize = 2;

/// Returns the option that was probably meant by a name that is none. Short names are too near to too many others.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let distance = |known: &Known| strsim::damerau_levenshtein(name, known.name);
    let alike = OPTIONS
        .iter()
        .filter(|known| known.name.len().abs_diff(name.len()) <= MOST_ERRORS);
    let near = alike.map(|known| (distance(known), known.name)).min()?;
    (near.0 <= MOST_ERRORS && near.1.len() > 3 * MOST_ERRORS).then_some(near.1)
}
