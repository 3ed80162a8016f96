use super::*;
use crate::transport::{CmdError, Output};

/// A machine on which `tc` and `ip` print this.
struct Printed {
    tc: String,
    links: &'static str,
}

impl Shell for Printed {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        let stdout = if cmd.argv[0] == "tc" {
            self.tc.clone()
        } else {
            self.links.to_owned()
        };
        Ok(Output {
            status: 0,
            stdout: stdout.into(),
            stderr: Vec::new(),
        })
    }
}

fn lab() -> LabName {
    LabName::new("quick").unwrap()
}

#[test]
fn own_limits_are_read_and_those_of_others_are_not() {
    let handle = format!("{:x}:", shaping_handle(&lab()));
    // As iproute2 6.1 prints them.
    let tc = serde_json::json!([
        {"kind": "noqueue", "handle": "0:", "dev": "lo", "root": true, "options": {}},
        {"kind": "tbf", "handle": handle, "dev": "tap1", "root": true,
            "options": {"rate": 125_000, "burst": 20_000, "lat": 200_000}},
        {"kind": "netem", "handle": handle, "dev": "tap2", "root": true, "options": {
            "limit": 10_000, "delay": {"delay": 0.05, "jitter": 0.005, "correlation": 0},
            "loss-random": {"loss": 0.1, "correlation": 0},
            "rate": {"rate": 125_000, "packetoverhead": 0, "cellsize": 0, "celloverhead": 0}, "ecn": false, "gap": 0}},
        {"kind": "pfifo", "handle": handle, "dev": "eth0", "root": true, "options": {"limit": 1}},
        {"kind": "pfifo", "handle": handle, "dev": "eth1", "root": true, "options": {"limit": 1}},
        {"kind": "noqueue", "handle": "800b:", "dev": "tap3", "root": true, "options": {}},
        {"kind": "htb", "handle": "1:", "dev": "eth2", "root": true, "options": {}},
        {"kind": "ingress", "handle": "ffff:", "dev": "eth3", "parent": "ffff:fff1", "options": {}},
    ]);
    let shell = Printed {
        tc: tc.to_string(),
        links: r#"[{"ifindex": 2, "ifname": "eth0"}, {"ifindex": 3, "ifname": "eth1", "flags": ["UP"]}]"#,
    };
    let found = read(&shell, &lab()).unwrap();
    let text = |name: &str| found.own[&IfName::new(name).unwrap()].to_string();
    assert_eq!(text("tap1"), "rate 1mbit");
    assert_eq!(text("tap2"), "rate 1mbit, delay 50ms ± 5ms, loss 10%");
    assert_eq!(text("eth0"), "down");
    assert_eq!(text("eth1"), "no limit", "somebody has set it up");
    assert_eq!(found.own.len(), 4);
    assert_eq!(found.foreign, [("eth2".to_owned(), "htb 1:".to_owned())].into());
}
