//! A host's links, addresses and routes by iproute2, and its kernel settings: reads them ([`observe`], [`survey`]) and
//! carries out the network steps of a plan ([`apply`]), a constant number of commands each. Decides nothing about what is
//! wanted; never touches an object that is not this lab's, except the NIC of an uplink, whose record it keeps on the
//! NIC.
//!
//! Every state in which a killed run can leave a host is an observed state like any other:
//!
//! - A link of netlab's has the lab's group from its creation, and its alias is set last. Without the alias, or when it
//!   is not up, it is observed with an empty purpose, which no desired link has, so a plan changes it.
//! - A NIC has the record from before it is changed until it is restored. Where there is a record but the NIC is not
//!   wholly attached, the uplink is observed with *the NIC itself as its bridge*, which no desired uplink has, so a plan
//!   detaches it (and attaches it again). Both directions do only what is still missing.
//! - A setting's old value is on disk before the lab's mark, the mark before the change.

mod announce;
mod apply;
mod error;
mod floating;
mod json;
mod learning;
mod mark;
mod nic;
mod observe;
mod order;
mod ovs;
mod record;
mod rollback;
mod snapshot;
mod survey;
mod uplink;
mod view;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub use announce::announcement;
pub use apply::apply;
pub(crate) use apply::load_bonding;
pub use error::{AttachError, NetworkError, Owner, Unreadable, Unrestorable};
pub(crate) use json::{RawLink, query};
pub use learning::learning;
pub use mark::labs;
pub use observe::observe;
pub use rollback::rollback;
pub use survey::survey;
pub use view::view;

use crate::lab::{IfName, Shaping};
use crate::state::{Identities, Link, Sysctl, Uplink};

/// What a lab owns of a host's network: these fields of a [`HostState`](crate::state::HostState).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Bridges and VLAN devices.
    pub links: BTreeMap<IfName, Link>,
    /// Host NICs attached to a bridge; one whose bridge is the NIC itself is only half-attached.
    pub uplinks: BTreeMap<IfName, Uplink>,
    /// Floating addresses on NICs that netlab did not make.
    pub floating: BTreeMap<Ipv4Addr, IfName>,
    /// Limits of links.
    pub shaped: BTreeMap<IfName, Shaping>,
    /// Kernel settings changed.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Interface indexes of the links.
    pub seen: Identities,
}
