//! Rules of others on the host that matter for a lab: tables of its name that are not its own, and chains that drop what
//! the host forwards. Only read: netlab changes no rule of others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{MARK, table};
use crate::lab::LabName;
use crate::state::survey::{ForwardDrop, Survey};
use crate::transport::{Cmd, CmdError, Script, Shell};

const SURVEY: Script = Script {
    name: "nftables/survey.sh",
    text: include_str!("survey.sh"),
};

/// Fills in the rules of others. One command.
pub fn survey(shell: &dyn Shell, lab: &LabName, survey: &mut Survey) -> Result<(), CmdError> {
    let output = shell.check(&Cmd::script(SURVEY, [""; 0]))?;
    let text = String::from_utf8_lossy(&output);
    let (rules, rest) = text.split_once('\n').unwrap_or((&text, ""));
    // Output of an nft that prints something else is ignored.
    let rules: Value = serde_json::from_str(rules).unwrap_or_default();
    let objects: Vec<Object> = rules["nftables"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|object| object.as_object()?.iter().next())
        .collect();
    survey.foreign_tables = foreign(&objects, &table(lab));
    survey.forward_drops = drops(&objects);
    survey.forward_drops.extend(legacy(rest));
    survey.bridge_nf = rest.lines().any(|line| line == "bridge-nf");
    Ok(())
}

/// An object's kind and its fields.
type Object<'a> = (&'a String, &'a Value);

fn of_kind<'a>(objects: &'a [Object<'a>], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects
        .iter()
        .filter(move |(key, _)| *key == kind)
        .map(|(_, object)| *object)
}

fn field<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

/// Returns the tables of the name that do not have the mark.
fn foreign(objects: &[Object], name: &str) -> BTreeSet<String> {
    let marked = |family: &str| {
        of_kind(objects, "chain").any(|chain| {
            field(chain, "table") == name && field(chain, "family") == family && field(chain, "name") == MARK
        })
    };
    of_kind(objects, "table")
        .filter(|table| field(table, "name") == name)
        .map(|table| field(table, "family"))
        .filter(|family| ["ip", "bridge"].contains(family) && !marked(family))
        .map(|family| format!("{family} {name}"))
        .collect()
}

/// Returns the chains at the hook for forwarded IPv4 packets that drop them, by policy or with a rule for all packets.
fn drops(objects: &[Object]) -> Vec<ForwardDrop> {
    let mut drops = Vec::new();
    let hooked = of_kind(objects, "chain")
        .filter(|chain| field(chain, "hook") == "forward" && ["ip", "inet"].contains(&field(chain, "family")));
    for chain in hooked {
        let (family, table, name) = (field(chain, "family"), field(chain, "table"), field(chain, "name"));
        let rules =
            of_kind(objects, "rule").filter(|rule| field(rule, "family") == family && field(rule, "table") == table);
        let mut ends = field(chain, "policy") == "drop";
        let (mut accepts_from, mut accepts_to) = (BTreeSet::new(), BTreeSet::new());
        for rule in rules {
            let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            let statements: Vec<&Value> = statements.iter().filter(|each| each.get("counter").is_none()).collect();
            match &statements[..] {
                [end] if field(rule, "chain") == name => {
                    ends |= end.get("drop").is_some() || end.get("reject").is_some();
                }
                // Also in a chain that this one jumps to, as docker's DOCKER-USER.
                [each, accept] if accept.get("accept").is_some() => {
                    let each = &each["match"];
                    let link = each["right"].as_str().filter(|_| each["op"] == "==");
                    match (each["left"]["meta"]["key"].as_str(), link) {
                        (Some("iifname"), Some(link)) => _ = accepts_from.insert(link.to_owned()),
                        (Some("oifname"), Some(link)) => _ = accepts_to.insert(link.to_owned()),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if ends {
            drops.push(ForwardDrop {
                chain: format!("{family} {table} {name}"),
                // iptables' own table: rules that nft puts there it would not understand.
                by_iptables: (family, table, name) == ("ip", "filter", "FORWARD"),
                accepts_from,
                accepts_to,
            });
        }
    }
    drops
}

/// Returns the same from the output of `iptables-legacy -S`.
fn legacy(rules: &str) -> Option<ForwardDrop> {
    rules.lines().find(|line| *line == "-P FORWARD DROP")?;
    let mut accepted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in rules.lines() {
        if let ["-A", _, direction @ ("-i" | "-o"), link, "-j", "ACCEPT"] = line.split(' ').collect::<Vec<_>>()[..] {
            accepted.entry(direction).or_default().insert(link.to_owned());
        }
    }
    Some(ForwardDrop {
        chain: "FORWARD of iptables".to_owned(),
        by_iptables: true,
        accepts_from: accepted.remove("-i").unwrap_or_default(),
        accepts_to: accepted.remove("-o").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::cmd::Output;

    struct Printed(&'static str);

    impl Shell for Printed {
        fn run(&self, _: &Cmd) -> Result<Output, CmdError> {
            Ok(Output {
                status: 0,
                stdout: self.0.into(),
                stderr: Vec::new(),
            })
        }
    }

    fn surveyed(printed: &'static str) -> Survey {
        let mut found = Survey::default();
        survey(&Printed(printed), &LabName::new("quick").unwrap(), &mut found).unwrap();
        found
    }

    #[test]
    fn the_rules_of_iptables_legacy_are_read_with_what_they_accept() {
        let found =
            surveyed("\nbridge-nf\n-P INPUT ACCEPT\n-P FORWARD DROP\n-A FORWARD -i br1 -j ACCEPT\n-A FORWARD -j X\n");
        assert!(found.bridge_nf);
        let [drop] = &found.forward_drops[..] else {
            panic!("{found:?}")
        };
        assert!(drop.by_iptables && drop.accepts_from.contains("br1") && drop.accepts_to.is_empty());
        assert_eq!(surveyed("\n-P FORWARD ACCEPT\n"), Survey::default());
    }

    #[test]
    fn a_host_without_any_rules_or_with_unreadable_ones_has_none() {
        for printed in ["", "\n", "{}\n", "what?\n", "{\"nftables\": [1, {}]}\n"] {
            assert_eq!(surveyed(printed), Survey::default(), "{printed:?}");
        }
    }
}
