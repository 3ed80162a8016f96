//! A lab by its folder, by its name, and from standard input.

use std::fs::File;

use serde_json::Value;

use crate::support::lab::{Bench, EMPTY, GUEST, said};

#[test]
fn a_lab_that_came_from_standard_input_is_known_by_its_name() {
    let test = "a_lab_that_came_from_standard_input_is_known_by_its_name";
    let Some(bench) = Bench::new(test, "in", EMPTY) else {
        return;
    };
    let from_input = |verb: &str, file: &str| {
        let input = File::open(bench.path(file)).unwrap();
        bench.netlab(&["-q", verb, "-"]).stdin(input).output().unwrap()
    };
    let up = said(&from_input("up", "lab.toml"), 0);
    assert!(up.contains(&format!("next: netlab verify {}\n", bench.name)), "{up}");
    for lab in [bench.file(), bench.path("").to_str().unwrap(), &bench.name] {
        assert!(bench.good(&["plan", lab]).contains("nothing to do"), "{lab}");
    }
    // Another text of the same name is refused, as another file is.
    let other = EMPTY.replace("LABNAME", &bench.name).replace("10.0.1.", "10.0.2.");
    std::fs::write(bench.path("other.toml"), other).unwrap();
    let refused = bench.bad(&["up", bench.path("other.toml").to_str().unwrap()], 1);
    assert!(refused.contains("nothing was changed"), "{refused}");
    // From standard input again it is an edit.
    said(&from_input("up", "other.toml"), 0);
    let status: Value = serde_json::from_str(&bench.good(&["status", "--json", &bench.name])).unwrap();
    assert_eq!(status["networks"][0]["addresses"][0], "10.0.2.1/24", "{status:#}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn the_paths_of_a_lab_from_standard_input_start_where_it_came_up() {
    let test = "the_paths_of_a_lab_from_standard_input_start_where_it_came_up";
    let text =
        format!("{EMPTY}{GUEST}run = [\"sh given\"]\nfiles = [{{ path = \"/root/given\", from = \"given\" }}]\n");
    let Some(bench) = Bench::new(test, "ip", &text) else {
        return;
    };
    std::fs::write(bench.path("given"), "echo was here >/tmp/given\n").unwrap();
    let input = File::open(bench.file()).unwrap();
    let mut up = bench.netlab(&["-q", "up", "-"]);
    said(&up.current_dir(bench.path("")).stdin(input).output().unwrap(), 0);
    assert!(bench.good(&["plan", &bench.name]).contains("nothing to do"));
    bench.good(&["-q", "restart", &bench.name, "vm1"]);
    bench.good(&["-q", "up", &bench.name]);
    assert!(bench.good(&["plan", &bench.name]).contains("nothing to do"));
    assert_eq!(
        bench
            .good(&["exec", "-n", &bench.name, "vm1", "--", "cat /tmp/given"])
            .trim(),
        "was here"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

#[test]
fn status_names_networks_without_guests_and_counts_hosts() {
    let text = format!(
        "{EMPTY}\n[networks.spare]\nsubnet = \"10.9.0.0/24\"\n[switches.s]\n[[cables]]\nends = [\"node1:eth0\", \"s\"]\n"
    );
    let Some(bench) = Bench::new("status_names_networks_without_guests_and_counts_hosts", "un", &text) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let text = bench.good(&["status", &bench.name]);
    assert!(text.contains("network spare is on no host"), "{text}");
    let list: Value = serde_json::from_str(&bench.good(&["status", "--json"])).unwrap();
    let own = list["labs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|lab| lab["lab"] == bench.name.as_str());
    assert_eq!(own.unwrap()["hosts"], 1, "a switch is no host: {list:#}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
