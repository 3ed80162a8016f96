//! A [`Firewall`] as rules, and rules as a [`Firewall`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::rule::{AddressField, Family, Hook, MacField, Match, Rule, Verdict};
use super::{MARK, table};
use crate::lab::{IfName, LabName};
use crate::state::{Firewall, Floating, LocalGateway, Nat, PortSecurity};

/// Returns a family's chains: hook, type and priority. The priorities are those that nft(8) calls `dstnat`, `srcnat` and
/// `filter`. A table has all of its chains of one type, or none of them where none has a rule.
pub(super) fn chains(family: Family) -> &'static [(Hook, &'static str, i64)] {
    match family {
        Family::Ip => &[
            (Hook::Prerouting, "nat", -100),
            (Hook::Output, "nat", -100),
            (Hook::Postrouting, "nat", 100),
            (Hook::Forward, "filter", 0),
        ],
        Family::Bridge => &[(Hook::Prerouting, "filter", -300), (Hook::Postrouting, "filter", 300)],
    }
}

/// Returns the rules, in the order of their chains: of several that match, the first translates.
pub(super) fn rules(firewall: &Firewall) -> Vec<Rule> {
    // Exhaustive, so that a new field must be handled here.
    let Firewall {
        nat,
        floating,
        local_gateways,
        together,
        ports,
        flows: _,
        gateway_flows: _,
        altered: _,
    } = firewall;
    let mut rules = Vec::new();
    let mut ip = |hook, matches, verdict| {
        rules.push(Rule {
            family: Family::Ip,
            hook,
            matches,
            verdict,
        });
    };
    for hook in [Hook::Prerouting, Hook::Output] {
        for Floating { public, private, .. } in floating {
            ip(hook, vec![Match::To((*public).into())], Verdict::Dnat(*private));
        }
    }
    for Floating { public, private, out } in floating {
        let translated = [Match::To((*private).into()), Match::SentTo(*public)];
        // A request from behind, perhaps from the guest's own network, must be answered through this host.
        let behind = [Match::EntersNot(out.clone())].into_iter().chain(translated.clone());
        ip(Hook::Postrouting, behind.collect(), Verdict::Masquerade);
        // The guest's own network may be that of the outside: then the link does not distinguish them.
        let own = nat.iter().map(|nat| nat.from).filter(|from| from.contains(private));
        for from in own.collect::<BTreeSet<_>>() {
            let own = [Match::From(from)].into_iter().chain(translated.clone());
            ip(Hook::Postrouting, own.collect(), Verdict::Masquerade);
        }
    }
    for Floating { public, private, out } in floating {
        let leaving = vec![Match::From((*private).into()), Match::Leaves(out.clone())];
        ip(Hook::Postrouting, leaving, Verdict::Snat(*public));
    }
    for Nat { from, out, source } in nat {
        let mut leaving = Vec::new();
        // 0.0.0.0/0 is everything that leaves; nothing is outside of it.
        if from.prefix_len() > 0 {
            leaving.extend([Match::From(*from), Match::NotTo(*from)]);
        }
        leaving.push(Match::Leaves(out.clone()));
        ip(
            Hook::Postrouting,
            leaving,
            source.map_or(Verdict::Masquerade, Verdict::Snat),
        );
    }
    if !together.is_empty() && !floating.is_empty() {
        // A floating address is outside of all tenants, for guests as well as for everybody else.
        ip(Hook::Forward, vec![Match::Translated], Verdict::Accept);
    }
    if !together.is_empty() {
        let apart: BTreeSet<IfName> = together.keys().cloned().collect();
        let others = one_or_any(&apart, Match::LeavesNot, Match::LeavesNone);
        ip(Hook::Forward, vec![others], Verdict::Accept);
    }
    for (from, to) in together {
        let leaves = one_or_any(to, Match::LeavesNot, Match::LeavesNone);
        ip(
            Hook::Forward,
            vec![Match::Enters(from.clone()), leaves],
            Verdict::CountedDrop,
        );
    }
    rules.extend(port_security(ports));
    let mut bridge = |hook, matches| {
        rules.push(Rule {
            family: Family::Bridge,
            hook,
            matches,
            verdict: Verdict::Drop,
        });
    };
    let gateways: BTreeSet<_> = local_gateways.iter().map(|gateway| &gateway.port).collect();
    for (hook, passes) in [
        (Hook::Prerouting, Match::Enters as fn(_) -> _),
        (Hook::Postrouting, Match::Leaves),
    ] {
        for LocalGateway { port, address } in local_gateways {
            bridge(hook, vec![passes(port.clone()), Match::ArpTo(*address)]);
            bridge(hook, vec![passes(port.clone()), Match::ArpFrom(*address)]);
        }
        for port in &gateways {
            bridge(hook, vec![passes((*port).clone()), Match::Udp, Match::DhcpPort]);
        }
    }
    rules
}

