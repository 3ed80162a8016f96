//! The disks of a domain, each with the place on its bus where the guest finds it: the one that it boots from, the further
//! ones, its CD and its seed disk, in that order.

use std::collections::BTreeSet;

use super::render::Files;
use super::writer::path_text;
use super::{XmlError, XmlWriter};
use crate::lab::Boot;
use crate::state::{DiskName, Domain, DomainName, Volume};

/// The names of places, `vda` or `hdc`, of which each is used once.
#[derive(Default)]
struct Places(BTreeSet<String>);

impl Places {
    /// Returns the place `wanted`, or the first that is free where it is not.
    fn take(&mut self, bus: &str, wanted: char) -> String {
        let prefix = match bus {
            "virtio" => "vd",
            "ide" => "hd",
            _ => "sd",
        };
        let mut names = [wanted]
            .into_iter()
            .chain('a'..='z')
            .map(|letter| format!("{prefix}{letter}"));
        let name = names.find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}

/// Writes all disks.
pub(super) fn write(xml: &mut XmlWriter, name: &DomainName, domain: &Domain, files: Files<'_>) -> Result<(), XmlError> {
    let bus = domain.disk_bus.as_str();
    let mut places = Places::default();
    if let Some((base, format)) = domain.boot.disk() {
        let over = Some((path_text(base)?, format.as_str()));
        disk(xml, (&places.take(bus, 'a'), bus), files.disk, over)?;
    }
    for further in &domain.disks {
        let file = format!("{}/{}", files.further, DiskName::new(name, further.number).file());
        let over = match &further.over {
            Some(Volume { base, base_format }) => Some((path_text(base)?, base_format.as_str())),
            None => None,
        };
        disk(xml, (&places.take(bus, 'a'), bus), &file, over)?;
    }
    if let Some(file) = &domain.cdrom {
        let bus = cd_bus(domain);
        let place = places.take(bus, if bus == "ide" { 'c' } else { 'a' });
        read_only(xml, "cdrom", (&place, bus), path_text(file)?)?;
    }
    if domain.seed.is_some() {
        // An IDE disk cannot be read-only in QEMU, a CD can.
        let (device, place) = match bus {
            "virtio" => ("disk", 'b'),
            "ide" => ("cdrom", 'c'),
            _ => ("cdrom", 'b'),
        };
        read_only(xml, device, (&places.take(bus, place), bus), files.seed)?;
    }
    Ok(())
}

/// Returns the bus of a guest's CD drive: QEMU has none on a virtio bus.
fn cd_bus(domain: &Domain) -> &str {
    match domain.disk_bus.as_str() {
        "" | "virtio" if domain.machine.contains("q35") => "sata",
        "" | "virtio" if ["x86_64", "i686"].contains(&domain.arch.as_str()) => "ide",
        "" | "virtio" => "scsi",
        bus => bus,
    }
}

/// Returns whether a domain tries its CD after its disk.
pub(super) fn boots_from_cd(domain: &Domain) -> bool {
    domain.cdrom.is_some() && matches!(domain.boot, Boot::Disk { .. })
}

/// Writes a disk, `over` a file and its format, or empty. Every format is given down to the last file, so that neither
/// libvirt nor QEMU probes one.
fn disk(
    xml: &mut XmlWriter,
    (place, bus): (&str, &str),
    file: &str,
    over: Option<(&str, &str)>,
) -> Result<(), XmlError> {
    xml.open("disk", &[("type", "file"), ("device", "disk")])?;
    xml.empty("driver", &[("name", "qemu"), ("type", "qcow2")])?;
    xml.empty("source", &[("file", file)])?;
    match over {
        Some((base, format)) => {
            xml.open("backingStore", &[("type", "file")])?;
            xml.empty("format", &[("type", format)])?;
            xml.empty("source", &[("file", base)])?;
            // The chain ends here.
            xml.empty("backingStore", &[])?;
            xml.close("backingStore")?;
        }
        None => xml.empty("backingStore", &[])?,
    }
    xml.empty("target", &[("dev", place), ("bus", bus)])?;
    xml.close("disk")
}

/// Writes a disk or CD that the guest only reads.
fn read_only(xml: &mut XmlWriter, device: &str, (place, bus): (&str, &str), file: &str) -> Result<(), XmlError> {
    xml.open("disk", &[("type", "file"), ("device", device)])?;
    xml.empty("driver", &[("name", "qemu"), ("type", "raw")])?;
    xml.empty("source", &[("file", file)])?;
    xml.empty("target", &[("dev", place), ("bus", bus)])?;
    xml.empty("readonly", &[])?;
    xml.close("disk")
}
