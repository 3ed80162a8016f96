//! Why a check failed: what stops packets on the path to whom it asks, and what drops those of its own protocol.

use std::net::Ipv4Addr;

use crate::lab::{Asked, HostName, Question};
use crate::verify::{Evidence, Expectation, first, matrix, path};

/// Returns what stops the packets between an asker and an address, if that can be observed. `protocol`: `tcp` or `udp`,
/// and the port that is asked.
pub(in super::super) fn on_path(
    evidence: &Evidence<'_>,
    from: &Asked,
    to: Ipv4Addr,
    protocol: Option<(&str, u16)>,
) -> Option<String> {
    let asked = Expectation {
        from: from.clone(),
        to: to.to_string(),
        address: to.into(),
        reach: true,
    };
    let hops = path(evidence, &matrix::unanswered(asked));
    if let Some(finding) = first(&hops).filter(|finding| finding.certain) {
        return Some(finding.to_string());
    }
    let (protocol, port) = protocol?;
    let target = evidence.nics.at(to.into());
    let guests = target.map(|(vm, ..)| vm).into_iter().chain(match from {
        Asked::Vm(vm) => Some(vm),
        Asked::Host(_) | Asked::Router(_) => None,
    });
    for vm in guests {
        let mut drops = evidence.guests.get(vm).into_iter().flat_map(|view| &view.drops);
        if let Some(rule) = drops.find(|rule| drops_port(rule, protocol, port)) {
            return Some(format!(
                "guest {vm}: a rule of its own firewall drops packets: {rule}; shown by `nft list ruleset` on guest {vm}"
            ));
        }
    }
    let machines: Vec<&HostName> = hops.iter().filter_map(|hop| Some(&hop.link.as_ref()?.0)).collect();
    for (machine, view) in evidence.views.iter().filter(|(machine, _)| machines.contains(machine)) {
        let mut drops = view.drops.iter();
        if let Some(rule) = drops.find(|rule| drops_port(&rule.rule, protocol, port)) {
            return Some(format!(
                "{machine}: a rule drops packets to {protocol} port {port}: table {} {}, chain {}: {}; shown by `nft list \
                 ruleset` on {machine}",
                rule.family, rule.table, rule.chain, rule.rule
            ));
        }
    }
    let (vm, ..) = target?;
    let listening = evidence.guests.get(vm)?.listening.as_ref()?;
    (protocol == "tcp" && !listening.contains(&port)).then(|| {
        format!("guest {vm}: nothing listens on TCP port {port}; shown by `netstat -ltn` or `ss -ltn` on guest {vm}")
    })
}

/// The protocol and port of a question, where it has one.
pub(super) fn port(question: &Question) -> Option<(&'static str, u16)> {
    match question {
        Question::Tcp { port, .. } => Some(("tcp", *port)),
        Question::Http { url, .. } => Some(("tcp", url.port)),
        Question::Dns { .. } | Question::Ping { .. } => None,
    }
}

/// Whether a rule names the protocol, and the port or none.
fn drops_port(rule: &str, protocol: &str, port: u16) -> bool {
    let words: Vec<&str> = rule
        .split(|c: char| c.is_whitespace() || ",{}".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let of_protocol = words.contains(&protocol) || words.contains(&"th");
    let number = port.to_string();
    let service = match port {
        53 => "domain",
        80 => "http",
        22 => "ssh",
        _ => "",
    };
    let named = |word: &&&str| **word == number || (!service.is_empty() && **word == service);
    let ports: Vec<&&str> = words.iter().skip_while(|word| **word != "dport").skip(1).collect();
    of_protocol && (ports.is_empty() || ports.iter().any(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_drops_a_port_that_it_names_or_all_ports_of_the_protocol() {
        assert!(drops_port("udp dport 53 drop", "udp", 53));
        assert!(drops_port("tcp dport { 80, 443 } drop", "tcp", 80));
        assert!(drops_port("ip protocol tcp drop", "tcp", 80));
        assert!(drops_port("tcp dport http drop", "tcp", 80));
        assert!(!drops_port("tcp dport 22 drop", "tcp", 80));
        assert!(!drops_port("udp dport 53 drop", "tcp", 53));
        assert!(
            !drops_port("policy drop", "tcp", 80),
            "a path's own rules are checked by its hops"
        );
    }
}
