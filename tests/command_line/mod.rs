//! The command line by itself: how labs are named, what is completed, what a closed pipe does. No host is asked.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// netlab in `folder`, with its state and cache there.
fn netlab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netlab"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("NETLAB_STATE_DIR", folder.join("s"))
        .env("NETLAB_CACHE_DIR", folder.join("c"))
        .env("LC_ALL", "C.UTF-8");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = netlab(folder, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn init_writes_a_lab_and_never_over_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, said) = run(folder.path(), &["init"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(out, "lab.toml: the example quickstart; start it with `netlab up`\n");
    let before = std::fs::read(folder.path().join("lab.toml")).unwrap();
    let (code, _, said) = run(folder.path(), &["init", "--from", "flat"]);
    assert!(code == Some(1) && said.contains("lab.toml"), "{code:?}: {said}");
    assert_eq!(std::fs::read(folder.path().join("lab.toml")).unwrap(), before);
    let (code, _, said) = run(folder.path(), &["init", "--from", "nonsense"]);
    assert!(code == Some(2) && said.contains("two-vlans"), "{code:?}: {said}");
}

#[test]
fn a_lab_is_a_file_its_folder_the_current_folder_or_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = run(folder.path(), &["plan", "--offline"]);
    assert!(
        code == Some(2) && said.contains("there is no lab.toml in this folder"),
        "{said}"
    );
    run(folder.path(), &["init"]);
    let (_, by_file, _) = run(folder.path(), &["plan", "--offline", "lab.toml"]);
    assert!(
        by_file.contains("localhost:\n  + create emulated host node1\n"),
        "{by_file}"
    );
    let by_folder = run(folder.path(), &["plan", "--offline", "."]);
    let (_, by_default, said) = run(folder.path(), &["plan", "--offline"]);
    assert_eq!((&by_folder.1, &by_default), (&by_file, &by_file));
    assert_eq!(said, "lab file: ./lab.toml\n");
    let file = std::fs::File::open(folder.path().join("lab.toml")).unwrap();
    let mut by_input = netlab(folder.path(), &["plan", "--offline", "-"]);
    let by_input = by_input.stdin(file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&by_input.stdout), by_file);
    let (code, _, said) = run(folder.path(), &["plan", "nosuch"]);
    assert!(code == Some(1) && said.contains("no lab of that name is up"), "{said}");
}

#[test]
fn a_plan_explains_its_steps_and_is_json_with_a_version() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]);
    let (code, text, _) = run(
        folder.path(),
        &["plan", "--offline", "--explain", "--detailed-exitcode"],
    );
    assert_eq!(code, Some(2));
    let gateway = "address 10.0.1.1/24";
    let reasons: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("      lab.toml:"))
        .collect();
    assert!(
        text.contains(gateway) && text.contains("not asked: node1, node2"),
        "{text}"
    );
    for reason in [
        "bridge = \"br1\"",
        "uplink = \"eth0\"",
        "ends = [",
        "[vms.vm1]",
        "[vms.web]",
        "gateway = {",
    ] {
        assert!(reasons.iter().any(|line| line.contains(reason)), "no {reason}: {text}");
    }
    let steps = text.matches("\n  + ").count() + text.matches("\n  ~ ").count();
    assert_eq!(reasons.len(), steps, "a step has no reason: {text}");

    let (_, json, _) = run(folder.path(), &["plan", "--offline", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["version"], &json["offline"]),
        (&Value::from(1), &Value::from(true))
    );
    assert_eq!(json["steps"].as_array().unwrap().len(), steps);
    assert_eq!(json["steps"][0]["effect"], "add");
}

