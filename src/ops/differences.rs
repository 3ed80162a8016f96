//! What differs between two states of an object, each in a few words.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Most characters of a value.
const LONGEST: usize = 40;

/// Fields of the state whose names say too little to who has not read the code.
const WORDS: &[(&str, &str)] = &[
    ("disk_mib", "disk in MiB"),
    ("flows", "secured ports of Open vSwitch"),
    ("gateway_flows", "gateways that several hosts have, on Open vSwitch"),
    ("local_gateways", "gateways that several hosts have"),
    ("memory_mib", "memory in MiB"),
    ("ports", "secured ports"),
    ("remotes", "remote ends"),
    ("stp", "forward delay of spanning tree"),
    ("together", "networks that are routed to each other"),
];

/// Returns each value that differs, as `what: old → new`. Of secrets only that they differ.
pub(super) fn changes(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    found
}

fn compare(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(was), Value::Object(now)) => {
            let keys: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                field(at, key, &of(was), &of(now), found);
            }
        }
        (Value::Array(was), Value::Array(now)) if was.len() == now.len() => {
            for (index, (was, now)) in was.iter().zip(now).enumerate() {
                compare(&inside(at, &index.to_string()), was, now, found);
            }
        }
        _ if is_secret(at) => found.push(format!("{at} changed")),
        _ if at.is_empty() => found.push(format!("{} → {}", short(old), short(new))),
        _ => found.push(format!("{at}: {} → {}", short(old), short(new))),
    }
}

/// Compares the field `key` of what is called `at`.
fn field(at: &str, key: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (key, old, new) {
        (_, old, new) if old == new => {}
        // How a guest is started is nothing that it has.
        ("start", ..) => {}
        // Only ever observed.
        ("altered", ..) => found.push("changed by hand".to_owned()),
        ("changed", Value::Array(links), _) => {
            found.push(format!("changed by hand: {}", short(&Value::Array(links.clone()))));
        }
        ("mtu", old, new) => {
            let mtu = |value: &Value| {
                value
                    .as_u64()
                    .map_or_else(|| "default".to_owned(), |mtu| mtu.to_string())
            };
            found.push(format!("{}: {} → {}", inside(at, key), mtu(old), mtu(new)));
        }
        // The kind of a link does not change.
        ("kind", Value::Object(was), Value::Object(now)) if was.len() == 1 && was.keys().eq(now.keys()) => {
            for (was, now) in was.values().zip(now.values()) {
                compare(at, was, now, found);
            }
        }
        _ => {
            let word = WORDS.iter().find(|(name, _)| *name == key);
            compare(&inside(at, word.map_or(key, |(_, word)| word)), old, new, found);
        }
    }
}

/// Whether what is called `at` is a digest at best, and else a secret.
fn is_secret(at: &str) -> bool {
    at.contains("password") || at.contains("user_data")
}

fn inside(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}

/// Returns a value as a few characters.
fn short(value: &Value) -> String {
    let text = whole(value);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns a value in words: of a list its items, of an object what is in it, or the names of its parts.
fn whole(value: &Value) -> String {
    let is_plain = |value: &Value| !value.is_array() && !value.is_object();
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(whole).collect::<Vec<_>>().join(", "),
        Value::Object(parts) if parts.is_empty() => "none".to_owned(),
        Value::Object(parts) if parts.values().all(is_plain) => {
            let shown = parts.iter().filter(|(key, value)| !value.is_null() && !is_secret(key));
            shown.map(|(_, value)| whole(value)).collect::<Vec<_>>().join(" ")
        }
        Value::Object(parts) => parts.keys().cloned().collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_value_that_differs_is_named_with_what_it_was_and_is() {
        let found = changes(
            &json!({"mtu": 1500, "kind": {"bridge": {"stp": null}}, "same": [1], "start": "boot"}),
            &json!({"mtu": 1400, "kind": {"bridge": {"stp": 2}}, "same": [1], "start": "warm", "password": "x"}),
        );
        assert_eq!(
            found,
            [
                "forward delay of spanning tree: none → 2",
                "mtu: 1500 → 1400",
                "password changed"
            ]
        );
    }

    #[test]
    fn tables_and_lists_are_shown_by_what_is_in_them() {
        let found = changes(
            &json!({
                "altered": true,
                "changed": ["eth1", "p1"],
                "mtu": 1400,
                "kind": {"ovs-patch": {"tag": 11}},
                "nat": [{"from": "10.0.1.0/24", "out": "eth1", "source": null}],
                "together": {"red": ["red"], "blue": ["blue"]},
            }),
            &json!({"changed": [], "kind": {"ovs-patch": {"tag": 10}}}),
        );
        assert_eq!(
            found,
            [
                "changed by hand",
                "changed by hand: eth1, p1",
                "tag: 11 → 10",
                "mtu: 1400 → default",
                "nat: 10.0.1.0/24 eth1 → none",
                "networks that are routed to each other: blue, red → none",
            ]
        );
    }

    #[test]
    fn secrets_are_not_shown_alone_nor_with_what_they_belong_to() {
        let found = changes(
            &json!({"login": null, "password": "a"}),
            &json!({"login": {"user": "root", "password": "b", "root_password": "c"}, "password": "d"}),
        );
        assert_eq!(found, ["login: none → root", "password changed"]);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(short(&json!("x".repeat(60))).chars().count(), LONGEST + 1);
        assert_eq!(short(&json!(["a", "b"])), "a, b");
    }
}