/// What guests may send: six rules for all ports of a host, since a packet passes all of them.
///
/// Addresses of 0.0.0.0 are those of a guest that asks for its own: a DHCP client (RFC 2131, 4.1), or one that probes by
/// ARP whether an address is free (RFC 5227, 1.1).
fn port_security(ports: &BTreeMap<IfName, PortSecurity>) -> Vec<Rule> {
    if ports.is_empty() {
        return Vec::new();
    }
    let enters = one_or_any(&ports.keys().cloned().collect(), Match::Enters, Match::EntersAny);
    let rule = |rest: Vec<Match>| Rule {
        family: Family::Bridge,
        hook: Hook::Prerouting,
        matches: [enters.clone()].into_iter().chain(rest).collect(),
        verdict: Verdict::CountedDrop,
    };
    let macs: BTreeSet<_> = ports.iter().map(|(port, own)| (port.clone(), own.mac)).collect();
    let addresses = ports.iter().flat_map(|(port, own)| {
        let addresses = [Ipv4Addr::UNSPECIFIED, own.address];
        addresses.map(|address| (port.clone(), address))
    });
    let addresses: BTreeSet<_> = addresses.collect();
    let mac = |field| rule(vec![Match::NotMac(field, macs.clone())]);
    let address = |field| rule(vec![Match::NotAddress(field, addresses.clone())]);
    vec![
        rule(vec![Match::OtherProtocol]),
        mac(MacField::Ethernet),
        mac(MacField::Arp),
        address(AddressField::Arp),
        address(AddressField::Ipv4),
        rule(vec![Match::Udp, Match::DhcpServer]),
    ]
}

/// nft prints a set of one member as that member.
fn one_or_any(links: &BTreeSet<IfName>, one: fn(IfName) -> Match, any: fn(BTreeSet<IfName>) -> Match) -> Match {
    match links.first() {
        Some(only) if links.len() == 1 => one(only.clone()),
        _ => any(links.clone()),
    }
}

/// Returns the ports and their addresses of the rules for what guests may send; those without a MAC address are left out.
fn secured<'a>(found: impl Iterator<Item = &'a Rule>) -> BTreeMap<IfName, PortSecurity> {
    let (mut macs, mut addresses) = (BTreeMap::new(), BTreeMap::new());
    for each in found.flat_map(|rule| &rule.matches) {
        match each {
            Match::NotMac(MacField::Ethernet, owners) => macs.extend(owners.iter().cloned()),
            Match::NotAddress(AddressField::Ipv4, owners) => {
                let own = owners.iter().filter(|(_, address)| !address.is_unspecified());
                addresses.extend(own.cloned());
            }
            _ => {}
        }
    }
    let ports = macs.into_iter();
    ports
        .filter_map(|(port, mac)| {
            let address = addresses.remove(&port)?;
            Some((port, PortSecurity { mac, address }))
        })
        .collect()
}

