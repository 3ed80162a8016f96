//! Fills in the blanks of a template.

use quick_xml::events::{BytesStart, Event};

use super::disks;
use super::template::{Blank, Piece, Template};
use super::writer::{legal, path_text};
use super::{ADDRESSES_PREFIX, ADDRESSES_URI, METADATA_URI, TASKS_PREFIX, TASKS_URI, XmlError, XmlWriter, broken};
use crate::lab::{Boot, Datapath, Firmware, Video};
use crate::state::{Accel, Domain, DomainName, DomainNic, GuestConfig, Start};
use crate::topology::derive;

/// Files of a domain on its host.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The overlay of a guest that boots from a disk.
    pub disk: &'a str,
    /// The folder of its further disks.
    pub further: &'a str,
    /// The seed of a guest that has cloud-init.
    pub seed: &'a str,
    /// The log of what the guest prints.
    pub console_log: &'a str,
}

/// Which parts of a domain are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// All.
    All,
    /// All but netlab's metadata: netlab leaves such a domain alone.
    Unmarked,
    /// All but the NICs, for a guest that is given them while it runs. A generation ID, which libvirt makes at each start and each
    /// restore, makes its kernel take other random numbers (libvirt's docs/formatdomain.rst, `genid`).
    WithoutNics,
}

/// Returns the XML that defines `domain`.
pub fn render(template: &Template, name: &DomainName, domain: &Domain, files: Files<'_>) -> Result<String, XmlError> {
    render_parts(template, name, domain, files, Parts::All)
}

/// Returns how many places for NICs a guest without its NICs has to be given: a machine with PCI Express takes a device while
/// it runs only in a port that is there from the start (libvirt's docs/pci-hotplug.rst).
pub(crate) fn places_for_nics(domain: &Domain) -> usize {
    /// Other devices of the template, e.g. the memory balloon, take ports as well.
    const OTHERS: usize = 4;
    let has_ports = domain.machine.contains("q35") || domain.machine.starts_with("virt");
    if has_ports { domain.nics.len() + OTHERS } else { 0 }
}

/// Returns whether a guest without its NICs has a generation ID: QEMU has that device for these machines only.
pub(crate) fn has_generation_id(domain: &Domain) -> bool {
    ["x86_64", "i686"].contains(&domain.arch.as_str())
        && (domain.machine.starts_with("pc") || domain.machine.contains("q35"))
}

/// Returns the XML of one NIC, to be plugged into a running guest.
pub fn render_nic(nic: &DomainNic) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    interface(&mut xml, nic)?;
    xml.done()
}

/// Returns the XML of a NIC whose tap is on no bridge, to be plugged into a running guest.
pub(crate) fn render_unconnected_nic(mac: &str, model: &str) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    xml.open("interface", &[("type", "ethernet")])?;
    xml.empty("mac", &[("address", mac)])?;
    xml.empty("model", &[("type", model)])?;
    xml.empty("rom", &[("enabled", "no")])?;
    xml.close("interface")?;
    xml.done()
}

/// Returns the XML of these parts of `domain`.
pub fn render_parts(
    template: &Template,
    name: &DomainName,
    domain: &Domain,
    files: Files<'_>,
    parts: Parts,
) -> Result<String, XmlError> {
    let mut xml = XmlWriter::new();
    let mut left_out = false;
    for piece in &template.pieces {
        if std::mem::take(&mut left_out) && matches!(piece, Piece::Fixed(Event::Text(_))) {
            continue; // the end of its line
        }
        match piece {
            Piece::Fixed(event) => xml.event(event.clone())?,
            Piece::Blank(Blank::Metadata, _) if parts != Parts::Unmarked => metadata(&mut xml, template, name, domain)?,
            Piece::Blank(Blank::Metadata, _) => left_out = true,
            Piece::Blank(Blank::Interface, _) if parts == Parts::WithoutNics => {
                left_out = places_for_nics(domain) == 0;
                // The root has the index 0.
                for index in 1..=places_for_nics(domain) {
                    let index = index.to_string();
                    let port = [("type", "pci"), ("index", index.as_str()), ("model", "pcie-root-port")];
                    xml.empty("controller", &port)?;
                }
            }
            Piece::Blank(Blank::Uuid, attrs) if parts == Parts::WithoutNics && has_generation_id(domain) => {
                fill(&mut xml, Blank::Uuid, attrs, name, domain, files)?;
                xml.empty("genid", &[])?;
            }
            Piece::Blank(blank, attrs) => fill(&mut xml, *blank, attrs, name, domain, files)?,
        }
    }
    xml.done()
}

