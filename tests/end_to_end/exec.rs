//! `netlab exec`: commands of any length, with standard input, one after the other on one console.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::lab::{Bench, EMPTY, GUEST};
use crate::support::processes;

#[test]
fn exec_passes_long_commands_and_input_on_and_waits_for_the_console() {
    let test = "exec_passes_long_commands_and_input_on_and_waits_for_the_console";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let forward = format!("forward = [{{ host = {port}, guest = 80 }}]\n");
    let Some(bench) = Bench::new(test, "exec", &format!("{EMPTY}{GUEST}{forward}")) else {
        return;
    };
    let refused = bench.bad(&["-q", "up", bench.file()], 1);
    assert!(refused.contains(&format!("port {port} of 127.0.0.1")), "{refused}");
    drop(listener);
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
    on_hosts_and_side_by_side(&bench);
    files_over_the_console(&bench);
    a_port_leads_to_the_guest(&bench, port);
    bench.good(&["-q", "down", lab]);
    bench.assert_as_before();
}

/// Commands on the lab's host, in all VMs, and by a pattern of names.
fn on_hosts_and_side_by_side(bench: &Bench) {
    let lab = bench.name.as_str();
    let routes = bench.good(&["exec", lab, "node1", "-n", "--", "ip", "route"]);
    assert!(routes.contains("10.0.1.0/24 dev br1"), "{routes}");
    let inside = bench.good(&["exec", lab, "--all", "-n", "--", "hostname"]);
    assert_eq!(inside, "vm1: vm1\n");
    let output = bench.run(&["exec", lab, "--on", "*1", "-n", "--", "uname -n | grep vm1"]);
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(text, "vm1: vm1\n", "{errors}");
    assert!(errors.contains("1 of 2 failed: node1 (1)"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
    let slow = bench.run(&["exec", lab, "--timeout", "1", "node1", "-n", "--", "sleep 60"]);
    assert_eq!(slow.status.code(), Some(124));
    let wrong = bench.bad(&["exec", lab, "node2", "-n", "--", "true"], 125);
    assert!(wrong.contains("node2") && wrong.contains("node1"), "{wrong}");
}

/// The guest has no ssh server, so `cp` says so and uses the console.
fn files_over_the_console(bench: &Bench) {
    let lab = bench.name.as_str();
    let (file, back) = (bench.path("a file"), bench.path("back"));
    let content: Vec<u8> = (0..3000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    std::fs::write(&file, &content).unwrap();
    let output = bench.run(&["cp", lab, file.to_str().unwrap(), "vm1:/tmp"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("copying over the console"), "{errors}");
    bench.good(&["-q", "cp", "--console", lab, "vm1:/tmp/a file", back.to_str().unwrap()]);
    assert!(std::fs::read(&back).unwrap() == content);
    let wrong = bench.bad(&["-q", "cp", "--console", lab, "vm1:/none", back.to_str().unwrap()], 1);
    assert!(wrong.contains("cannot copy /none"), "{wrong}");
    let refused = bench.bad(&["proxy", lab, "vm1"], 1);
    assert!(refused.contains("nothing listens on that port"), "{refused}");
}

/// A web server in the guest, fetched from this machine; and what listens here, killed and started again.
fn a_port_leads_to_the_guest(bench: &Bench, port: u16) {
    let lab = bench.name.as_str();
    bench.good(&[
        "exec",
        lab,
        "vm1",
        "-n",
        "--",
        "busybox httpd -p 80 -h /tmp; seq 30000 >/tmp/numbers",
    ]);
    let numbers: Vec<String> = (1..=30_000).map(|n| format!("{n}\n")).collect();
    let numbers = numbers.concat();
    let fetch = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(b"GET /numbers HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.ends_with(&format!("\r\n\r\n{numbers}"))
    };
    assert!(fetch());
    let status = bench.good(&["status", lab]);
    assert!(
        status.contains(&format!("127.0.0.1:{port}  vm1  80  node1  up")),
        "{status}"
    );

    let is_it = |command: &str| command.contains("forward-port") && command.contains(lab);
    let (pid, _) = processes().into_iter().find(|(_, command)| is_it(command)).unwrap();
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    while processes().iter().any(|(_, command)| is_it(command)) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let status = bench.good(&["status", lab]);
    assert!(status.contains("partly up") && status.contains("dead"), "{status}");
    let plan = bench.good(&["plan", bench.file()]);
    assert_eq!(
        plan.trim(),
        format!("localhost:\n  + forward 127.0.0.1:{port} to vm1 (10.0.1.2:80)\n1 step: 1 add, 0 change, 0 remove")
    );
    bench.good(&["-q", "up", bench.file()]);
    assert!(fetch());
}

fn sha256(content: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    let digits: Vec<String> = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    digits.concat()
}