#[test]
fn a_limit_is_explained_by_the_line_that_states_it() {
    let folder = tempfile::tempdir().unwrap();
    let lab = r#"name = "limits"
[hosts.node1]
nics.eth0 = {}
[hosts.node2]
nics.eth0.rate = "10mbit"
[[cables]]
ends = ["node1:eth0", "node2:eth0"]
link = "down"
[networks.service]
subnet = "10.0.1.0/24"
uplink = "eth0"
rate = "1mbit"
[vms.vm1]
host = "node1"
nics = [{ network = "service" }, { network = "service", rate = "2mbit" }]
"#;
    std::fs::write(folder.path().join("lab.toml"), lab).unwrap();
    let (_, text, said) = run(folder.path(), &["plan", "--offline", "--explain"]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let reason = |step: &str| {
        let at = lines.iter().position(|line| line.contains(step));
        lines[at.unwrap_or_else(|| panic!("no {step}: {text}{said}")) + 1]
    };
    assert_eq!(reason("set link eth0 of node1 down"), "lab.toml:8: link = \"down\"");
    assert_eq!(reason("rate 10mbit"), "lab.toml:5: nics.eth0.rate = \"10mbit\"");
    assert_eq!(reason("rate 1mbit"), "lab.toml:12: rate = \"1mbit\"");
    assert!(reason("rate 2mbit").starts_with("lab.toml:15: nics"), "{text}");
}

#[test]
fn errors_are_json_where_the_answer_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "name = \"a\"\nnmae = 1\n").unwrap();
    for (arguments, status) in [
        (&["plan", "bad.toml"][..], 2),
        (&["plan", "nosuch"][..], 1),
        (&["deploy"][..], 2),
        (&["up", "--nonsense"][..], 2),
    ] {
        let (code, _, said) = run(folder.path(), &[&["--json"][..], arguments].concat());
        assert_eq!(code, Some(status), "{said}");
        let error: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(error["exit_status"], status, "{said}");
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    }
    let (_, _, said) = run(folder.path(), &["deploy"]);
    assert!(said.contains("`netlab up`"), "{said}");
}

/// Cases us-10 and bg-35.
#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]);
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["man"],
        &["schema"],
        &["--help"],
        &["plan", "--offline"],
        &["graph"],
        &["image", "list"],
    ] {
        let mut child = netlab(folder.path(), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Closed before netlab has started to write.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
        assert!(
            !said.contains("panicked") && !said.contains("pipe"),
            "{arguments:?}: {said}"
        );
    }
}

/// Completes a command line as bash does.
fn completed(folder: &Path, words: &[&str]) -> Vec<String> {
    let mut command = netlab(folder, &["--"]);
    command
        .args(words)
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
        .env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn names_that_exist_are_completed_and_internal_commands_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let of = |words: &[&str]| completed(folder.path(), words);
    run(folder.path(), &["init", "my.toml"]);
    std::fs::create_dir_all(folder.path().join("s/labs/running")).unwrap();
    assert_eq!(of(&["netlab", "status", "r"]), ["running"]);
    assert!(of(&["netlab", "up", "m"]).contains(&"my.toml".to_owned()));
    assert_eq!(of(&["netlab", "exec", "my.toml", "v"]), ["vm1", "vm3"]);
    assert_eq!(of(&["netlab", "stop", "my.toml", "w"]), ["web-1", "web-2"]);
    assert_eq!(of(&["netlab", "script", "my.toml", "n"]), ["node1", "node2"]);
    assert_eq!(of(&["netlab", "diagnose", "my.toml", "vm1", "vm3/"]), ["vm3/service"]);
    assert!(of(&["netlab", "image", "pull", "mini"]).contains(&"mini".to_owned()));
    for internal in ["for", "host-"] {
        assert!(of(&["netlab", internal]).is_empty(), "{internal}");
    }
    assert!(of(&["netlab", "ver"]).contains(&"verify".to_owned()));
}

#[test]
fn every_shell_gets_a_script_that_asks_netlab() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, said) = run(folder.path(), &["completions", shell]);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            script.contains("COMPLETE") && script.contains("netlab"),
            "{shell}: {script}"
        );
    }
}

#[test]
fn the_reference_of_the_lab_file_is_current() {
    let folder = tempfile::tempdir().unwrap();
    let (_, text, _) = run(folder.path(), &["schema", "--reference"]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let written = std::fs::read_to_string(page).unwrap_or_default();
    assert!(text == written, "run `netlab schema --reference > docs/reference.md`");
}
