//! The template of a domain: libvirt's XML with empty elements where netlab writes what the lab file asks for. Everything
//! else in it is passed to libvirt unchanged. Errors in a template are reported with line and column.

use std::collections::BTreeSet;
use std::path::Path;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::XmlError;

/// The built-in template, for users without their own.
const BUILT_IN: &str = include_str!("../../../templates/domain.xml");

/// A template that was checked.
#[derive(Debug, Clone)]
pub struct Template {
    pub(super) pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// An element that netlab fills in, with the template's attributes.
    Blank(Blank, Vec<(String, String)>),
    /// Anything else, passed on unchanged.
    Fixed(Event<'static>),
}

/// An element that netlab fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blank {
    /// The root element; netlab sets the domain's type.
    Domain,
    Name,
    Uuid,
    Metadata,
    Memory,
    Vcpu,
    Os,
    Disk,
    Interface,
    Log,
    /// Optional: a template may have a video card of its own.
    Video,
}

/// Every blank with its parent elements and its name. Each must occur exactly once, except the last.
const BLANKS: [(&str, &str, Blank); 10] = [
    ("domain", "name", Blank::Name),
    ("domain", "uuid", Blank::Uuid),
    ("domain", "metadata", Blank::Metadata),
    ("domain", "memory", Blank::Memory),
    ("domain", "vcpu", Blank::Vcpu),
    ("domain", "os", Blank::Os),
    ("domain/devices", "disk", Blank::Disk),
    ("domain/devices", "interface", Blank::Interface),
    ("domain/devices/serial", "log", Blank::Log),
    ("domain/devices", "video", Blank::Video),
];

impl Template {
    /// Returns whether the video card is that of the lab file; otherwise the template has its own.
    pub(super) fn fills_video(&self) -> bool {
        let video = |piece: &Piece| matches!(piece, Piece::Blank(Blank::Video, _));
        self.pieces.iter().any(video)
    }

    /// Returns whether the firmware is that of the lab file; otherwise the template's `<os>` has its own.
    pub(super) fn fills_firmware(&self) -> bool {
        let own = |piece: &Piece| match piece {
            Piece::Blank(Blank::Os, attrs) => attrs.iter().any(|(key, _)| key == "firmware"),
            _ => false,
        };
        !self.pieces.iter().any(own)
    }

    /// Returns the template that is built into netlab.
    pub fn built_in() -> Result<Self, XmlError> {
        Self::parse(BUILT_IN, "templates/domain.xml")
    }

    /// Reads the user's template at `path`; the built-in one where there is no such file.
    pub fn load(path: &Path) -> Result<Self, XmlError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::built_in(),
            Err(error) => Err(XmlError::Unreadable {
                what: format!("template {}", path.display()),
                message: error.to_string(),
            }),
        }
    }

    /// Parses and checks a template. `file` is its name in messages.
    pub fn parse(text: &str, file: &str) -> Result<Self, XmlError> {
        let source = Source { text, file };
        if let Some((at, c)) = text.char_indices().find(|(_, c)| !legal(*c)) {
            return Err(source.wrong(at, format!("{c:?} is a character that XML cannot represent")));
        }
        let mut check = Check {
            source,
            path: Vec::new(),
            seen: BTreeSet::new(),
            pieces: Vec::new(),
        };
        let mut reader = Reader::from_str(text);
        loop {
            let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let event = reader.read_event().map_err(|error| {
                let at = usize::try_from(reader.error_position()).unwrap_or(at);
                source.wrong(at, format!("invalid XML: {error}"))
            })?;
            match event {
                Event::Eof => break,
                event => check.event(at, event)?,
            }
        }
        check.end()
    }
}

/// A template's text and name, for messages.
#[derive(Clone, Copy)]
struct Source<'a> {
    text: &'a str,
    file: &'a str,
}

impl Source<'_> {
    /// Returns an error at a byte of the text.
    fn wrong(self, at: usize, message: impl Into<String>) -> XmlError {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let before = String::from_utf8_lossy(before);
        let last = before.rsplit('\n').next().unwrap_or_default();
        XmlError::Template {
            template: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: last.chars().count() + 1,
            message: message.into(),
        }
    }
}

