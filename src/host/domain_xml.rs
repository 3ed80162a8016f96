//! A [`Domain`] as libvirt's XML and back. The shape is in `templates/domain.xml`; here its blanks are filled in.

use std::path::Path;

use quick_xml::events::{BytesEnd, BytesRef, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer, XmlVersion};

use crate::lab::{Boot, LabName};
use crate::state::{Accel, Domain, DomainName, DomainNic};

/// The namespace of the metadata that makes a domain ours.
pub const METADATA_URI: &str = "urn:netlab:1";
/// The namespace of what a running guest was told; live only, gone when the domain stops.
pub const CONFIGURED_URI: &str = "urn:netlab:configured:1";

const TEMPLATE: &str = include_str!("../../templates/domain.xml");

/// A domain's XML could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not XML.
    #[error("broken XML: {0}")]
    Broken(String),
    /// It has our mark but not the form netlab writes.
    #[error("the XML's {what} cannot be read: {message}")]
    Unreadable {
        /// Which part.
        what: String,
        /// Why.
        message: String,
    },
    /// A text that XML cannot carry.
    #[error("{0:?} holds a character that XML cannot carry")]
    Illegal(String),
}

fn broken(error: impl std::fmt::Display) -> XmlError {
    XmlError::Broken(error.to_string())
}

fn unreadable(what: &str, message: impl std::fmt::Display) -> XmlError {
    XmlError::Unreadable {
        what: what.to_owned(),
        message: message.to_string(),
    }
}

/// An XML element as a tree: enough for the small documents libvirt gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Name without its prefix.
    pub name: String,
    /// Attributes as written, with their prefixes.
    pub attrs: Vec<(String, String)>,
    /// All text directly inside.
    pub text: String,
    /// Elements directly inside.
    pub children: Vec<Node>,
}

