//! FAULTS 2 and 61: whatever does not answer is bounded by a deadline of its own and named, the rest goes on, and a signal
//! is honored at any moment.

use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::local::Local;
use crate::support::lab::{Bench, EMPTY, GUEST, PATIENT, said, with_switches};
use crate::support::processes;

/// Runs netlab; gives its output and how long it took.
fn timed(bench: &Bench, arguments: &[&str]) -> (Output, Duration) {
    let began = Instant::now();
    let output = bench.run(arguments);
    (output, began.elapsed())
}

/// All that was said.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The only process of this machine whose arguments have `one` and `other`.
fn process(one: &str, other: &str) -> u32 {
    let found: Vec<_> = processes()
        .into_iter()
        .filter(|(_, arguments)| arguments.contains(one) && arguments.contains(other))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].0
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// The libvirt daemon of an emulated host: the child of its init.
fn daemon(bench: &Bench, host: &str) -> u32 {
    let init = bench.init(host);
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
    let is_daemon = |pid: &&str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        ["libvirtd", "virtqemud"].contains(&name.trim())
    };
    let pid = children.split_whitespace().find(is_daemon);
    pid.expect("the daemon runs").parse().unwrap()
}

const TWO_GUESTS: &str = r#"
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service" }]
[vms.vm2]
memory = "96MiB"
nics = [{ network = "service" }]
"#;

