//! The blanks of a template filled in.

use quick_xml::events::{BytesStart, Event};

use super::pen::{legal, path_text};
use super::template::{Blank, Piece, Template};
use super::{METADATA_URI, Pen, XmlError, broken};
use crate::lab::Boot;
use crate::state::{Accel, Domain, DomainName, DomainNic, uuid_from};

/// Files of a domain on its host.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The overlay of a guest that boots from a disk.
    pub disk: &'a str,
    /// The seed of a guest that has cloud-init.
    pub seed: &'a str,
    /// Where what the guest prints is kept.
    pub console_log: &'a str,
}

/// The XML that defines `domain`.
pub fn render(template: &Template, name: &DomainName, domain: &Domain, files: Files<'_>) -> Result<String, XmlError> {
    let mut pen = Pen::new();
    for piece in &template.pieces {
        match piece {
            Piece::Fixed(event) => pen.event(event.clone())?,
            Piece::Blank(blank, attrs) => fill(&mut pen, *blank, attrs, name, domain, files)?,
        }
    }
    pen.done()
}

fn fill(
    pen: &mut Pen,
    blank: Blank,
    given: &[(String, String)],
    name: &DomainName,
    domain: &Domain,
    files: Files<'_>,
) -> Result<(), XmlError> {
    match blank {
        Blank::Domain => pen.event(Event::Start(tag(
            "domain",
            given,
            &[("type", accel_word(domain.accel))],
        )?)),
        Blank::Name => pen.text("name", &[], &name.to_string()),
        Blank::Uuid => pen.text("uuid", &[], &domain.uuid),
        Blank::Metadata => metadata(pen, name, domain),
        Blank::Memory => pen.text("memory", &[("unit", "MiB")], &domain.memory_mib.to_string()),
        Blank::Vcpu => {
            pen.event(Event::Start(tag("vcpu", given, &[])?))?;
            pen.words(&domain.cpus.to_string())?;
            pen.close("vcpu")
        }
        Blank::Os => {
            pen.event(Event::Start(tag("os", given, &[])?))?;
            os(pen, domain)?;
            pen.close("os")
        }
        Blank::Disk => {
            if let Boot::Disk { base, format } = &domain.boot {
                disk(pen, &domain.disk_bus, files.disk, path_text(base)?, format)?;
            }
            match domain.seed {
                Some(_) => seed(pen, &domain.disk_bus, files.seed),
                None => Ok(()),
            }
        }
        Blank::Interface => domain.nics.iter().try_for_each(|nic| interface(pen, nic)),
        Blank::Log => pen.empty("log", &[("file", files.console_log), ("append", "off")]),
    }
}

/// A tag with the attributes that the template gives it and those of ours, which win.
fn tag<'a>(name: &'a str, given: &[(String, String)], ours: &[(&str, &str)]) -> Result<BytesStart<'a>, XmlError> {
    let mut tag = BytesStart::new(name);
    for (key, value) in given {
        if !ours.iter().any(|(our, _)| our == key) {
            tag.push_attribute((key.as_str(), legal(value)?));
        }
    }
    for (key, value) in ours {
        tag.push_attribute((*key, legal(value)?));
    }
    Ok(tag)
}

fn accel_word(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "kvm",
        Accel::Qemu => "qemu",
    }
}

fn metadata(pen: &mut Pen, name: &DomainName, domain: &Domain) -> Result<(), XmlError> {
    pen.open("metadata", &[])?;
    pen.open("netlab:domain", &[("xmlns:netlab", METADATA_URI)])?;
    pen.text("netlab:lab", &[], name.lab().as_str())?;
    pen.text("netlab:vm", &[], name.vm().as_str())?;
    pen.text("netlab:version", &[], env!("CARGO_PKG_VERSION"))?;
    // libvirt replaces `pc` by the newest machine type of that name: only this tells what was asked for.
    pen.text("netlab:machine", &[], &domain.machine)?;
    if let Some(seed) = &domain.seed {
        pen.text("netlab:seed", &[], &serde_json::to_string(seed).map_err(broken)?)?;
    }
    pen.text("netlab:definition", &[], &fingerprint(domain)?)?;
    pen.close("netlab:domain")?;
    pen.close("metadata")
}

/// Tells one definition from all others. It is never taken for the definition itself.
pub(super) fn fingerprint(domain: &Domain) -> Result<String, XmlError> {
    let definition = Domain {
        running: false,
        configured: None,
        ..domain.clone()
    };
    let json = serde_json::to_string(&definition).map_err(broken)?;
    Ok(uuid_from(&json))
}

fn os(pen: &mut Pen, domain: &Domain) -> Result<(), XmlError> {
    pen.text("type", &[("arch", &domain.arch), ("machine", &domain.machine)], "hvm")?;
    match &domain.boot {
        Boot::Kernel {
            kernel,
            initrd,
            cmdline,
        } => {
            pen.text("kernel", &[], path_text(kernel)?)?;
            pen.text("initrd", &[], path_text(initrd)?)?;
            pen.text("cmdline", &[], cmdline)
        }
        Boot::Disk { .. } => pen.empty("boot", &[("dev", "hd")]),
    }
}

/// Every format is stated down to the last file, so that neither libvirt nor QEMU looks into one to find out.
fn disk(pen: &mut Pen, bus: &str, overlay: &str, base: &str, format: &str) -> Result<(), XmlError> {
    let dev = match bus {
        "virtio" => "vda",
        "ide" => "hda",
        _ => "sda",
    };
    pen.open("disk", &[("type", "file"), ("device", "disk")])?;
    pen.empty("driver", &[("name", "qemu"), ("type", "qcow2")])?;
    pen.empty("source", &[("file", overlay)])?;
    pen.open("backingStore", &[("type", "file")])?;
    pen.empty("format", &[("type", format)])?;
    pen.empty("source", &[("file", base)])?;
    // The chain ends here.
    pen.empty("backingStore", &[])?;
    pen.close("backingStore")?;
    pen.empty("target", &[("dev", dev), ("bus", bus)])?;
    pen.close("disk")
}

/// A disk that the guest only reads. An IDE disk cannot be read-only in QEMU, a CD can.
fn seed(pen: &mut Pen, bus: &str, file: &str) -> Result<(), XmlError> {
    let (device, dev) = match bus {
        "virtio" => ("disk", "vdb"),
        "ide" => ("cdrom", "hdc"),
        _ => ("cdrom", "sdb"),
    };
    pen.open("disk", &[("type", "file"), ("device", device)])?;
    pen.empty("driver", &[("name", "qemu"), ("type", "raw")])?;
    pen.empty("source", &[("file", file)])?;
    pen.empty("target", &[("dev", dev), ("bus", bus)])?;
    pen.empty("readonly", &[])?;
    pen.close("disk")
}

fn interface(pen: &mut Pen, nic: &DomainNic) -> Result<(), XmlError> {
    pen.open("interface", &[("type", "bridge")])?;
    pen.empty("mac", &[("address", &nic.mac.to_string())])?;
    pen.empty("source", &[("bridge", nic.bridge.as_str())])?;
    pen.empty("target", &[("dev", nic.tap.as_str())])?;
    pen.empty("model", &[("type", &nic.model)])?;
    pen.close("interface")
}