impl Node {
    /// Parses a document into its root element.
    pub fn parse(xml: &str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_str(xml);
        let mut stack = vec![Self::default()];
        loop {
            match reader.read_event().map_err(broken)? {
                Event::Start(tag) => stack.push(Self::from_tag(&tag)?),
                Event::Empty(tag) => {
                    let node = Self::from_tag(&tag)?;
                    if let Some(top) = stack.last_mut() {
                        top.children.push(node);
                    }
                }
                Event::End(_) => {
                    if let Some(node) = stack.pop()
                        && let Some(top) = stack.last_mut()
                    {
                        top.children.push(node);
                    }
                }
                Event::Text(text) => {
                    if let Some(top) = stack.last_mut() {
                        top.text.push_str(&text.xml10_content());
                    }
                }
                Event::CData(text) => {
                    if let Some(top) = stack.last_mut() {
                        top.text.push_str(&text.xml10_content());
                    }
                }
                Event::GeneralRef(entity) => {
                    if let Some(top) = stack.last_mut() {
                        top.text.push(resolve(&entity)?);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match (stack.pop(), stack.is_empty()) {
            (Some(mut outside), true) if outside.children.len() == 1 => Ok(outside.children.remove(0)),
            _ => Err(broken("not exactly one complete element")),
        }
    }

    fn from_tag(tag: &BytesStart<'_>) -> Result<Self, XmlError> {
        let mut node = Self {
            name: AsRef::<str>::as_ref(&tag.local_name()).to_owned(),
            ..Self::default()
        };
        for attr in tag.attributes() {
            let attr = attr.map_err(broken)?;
            let value = attr.normalized_value(XmlVersion::Implicit1_0).map_err(broken)?;
            node.attrs
                .push((AsRef::<str>::as_ref(&attr.key).to_owned(), value.into_owned()));
        }
        Ok(node)
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }
    /// The first element down these names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }
    /// All children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }
    /// An attribute.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    /// The metadata element in this namespace.
    pub fn metadata(&self, uri: &str) -> Option<&Self> {
        let in_namespace = |c: &&Self| {
            c.attrs
                .iter()
                .any(|(k, v)| (k == "xmlns" || k.starts_with("xmlns:")) && v == uri)
        };
        self.child("metadata")?.children.iter().find(in_namespace)
    }
}

fn resolve(entity: &BytesRef<'_>) -> Result<char, XmlError> {
    if let Some(c) = entity.resolve_char_ref().map_err(broken)? {
        return Ok(c);
    }
    match entity.xml10_content().as_ref() {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        other => Err(broken(format!("unknown entity &{other};"))),
    }
}

/// Writes elements; every text and attribute goes through the escaping writer.
pub(crate) struct Pen(Writer<Vec<u8>>);

impl Pen {
    /// An empty document.
    pub fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }
    fn event(&mut self, event: Event<'_>) -> Result<(), XmlError> {
        self.0.write_event(event).map_err(broken)
    }
    fn tag<'a>(name: &'a str, attrs: &[(&str, &str)]) -> Result<BytesStart<'a>, XmlError> {
        let mut tag = BytesStart::new(name);
        for (key, value) in attrs {
            tag.push_attribute((*key, legal(value)?));
        }
        Ok(tag)
    }
    /// `<name attrs/>`.
    pub fn empty(&mut self, name: &str, attrs: &[(&str, &str)]) -> Result<(), XmlError> {
        self.event(Event::Empty(Self::tag(name, attrs)?))
    }
    /// `<name attrs>text</name>`.
    pub fn text(&mut self, name: &str, attrs: &[(&str, &str)], text: &str) -> Result<(), XmlError> {
        self.open(name, attrs)?;
        self.event(Event::Text(BytesText::new(legal(text)?)))?;
        self.close(name)
    }
    /// `<name attrs>`.
    pub fn open(&mut self, name: &str, attrs: &[(&str, &str)]) -> Result<(), XmlError> {
        self.event(Event::Start(Self::tag(name, attrs)?))
    }
    /// `</name>`.
    pub fn close(&mut self, name: &str) -> Result<(), XmlError> {
        self.event(Event::End(BytesEnd::new(name)))
    }
    /// What was written.
    pub fn done(self) -> Result<String, XmlError> {
        String::from_utf8(self.0.into_inner()).map_err(broken)
    }
}

fn legal(text: &str) -> Result<&str, XmlError> {
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    {
        return Err(XmlError::Illegal(text.to_owned()));
    }
    Ok(text)
}

fn path_text(path: &Path) -> Result<&str, XmlError> {
    path.to_str()
        .ok_or_else(|| XmlError::Illegal(path.display().to_string()))
}

/// The XML that defines `domain`. `disk` is the overlay's path for a guest that boots from a disk; `console_log` is
/// where the host keeps what the guest prints.
pub fn render(
    lab: &LabName,
    name: &DomainName,
    domain: &Domain,
    disk: Option<&str>,
    console_log: &str,
) -> Result<String, XmlError> {
    let mut pen = Pen::new();
    let mut reader = Reader::from_str(TEMPLATE);
    loop {
        match reader.read_event().map_err(broken)? {
            Event::Eof => break,
            Event::Start(tag) if AsRef::<str>::as_ref(&tag.name()) == "domain" => {
                pen.open("domain", &[("type", accel_word(domain.accel))])?;
            }
            Event::Empty(tag) => match AsRef::<str>::as_ref(&tag.name()) {
                "name" => pen.text("name", &[], &name.to_string())?,
                "uuid" => pen.text("uuid", &[], &domain.uuid)?,
                "metadata" => metadata(&mut pen, lab, name, domain)?,
                "memory" => pen.text("memory", &[("unit", "MiB")], &domain.memory_mib.to_string())?,
                "vcpu" => pen.text("vcpu", &[], &domain.cpus.to_string())?,
                "os" => os(&mut pen, domain)?,
                "disk" => {
                    if let Some(path) = disk {
                        disk_element(&mut pen, domain, path)?;
                    }
                }
                "interface" => {
                    for nic in &domain.nics {
                        interface(&mut pen, nic)?;
                    }
                }
                "log" => pen.empty("log", &[("file", console_log), ("append", "off")])?,
                _ => pen.event(Event::Empty(tag))?,
            },
            event => pen.event(event)?,
        }
    }
    pen.done()
}

fn accel_word(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "kvm",
        Accel::Qemu => "qemu",
    }
}