fn fill(
    xml: &mut XmlWriter,
    blank: Blank,
    given: &[(String, String)],
    name: &DomainName,
    domain: &Domain,
    files: Files<'_>,
) -> Result<(), XmlError> {
    match blank {
        Blank::Domain => xml.event(Event::Start(tag(
            "domain",
            given,
            &[("type", domain_type(domain.accel))],
        )?)),
        Blank::Name => xml.text("name", &[], &name.to_string()),
        Blank::Uuid => xml.text("uuid", &[], &domain.uuid),
        Blank::Metadata => Ok(()), // written by the caller
        Blank::Memory => xml.text("memory", &[("unit", "MiB")], &domain.memory_mib.to_string()),
        Blank::Vcpu => {
            xml.event(Event::Start(tag("vcpu", given, &[])?))?;
            xml.content(&domain.cpus.to_string())?;
            xml.close("vcpu")
        }
        Blank::Os => {
            let efi = [("firmware", "efi")];
            let own = if domain.firmware == Firmware::Bios {
                &[][..]
            } else {
                &efi
            };
            xml.event(Event::Start(tag("os", given, own)?))?;
            os(xml, domain)?;
            xml.close("os")
        }
        Blank::Disk => disks::write(xml, name, domain, files),
        Blank::Interface => domain.nics.iter().try_for_each(|nic| interface(xml, nic)),
        Blank::Video => {
            xml.open("video", &[])?;
            xml.empty("model", &[("type", video_model(domain.video))])?;
            xml.close("video")
        }
        Blank::Log => xml.empty("log", &[("file", files.console_log), ("append", "off")]),
    }
}

/// Returns a tag with the template's attributes and netlab's, which take precedence.
fn tag<'a>(name: &'a str, given: &[(String, String)], own: &[(&str, &str)]) -> Result<BytesStart<'a>, XmlError> {
    let mut tag = BytesStart::new(name);
    for (key, value) in given {
        if !own.iter().any(|(own, _)| own == key) {
            tag.push_attribute((key.as_str(), legal(value)?));
        }
    }
    for (key, value) in own {
        tag.push_attribute((*key, legal(value)?));
    }
    Ok(tag)
}

fn domain_type(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "kvm",
        Accel::Qemu => "qemu",
    }
}

/// Returns libvirt's name of a video card.
pub(super) fn video_model(video: Video) -> &'static str {
    match video {
        Video::Vga => "vga",
        Video::Cirrus => "cirrus",
        Video::Virtio => "virtio",
        Video::None => "none",
    }
}

fn metadata(xml: &mut XmlWriter, template: &Template, name: &DomainName, domain: &Domain) -> Result<(), XmlError> {
    xml.open("metadata", &[])?;
    xml.open("netlab:domain", &[("xmlns:netlab", METADATA_URI)])?;
    xml.text("netlab:lab", &[], name.lab().as_str())?;
    xml.text("netlab:vm", &[], name.vm().as_str())?;
    xml.text("netlab:version", &[], env!("CARGO_PKG_VERSION"))?;
    // libvirt replaces `pc` by the newest machine type of that name: only this keeps the name of the lab file.
    xml.text("netlab:machine", &[], &domain.machine)?;
    if let Some(mib) = domain.disk_mib {
        xml.text("netlab:disk", &[], &mib.to_string())?;
    }
    // A template may have CD drives of its own.
    if let Some(cd) = &domain.cdrom {
        xml.text("netlab:cdrom", &[], &serde_json::to_string(cd).map_err(broken)?)?;
    }
    // What the template has of its own is not the lab file's.
    if !template.fills_video() {
        xml.text(
            "netlab:video",
            &[],
            &serde_json::to_string(&domain.video).map_err(broken)?,
        )?;
    }
    if !template.fills_firmware() {
        xml.text(
            "netlab:firmware",
            &[],
            &serde_json::to_string(&domain.firmware).map_err(broken)?,
        )?;
    }
    if let Some(seed) = &domain.seed {
        xml.text("netlab:seed", &[], &serde_json::to_string(seed).map_err(broken)?)?;
    }
    xml.text("netlab:definition", &[], &fingerprint(domain)?)?;
    xml.close("netlab:domain")?;
    if let Some(config) = &domain.configured {
        let namespace = format!("xmlns:{ADDRESSES_PREFIX}");
        let element = format!("{ADDRESSES_PREFIX}:addresses");
        xml.text(&element, &[(&namespace, ADDRESSES_URI)], &addresses(config)?)?;
    }
    if !domain.tasks.is_empty() {
        let namespace = format!("xmlns:{TASKS_PREFIX}");
        let element = format!("{TASKS_PREFIX}:tasks");
        let tasks = serde_json::to_string(&domain.tasks).map_err(broken)?;
        xml.text(&element, &[(&namespace, TASKS_URI)], &tasks)?;
    }
    xml.close("metadata")
}

