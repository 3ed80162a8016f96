//! What `status` shows of one lab and of all.

use serde_json::Value;

use super::local::Local;
use crate::support::lab::{Bench, EMPTY, with_switches};

#[test]
fn all_labs_are_listed_with_how_much_of_them_is_there() {
    let test = "all_labs_are_listed_with_how_much_of_them_is_there";
    let Some(bench) = Bench::new(test, "st", &with_switches(EMPTY)) else {
        return;
    };
    // Labs of other tests may be listed as well.
    assert!(!bench.good(&["status"]).contains(&bench.name));
    bench.good(&["-q", "up", bench.file()]);
    let state = || {
        let list: Value = serde_json::from_str(&bench.good(&["status", "--json"])).unwrap();
        let labs = list["labs"].as_array().unwrap();
        let own = labs.iter().find(|lab| lab["lab"] == bench.name.as_str());
        own.unwrap_or_else(|| panic!("{list:#}"))["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(state(), "up");
    let text = bench.good(&["status"]);
    assert!(text.starts_with("LAB") && text.contains(&bench.name), "{text}");

    let one: Value = serde_json::from_str(&bench.good(&["status", "--json", &bench.name])).unwrap();
    assert_eq!(one["hosts"][0]["connect"], "emulated");
    assert_eq!(one["networks"][0]["name"], "service");
    assert_eq!(one["networks"][0]["uplink"], "eth0");
    let text = bench.good(&["status", &bench.name]);
    assert!(
        !text.contains("VM") && text.contains("10.0.1.1/24"),
        "no table without rows: {text}"
    );

    assert!(bench.killed(&["-q", "down", &bench.name], 3));
    assert_eq!(state(), "partly");
    bench.good(&["-q", "down", &bench.name]);
    let text = bench.bad(&["status", &bench.name], 1);
    assert!(text.contains(&format!("lab {} is not up", bench.name)), "{text}");
    bench.assert_as_before();
}

#[test]
fn a_host_whose_connect_changed_is_refused_until_the_lab_is_down() {
    let test = "a_host_whose_connect_changed_is_refused_until_the_lab_is_down";
    let Some(machine) = Local::new(test, "cc") else {
        return;
    };
    let before = machine.snapshot();
    let network = "[networks.n]\nsubnet = \"10.0.1.0/24\"\ngateway = { address = \"10.0.1.1\" }\n";
    let file = machine.lab("mine", network);
    machine.good(&["up", &file]);
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("connect = \"local\"\n", "");
    std::fs::write(&file, text).unwrap();
    let said = machine.bad(&["up", &file]);
    assert!(said.contains("`local`") && said.contains("`emulated`"), "{said}");
    assert!(said.contains("netlab down mine"), "{said}");
    // The journal knows better than the file where the lab is.
    machine.good(&["down", &file]);
    machine.assert_unchanged(&before, "");
    machine.end();
}
