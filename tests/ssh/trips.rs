//! How often a host is asked something: as often for many objects as for one.

use std::sync::atomic::{AtomicUsize, Ordering};

use netlab::lab::{IfName, LabName};
use netlab::linux::ip;
use netlab::plan::Step;
use netlab::state::{Link, LinkKind, Survey};
use netlab::transport::{Cmd, CmdError, LocalShell, NamespaceShell, Output, Shell};

struct Counted {
    shell: NamespaceShell,
    commands: AtomicUsize,
}

impl Shell for Counted {
    fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
        self.commands.fetch_add(1, Ordering::SeqCst);
        self.shell.run(cmd)
    }
}

/// The commands that each phase takes in a lab of so many bridges.
fn commands(bridges: usize) -> Option<[usize; 4]> {
    let name = format!("netlab-trips-{}-{bridges}", std::process::id());
    if let Err(why) = LocalShell.check(&Cmd::new(["ip", "netns", "add", &name])) {
        crate::sshd::skip("round_trips", &format!("no network namespace can be made: {why}"));
        return None;
    }
    let counted = Counted {
        shell: NamespaceShell::of_network(&name),
        commands: AtomicUsize::new(0),
    };
    let lab = LabName::new("trips").unwrap();
    let bridge = Link {
        kind: LinkKind::Bridge { stp: None, mac: None },
        master: None,
        addresses: [].into(),
        mtu: None,
        gateway: None,
        purpose: "network".to_owned(),
    };
    let names: Vec<IfName> = (0..bridges).map(|at| IfName::new(&format!("b{at}")).unwrap()).collect();
    let make: Vec<Step> = names
        .iter()
        .map(|name| Step::CreateLink(name.clone(), bridge.clone()))
        .collect();
    let phase = |act: &dyn Fn()| {
        act();
        counted.commands.swap(0, Ordering::SeqCst)
    };
    let counts = [
        phase(&|| ip::apply(&counted, &lab, &make).unwrap()),
        phase(&|| assert_eq!(ip::observe(&counted, &lab).unwrap().links.len(), bridges)),
        phase(&|| ip::survey(&counted, &lab, &mut Survey::default()).unwrap()),
        phase(&|| {
            let remove: Vec<Step> = names
                .iter()
                .map(|name| Step::DeleteLink {
                    name: name.clone(),
                    index: None,
                })
                .collect();
            ip::apply(&counted, &lab, &remove).unwrap();
        }),
    ];
    LocalShell.check(&Cmd::new(["ip", "netns", "del", &name])).unwrap();
    Some(counts)
}

#[test]
fn round_trips_are_as_many_for_forty_networks_as_for_one() {
    let (Some(one), Some(many)) = (commands(1), commands(40)) else {
        return;
    };
    assert_eq!(one, many, "apply, observe, survey, remove");
}
