//! Reads a domain from its XML. Of netlab's metadata only what the rest of the XML does not contain is used: which lab
//! and VM the domain is, and the machine type as the lab file names it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::render::{fingerprint, video_model};
use super::{METADATA_URI, Node, XmlError, unreadable};
use crate::lab::{BaseDisk, Boot, Datapath, Firmware, Video};
use crate::state::{Accel, DiskName, Domain, DomainDisk, DomainName, DomainNic, GuestConfig, Start, Volume};

/// A domain's definition, and its live state. They differ when one of them was changed by hand: `virsh edit` changes the
/// first, `virsh detach-interface --live` the second.
#[derive(Debug, Clone, Copy)]
pub struct Definitions<'a> {
    /// The definition that the next start uses.
    pub inactive: &'a str,
    /// The live XML; none where the domain does not run.
    pub live: Option<&'a str>,
}

/// Reads a domain; none where it is not netlab's (no metadata of netlab's, or a copy under another name). The guest's
/// state is not in the XML: `running` is false, `configured` absent and `tasks` empty.
pub fn read(xml: Definitions<'_>) -> Result<Option<(DomainName, Domain)>, XmlError> {
    let root = Node::parse(xml.inactive)?;
    let Some(name) = name_of(&root)? else {
        return Ok(None);
    };
    let defined = domain(&root, &name)?;
    let as_written = mark_of(&root)
        .and_then(|mark| mark.child("definition"))
        .map(|fingerprint| fingerprint.text.clone());
    // Where the definition is the one that netlab wrote, only the live state can differ from it.
    let domain = match xml.live {
        Some(live) if as_written == Some(fingerprint(&defined)?) => domain(&Node::parse(live)?, &name)?,
        _ => defined,
    };
    Ok(Some((name, domain)))
}

/// Returns netlab's element in a domain's metadata.
pub(crate) fn mark_of(root: &Node) -> Option<&Node> {
    root.metadata(METADATA_URI)
}

/// Returns the name of a domain of netlab's; none for any other domain.
pub(crate) fn name_of(root: &Node) -> Result<Option<DomainName>, XmlError> {
    let Some(mark) = mark_of(root) else {
        return Ok(None);
    };
    let real = text(root, "name");
    if real != format!("{}.{}", text(mark, "lab"), text(mark, "vm")) {
        return Ok(None);
    }
    DomainName::try_from(real).map(Some).map_err(|e| unreadable("name", e))
}

fn text(node: &Node, name: &str) -> String {
    node.child(name).map(|child| child.text.clone()).unwrap_or_default()
}

fn attr(node: &Node, path: &[&str], name: &str) -> String {
    let value = node.at(path).and_then(|found| found.attr(name));
    value.unwrap_or_default().to_owned()
}

fn domain(root: &Node, name: &DomainName) -> Result<Domain, XmlError> {
    let devices = root
        .child("devices")
        .ok_or_else(|| unreadable("devices", "there are none"))?;
    let number = |what: &str| text(root, what).trim().parse().map_err(|e| unreadable(what, e));
    let (disk_bus, boot) = boot(root, devices, name);
    let asked = mark_of(root).map(|mark| text(mark, "machine")).unwrap_or_default();
    Ok(Domain {
        uuid: text(root, "uuid"),
        accel: if root.attr("type") == Some("kvm") {
            Accel::Kvm
        } else {
            Accel::Qemu
        },
        arch: attr(root, &["os", "type"], "arch"),
        machine: machine(&asked, attr(root, &["os", "type"], "machine")),
        disk_bus,
        disk_mib: own(root, "disk"),
        disks: further(devices, name),
        cdrom: cdrom(root, devices),
        memory_mib: mebibytes(
            root.child("memory")
                .ok_or_else(|| unreadable("memory", "there is none"))?,
        )?,
        cpus: number("vcpu")?,
        boot,
        seed: seed(root, devices, name),
        firmware: own(root, "firmware").unwrap_or_else(|| firmware(root)),
        video: own(root, "video").unwrap_or_else(|| video(devices)),
        // An interface that is not on a bridge cannot be represented; without it the domain differs from the wanted one.
        nics: devices.all("interface").filter_map(nic).collect(),
        running: false,
        start: Start::Boot,
        configured: None,
        tasks: Vec::new(),
    })
}

/// Returns what the lab file has where the template has its own: the metadata's.
fn own<T: DeserializeOwned>(root: &Node, key: &str) -> Option<T> {
    serde_json::from_str(&mark_of(root)?.child(key)?.text).ok()
}

