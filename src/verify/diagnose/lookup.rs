//! Which route a kernel takes, from its rules and tables (ip-rule(8), ip-route(8)).

use std::net::{IpAddr, Ipv4Addr};

use crate::state::view::{PolicyRule, View, ViewRoute};

/// What a kernel does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'v> {
    /// It takes this route, which may be one that drops packets.
    Route(&'v ViewRoute),
    /// A rule drops the packet.
    Dropped(&'v PolicyRule),
    /// It has no route.
    None,
}

/// The tables of a kernel without rules of its own, in their order.
const TABLES: [&str; 3] = ["local", "main", "default"];

/// Returns what a kernel does with a packet to `to`; `from` is its source address where it has one already, and `iif` the
/// link that it came in by, absent for one of the machine itself.
pub(super) fn decide<'v>(view: &'v View, from: Option<Ipv4Addr>, to: Ipv4Addr, iif: Option<&str>) -> Decision<'v> {
    if view.rules.is_empty() {
        let mut routes = TABLES.iter().filter_map(|table| best(view, table, to));
        return routes.next().map_or(Decision::None, Decision::Route);
    }
    for rule in view.rules.iter().filter(|rule| matches(rule, from, to, iif)) {
        match (&rule.table, &rule.action) {
            (_, Some(action)) if ["blackhole", "unreachable", "prohibit"].contains(&action.as_str()) => {
                return Decision::Dropped(rule);
            }
            (Some(table), _) => match best(view, table, to) {
                Some(route) if route.kind == "throw" => {}
                Some(route) => return Decision::Route(route),
                None => {}
            },
            _ => {}
        }
    }
    Decision::None
}

fn matches(rule: &PolicyRule, from: Option<Ipv4Addr>, to: Ipv4Addr, iif: Option<&str>) -> bool {
    let source = match (&rule.from, from) {
        (None, _) => true,
        (Some(net), Some(from)) => net.contains(&IpAddr::from(from)),
        (Some(net), None) => net.prefix_len() == 0,
    };
    let target = rule.to.as_ref().is_none_or(|net| net.contains(&IpAddr::from(to)));
    let link = rule.iif.as_deref().is_none_or(|link| link == iif.unwrap_or("lo"));
    source && target && link && !rule.conditional
}

/// Returns the route of one table: the longest prefix, of those the lowest metric.
fn best<'v>(view: &'v View, table: &str, to: Ipv4Addr) -> Option<&'v ViewRoute> {
    let of_table = |route: &&ViewRoute| route.table.as_deref().unwrap_or("main") == table;
    let routes = view.routes.iter().filter(of_table);
    let routes = routes.filter(|route| route.to.contains(&IpAddr::from(to)));
    routes.max_by_key(|route| (route.to.prefix_len(), u32::MAX - route.metric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, link: &str, table: Option<&str>, kind: &str) -> ViewRoute {
        ViewRoute {
            kind: kind.to_owned(),
            to: to.parse().unwrap(),
            via: None,
            link: Some(link.to_owned()),
            table: table.map(str::to_owned),
            metric: 0,
        }
    }

    fn rule(from: Option<&str>, table: Option<&str>, action: Option<&str>) -> PolicyRule {
        PolicyRule {
            from: from.map(|net| net.parse().unwrap()),
            table: table.map(str::to_owned),
            action: action.map(str::to_owned),
            ..PolicyRule::default()
        }
    }

    const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    #[test]
    fn the_longest_prefix_of_the_main_table_decides_where_there_are_no_rules() {
        let view = View {
            routes: vec![
                route("0.0.0.0/0", "eth0", None, "unicast"),
                route("10.0.2.0/24", "br2", None, "unicast"),
                route("10.0.2.2/32", "eth9", Some("100"), "blackhole"),
            ],
            ..View::default()
        };
        assert_eq!(decide(&view, None, TO, None), Decision::Route(&view.routes[1]));
    }

    #[test]
    fn a_rule_for_a_source_leads_to_its_table_and_one_with_an_action_drops() {
        let from = Some(Ipv4Addr::new(10, 0, 1, 2));
        let mut view = View {
            routes: vec![
                route("10.0.2.0/24", "br2", None, "unicast"),
                route("10.0.2.0/24", "eth9", Some("100"), "unicast"),
            ],
            rules: vec![
                rule(Some("10.0.1.0/24"), Some("100"), None),
                rule(None, Some("main"), None),
            ],
            ..View::default()
        };
        assert_eq!(decide(&view, from, TO, Some("br1")), Decision::Route(&view.routes[1]));
        let other = Some(Ipv4Addr::new(10, 0, 3, 2));
        assert_eq!(decide(&view, other, TO, Some("br1")), Decision::Route(&view.routes[0]));
        view.rules[0] = rule(Some("10.0.1.0/24"), None, Some("prohibit"));
        assert_eq!(decide(&view, from, TO, Some("br1")), Decision::Dropped(&view.rules[0]));
        view.rules[0].conditional = true;
        assert_eq!(decide(&view, from, TO, Some("br1")), Decision::Route(&view.routes[0]));
        view.routes[0].kind = "throw".to_owned();
        assert_eq!(decide(&view, from, TO, Some("br1")), Decision::None);
    }
}