/// A template while it is read.
struct Check<'a> {
    source: Source<'a>,
    /// Names of the elements that are open, with where they begin.
    path: Vec<(String, usize)>,
    seen: BTreeSet<Blank>,
    pieces: Vec<Piece>,
}

impl Check<'_> {
    fn event(&mut self, at: usize, event: Event<'_>) -> Result<(), XmlError> {
        match &event {
            Event::Start(tag) => {
                let name = self.element(at, tag, false)?;
                self.path.push((name, at));
                return Ok(());
            }
            Event::Empty(tag) => return self.element(at, tag, true).map(drop),
            Event::End(_) => {
                self.path.pop();
            }
            // The only encoding that can be declared is UTF-8, and libvirt needs no declaration.
            Event::Decl(_) => return Ok(()),
            Event::DocType(_) => {
                return Err(self.source.wrong(at, "a DOCTYPE is not allowed"));
            }
            Event::Text(text) if self.path.is_empty() => {
                if !text.xml10_content().trim().is_empty() {
                    return Err(self.source.wrong(at, "text outside of <domain>"));
                }
                return Ok(());
            }
            Event::GeneralRef(entity) => {
                let known = ["lt", "gt", "amp", "quot", "apos"].contains(&entity.xml10_content().as_ref());
                if !known && !matches!(entity.resolve_char_ref(), Ok(Some(_))) {
                    return Err(self
                        .source
                        .wrong(at, format!("unknown entity &{};", entity.xml10_content())));
                }
            }
            _ => {}
        }
        self.pieces.push(Piece::Fixed(event.into_owned()));
        Ok(())
    }

    /// Checks one element and returns its name.
    fn element(&mut self, at: usize, tag: &BytesStart<'_>, empty: bool) -> Result<String, XmlError> {
        let name = AsRef::<str>::as_ref(&tag.name()).to_owned();
        let attrs = self.attributes(at, tag)?;
        if self.path.is_empty() {
            if name != "domain" || empty || !self.seen.insert(Blank::Domain) {
                return Err(self
                    .source
                    .wrong(at, format!("<{name}> instead of the one root element <domain>")));
            }
            self.pieces.push(Piece::Blank(Blank::Domain, attrs));
            return Ok(name);
        }
        let within: Vec<&str> = self.path.iter().map(|(name, _)| name.as_str()).collect();
        let within = within.join("/");
        self.reachable(at, &within, &name, &attrs)?;
        let Some(blank) = blank(&within, &name, empty && attrs.is_empty()) else {
            let event = if empty {
                Event::Empty(tag.clone())
            } else {
                Event::Start(tag.clone())
            };
            self.pieces.push(Piece::Fixed(event.into_owned()));
            return Ok(name);
        };
        if !empty {
            let message = format!("<{name}> is filled in by netlab: write an empty <{name}/> here");
            return Err(self.source.wrong(at, message));
        }
        if !self.seen.insert(blank) {
            return Err(self.source.wrong(at, format!("a second <{name}/>")));
        }
        self.pieces.push(Piece::Blank(blank, attrs));
        Ok(name)
    }

    fn attributes(&self, at: usize, tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, XmlError> {
        let wrong = |error: &dyn std::fmt::Display| self.source.wrong(at, format!("invalid XML: {error}"));
        let mut attrs = Vec::new();
        for attr in tag.attributes() {
            let attr = attr.map_err(|error| wrong(&error))?;
            let value = attr
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| wrong(&error))?;
            attrs.push((AsRef::<str>::as_ref(&attr.key).to_owned(), value.into_owned()));
        }
        Ok(attrs)
    }

    /// Refuses what would expose a guest to other machines, or could be mistaken for what the lab file asks for.
    fn reachable(&self, at: usize, within: &str, name: &str, attrs: &[(String, String)]) -> Result<(), XmlError> {
        let attr = |wanted: &str| {
            attrs
                .iter()
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.as_str())
        };
        let wrong = |message: &str| Err(self.source.wrong(at, message));
        let listens = match (within, name) {
            ("domain/devices", "graphics") => attr("listen"),
            ("domain/devices/graphics", "listen") if attr("type") == Some("network") => {
                return wrong("a screen must listen on this machine only: listen=\"127.0.0.1\"");
            }
            ("domain/devices/graphics", "listen") => attr("address"),
            ("domain/devices", "interface") if attr("type") == Some("bridge") => {
                return wrong("NICs on bridges come from the lab file: <interface/> is replaced by all of them");
            }
            ("domain/devices", "serial") if attr("type") != Some("pty") => {
                return wrong("netlab needs the guest's console as <serial type=\"pty\">");
            }
            _ => None,
        };
        match listens {
            Some(address) if !["127.0.0.1", "::1", "localhost"].contains(&address) => wrong(
                "a screen must listen on this machine only: listen=\"127.0.0.1\" (use ssh -L to connect from another machine)",
            ),
            _ => Ok(()),
        }
    }

    fn end(self) -> Result<Template, XmlError> {
        if let Some((name, at)) = self.path.last() {
            return Err(self.source.wrong(*at, format!("<{name}> is not closed")));
        }
        let end = self.source.text.trim_end().len();
        if !self.seen.contains(&Blank::Domain) {
            return Err(self.source.wrong(end, "there is no <domain>"));
        }
        let missing: Vec<String> = BLANKS
            .iter()
            .filter(|(_, _, blank)| *blank != Blank::Video && !self.seen.contains(blank))
            .map(|(within, name, _)| format!("<{name}/> in {within}"))
            .collect();
        if missing.is_empty() {
            return Ok(Template { pieces: self.pieces });
        }
        let missing = missing.join(", ");
        Err(self
            .source
            .wrong(end, format!("missing elements that netlab fills in: {missing}")))
    }
}

