//! `netlab exec`: commands of any length, with standard input, one after the other on one console.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::lab::{Bench, EMPTY, GUEST};

#[test]
fn exec_passes_long_commands_and_input_on_and_waits_for_the_console() {
    let test = "exec_passes_long_commands_and_input_on_and_waits_for_the_console";
    let Some(bench) = Bench::new(test, "exec", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let lab = bench.name.as_str();

    let long = "x".repeat(5000);
    let output = bench.good(&["exec", lab, "vm1", "--", &format!("echo {long}")]);
    assert_eq!(output, format!("{long}\n"));

    // Every byte, more than one exchange of lines.
    let input: Vec<u8> = (0..20_000_u32).map(|n| u8::try_from(n % 256).unwrap()).collect();
    let command = ["exec", lab, "vm1", "--", "sha256sum; ls /tmp | wc -l"];
    let mut exec = bench.netlab(&command);
    exec.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut exec = exec.spawn().unwrap();
    exec.stdin.take().unwrap().write_all(&input).unwrap();
    let output = exec.wait_with_output().unwrap();
    let sum = sha256(&input);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{sum}  -\n1\n"));
    assert!(output.status.success());
    let left = bench.good(&["exec", lab, "vm1", "--", "ls /tmp | wc -l"]);
    assert_eq!(left, "0\n", "the files of a command are deleted");

    // The second waits for the first and names it.
    let mut first = bench.netlab(&["exec", lab, "vm1", "--", "sleep 3; echo first"]);
    let mut first = first.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while !bench.state().join(format!("labs/{lab}/consoles/vm1")).exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let second = bench.run(&["exec", lab, "vm1", "--", "echo second"]);
    assert_eq!(String::from_utf8_lossy(&second.stdout), "second\n");
    let errors = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(errors.contains("is used by `netlab exec`, process "), "{errors}");
    assert!(first.wait().unwrap().success());
    bench.good(&["-q", "down", lab]);
    bench.assert_as_before();
}

fn sha256(content: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let digits: Vec<String> = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    digits.concat()
}
