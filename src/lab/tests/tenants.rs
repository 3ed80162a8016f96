//! Tenants, routes between them, and port security.

use super::{good, has, two, wrong};
use crate::lab::write;

const NETWORKS: &str = "[networks.r]\nsubnet = \"10.0.1.0/24\"\nuplink = \"eth0\"\nvlan = 1\ntenant = \"red\"\nport_security = true\n\
                        [networks.b]\nsubnet = \"10.0.2.0/24\"\nuplink = \"eth0\"\nvlan = 2\ntenant = \"blue\"\n";

#[test]
fn tenants_routes_and_port_security_are_written_as_they_are_read() {
    let more = "[[route]]\nbetween = [\"red\", \"blue\"]\n\
                [vms.v]\nhost = \"a\"\nnics = [{ network = \"r\", port_security = false }, { network = \"b\" }]\n";
    let lab = good(&two(&format!("{NETWORKS}{more}")));
    assert_eq!(good(&write(&lab)), lab);
    let network = &lab.networks[&"r".parse().unwrap()];
    assert!(network.port_security && network.tenant.is_some());
    assert_eq!(lab.routes[0].len(), 2);
    let nics = &lab.vms[&"v".parse().unwrap()].nics;
    assert_eq!((nics[0].port_security, nics[1].port_security), (Some(false), None));
}

#[test]
fn a_lease_of_a_removed_vm_can_only_be_released() {
    let network = |value| format!("{NETWORKS}force_dhcp_release = {value}\n");
    good(&two(&network("true")));
    has(
        &wrong(&two(&network("false"))),
        "the lease of a vm that is removed is always released",
    );
    has(&wrong(&two(&network("1"))), "true or false");
}

#[test]
fn a_route_names_two_tenants_that_exist() {
    let route = |between: &str| wrong(&two(&format!("{NETWORKS}[[route]]\n{between}\n")));
    has(&route(""), "a route needs `between`");
    has(
        &route("between = [\"red\", \"blu\"]"),
        "there is no tenant `blu` | did you mean `blue`?",
    );
    has(
        &route("between = [\"red\", \"b\"]"),
        "`b` is a network: give it a `tenant`",
    );
    has(
        &route("between = [\"red\", \"red\"]"),
        "a route is between two tenants or more",
    );
    has(&route("between = \"red\""), "a list");
}
