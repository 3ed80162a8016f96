use super::*;
use crate::state::Lease;
use crate::transport::Output;

fn server() -> Dhcp {
    let lease = |vm: &str, last: u8| Lease {
        vm: vm.parse().unwrap(),
        address: [10, 0, 1, last].into(),
    };
    Dhcp {
        bridge: IfName::new("br1").unwrap(),
        subnet: "10.0.1.0/24".parse().unwrap(),
        gateway: [10, 0, 1, 1].into(),
        domain: LabName::new("quick").unwrap(),
        leases: [
            ("52:54:00:00:00:01".parse().unwrap(), lease("vm1", 2)),
            ("52:54:00:00:00:02".parse().unwrap(), lease("vm2", 3)),
        ]
        .into(),
        nameservers: vec!["9.9.9.9".parse().unwrap()],
        mtu: Some(1400),
        lease: None,
        running: true,
    }
}

#[test]
fn the_configuration_gives_fixed_leases_and_the_labs_names_and_nothing_else() {
    insta::assert_snapshot!(text(&server()));
}

/// A host whose scripts print this.
struct Printed(String);

impl Shell for Printed {
    fn run(&self, _: &Cmd) -> Result<Output, CmdError> {
        Ok(Output {
            status: 0,
            stdout: self.0.clone().into(),
            stderr: Vec::new(),
        })
    }
}

#[test]
fn a_server_is_what_its_record_says_and_runs_if_its_process_does() {
    let lab = LabName::new("quick").unwrap();
    let record = serde_json::to_string(&server()).unwrap();
    let printed = Printed(format!(
        "service alive {record}\nother dead {record}\nhalf dead \nx;id alive {record}\n"
    ));
    let seen = DhcpServers::default().observe(&printed, &lab).unwrap();
    let named = |name: &str| seen.get(&NetworkName::new(name).unwrap());
    assert_eq!(named("service"), Some(&server()));
    let dead = Dhcp {
        running: false,
        ..server()
    };
    assert_eq!(named("other"), Some(&dead));
    assert!(named("half").is_some_and(|half| !half.running), "a plan removes it");
    assert_eq!(seen.len(), 3);
}

#[test]
fn the_server_that_failed_is_reported() {
    let lab = LabName::new("quick").unwrap();
    let network = NetworkName::new("service").unwrap();
    let printed = Printed("failed 1 answered br1 192.168.99.1\n".to_owned());
    let both = [(&network, &server()), (&network, &server())];
    let failed = DhcpServers::default().start(&printed, &lab, &both).unwrap_err();
    assert_eq!(failed.at, 1);
    assert_eq!(
        failed.cause.to_string(),
        "another DHCP server answers on bridge br1, from 192.168.99.1"
    );
    assert!(failed.cause.help().is_some());
}