/// Reads the firmware. libvirt replaces `firmware="efi"` by the files that it selects, in what runs.
fn firmware(root: &Node) -> Firmware {
    let Some(os) = root.child("os") else {
        return Firmware::Bios;
    };
    let loader = |name: &str, value: &str| os.child("loader").and_then(|loader| loader.attr(name)) == Some(value);
    let features = os
        .child("firmware")
        .into_iter()
        .flat_map(|features| features.all("feature"));
    let secure = |feature: &Node| (feature.attr("name"), feature.attr("enabled")) == (Some("secure-boot"), Some("yes"));
    if os.attr("firmware") != Some("efi") && !loader("type", "pflash") {
        Firmware::Bios
    } else if features.into_iter().any(secure) || loader("secure", "yes") {
        Firmware::SecureEfi
    } else {
        Firmware::Efi
    }
}

/// Reads the video card; one that netlab does not write is read as the default.
fn video(devices: &Node) -> Video {
    let model = attr(devices, &["video", "model"], "type");
    let all = [Video::Vga, Video::Cirrus, Video::Virtio, Video::None];
    // libvirt drops a video card of type `none` from some of its output.
    let found = all.into_iter().find(|video| video_model(*video) == model);
    found.unwrap_or(if model.is_empty() { Video::None } else { Video::Vga })
}

/// Returns the machine type as the lab file names it, if libvirt's is an expansion of that name: `pc` becomes
/// `pc-i440fx-7.2`, `q35` `pc-q35-7.2`, `virt` `virt-7.2`.
fn machine(asked: &str, real: String) -> String {
    let expanded = match asked {
        "" => return real,
        "pc" => "pc-i440fx",
        "q35" => "pc-q35",
        other => other,
    };
    let is_expansion = real
        .strip_prefix(expanded)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    if is_expansion { asked.to_owned() } else { real }
}

/// Reads the further disks that are files of this domain.
fn further(devices: &Node, name: &DomainName) -> Vec<DomainDisk> {
    let disk = |disk: &Node| {
        let file = attr(disk, &["source"], "file");
        let (_, file) = file.rsplit_once('/')?;
        let disk_name = DiskName::of_file(file).filter(|disk| disk.domain() == name)?;
        let base = PathBuf::from(attr(disk, &["backingStore", "source"], "file"));
        let over = (!base.as_os_str().is_empty()).then(|| Volume {
            base,
            base_format: attr(disk, &["backingStore", "format"], "type"),
        });
        Some(DomainDisk {
            number: disk_name.number(),
            over,
        })
    };
    devices.all("disk").filter_map(disk).collect()
}

/// Returns whether a path is that of one of the domain's further disks.
fn is_further(path: &str, name: &DomainName) -> bool {
    let file = path.rsplit_once('/').map(|(_, file)| file).unwrap_or_default();
    DiskName::of_file(file).is_some_and(|disk| disk.domain() == name)
}

/// Reads the image in the CD drive: the one that the metadata records, where a drive has it. Drives of the template's are
/// ignored.
fn cdrom(root: &Node, devices: &Node) -> Option<PathBuf> {
    let recorded: PathBuf = own(root, "cdrom")?;
    let mut drives = devices.all("disk").filter(|disk| disk.attr("device") == Some("cdrom"));
    let has = |disk: &Node| Path::new(&attr(disk, &["source"], "file")) == recorded;
    drives.any(has).then_some(recorded)
}