/// Returns the record of the addresses that a guest's NICs are given.
pub(crate) fn addresses(config: &GuestConfig) -> Result<String, XmlError> {
    serde_json::to_string(&config.addresses()).map_err(broken)
}

/// Returns an identifier of a definition, different for every other definition.
pub(super) fn fingerprint(domain: &Domain) -> Result<String, XmlError> {
    let definition = Domain {
        running: false,
        start: Start::Boot,
        configured: None,
        tasks: Vec::new(),
        ..domain.clone()
    };
    let json = serde_json::to_string(&definition).map_err(broken)?;
    Ok(derive::uuid(&json).to_string())
}

fn os(xml: &mut XmlWriter, domain: &Domain) -> Result<(), XmlError> {
    xml.text("type", &[("arch", &domain.arch), ("machine", &domain.machine)], "hvm")?;
    if domain.firmware != Firmware::Bios {
        let secure = if domain.firmware == Firmware::SecureEfi {
            "yes"
        } else {
            "no"
        };
        xml.open("firmware", &[])?;
        for feature in ["enrolled-keys", "secure-boot"] {
            xml.empty("feature", &[("enabled", secure), ("name", feature)])?;
        }
        xml.close("firmware")?;
    }
    match &domain.boot {
        Boot::Kernel {
            kernel,
            initrd,
            cmdline,
            disk: _,
        } => {
            xml.text("kernel", &[], path_text(kernel)?)?;
            if let Some(initrd) = initrd {
                xml.text("initrd", &[], path_text(initrd)?)?;
            }
            xml.text("cmdline", &[], cmdline)
        }
        Boot::Disk { .. } => {
            xml.empty("boot", &[("dev", "hd")])?;
            if disks::boots_from_cd(domain) {
                xml.empty("boot", &[("dev", "cdrom")])?;
            }
            Ok(())
        }
    }
}

fn interface(xml: &mut XmlWriter, nic: &DomainNic) -> Result<(), XmlError> {
    xml.open("interface", &[("type", "bridge")])?;
    xml.empty("mac", &[("address", &nic.mac.to_string())])?;
    xml.empty("source", &[("bridge", nic.bridge.as_str())])?;
    if nic.ovs.is_some() {
        xml.empty("virtualport", &[("type", "openvswitch")])?;
    }
    xml.empty("target", &[("dev", nic.tap.as_str())])?;
    xml.empty("model", &[("type", &nic.model)])?;
    // No guest boots from the network: without this, the firmware runs a boot program for each NIC.
    xml.empty("rom", &[("enabled", "no")])?;
    if let Some(mtu) = nic.mtu {
        xml.empty("mtu", &[("size", &mtu.to_string())])?;
    }
    // A virtio NIC leaves checksums to the host's kernel, which does not see the packets that Open vSwitch forwards in user
    // space.
    if nic.ovs == Some(Datapath::Netdev) && nic.model == "virtio" {
        xml.open("driver", &[("name", "qemu")])?;
        let off = [
            ("csum", "off"),
            ("gso", "off"),
            ("tso4", "off"),
            ("tso6", "off"),
            ("ecn", "off"),
            ("ufo", "off"),
        ];
        xml.empty("host", &off)?;
        xml.empty("guest", &[off[0], off[2], off[3], off[4], off[5]])?;
        xml.close("driver")?;
    }
    xml.close("interface")
}
