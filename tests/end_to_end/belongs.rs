//! FAULTS 59 and 60: whose lab it is: another state folder's, another file's, or nobody's who is still known.

use std::process::Output;

use super::local::Local;
use crate::support::lab::{Bench, EMPTY, said};

/// netlab with another state folder than the bench's own.
fn elsewhere(bench: &Bench, arguments: &[&str]) -> Output {
    let mut command = bench.netlab(arguments);
    command.env("NETLAB_STATE_DIR", bench.path("other")).output().unwrap()
}

/// FAULTS 60.
#[test]
fn a_lab_of_another_state_folder_is_left_alone_and_named_until_it_is_removed_by_force() {
    let test = "a_lab_of_another_state_folder_is_left_alone_and_named_until_it_is_removed_by_force";
    let Some(bench) = Bench::new(test, "oth", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let (folder, file) = (bench.state(), bench.file());
    let folder = folder.to_str().unwrap();
    for verb in [
        ["up", file],
        ["plan", file],
        ["verify", file],
        ["down", file],
        ["down", &bench.name],
    ] {
        let text = said(&elsewhere(&bench, &verb), 1);
        let line = format!("lab {} belongs to state folder {folder}", bench.name);
        assert!(text.contains(&line) && text.contains("--force"), "{verb:?}: {text}");
    }
    let text = said(&elsewhere(&bench, &["status"]), 0);
    assert!(
        text.contains(&format!("lab {} belongs to state folder {folder}\n", bench.name)),
        "{text}"
    );
    let text = said(&elsewhere(&bench, &["status", &bench.name]), 0);
    assert!(text.contains("is up") && text.contains(folder), "{text}");
    assert!(bench.good(&["plan", file]).contains("nothing to do"), "it is unchanged");

    let text = said(&elsewhere(&bench, &["down", "--force", &bench.name]), 0);
    assert!(text.contains("removed: ") && text.contains(folder), "{text}");
    let text = bench.bad(&["status", &bench.name], 1);
    assert!(
        text.contains(&format!("lab {} is not up", bench.name)),
        "the first folder knows: {text}"
    );
    assert!(!bench.path("other/labs").join(&bench.name).exists());
    bench.assert_as_before();
}

/// FAULTS 60.
#[test]
fn a_lab_whose_state_folder_is_lost_is_listed_recreated_by_up_and_removed_by_down() {
    let test = "a_lab_whose_state_folder_is_lost_is_listed_recreated_by_up_and_removed_by_down";
    let Some(bench) = Bench::new(test, "los", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let first = bench.init("node1");
    std::fs::remove_dir_all(bench.state()).unwrap();
    let list = bench.good(&["status"]);
    let row = list.lines().find(|line| line.starts_with(&bench.name));
    assert!(row.is_some_and(|row| row.contains("partly")), "{list}");
    let status = bench.good(&["status", &bench.name]);
    assert!(
        status.contains("found by its marks") && status.contains("lost"),
        "{status}"
    );
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("remove") && plan.contains("create"), "{plan}");

    let text = said(&bench.run(&["up", bench.file()]), 0);
    assert!(
        text.contains("warning: emulated host node1 runs, but its files"),
        "{text}"
    );
    assert!(!text.contains("Failed to connect"), "{text}");
    assert_ne!(bench.init("node1"), first);
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));

    std::fs::remove_dir_all(bench.state()).unwrap();
    let text = said(&bench.run(&["down", &bench.name]), 0);
    assert!(text.contains("removed: "), "{text}");
    bench.assert_as_before();
}

