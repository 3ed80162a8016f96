//! NICs that cannot send what they are meant to: without a cable, or in the subnet of another.

use super::good;

/// The warnings of a lab with two machines and these cables.
fn warnings(cables: &str) -> Vec<String> {
    let text = format!(
        "name = \"l\"\n\
         [hosts.a]\nnics.eth0 = {{}}\nnics.eth1.address = \"192.0.2.2/24\"\n\
         [hosts.b]\nbonds.bond0 = {{ nics = [\"eth0\", \"eth1\"], mode = \"active-backup\", address = \"192.0.2.3/24\", gateway = \"192.0.2.1\" }}\n\
         [routers.isp]\nnics.eth0.address = \"192.0.2.1/24\"\n\
         [switches.s]\n{cables}\
         [networks.n]\nsubnet = \"10.0.0.0/24\"\ngateway = {{ address = \"10.0.0.1\", on = \"a\" }}\n\
         [[nat]]\non = \"a\"\nfrom = [\"n\"]\nout = \"eth1\"\n"
    );
    good(&text)
        .warnings
        .into_iter()
        .map(|warning| warning.message)
        .collect()
}

#[test]
fn a_nic_without_a_cable_that_something_leads_through_is_a_warning() {
    assert_eq!(
        warnings(""),
        [
            "`a:eth1` has no cable, and NAT sends by it",
            "`b:bond0` has no cable, and a gateway is behind it",
            "`isp:eth0` has no cable, and it is a router's",
        ]
    );
    let cable = |end: &str| format!("[[cables]]\nends = [\"{end}\", \"s\"]\n");
    let cables = ["a:eth1", "b:eth1", "isp:eth0"].map(cable).concat();
    assert_eq!(warnings(&cables), [""; 0]);
}

#[test]
fn two_nics_of_a_machine_in_one_subnet_are_a_warning() {
    let warnings = |other: &str| {
        let text =
            format!("name = \"l\"\n[hosts.a]\nnics.eth0.address = \"192.0.2.2/24\"\nnics.eth1.address = \"{other}\"\n");
        good(&text).warnings.len()
    };
    assert_eq!(warnings("192.0.2.3/24"), 1);
    assert_eq!(warnings("198.51.100.3/24"), 0);
    // What the longer prefix has is sent by its NIC.
    assert_eq!(warnings("192.0.2.129/25"), 0);
}
