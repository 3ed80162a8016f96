//! The one way by which a text of ours gets into XML: through a writer that escapes and refuses what XML cannot carry.

use std::path::Path;

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

use super::{XmlError, broken};

/// Writes elements; every text and attribute goes through the escaping writer.
pub(crate) struct XmlWriter(Writer<Vec<u8>>);

impl XmlWriter {
    /// An empty document.
    pub fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }
    /// An event as it is.
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
    /// `<name attrs/>`.
    pub fn empty(&mut self, name: &str, attrs: &[(&str, &str)]) -> Result<(), XmlError> {
        self.event(Event::Empty(Self::tag(name, attrs)?))
    }
    /// `<name attrs>text</name>`.
    pub fn text(&mut self, name: &str, attrs: &[(&str, &str)], text: &str) -> Result<(), XmlError> {
        self.open(name, attrs)?;
        self.words(text)?;
        self.close(name)
    }
    /// Text by itself.
    pub fn words(&mut self, text: &str) -> Result<(), XmlError> {
        self.event(Event::Text(BytesText::new(legal(text)?)))
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

/// The text, unless XML cannot carry it unchanged.
pub(super) fn legal(text: &str) -> Result<&str, XmlError> {
    if text
        .chars()
        .any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    {
        return Err(XmlError::Illegal(text.to_owned()));
    }
    Ok(text)
}

/// A path as text.
pub(super) fn path_text(path: &Path) -> Result<&str, XmlError> {
    path.to_str()
        .ok_or_else(|| XmlError::Illegal(path.display().to_string()))
}
