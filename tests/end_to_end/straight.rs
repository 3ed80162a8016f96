//! The straight line of `labs/quickstart.toml`.

use crate::support::lab::{Bench, EMPTY, quickstart};

#[test]
fn the_quickstart_comes_up_answers_and_goes_down_without_a_trace() {
    let test = "the_quickstart_comes_up_answers_and_goes_down_without_a_trace";
    let Some(bench) = Bench::new(test, "qs", &quickstart()) else {
        return;
    };
    bench.good(&["up", bench.file()]);
    let matrix: serde_json::Value = serde_json::from_str(&bench.good(&["verify", "--json", bench.file()])).unwrap();
    let cells = matrix["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 16, "4 guests ask 3 others and the gateway: {matrix:#}");

    let status = bench.good(&["status", &bench.name]);
    assert_eq!(status.matches("  running  ").count(), 4, "{status}");
    assert_eq!(status.matches("  emulated  up").count(), 2, "{status}");

    // FAULTS 9: the lab file is deleted; `down` needs the name only.
    std::fs::remove_file(&bench.lab).unwrap();
    bench.good(&["down", &bench.name]);
    bench.assert_as_before();
}

/// FAULTS 10.
#[test]
fn a_second_up_and_a_second_down_change_nothing() {
    let Some(bench) = Bench::new("a_second_up_and_a_second_down_change_nothing", "two", EMPTY) else {
        return;
    };
    bench.good(&["up", bench.file()]);
    let journal = bench.state().join("labs").join(&bench.name).join("journal");
    let before = std::fs::read(&journal).unwrap();
    let again = bench.good(&["up", bench.file()]);
    assert!(again.contains("nothing to do"), "{again}");
    assert_eq!(std::fs::read(&journal).unwrap(), before, "nothing was written, either");

    bench.good(&["down", &bench.name]);
    bench.assert_as_before();
    let again = bench.good(&["down", &bench.name]);
    assert!(again.contains("nothing to do"), "{again}");
    bench.assert_as_before();
}