/// FAULTS 61 and the console: about 60 s, most of it waiting.
#[test]
fn a_guest_whose_qemu_is_stopped_is_named_and_given_up_while_the_rest_goes_on() {
    let test = "a_guest_whose_qemu_is_stopped_is_named_and_given_up_while_the_rest_goes_on";
    let Some(bench) = Bench::new(test, "stop", &format!("{EMPTY}{TWO_GUESTS}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let qemu = process("qemu-system", &format!("guest={}.vm2", bench.name));
    let mut running = bench.netlab(&["exec", &bench.name, "vm2", "--within", "300", "--", "sleep 1000"]);
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    signal(qemu, Signal::STOP);
    let stopped = Instant::now();
    let named = format!("QEMU process {qemu} is stopped");

    let (verified, took) = timed(&bench, &["verify", bench.file()]);
    let text_of = text(&verified);
    assert_eq!(verified.status.code(), Some(1), "{text_of}");
    assert!(text_of.contains(&named), "{text_of}");
    assert!(took < Duration::from_secs(30), "{took:?}: {text_of}");
    // The other guest was asked all the same.
    let line = |from: &str| {
        text_of
            .lines()
            .find(|line| line.starts_with(from))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(line("vm1").contains("ok"), "{text_of}");

    let status = bench.good(&["status", &bench.name]);
    assert!(status.contains(&named), "{status}");
    let again = said(&bench.run(&["up", bench.file()]), 0);
    assert!(again.contains(&named) && again.contains("nothing to do"), "{again}");

    let (asked, took) = timed(&bench, &["exec", &bench.name, "vm2", "--", "true"]);
    let text_of = text(&asked);
    assert_eq!(asked.status.code(), Some(125), "{text_of}");
    assert!(
        text_of.contains(&named) && took < Duration::from_secs(10),
        "{took:?}: {text_of}"
    );

    // A command that was running: 3 s of silence, then 10 s in which the guest may be continued.
    let output = running.wait_with_output().unwrap();
    let text_of = text(&output);
    assert_eq!(output.status.code(), Some(125), "{text_of}");
    assert!(text_of.contains(&named), "{text_of}");
    assert!(stopped.elapsed() < Duration::from_secs(60), "{:?}", stopped.elapsed());

    signal(qemu, Signal::CONT);
    bench.good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    let (down, took) = timed(&bench, &["-q", "down", &bench.name]);
    assert_eq!(down.status.code(), Some(0), "{}", text(&down));
    assert!(took < Duration::from_secs(30), "{took:?}");
    bench.assert_as_before();
}

/// About 40 s, most of it waiting.
#[test]
fn exec_keeps_its_limit_and_takes_no_quotation_for_a_panic() {
    let test = "exec_keeps_its_limit_and_takes_no_quotation_for_a_panic";
    let Some(bench) = Bench::new(test, "exec", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let exec =
        |within: &str, command: &str| timed(&bench, &["exec", &bench.name, "vm1", "--within", within, "--", command]);

    let quoted = "echo '[    9.1] Kernel panic - not syncing: x'; echo '---[ end Kernel panic - not syncing: x ]---'; \
                  sleep 3; echo after; (exit 7)";
    let (output, _) = exec("60", quoted);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).ends_with("after\n"), "{}", text(&output));

    let (output, took) = exec("4", "sleep 1000");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output));
    assert!(took < Duration::from_secs(7), "{took:?}");
    // What floods the console is bounded, and so is the next command beside it.
    let (output, took) = exec("4", "yes");
    assert_eq!(output.status.code(), Some(124), "{took:?}");
    assert!(took < Duration::from_secs(9), "{took:?}");
    let (output, took) = exec("5", "yes flood & sleep 2; kill $!; echo over");
    assert!(took < Duration::from_secs(9), "{took:?}: {:?}", output.status);

    // A console that is stuck: its shell is stopped.
    let (output, took) = exec("4", "kill -STOP $$");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output));
    assert!(took < Duration::from_secs(7), "{took:?}");
    let (output, took) = exec("4", "true");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output));
    assert!(text(&output).contains("not ready within 4 s"), "{}", text(&output));
    assert!(took < Duration::from_secs(7), "{took:?}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// About 20 s.
#[test]
fn a_stopped_daemon_is_named_and_down_ends_its_emulated_host() {
    let test = "a_stopped_daemon_is_named_and_down_ends_its_emulated_host";
    let Some(bench) = Bench::new(test, "dmn", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let pid = daemon(&bench, "node1");
    signal(pid, Signal::STOP);
    for arguments in [
        &["status", &bench.name][..],
        &["up", bench.file()],
        &["verify", bench.file()],
    ] {
        let (output, took) = timed(&bench, arguments);
        let said = said(&output, 1);
        assert!(
            said.contains("the libvirt daemon of host node1 is stopped") && said.contains(&format!("process {pid}")),
            "{said}"
        );
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
    // A signal while it is waited for.
    let mut up = bench.netlab(&["up", bench.file()]);
    let up = up.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    kill_process(Pid::from_child(&up), Signal::TERM).unwrap();
    let ended = up.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(13), "{:?}", began.elapsed());
    let said_then = said(&ended, 143);
    assert!(
        said_then.contains("netlab up") && said_then.contains("netlab down"),
        "{said_then}"
    );

    let (output, took) = timed(&bench, &["down", &bench.name]);
    let said = said(&output, 0);
    assert!(said.contains("is ended with everything in it"), "{said}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    bench.assert_as_before();
}

/// A daemon that stops while a run is using it: libvirt's keepalive notices after 30 s.
#[test]
#[ignore = "soak: 90 s of waiting for time-outs"]
fn a_daemon_that_stops_answering_is_given_up_whenever_it_does() {
    let test = "a_daemon_that_stops_answering_is_given_up_whenever_it_does";
    let Some(bench) = Bench::new(test, "mute", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    // During a run: a guest boots, and the daemon is stopped.
    let up = bench.until(&["up", bench.file()], ": start ");
    signal(daemon(&bench, "node1"), Signal::STOP);
    let began = Instant::now();
    let (status, said_then) = up.end();
    assert_eq!(status, Some(1), "{said_then}");
    assert!(said_then.contains("libvirt daemon of host node1"), "{said_then}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();

    // From the start: something accepts connections in its place and never answers.
    bench.write(EMPTY);
    bench.good(&["-q", "up", bench.file()]);
    let folder = bench
        .state()
        .join("labs")
        .join(&bench.name)
        .join("hosts/node1/run/libvirt");
    let socket = ["libvirt-sock", "virtqemud-sock"].map(|name| folder.join(name));
    let socket = socket.iter().find(|socket| socket.exists()).unwrap();
    std::fs::rename(socket, folder.join("moved")).unwrap();
    let _mute = UnixListener::bind(socket).unwrap();
    let (output, took) = timed(&bench, &["status", &bench.name]);
    let said_then = said(&output, 1);
    assert!(said_then.contains("did not answer within"), "{said_then}");
    assert!(took < Duration::from_secs(40), "{took:?}");
    // A signal ends the wait, also inside of libvirt's own call.
    let mut down = bench.netlab(&["down", &bench.name]);
    let down = down.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    kill_process(Pid::from_child(&down), Signal::INT).unwrap();
    let ended = down.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let said_then = said(&ended, 130);
    assert!(
        said_then.contains("netlab up") && said_then.contains("netlab down"),
        "{said_then}"
    );
    let (output, took) = timed(&bench, &["down", &bench.name]);
    said(&output, 0);
    assert!(took < Duration::from_secs(60), "{took:?}");
    bench.assert_as_before();
}

/// A real host's daemon is not netlab's to end. About 15 s.
#[test]
fn the_stopped_daemon_of_a_real_host_is_named_and_left_alone() {
    let test = "the_stopped_daemon_of_a_real_host_is_named_and_left_alone";
    let Some(machine) = Local::new(test, "rd") else {
        return;
    };
    let before = machine.snapshot();
    let path = machine.lab(
        "mine",
        "[networks.n]\nsubnet = \"10.0.1.0/24\"\ngateway = { address = \"10.0.1.1\" }\n",
    );
    machine.good(&["-q", "up", &path]);
    let pid = daemon(&machine.0, "machine");
    signal(pid, Signal::STOP);
    let began = Instant::now();
    let said = machine.bad(&["down", "mine"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(
        said.contains("the libvirt daemon of host here is stopped") && said.contains("help: continue it"),
        "{said}"
    );
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(stat.contains(") T "), "it was not touched: {stat}");
    signal(pid, Signal::CONT);
    machine.good(&["-q", "down", "mine"]);
    machine.assert_unchanged(&before, &said);
    machine.end();
}

#[test]
fn a_signal_at_every_second_boundary_ends_with_its_status_and_how_to_go_on() {
    signals(
        "a_signal_at_every_second_boundary_ends_with_its_status_and_how_to_go_on",
        2,
    );
}

#[test]
#[ignore = "soak: every step boundary"]
fn a_signal_at_any_boundary_ends_with_its_status_and_how_to_go_on() {
    signals("a_signal_at_any_boundary_ends_with_its_status_and_how_to_go_on", 1);
}

/// FAULTS 2, at each `every`th step boundary: each signal ends with its status and how to go on, also in the last step and
/// after it.
fn signals(test: &str, every: usize) {
    let Some(bench) = Bench::new(test, "sig", &with_switches(EMPTY)) else {
        return;
    };
    let mut boundaries = [0, 0];
    for (verb, name, status) in [(0, "TERM", 143), (1, "INT", 130)] {
        for at in (1..100).step_by(every) {
            let arguments = [["-q", "up", bench.file()], ["-q", "down", &bench.name]][verb];
            if verb == 1 {
                bench.good(&["-q", "up", bench.file()]);
            }
            let mut run = bench.netlab(&arguments);
            let output = run.env("NETLAB_FAILPOINT", format!("{at}:{name}")).output().unwrap();
            if output.status.success() {
                bench.good(&["-q", "down", &bench.name]);
                break;
            }
            let said = said(&output, status);
            assert!(
                said.contains("`netlab up` continues") && said.contains(&format!("netlab down {}", bench.name)),
                "{said}"
            );
            boundaries[verb] = at;
            bench.good(&["-q", "down", &bench.name]);
            bench.assert_as_before();
        }
    }
    assert!(boundaries[0] >= 6 && boundaries[1] >= 4, "{boundaries:?}");
}