/// Returns the firewall that has these rules; `altered` where no firewall has exactly these.
pub(super) fn firewall(found: &[Rule]) -> Firewall {
    let mut firewall = Firewall {
        ports: secured(found.iter().filter(|rule| rule.family == Family::Bridge)),
        ..Firewall::default()
    };
    for rule in found {
        match (rule.family, rule.hook, &rule.matches[..], &rule.verdict) {
            (Family::Ip, Hook::Postrouting, [Match::From(private), Match::Leaves(out)], Verdict::Snat(public))
                if private.prefix_len() == 32 =>
            {
                firewall.floating.insert(Floating {
                    public: *public,
                    private: private.addr(),
                    out: out.clone(),
                });
            }
            (Family::Ip, Hook::Postrouting, matches, verdict) => {
                let (from, out) = match matches {
                    [Match::From(from), Match::NotTo(_), Match::Leaves(out)] => (*from, out),
                    [Match::Leaves(out)] => (Ipv4Net::default(), out),
                    _ => continue,
                };
                let source = match verdict {
                    Verdict::Masquerade => None,
                    Verdict::Snat(source) => Some(*source),
                    Verdict::Dnat(_) | Verdict::Drop | Verdict::CountedDrop | Verdict::Accept => continue,
                };
                let out = out.clone();
                firewall.nat.insert(Nat { from, out, source });
            }
            (Family::Ip, Hook::Forward, [Match::Enters(from), Match::LeavesNot(to)], _) => {
                firewall.together.insert(from.clone(), [to.clone()].into());
            }
            (Family::Ip, Hook::Forward, [Match::Enters(from), Match::LeavesNone(to)], _) => {
                firewall.together.insert(from.clone(), to.clone());
            }
            (Family::Bridge, Hook::Prerouting, [Match::Enters(port), Match::ArpTo(address)], _) => {
                firewall.local_gateways.insert(LocalGateway {
                    port: port.clone(),
                    address: *address,
                });
            }
            _ => {}
        }
    }
    // Within a chain the order counts; that of the chains does not.
    let of = |rules: &[Rule], family: Family, hook: Hook| -> Vec<Rule> {
        let found = rules.iter().filter(|rule| rule.family == family && rule.hook == hook);
        found.cloned().collect()
    };
    let wanted = rules(&firewall);
    let mut chains = Family::ALL.into_iter().flat_map(|family| {
        let hooks = chains(family).iter().map(|(hook, ..)| *hook);
        hooks.map(move |hook| (family, hook))
    });
    firewall.altered = chains.any(|(family, hook)| of(found, family, hook) != of(&wanted, family, hook));
    firewall
}

/// Returns the families in which the firewall has rules.
pub(super) fn families(rules: &[Rule]) -> impl Iterator<Item = Family> {
    let has = |family| move |rule: &Rule| rule.family == family;
    Family::ALL
        .into_iter()
        .filter(move |family| rules.iter().any(has(*family)))
}

/// Whether a family's chains of a type have a rule, and thus exist.
pub(super) fn has_type(rules: &[Rule], family: Family, kind: &str) -> bool {
    let of = |hook| chains(family).iter().any(|(own, k, _)| *own == hook && *k == kind);
    rules.iter().any(|rule| rule.family == family && of(rule.hook))
}

/// Returns the lab's tables as text for nft(8).
pub(super) fn text(lab: &LabName, rules: &[Rule]) -> String {
    let mut text = String::new();
    for family in families(rules) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "table {} {} {{", family.keyword(), table(lab));
        let _ = writeln!(text, "\tchain {MARK} {{\n\t}}");
        let chains = chains(family).iter();
        for (hook, kind, priority) in chains.filter(|(_, kind, _)| has_type(rules, family, kind)) {
            let name = hook.keyword();
            let _ = writeln!(text, "\n\tchain {name} {{");
            let _ = writeln!(text, "\t\ttype {kind} hook {name} priority {priority}; policy accept;");
            for rule in rules.iter().filter(|rule| rule.family == family && rule.hook == *hook) {
                let _ = writeln!(text, "\t\t{rule}");
            }
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
    }
    text
}
