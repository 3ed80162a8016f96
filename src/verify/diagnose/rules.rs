//! Address translation, and rules that drop packets.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::hop::{Finding, Hop};
use super::{Path, is_own};
use crate::lab::HostName;
use crate::state::Firewall;
use crate::state::view::PacketRule;

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
        if let Some(finding) = self.diverted(machine, routed, from, to) {
            let hop = Hop::new(machine, "address translation of others");
            self.hops.push(hop.found(Some(finding)));
        }
    }

    /// Returns a rule of others that changes the addresses of the packets, or sends them elsewhere.
    fn diverted(&self, machine: &HostName, routed: bool, from: Ipv4Addr, to: Ipv4Addr) -> Option<Finding> {
        let view = self.view(machine)?;
        let topology = self.evidence.topology;
        let applies = |rule: &&PacketRule| {
            let family = match rule.family.as_str() {
                "ip" | "inet" => routed || view.bridged_rules,
                _ => true,
            };
            // What is for the machine itself is not sent on, and what is from it did not come in.
            let hook = match rule.hook.as_deref() {
                Some("postrouting" | "forward" | "output") => !self.has(machine, to),
                Some("prerouting" | "input") => !self.has(machine, from),
                _ => true,
            };
            family && hook && !is_own(topology, rule) && names(&rule.rule, from, to)
        };
        let PacketRule {
            family,
            table,
            chain,
            rule,
            ..
        } = view.diverts.iter().find(applies)?;
        let text = format!(
            "{machine}: a rule that is not the lab's translates or diverts packets: table {family} {table}, chain {chain}: {rule}"
        );
        Some(Finding::new(text).shown(machine, "nft list ruleset").diverting())
    }

    /// Returns a rule that drops the packets, or may, on a host that bridges or routes them.
    fn drops(&self, host: &HostName, routed: bool, from: Ipv4Addr, to: Ipv4Addr) -> Option<Finding> {
        let view = self.view(host)?;
        let topology = self.evidence.topology;
        let applies = |rule: &&PacketRule| {
            let family = match rule.family.as_str() {
                "bridge" | "netdev" => true,
                "ip" | "inet" => routed || view.bridged_rules,
                // A machine's own requests and answers.
                "arp" => routed,
                _ => false,
            };
            // What is forwarded, bridged or routed, passes neither `input` nor `output`.
            let own_packets = routed && (self.has(host, to) || self.has(host, from));
            let hook = match rule.hook.as_deref() {
                Some("input" | "output") => own_packets,
                _ => true,
            };
            family && hook && !is_own(topology, rule) && concerns(rule, from, to) != Concern::Nothing
        };
        let mut rules: Vec<&PacketRule> = view.drops.iter().filter(applies).collect();
        rules.sort_by_key(|rule| concerns(rule, from, to) != Concern::Address);
        let rule = rules.first()?;
        let concern = concerns(rule, from, to);
        let PacketRule {
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
        Some(match concern {
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

fn concerns(PacketRule { family, rule, .. }: &PacketRule, from: Ipv4Addr, to: Ipv4Addr) -> Concern {
    let words = rule.split(|c: char| c.is_whitespace() || ",{}".contains(c));
    let mut addresses = Vec::new();
    for word in words {
        let other = ["tcp", "udp", "arp", "ip6", "dport", "sport"].contains(&word);
        if other && (word, family.as_str()) != ("arp", "arp") {
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

/// Whether a rule names one of the addresses of pings from `from` to `to` as what it applies to, and none of others.
fn names(rule: &str, from: Ipv4Addr, to: Ipv4Addr) -> bool {
    let words: Vec<&str> = rule.split(|c: char| c.is_whitespace() || ",;".contains(c)).collect();
    if words
        .iter()
        .any(|word| ["tcp", "udp", "sctp", "arp", "ip6", "@th"].contains(word))
    {
        return false;
    }
    let mut named = false;
    for (at, word) in words.iter().enumerate() {
        let end = match *word {
            "saddr" | "-s" => from,
            "daddr" | "-d" => to,
            _ => continue,
        };
        let negated = words.get(at + 1) == Some(&"!=") || (at > 0 && words[at - 1] == "!");
        let mut rest = words[at + 1..]
            .iter()
            .filter(|word| !["!=", "map", "{", ""].contains(*word));
        let in_set = words[at + 1..].iter().take(3).any(|word| *word == "{");
        let mut contained = rest
            .by_ref()
            .take(if in_set { usize::MAX } else { 1 })
            .take_while(|word| **word != "}")
            .map(|word| {
                let net = word.parse::<Ipv4Net>().ok();
                net.or_else(|| Some(Ipv4Net::from(word.parse::<Ipv4Addr>().ok()?)))
            });
        match contained.by_ref().flatten().any(|net| net.contains(&end)) {
            contains if contains == negated => return false,
            contains => named |= contains,
        }
    }
    named
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
    fn a_rule_that_diverts_applies_to_what_it_names_as_source_or_destination() {
        let of = |rule: &str| names(rule, [10, 0, 1, 2].into(), [10, 0, 2, 2].into());
        assert!(of("ip daddr 10.0.2.2 dnat to 10.0.1.3"));
        assert!(of(
            "ip saddr 10.0.1.0/24 ip daddr { 10.0.9.1, 10.0.2.2 } counter packets 0 bytes 0 redirect"
        ));
        assert!(of("dnat to ip daddr map { 10.0.2.2 : 10.0.1.3, 10.0.9.1 : 10.0.1.4 }"));
        assert!(of("-A PREROUTING -d 10.0.2.2/32 -j DNAT --to-destination 10.0.1.3"));
        assert!(of("ip saddr 10.0.1.0/24 ip daddr != 10.0.9.0/24 masquerade"));
        for other in [
            "ip daddr 10.0.2.3 dnat to 10.0.2.2",
            "ip daddr 10.0.2.2 tcp dport 80 dnat to 10.0.1.3",
            "ip saddr 10.0.1.0/24 ip daddr != 10.0.2.0/24 masquerade",
            "ip saddr 192.168.122.0/24 ip daddr != 192.168.122.0/24 masquerade",
            "oifname \"eth1\" masquerade",
            "-A POSTROUTING -s 10.0.1.0/24 ! -d 10.0.2.0/24 -j MASQUERADE",
        ] {
            assert!(!of(other), "{other}");
        }
    }

    #[test]
    fn a_rule_concerns_pings_between_the_addresses_that_it_names_and_between_all_where_it_names_none() {
        let in_family = |family: &str, rule: &str| {
            let rule = PacketRule {
                family: family.to_owned(),
                table: "mine".to_owned(),
                chain: "all".to_owned(),
                hook: None,
                rule: rule.to_owned(),
            };
            concerns(&rule, [10, 0, 1, 2].into(), [10, 0, 2, 2].into())
        };
        let of = |rule: &str| in_family("ip", rule);
        assert_eq!(in_family("arp", "arp saddr ip 10.0.1.2 drop"), Concern::Address);
        assert_eq!(in_family("bridge", "arp saddr ip 10.0.1.2 drop"), Concern::Nothing);
        assert_eq!(of("ip saddr 10.0.1.0/24 drop"), Concern::Address);
        assert_eq!(of("ip daddr { 10.0.9.1, 10.0.2.2 } drop"), Concern::Address);
        assert_eq!(of("ip saddr 10.0.3.0/24 drop"), Concern::Nothing);
        assert_eq!(of("policy drop"), Concern::Any);
        assert_eq!(of("tcp dport 22 drop"), Concern::Nothing);
    }
}
