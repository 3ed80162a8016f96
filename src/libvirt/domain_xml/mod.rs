//! A [`Domain`](crate::state::Domain) as libvirt's XML and back. Fills in the empty elements of a template (`template`,
//! [`render`]), and reads a domain from its XML ([`read`]). Pure: never calls libvirt.

mod disks;
mod node;
mod read;
mod render;
mod template;
mod writer;

pub(crate) use node::Node;
pub use read::{Definitions, read};
pub(crate) use read::{mark_of, name_of};
pub use render::{Files, Parts, render, render_nic, render_parts};
pub(crate) use render::{addresses, has_generation_id, places_for_nics, render_unconnected_nic};
pub use template::Template;
pub(crate) use writer::XmlWriter;

/// The namespace of the metadata that marks a domain as netlab's.
pub const METADATA_URI: &str = "urn:netlab:1";
/// The namespace of the record of what a running guest was configured with; libvirt drops it when the domain stops.
pub const CONFIGURED_URI: &str = "urn:netlab:configured:1";
/// The namespace of the record of the addresses that a guest's NICs were given, by MAC address. It stays in the definition
/// when the domain stops, so that the guest keeps them.
pub const ADDRESSES_URI: &str = "urn:netlab:addresses:1";
/// The prefix of that namespace.
pub(crate) const ADDRESSES_PREFIX: &str = "netlab-addresses";

/// The namespace of the record of the files that were written and the commands that were run in a guest.
pub const TASKS_URI: &str = "urn:netlab:tasks:1";
/// The prefix of that namespace.
pub(crate) const TASKS_PREFIX: &str = "netlab-tasks";

/// A domain's XML could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not XML.
    #[error("invalid XML: {0}")]
    Broken(String),
    /// It has netlab's mark but not the form that netlab writes.
    #[error("{what} cannot be read: {message}")]
    Unreadable {
        /// Which part.
        what: String,
        /// Why.
        message: String,
    },
    /// A text with a character that XML cannot represent.
    #[error("{0:?} has a character that XML cannot represent")]
    Illegal(String),
    /// A template cannot be used.
    #[error("{template}:{line}:{column}: {message}")]
    Template {
        /// The template's file.
        template: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong there, and what should be.
        message: String,
    },
}

fn broken(error: impl std::fmt::Display) -> XmlError {
    XmlError::Broken(error.to_string())
}

fn unreadable(what: &str, message: impl std::fmt::Display) -> XmlError {
    XmlError::Unreadable {
        what: format!("the XML's {what}"),
        message: message.to_string(),
    }
}
