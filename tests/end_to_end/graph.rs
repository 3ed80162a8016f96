//! `netlab graph`: a picture in each format, and colored by the state of a lab that is up.

use crate::support::lab::{Bench, EMPTY, GUEST};

#[test]
fn a_picture_of_a_lab_that_is_up_shows_what_stopped_in_red() {
    let test = "a_picture_of_a_lab_that_is_up_shows_what_stopped_in_red";
    let Some(bench) = Bench::new(test, "graph", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, options: &[&str]| {
        let path = folder.path().join(name);
        bench.good(&[&["graph", bench.file(), "-o", path.to_str().unwrap()], options].concat());
        std::fs::read_to_string(path).unwrap()
    };
    assert!(write("lab.svg", &[]).starts_with("<svg "));
    assert!(write("lab.html", &[]).starts_with("<!DOCTYPE html>"));
    assert!(write("lab.mmd", &[]).starts_with("flowchart "));
    assert!(write("lab.dot", &[]).starts_with("graph "));
    assert!(
        !write("lab.svg", &[]).contains("class=\"vm good\""),
        "nothing is read without --live"
    );
    let down = write("lab.svg", &["--live"]);
    assert!(
        down.contains("class=\"host bad\"") && down.contains("class=\"vm bad\""),
        "{down}"
    );

    bench.good(&["-q", "up", bench.file()]);
    let up = write("lab.svg", &["--live"]);
    assert!(
        up.contains("class=\"host\"") && up.contains("class=\"vm good\""),
        "{up}"
    );
    // A NIC of an emulated host that no cable is plugged into has no carrier.
    assert!(up.contains("class=\"nic bad\""), "{up}");
    bench.inside("node1", &["virsh", "-q", "destroy", &format!("{}.vm1", bench.name)]);
    let stopped = write("lab.svg", &["--live"]);
    assert!(stopped.contains("class=\"vm bad\""), "{stopped}");

    let refused = bench.bad(&["graph", bench.file(), "-o", "lab.png"], 2);
    assert!(refused.contains("help: use a name that ends with .svg"), "{refused}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