/// FAULTS 60: hosts that are not emulated have no process that names the state folder.
#[test]
fn a_lab_on_this_machine_itself_belongs_to_the_state_folder_that_brought_it_up() {
    let test = "a_lab_on_this_machine_itself_belongs_to_the_state_folder_that_brought_it_up";
    let Some(machine) = Local::new(test, "own") else {
        return;
    };
    let before = machine.snapshot();
    let file = machine.lab(
        "mine",
        "[networks.n]\nsubnet = \"10.0.1.0/24\"\nbridge = \"br1\"\ngateway = { address = \"10.0.1.1\" }\n",
    );
    machine.good(&["up", &file]);
    let up = machine.snapshot();
    let other = |arguments: &[&str]| {
        let mut command = machine.0.enter("machine");
        command
            .arg(env!("CARGO_BIN_EXE_netlab"))
            .args(arguments)
            .env("NETLAB_STATE_DIR", machine.0.path("other"))
            .env("NETLAB_CACHE_DIR", Bench::cache());
        command.output().unwrap()
    };
    for verb in [["up", &file], ["down", &file]] {
        let text = said(&other(&verb), 1);
        assert!(text.contains("belongs to state folder"), "{verb:?}: {text}");
    }
    machine.assert_unchanged(&up, "");

    // With its folder lost it is nobody's, and still listed.
    std::fs::remove_dir_all(machine.0.path("local")).unwrap();
    let list = said(&other(&["status"]), 0);
    assert!(list.lines().any(|line| line.starts_with("mine ")), "{list}");
    let text = said(&other(&["status", "mine"]), 0);
    assert!(text.contains("found by its marks") && text.contains("br1"), "{text}");
    let text = said(&other(&["up", &file]), 0);
    assert!(text.contains("nothing to do"), "{text}");
    said(&other(&["down", &file]), 0);
    machine.assert_unchanged(&before, "");
    machine.end();
}

/// FAULTS 59.
#[test]
fn another_file_with_the_name_of_a_lab_that_is_up_is_refused_unless_it_is_to_replace_it() {
    let test = "another_file_with_the_name_of_a_lab_that_is_up_is_refused_unless_it_is_to_replace_it";
    let Some(bench) = Bench::new(test, "twin", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let text = std::fs::read_to_string(&bench.lab).unwrap();
    let other = bench.path("other.toml");
    let file = other.to_str().unwrap();
    // A copy is the same lab.
    std::fs::write(&other, &text).unwrap();
    assert!(bench.good(&["up", file]).contains("nothing to do"));
    std::fs::write(&other, text.replace("10.0.1.", "10.0.2.")).unwrap();
    let up = bench.bad(&["up", file], 1);
    for part in [file, bench.file(), "nothing was changed", "--replace"] {
        assert!(up.contains(part), "no {part} in {up}");
    }
    let plan = said(&bench.run(&["plan", file]), 0);
    assert!(plan.contains("warning: ") && plan.contains(bench.file()), "{plan}");
    assert!(
        bench.good(&["plan", bench.file()]).contains("nothing to do"),
        "it is unchanged"
    );

    // The same file, edited; and the same one under another name, edited.
    bench.write(&format!("# edited\n{EMPTY}"));
    bench.good(&["-q", "up", bench.file()]);
    let moved = bench.path("moved.toml");
    std::fs::rename(&bench.lab, &moved).unwrap();
    let edited = std::fs::read_to_string(&moved).unwrap().replace("10.0.1.", "10.0.3.");
    std::fs::write(&moved, edited).unwrap();
    bench.good(&["-q", "up", moved.to_str().unwrap()]);

    bench.bad(&["up", file], 1);
    bench.good(&["-q", "up", "--replace", file]);
    assert!(bench.good(&["plan", file]).contains("nothing to do"));
    bench.bad(&["up", moved.to_str().unwrap()], 1);
    bench.good(&["-q", "down", &bench.name]);
    // The lab is down: any file may bring it up.
    bench.good(&["-q", "up", moved.to_str().unwrap()]);
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// A user who may not read netlab's files does not read that there is nothing.
#[test]
fn status_as_an_ordinary_user_says_what_it_cannot_see() {
    let test = "status_as_an_ordinary_user_says_what_it_cannot_see";
    let Some(bench) = Bench::new(test, "nob", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    std::fs::set_permissions(bench.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = bench.path("netlab");
    std::fs::copy(env!("CARGO_BIN_EXE_netlab"), &program).unwrap();
    let mut command = bench.netlab(&["status"]);
    let mut nobody = std::process::Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(&program).args(command.get_args());
    nobody.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let text = said(&nobody.output().unwrap(), 1);
    assert!(text.contains(&bench.name), "namespaces are visible to all: {text}");
    assert!(!text.contains("no lab is up"), "{text}");
    for part in ["cannot list", "ermission denied", "help: ", "as root"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    command = bench.netlab(&["-q", "down", &bench.name]);
    assert!(command.status().unwrap().success());
    bench.assert_as_before();
}
