//! Limits of links, and links that are set down.

use netlab::lab::{HostName, Shaping};
use netlab::linux::tc;
use netlab::plan::Step;

use crate::namespace::{Namespace, assert_same, ifname, lab, skip};

fn host() -> HostName {
    HostName::new("node1").unwrap()
}

fn shape(link: &str, shaping: Shaping) -> Step {
    Step::Shape(host(), ifname(link), shaping)
}

fn rate(text: &str) -> Shaping {
    Shaping {
        rate: Some(text.parse().unwrap()),
        ..Shaping::default()
    }
}

/// Two namespaces with a cable.
fn cable(test: &str) -> Option<(Namespace, Namespace)> {
    let (one, other) = (Namespace::new(test)?, Namespace::new(test)?);
    one.cable("eth0", &other, "eth0");
    Some((one, other))
}

#[test]
fn a_rate_and_a_link_that_is_down_are_observed_and_removed_without_a_trace() {
    let test = "a_rate_and_a_link_that_is_down_are_observed";
    let Some((one, _other)) = cable(test) else { return };
    let before = one.snapshot();
    let queues = || one.check_fed(&["tc", "qdisc", "show"], "");
    let queues_before = queues();
    let observed = || tc::observe(&one.shell, &lab()).unwrap().remove(&ifname("eth0"));
    let mut last = None;
    for wanted in [rate("1mbit"), rate("100mbit"), Shaping::link_down(), rate("8kbit")] {
        for _ in 0..2 {
            tc::apply(&one.shell, &lab(), &[shape("eth0", wanted)]).unwrap();
            assert_eq!(observed(), Some(wanted), "{wanted}");
            assert_eq!(one.observe().shaped.get(&ifname("eth0")), Some(&wanted));
        }
        let is_down = !one
            .check_fed(&["ip", "link", "show", "dev", "eth0"], "")
            .contains(",UP");
        assert_eq!(is_down, wanted.down, "{wanted}");
        last = Some(wanted);
    }
    let remove = [Step::Unshape(host(), ifname("eth0"), last.unwrap())];
    for _ in 0..2 {
        tc::apply(&one.shell, &lab(), &remove).unwrap();
        assert_eq!(observed(), None);
    }
    assert_eq!(queues(), queues_before);
    assert_same(&one.snapshot(), &before, "afterwards");
}

#[test]
fn a_link_that_somebody_sets_up_again_and_limits_that_are_deleted_are_drift() {
    let test = "a_link_that_somebody_sets_up_again_and_limits_that_are_deleted_are_drift";
    let Some((one, _other)) = cable(test) else { return };
    tc::apply(&one.shell, &lab(), &[shape("eth0", Shaping::link_down())]).unwrap();
    one.ip("link set dev eth0 up");
    let observed = || tc::observe(&one.shell, &lab()).unwrap().remove(&ifname("eth0"));
    assert_eq!(observed(), Some(Shaping::default()));
    tc::apply(&one.shell, &lab(), &[shape("eth0", Shaping::link_down())]).unwrap();
    assert_eq!(observed(), Some(Shaping::link_down()));
    one.ip("link set dev eth0 up");
    one.check_fed(&["tc", "qdisc", "del", "dev", "eth0", "root"], "");
    assert_eq!(observed(), None);
}

#[test]
fn the_queueing_discipline_of_somebody_else_is_neither_observed_nor_replaced() {
    let test = "the_queueing_discipline_of_somebody_else_is_neither_observed_nor_replaced";
    let Some((one, _other)) = cable(test) else { return };
    let mine = [
        "tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "tbf", "rate", "5mbit", "burst", "10k", "latency",
        "50ms",
    ];
    one.check_fed(&mine, "");
    assert!(tc::observe(&one.shell, &lab()).unwrap().is_empty());
    let error = tc::apply(&one.shell, &lab(), &[shape("eth0", rate("1mbit"))]).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("eth0") && said.contains("tbf 1:"), "{said}");
    // Removing what is not there is no error, and leaves it alone.
    let remove = [Step::Unshape(host(), ifname("eth0"), rate("1mbit"))];
    tc::apply(&one.shell, &lab(), &remove).unwrap();
    assert!(
        one.check_fed(&["tc", "qdisc", "show", "dev", "eth0"], "")
            .contains("5Mbit")
    );
}

#[test]
fn frames_are_delayed_and_dropped_where_the_kernel_has_netem() {
    let test = "frames_are_delayed_and_dropped_where_the_kernel_has_netem";
    let Some((one, other)) = cable(test) else { return };
    if one.survey().missing_modules.contains(netlab::state::survey::NETEM) {
        return skip(test, "the kernel has no netem");
    }
    let wanted = Shaping {
        down: false,
        rate: Some("10mbit".parse().unwrap()),
        delay: Some("40ms".parse().unwrap()),
        jitter: Some("1ms".parse().unwrap()),
        loss: Some("0.5%".parse().unwrap()),
    };
    tc::apply(&one.shell, &lab(), &[shape("eth0", wanted)]).unwrap();
    assert_eq!(tc::observe(&one.shell, &lab()).unwrap()[&ifname("eth0")], wanted);
    let all = Shaping {
        loss: Some("100%".parse().unwrap()),
        ..Shaping::default()
    };
    tc::apply(&one.shell, &lab(), &[shape("eth0", all)]).unwrap();
    one.ip("address add 192.0.2.1/24 dev eth0");
    other.ip("address add 192.0.2.2/24 dev eth0");
    let ping = "ping -q -c 1 -W 1 192.0.2.2 >/dev/null && echo reached || echo lost";
    assert_eq!(one.check_fed(&["sh", "-c", ping], ""), "lost\n");
    let late = Shaping {
        delay: Some("40ms".parse().unwrap()),
        ..Shaping::default()
    };
    tc::apply(&one.shell, &lab(), &[shape("eth0", late)]).unwrap();
    let text = one.check_fed(&["ping", "-c", "1", "-W", "5", "192.0.2.2"], "");
    let took = text
        .split("time=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    assert!(took.parse::<f64>().unwrap() >= 40.0, "one direction is delayed: {text}");
}
