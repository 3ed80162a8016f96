//! The links of a machine's network namespace, and where the peers of its veths are.

use std::ops::Deref;

use serde::Deserialize;

use crate::linux::ip::{RawLink, query};
use crate::transport::{CmdError, Shell};

/// A link as iproute2 prints it, with the namespace of its peer.
#[derive(Debug, Clone)]
pub(super) struct Link {
    link: RawLink,
    /// Of a veth whose peer is in another namespace: that namespace's name, if it has one.
    pub peer_namespace: Option<String>,
}

impl Deref for Link {
    type Target = RawLink;
    fn deref(&self) -> &RawLink {
        &self.link
    }
}

/// A namespace's number for another one, as `ip -json netns list-id` shows it.
#[derive(Debug, Deserialize)]
struct Number {
    nsid: i32,
    name: Option<String>,
}

/// Reads the links of network namespace `name`, and which namespaces the peers of its veths are in.
pub(super) fn read(shell: &dyn Shell, name: &str) -> Result<Vec<Link>, CmdError> {
    let links: Vec<RawLink> = query(shell, &["ip", "-n", name, "-details", "-json", "address", "show"])?;
    let numbers: Vec<Number> = if links.iter().any(|link| link.link_netnsid.is_some()) {
        query(shell, &["ip", "-n", name, "-json", "netns", "list-id"])?
    } else {
        Vec::new()
    };
    let with_peer = |link: RawLink| {
        let named = |number: &&Number| Some(number.nsid) == link.link_netnsid;
        let peer_namespace = numbers.iter().find(named).and_then(|number| number.name.clone());
        Link { link, peer_namespace }
    };
    Ok(links.into_iter().map(with_peer).collect())
}