/// Returns the blank that an element is. A disk or NIC with attributes or content is an additional one of the template's.
fn blank(within: &str, name: &str, bare: bool) -> Option<Blank> {
    let (_, _, blank) = BLANKS
        .iter()
        .find(|(parent, element, _)| *parent == within && *element == name)?;
    let further = matches!(blank, Blank::Disk | Blank::Interface | Blank::Video) && !bare;
    (!further).then_some(*blank)
}

/// A character of XML 1.0, section 2.2.
fn legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Template::parse(text, "my.xml").unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_template_is_valid() {
        Template::built_in().unwrap();
    }

    #[test]
    fn every_error_is_reported_with_file_line_and_column() {
        let with = |from: &str, to: &str| {
            assert!(BUILT_IN.contains(from), "{from}");
            error(&BUILT_IN.replacen(from, to, 1))
        };
        for (error, wanted) in [
            (with("<vcpu/>", "<vcpu>"), "my.xml:"),
            (with("  <name/>", "  <name/"), "my.xml:2:"),
            (
                with("<name/>", "<name>x</name>"),
                "my.xml:2:3: <name> is filled in by netlab",
            ),
            (with("<name/>", "<name/><name/>"), "my.xml:2:10: a second <name/>"),
            (with("  <uuid/>\n", ""), "<uuid/> in domain"),
            (with("<interface/>", ""), "<interface/> in domain/devices"),
            (with("<log append=\"off\"/>", ""), "<log/> in domain/devices/serial"),
            (with("<acpi/>", "&acpi;"), "unknown entity &acpi;"),
            (
                with("<domain>", "<!DOCTYPE d SYSTEM \"/etc/passwd\"><domain>"),
                "my.xml:1:1: a DOCTYPE",
            ),
            (with("<domain>", "<domain a=\"1\" a=\"2\">"), "my.xml:1:1: invalid XML"),
            (with("<acpi/>", "\u{1}"), "my.xml:9:5: '\\u{1}'"),
            (
                with("127.0.0.1", "0.0.0.0"),
                "a screen must listen on this machine only",
            ),
            (with("type=\"pty\"", "type=\"tcp\""), "console as <serial type=\"pty\">"),
            (
                with("<disk/>", "<disk/><interface type=\"bridge\"/>"),
                "come from the lab file",
            ),
            (error("<network/>"), "my.xml:1:1: <network>"),
            (error("netlab"), "my.xml:1:1: text outside"),
            (error(""), "my.xml:1:1: there is no <domain>"),
            (
                error(&format!("{BUILT_IN}<domain/>")),
                "<domain> instead of the one root",
            ),
        ] {
            assert!(error.contains(wanted), "wanted {wanted:?}, got {error:?}");
        }
    }
}
