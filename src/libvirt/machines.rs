//! Which machine types QEMU has, by architecture: from libvirt's capabilities, or from the files in which it caches them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::libvirt::domain_xml::Node;

/// Machine types by architecture, with their other names.
type Machines = BTreeMap<String, BTreeSet<String>>;

/// Reads them from what `virsh capabilities` prints.
pub(super) fn of_capabilities(capabilities: &Node) -> Machines {
    let mut machines = Machines::new();
    for arch in capabilities.all("guest").filter_map(|guest| guest.child("arch")) {
        let of_arch = machines
            .entry(arch.attr("name").unwrap_or_default().to_owned())
            .or_default();
        // An accelerator may have machine types of its own.
        for place in std::iter::once(arch).chain(arch.all("domain")) {
            for machine in place.all("machine") {
                of_arch.insert(machine.text.trim().to_owned());
                of_arch.extend(machine.attr("canonical").map(str::to_owned));
            }
        }
    }
    machines
}

/// Reads them from libvirt's cache of QEMU's capabilities in `folder`, a file for each emulator. A file that cannot be
/// read says nothing.
pub(crate) fn of_cache(folder: &Path) -> Machines {
    let mut machines = Machines::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(root) = fs::read_to_string(file.path())
            .ok()
            .and_then(|text| Node::parse(&text).ok())
        else {
            continue;
        };
        let exists = |emulator: &Node| Path::new(&emulator.text).exists();
        let Some(arch) = root
            .child("arch")
            .filter(|_| root.child("emulator").is_some_and(exists))
        else {
            continue;
        };
        let of_arch = machines.entry(arch.text.clone()).or_default();
        for machine in root.all("machine") {
            of_arch.extend(
                ["name", "alias"]
                    .into_iter()
                    .filter_map(|key| machine.attr(key))
                    .map(str::to_owned),
            );
        }
    }
    machines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn machine_types_are_read_with_their_other_names() {
        let xml = "<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'>\
                   <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine><machine>isapc</machine>\
                   <domain type='kvm'><machine>microvm</machine></domain></arch></guest></capabilities>";
        let machines = of_capabilities(&Node::parse(xml).unwrap());
        assert_eq!(machines["x86_64"], set(&["isapc", "microvm", "pc", "pc-i440fx-7.2"]));
    }

    #[test]
    fn the_cache_counts_for_emulators_that_exist() {
        let folder = tempfile::tempdir().unwrap();
        let emulator = folder.path().join("qemu");
        let text = format!(
            "<qemuCaps><emulator>{}</emulator><arch>i686</arch><machine type='tcg' name='pc-q35-7.2' alias='q35'/></qemuCaps>",
            emulator.display()
        );
        fs::write(folder.path().join("a.xml"), text).unwrap();
        fs::write(folder.path().join("b.xml"), "half").unwrap();
        assert!(of_cache(folder.path()).is_empty());
        fs::write(&emulator, "").unwrap();
        assert_eq!(of_cache(folder.path())["i686"], set(&["pc-q35-7.2", "q35"]));
    }
}
