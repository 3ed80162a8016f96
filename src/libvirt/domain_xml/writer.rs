//! The only writer of XML: it escapes every text and attribute, and refuses characters that XML cannot represent.

use std::path::Path;

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

use super::{XmlError, broken};

/// Writes XML elements.
pub(crate) struct XmlWriter(Writer<Vec<u8>>);

impl XmlWriter {
    /// Creates an empty document.
    pub fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }
    /// Writes an event unchanged.
    pub fn event(&mut self, event: Event<'_>) -> Result<(), XmlError> {
        self.0.write_event(event).map_err(broken)
    }
    fn tag<'a>(name: &'a str, attrs: &[(&str, &str)]) -> Result<BytesStart<'a>, XmlError> {
        let mut tag = BytesStart::new(name);
        for (key, value) in attrs {
            tag.push_attribute((*key, legal(value)?));
        }
        Ok(tag)
    }
    /// Writes `<name attrs/>`.
    pub fn empty(&mut self, name: &str, attrs: &[(&str, &str)]) -> Result<(), XmlError> {
        self.event(Event::Empty(Self::tag(name, attrs)?))
    }
    /// Writes `<name attrs>text</name>`.
    pub fn text(&mut self, name: &str, attrs: &[(&str, &str)], text: &str) -> Result<(), XmlError> {
        self.open(name, attrs)?;
        self.content(text)?;
        self.close(name)
    }
    /// Writes text.
    pub fn content(&mut self, text: &str) -> Result<(), XmlError> {
        self.event(Event::Text(BytesText::new(legal(text)?)))
    }
    /// Writes `<name attrs>`.
    pub fn open(&mut self, name: &str, attrs: &[(&str, &str)]) -> Result<(), XmlError> {
        self.event(Event::Start(Self::tag(name, attrs)?))
    }
    /// Writes `</name>`.
    pub fn close(&mut self, name: &str) -> Result<(), XmlError> {
        self.event(Event::End(BytesEnd::new(name)))
    }
    /// Returns the document.
    pub fn done(self) -> Result<String, XmlError> {
        String::from_utf8(self.0.into_inner()).map_err(broken)
    }
}

/// Returns the text; an error if XML cannot represent it.
pub(super) fn legal(text: &str) -> Result<&str, XmlError> {
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    {
        return Err(XmlError::Illegal(text.to_owned()));
    }
    Ok(text)
}

/// Returns a path as text; an error if it is not UTF-8.
pub(super) fn path_text(path: &Path) -> Result<&str, XmlError> {
    path.to_str()
        .ok_or_else(|| XmlError::Illegal(path.display().to_string()))
}
