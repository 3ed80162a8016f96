//! A two-host lab over ssh, from nothing to nothing.

use crate::machines::Machines;

#[test]
fn a_lab_on_two_machines_comes_up_answers_and_goes_without_a_trace() {
    let Some(machines) = Machines::new("two machines") else {
        return;
    };
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    machines.good(&["verify", lab]);
    let again = machines.good(&["up", lab]);
    assert!(again.contains("nothing to do"), "{again}");
    let status = machines.good(&["status", &machines.name]);
    assert_eq!(status.matches("running").count(), 2, "{status}");
    // `down` needs the name only.
    std::fs::remove_file(machines.lab()).unwrap();
    machines.good(&["down", &machines.name]);
    assert_eq!(machines.snapshot(), before);
}