/// Reads disk bus and boot. Disks that the template or a user added are ignored, if the guest's own exists.
fn boot(root: &Node, devices: &Node, name: &DomainName) -> (String, Boot) {
    let disks = || {
        devices
            .all("disk")
            .filter(|disk| disk.attr("device").unwrap_or("disk") == "disk")
    };
    let file = |disk: &Node| attr(disk, &["source"], "file");
    let overlay = format!("/{}", name.disk_file());
    let own = disks().find(|disk| file(disk).ends_with(&overlay));
    if let Some(kernel) = root.at(&["os", "kernel"]) {
        let mut boot = Boot::Kernel {
            kernel: PathBuf::from(&kernel.text),
            initrd: root.at(&["os", "initrd"]).map(|initrd| PathBuf::from(&initrd.text)),
            cmdline: root.at(&["os", "cmdline"]).map(|c| c.text.clone()).unwrap_or_default(),
            disk: None,
        };
        let Some(own) = own else {
            let further = disks().find(|disk| is_further(&file(disk), name));
            return (
                further.map(|disk| attr(disk, &["target"], "bus")).unwrap_or_default(),
                boot,
            );
        };
        if let Boot::Kernel { disk, .. } = &mut boot {
            *disk = Some(BaseDisk {
                base: attr(own, &["backingStore", "source"], "file").into(),
                format: attr(own, &["backingStore", "format"], "type"),
            });
        }
        return (attr(own, &["target"], "bus"), boot);
    }
    let (bus, base, format) = match own.or_else(|| disks().find(|disk| !is_further(&file(disk), name))) {
        None => Default::default(),
        Some(disk) => {
            let (bus, driver) = (attr(disk, &["target"], "bus"), attr(disk, &["driver"], "type"));
            if own.is_some() && driver == "qcow2" {
                let base = attr(disk, &["backingStore", "source"], "file");
                (bus, base, attr(disk, &["backingStore", "format"], "type"))
            } else {
                // Not an overlay: it boots from this very file.
                (bus, file(disk), driver)
            }
        }
    };
    let base = PathBuf::from(base);
    (bus, Boot::Disk { base, format })
}

/// Returns what the guest's seed disk contains, if it has that disk: from the metadata, the disk itself is not read.
fn seed(root: &Node, devices: &Node, name: &DomainName) -> Option<GuestConfig> {
    let file = format!("/{}", name.seed_file());
    let has = |disk: &Node| attr(disk, &["source"], "file").ends_with(&file);
    devices.all("disk").find(|disk| has(disk))?;
    serde_json::from_str(&text(mark_of(root)?, "seed")).ok()
}

fn mebibytes(memory: &Node) -> Result<u64, XmlError> {
    let number: u64 = memory.text.trim().parse().map_err(|e| unreadable("memory", e))?;
    match memory.attr("unit").unwrap_or("KiB") {
        "KiB" | "k" => Ok(number / 1024),
        "MiB" | "M" => Ok(number),
        "GiB" | "G" => Ok(number.saturating_mul(1024)),
        "b" | "bytes" => Ok(number / 1024 / 1024),
        unit => Err(unreadable("memory", format!("unit {unit}"))),
    }
}

fn nic(interface: &Node) -> Option<DomainNic> {
    let attr = |element: &str, name: &str| interface.child(element).and_then(|e| e.attr(name));
    Some(DomainNic {
        bridge: attr("source", "bridge")?.parse().ok()?,
        tap: attr("target", "dev")?.parse().ok()?,
        mac: attr("mac", "address")?.parse().ok()?,
        model: attr("model", "type").unwrap_or_default().to_owned(),
        mtu: attr("mtu", "size").and_then(|size| size.parse().ok()),
        ovs: ovs(interface, attr("model", "type")),
    })
}

/// Returns the data path that an interface is made for; none for one on a Linux bridge. Of another NIC than virtio it
/// does not show, and is the kernel's.
fn ovs(interface: &Node, model: Option<&str>) -> Option<Datapath> {
    let port = interface.child("virtualport")?.attr("type");
    let host = interface.at(&["driver", "host"]);
    let off = model == Some("virtio") && host.is_some_and(|host| host.attr("csum") == Some("off"));
    let datapath = if off { Datapath::Netdev } else { Datapath::System };
    (port == Some("openvswitch")).then_some(datapath)
}

#[cfg(test)]
mod tests {
    use super::machine;

    #[test]
    fn a_machine_type_is_read_as_the_lab_names_it_unless_it_is_another_one() {
        for (asked, real, read) in [
            ("pc", "pc-i440fx-7.2", "pc"),
            ("q35", "pc-q35-7.2", "q35"),
            ("virt", "virt-8.0", "virt"),
            ("pc", "pc", "pc"),
            ("pc", "pc-q35-7.2", "pc-q35-7.2"),
            ("q35", "pc-i440fx-7.2", "pc-i440fx-7.2"),
            ("pc-i440fx-7.2", "pc-i440fx-7.2", "pc-i440fx-7.2"),
            ("pc-i440fx-7.2", "pc-i440fx-6.2", "pc-i440fx-6.2"),
            ("", "pc-i440fx-7.2", "pc-i440fx-7.2"),
        ] {
            assert_eq!(machine(asked, real.to_owned()), read, "{asked} {real}");
        }
    }
}
