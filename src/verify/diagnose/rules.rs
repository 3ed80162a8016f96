//! Address translation, and rules that drop packets.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Path;
use super::hop::{Finding, Hop};
use crate::lab::HostName;
use crate::state::Firewall;
use crate::state::view::DropRule;

impl Path<'_> {
    /// Adds the rules that translate a guest's address as its packets leave.
    pub(super) fn translates_from(&mut self, router: &HostName, from: Ipv4Addr) {
        let finding = self.translated_from(router, from);
        let known = self.state(router).map(|_| "as the lab describes".to_owned());
        let hop = Hop::new(router, format!("address translation of {from}"));
        self.hops.push(hop.shows(known).found(finding));
    }

    /// Adds the rules that translate a floating address to a guest's.
    pub(super) fn translates_to(&mut self, router: &HostName, address: Ipv4Addr) {
        let finding = self.translated_to(router, address);
        let known = self.state(router).map(|_| "as the lab describes".to_owned());
        let hop = Hop::new(router, format!("address translation of floating address {address}"));
        self.hops.push(hop.shows(known).found(finding));
    }

    /// Checks the rules that translate a guest's address.
    pub(super) fn translated_from(&self, router: &HostName, from: Ipv4Addr) -> Option<Finding> {
        self.translation(router, |firewall| {
            let nat = firewall.nat.iter().filter(|rule| rule.from.contains(&from));
            let nat = nat.map(|rule| {
                let source = rule.source.map(|source| source.to_string());
                let source = source.unwrap_or_else(|| format!("that of {}", rule.out));
                format!(
                    "of {} leaving by {} to source address {source}",
                    text(rule.from),
                    rule.out
                )
            });
            let floating = firewall.floating.iter().filter(|rule| rule.private == from);
            let floating = floating.map(|rule| format!("of {} to floating address {}", rule.private, rule.public));
            nat.chain(floating).collect()
        })
    }

    /// Checks the rules that translate a floating address to a guest's.
    pub(super) fn translated_to(&self, host: &HostName, address: Ipv4Addr) -> Option<Finding> {
        self.translation(host, |firewall| {
            let rules = firewall.floating.iter().filter(|rule| rule.public == address);
            rules
                .map(|rule| format!("of floating address {address} to {}", rule.private))
                .collect()
        })
    }

    /// Checks that a host has the rules of address translation that concern a path.
    fn translation(&self, host: &HostName, concerning: impl Fn(&Firewall) -> Vec<String>) -> Option<Finding> {
        let wanted = concerning(self.evidence.desired.get(host)?.firewall.as_ref()?);
        let state = self.state(host)?;
        let found = state.firewall.as_ref().map(&concerning).unwrap_or_default();
        let finding = |text: String| {
            let list = format!("nft list table ip netlab-{}", self.evidence.topology.lab);
            Some(Finding::new(text).shown(host, &list).fixed_by_up())
        };
        let missing = wanted.iter().find(|rule| !found.contains(rule));
        if let Some(missing) = missing {
            let instead = found.iter().find(|rule| !wanted.contains(rule));
            let instead = instead.map_or_else(String::new, |rule| format!(" (found instead: {rule})"));
            return finding(format!("{host}: the address translation {missing} is missing{instead}"));
        }
        let altered = state.firewall.as_ref().is_some_and(|firewall| firewall.altered);
        (altered && !wanted.is_empty())
            .then(|| finding(format!("{host}: the lab's nftables tables were altered")))
            .flatten()
    }

    /// Adds the rules of others that packets meet on a machine that bridges or routes them.
    pub(super) fn rules(&mut self, machine: &HostName, routed: bool, [from, to]: [Ipv4Addr; 2]) {
        if self.view(machine).is_none() {
            return;
        }
        let what = if routed { "routed" } else { "bridged" };
        let finding = self.drops(machine, routed, from, to);
        let hop = Hop::new(machine, format!("firewall, for {what} packets"));
        let shows = "no rule that is not the lab's drops them".to_owned();
        self.hops.push(hop.shows(Some(shows)).found(finding));
    }

    /// Returns a rule that drops the packets, or may, on a host that bridges or routes them.
    fn drops(&self, host: &HostName, routed: bool, from: Ipv4Addr, to: Ipv4Addr) -> Option<Finding> {
        let view = self.view(host)?;
        let own = format!("netlab-{}", self.evidence.topology.lab);
        let applies = |rule: &&DropRule| {
            let family = match rule.family.as_str() {
                "bridge" | "netdev" => true,
                "ip" | "inet" => routed || view.bridged_rules,
                _ => false,
            };
            // What is forwarded, bridged or routed, passes neither `input` nor `output`.
            let own_packets = routed && (self.has(host, to) || self.has(host, from));
            let hook = match rule.hook.as_deref() {
                Some("input" | "output") => own_packets,
                _ => true,
            };
            family && hook && rule.table != own && concerns(&rule.rule, from, to) != Concern::Nothing
        };
        let mut rules: Vec<&DropRule> = view.drops.iter().filter(applies).collect();
        rules.sort_by_key(|rule| concerns(&rule.rule, from, to) != Concern::Address);
        let rule = rules.first()?;
        let DropRule {
            family,
            table,
            chain,
            rule,
            ..
        } = rule;
        let finding = Finding::new(format!(
            "{host}: a rule that is not the lab's drops packets: table {family} {table}, chain {chain}: {rule}"
        ))
        .shown(host, "nft list ruleset");
        Some(match concerns(rule, from, to) {
            Concern::Address => finding,
            _ => finding.possible(),
        })
    }
}

/// What a rule says about pings between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// It is about something else.
    Nothing,
    /// It names no address: it may concern them.
    Any,
    /// It names one of the addresses.
    Address,
}

fn concerns(rule: &str, from: Ipv4Addr, to: Ipv4Addr) -> Concern {
    let words = rule.split(|c: char| c.is_whitespace() || ",{}".contains(c));
    let mut addresses = Vec::new();
    for word in words {
        if ["tcp", "udp", "arp", "ip6", "dport", "sport"].contains(&word) {
            return Concern::Nothing;
        }
        let net = word.parse::<Ipv4Net>().ok();
        addresses.extend(net.or_else(|| Some(Ipv4Net::from(word.parse::<Ipv4Addr>().ok()?))));
    }
    if addresses.is_empty() {
        return Concern::Any;
    }
    let named = addresses.iter().any(|net| net.contains(&from) || net.contains(&to));
    if named { Concern::Address } else { Concern::Nothing }
}

/// A subnet in words.
fn text(net: Ipv4Net) -> String {
    match net.prefix_len() {
        0 => "everything".to_owned(),
        _ => net.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_concerns_pings_between_the_addresses_that_it_names_and_between_all_where_it_names_none() {
        let of = |rule: &str| concerns(rule, [10, 0, 1, 2].into(), [10, 0, 2, 2].into());
        assert_eq!(of("ip saddr 10.0.1.0/24 drop"), Concern::Address);
        assert_eq!(of("ip daddr { 10.0.9.1, 10.0.2.2 } drop"), Concern::Address);
        assert_eq!(of("ip saddr 10.0.3.0/24 drop"), Concern::Nothing);
        assert_eq!(of("policy drop"), Concern::Any);
        assert_eq!(of("tcp dport 22 drop"), Concern::Nothing);
    }
}
