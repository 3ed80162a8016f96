//! `bonds.X` of a host.

use super::choices::{BOND_MODES, HASH_POLICIES, LACP_RATES, MOST_MIIMON, names_of};
use super::kinds::{IPV4, LINK, SUBNET, key, required};
use super::{Kind, Table};

/// A bond.
pub(in crate::lab) const BOND: Table = Table {
    name: "a bond",
    keys: &[
        required(
            "nics",
            Kind::List(&LINK),
            "The host's NICs that the bond consists of, at least two.",
        ),
        key(
            "mode",
            Kind::Choice(|| names_of(&BOND_MODES)),
            "Which of them send; default: active-backup.",
        ),
        key(
            "miimon",
            Kind::Integer(1, MOST_MIIMON),
            "Milliseconds between two checks of the NICs' carriers; default: 100.",
        ),
        key(
            "lacp_rate",
            Kind::Choice(|| names_of(&LACP_RATES)),
            "How often the partner is to send LACP, with mode 802.3ad; default: slow.",
        ),
        key(
            "xmit_hash_policy",
            Kind::Choice(|| names_of(&HASH_POLICIES)),
            "What decides by which NIC a frame leaves, with modes balance-xor, 802.3ad and balance-tlb; default: layer2.",
        ),
        key(
            "primary",
            LINK,
            "The NIC that sends whenever it has a carrier, with modes active-backup, balance-tlb and balance-alb.",
        ),
        key("address", SUBNET, "Address with prefix length."),
        key("gateway", IPV4, "Default gateway through this bond."),
        key(
            "takeover",
            Kind::Flag,
            "A bond that a real host has already may be attached to a bridge although the host is reached through it.",
        ),
    ],
};