fn metadata(pen: &mut Pen, lab: &LabName, name: &DomainName, domain: &Domain) -> Result<(), XmlError> {
    let json = serde_json::to_string(domain).map_err(broken)?;
    pen.open("metadata", &[])?;
    pen.open("netlab:domain", &[("xmlns:netlab", METADATA_URI)])?;
    pen.text("netlab:lab", &[], lab.as_str())?;
    pen.text("netlab:vm", &[], name.vm().as_str())?;
    pen.text("netlab:version", &[], env!("CARGO_PKG_VERSION"))?;
    pen.text("netlab:wanted", &[], &json)?;
    pen.close("netlab:domain")?;
    pen.close("metadata")
}

fn os(pen: &mut Pen, domain: &Domain) -> Result<(), XmlError> {
    pen.open("os", &[])?;
    pen.text("type", &[("arch", &domain.arch), ("machine", &domain.machine)], "hvm")?;
    match &domain.boot {
        Boot::Kernel {
            kernel,
            initrd,
            cmdline,
        } => {
            pen.text("kernel", &[], path_text(kernel)?)?;
            pen.text("initrd", &[], path_text(initrd)?)?;
            pen.text("cmdline", &[], cmdline)?;
        }
        Boot::Disk { .. } => pen.empty("boot", &[("dev", "hd")])?,
    }
    pen.close("os")
}

fn disk_element(pen: &mut Pen, domain: &Domain, path: &str) -> Result<(), XmlError> {
    let dev = match domain.disk_bus.as_str() {
        "virtio" => "vda",
        "ide" => "hda",
        _ => "sda",
    };
    pen.open("disk", &[("type", "file"), ("device", "disk")])?;
    pen.empty("driver", &[("name", "qemu"), ("type", "qcow2")])?;
    pen.empty("source", &[("file", path)])?;
    pen.empty("target", &[("dev", dev), ("bus", &domain.disk_bus)])?;
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

/// Reads a domain back; `None` when it is not netlab's (no metadata of ours, or a copy under another name).
/// What was asked for comes from the metadata; what libvirt really has overrides it, so that drift is seen.
pub fn read(xml: &str) -> Result<Option<(DomainName, Domain)>, XmlError> {
    read_node(&Node::parse(xml)?)
}

pub(crate) fn read_node(root: &Node) -> Result<Option<(DomainName, Domain)>, XmlError> {
    let Some(mark) = root.metadata(METADATA_URI) else {
        return Ok(None);
    };
    let text = |node: &Node, name: &str| node.child(name).map(|c| c.text.clone()).unwrap_or_default();
    let real = text(root, "name");
    if real != format!("{}.{}", text(mark, "lab"), text(mark, "vm")) {
        return Ok(None);
    }
    let name = DomainName::try_from(real).map_err(|e| unreadable("name", e))?;
    let mut domain: Domain = serde_json::from_str(&text(mark, "wanted")).map_err(|e| unreadable("metadata", e))?;
    domain.uuid = text(root, "uuid");
    domain.accel = match root.attr("type") {
        Some("kvm") => Accel::Kvm,
        Some("qemu") => Accel::Qemu,
        // The test driver; a host's libvirt gives no other than the two.
        _ => domain.accel,
    };
    if let Some(memory) = root.child("memory") {
        domain.memory_mib = mebibytes(memory)?;
    }
    if let Some(vcpu) = root.child("vcpu") {
        domain.cpus = vcpu.text.trim().parse().map_err(|e| unreadable("vcpu", e))?;
    }
    domain.nics = match root.child("devices") {
        // An interface that is not on a bridge cannot be said in our words; without it the domain differs all the same.
        Some(devices) => devices.all("interface").filter_map(read_nic).collect(),
        None => Vec::new(),
    };
    Ok(Some((name, domain)))
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

fn read_nic(interface: &Node) -> Option<DomainNic> {
    let attr = |element: &str, name: &str| interface.child(element).and_then(|e| e.attr(name));
    Some(DomainNic {
        bridge: attr("source", "bridge")?.parse().ok()?,
        tap: attr("target", "dev")?.parse().ok()?,
        mac: attr("mac", "address")?.parse().ok()?,
        model: attr("model", "type").unwrap_or_default().to_owned(),
    })
}
