//! Limits of links in the lab file.

use std::collections::BTreeSet;

use crate::lab::{ImageName, parse, write};
use crate::topology::allocate;

const LAB: &str = "name = \"l\"\n[hosts.a]\nnics.eth0 = { rate = \"10mbit\" }\n[hosts.b]\nnics.eth0 = {}\n\
                   [[cables]]\nends = [\"a:eth0\", \"b:eth0\"]\ndelay = \"5ms\"\njitter = \"1ms\"\n\
                   [networks.n]\nsubnet = \"10.0.1.0/24\"\nuplink = \"eth0\"\nrate = \"100 Mbit/s\"\nloss = \"0.5%\"\n\
                   [vms.v]\nhost = \"a\"\nnics = [{ network = \"n\" }]\n\
                   [vms.w]\nhost = \"b\"\nnics = [{ network = \"n\", link = \"down\" }]\n";

fn images() -> BTreeSet<ImageName> {
    [ImageName::new("mini").unwrap()].into()
}

#[test]
fn limits_are_written_as_they_are_read() {
    let lab = parse("lab.toml", LAB, &images()).unwrap();
    let text = write(&lab);
    assert!(text.contains("rate = \"100mbit\""), "{text}");
    let again = parse("lab.toml", &text, &images()).unwrap();
    assert_eq!(again, lab);
}

#[test]
fn limits_of_a_nic_replace_those_of_its_cable_or_network() {
    let lab = parse("lab.toml", LAB, &images()).unwrap();
    let shaping = allocate(&lab, &std::collections::BTreeMap::new()).shaping;
    let ends: Vec<String> = shaping
        .ends
        .iter()
        .map(|(end, limits)| format!("{}: {limits}", end.host))
        .collect();
    assert_eq!(ends, ["a: rate 10mbit", "b: delay 5ms ± 1ms"]);
    let guests: Vec<String> = shaping
        .guests
        .iter()
        .map(|((vm, at), limits)| format!("{vm}/{at}: {limits}"))
        .collect();
    assert_eq!(guests, ["v/0: rate 100mbit, loss 0.5%", "w/0: down"]);
}
