//! An XML document as a tree: enough for the small documents that libvirt returns.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{XmlError, broken};

/// An XML element with its children.
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

    /// Returns the first child of this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }
    /// Returns the first element at this path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }
    /// Returns all children of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }
    /// Returns an attribute.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    /// Returns the metadata element in this namespace.
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
