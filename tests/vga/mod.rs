//! Guests that have only a screen and a keyboard: real libvirt, real QEMU, Linux for i686 without a serial console.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test: it may panic and prints when it is skipped"
)]

mod bench;
mod full;
mod labs;
mod seed;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bench::{Bench, image, with_login};
use netlab::guest::{ConsoleError, Session, SessionFault};
use netlab::host::Host;
use netlab::lab::ConsoleKind;

/// Generous: other tests may use the CPUs.
const PATIENCE: Duration = Duration::from_secs(120);

fn output(session: &mut Session, script: &str) -> String {
    let done = session.run(script, PATIENCE).unwrap();
    assert_eq!(done.status, 0, "{script}: {}", done.text);
    done.text
}

/// Keeps a processor busy as long as `work` takes.
fn under_load<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
#[ignore = "soak: minutes of typing beside a processor that is kept busy"]
fn twenty_commands_of_200_characters_arrive_unharmed_beside_a_busy_processor() {
    let Some(bench) = Bench::new("twenty_commands_of_200_characters_arrive_unharmed_beside_a_busy_processor") else {
        return;
    };
    let guest = bench.start("typed", "");
    let mut session = bench.open(&guest, &image()).unwrap();
    // All characters of the keyboard except the quotation mark around them.
    let keys: Vec<char> = (' '..='~').filter(|one| *one != '\'').collect();
    under_load(|| {
        for round in 0..20 {
            let text: String = (0..193)
                .map(|place| keys[(place * 7 + round * 31) % keys.len()])
                .collect();
            let output = session.run(&format!("echo '{text}'"), PATIENCE).unwrap();
            assert_eq!((output.status, output.text), (0, format!("{text}\n")), "round {round}");
        }
    });
}

#[test]
fn output_that_scrolls_off_the_screen_arrives_intact_with_its_status() {
    let Some(bench) = Bench::new("output_that_scrolls_off_the_screen_arrives_intact_with_its_status") else {
        return;
    };
    let guest = bench.start("scrolls", "");
    let mut session = bench.open(&guest, &image()).unwrap();
    let lines: Vec<String> = (1..=300).map(|number| format!("line {number} of many\n")).collect();
    assert_eq!(
        output(&mut session, "for n in $(seq 300); do echo line $n of many; done"),
        lines.concat()
    );
    assert_eq!(output(&mut session, "printf '%500s|' x"), format!("{:>500}|", "x"));
    for status in [1, 42, 255] {
        let output = session.run(&format!("echo {status}; exit {status}"), PATIENCE).unwrap();
        assert_eq!((output.status, output.text), (status, format!("{status}\n")));
    }
    let error = session.run("sleep 1000", Duration::from_secs(2)).unwrap_err();
    assert!(matches!(error.fault, SessionFault::Deadline { .. }), "{error}");
    assert_eq!(output(&mut session, "echo right"), "right\n");

    // The keyboard is exclusive: the error of a second session names the first until that one ends.
    let Err(error) = bench.host.open_console(&guest, ConsoleKind::Vga) else {
        panic!("two keyboards");
    };
    let error = netlab::causes::chain(&error);
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(session);
    // A partial line and a waiting pager of an earlier session are cleared.
    for left in ["half a li", "{ { (\n", "echo 'a\nb\n"] {
        let mut console = bench.host.open_console(&guest, ConsoleKind::Vga).unwrap();
        console.send(left.as_bytes()).unwrap();
        drop(console);
        let mut session = bench.open(&guest, &image()).unwrap();
        assert_eq!(output(&mut session, "echo right"), "right\n");
    }
    let png = bench.host.screenshot(&guest).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    std::fs::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("vga-screen.png"),
        png,
    )
    .unwrap();
}

#[test]
fn a_login_with_its_password_succeeds_and_with_another_is_refused() {
    let Some(bench) = Bench::new("a_login_with_its_password_succeeds_and_with_another_is_refused") else {
        return;
    };
    let guest = bench.start("login", "guest=login");
    let error = bench.open(&guest, &with_login("Wr0ng")).map(|_| ()).unwrap_err();
    assert_eq!(
        error.fault,
        SessionFault::LoginRefused {
            user: "root".to_owned()
        },
        "{error}"
    );
    let mut session = bench.open(&guest, &with_login("secret")).unwrap();
    assert_eq!(output(&mut session, "id -un; hostname"), "root\nvga\n");
    let transcript = std::fs::read_to_string(bench.transcript(&guest)).unwrap();
    assert!(
        !transcript.contains("secret") && !transcript.contains("Wr0ng"),
        "{transcript}"
    );
}

#[test]
#[ignore = "soak: two guests with a screen that boot until they fail"]
fn a_panic_or_a_reboot_loop_is_reported_with_the_guests_message() {
    let Some(bench) = Bench::new("a_panic_or_a_reboot_loop_is_reported_with_the_guests_message") else {
        return;
    };
    let guest = bench.start("dies", "");
    let mut session = bench.open(&guest, &image()).unwrap();
    let error = session
        .run("sleep 1; echo c >/proc/sysrq-trigger", PATIENCE)
        .unwrap_err();
    assert!(
        matches!(&error.fault, SessionFault::Panic(line) if line.contains("Kernel panic")),
        "{error}"
    );
    drop(session);
    bench.stop(&guest);

    // No init program, and no root disk.
    let guest = bench.start("panics", "rdinit=/none");
    let error = bench.open(&guest, &image()).map(|_| ()).unwrap_err();
    assert!(
        matches!(&error.fault, SessionFault::Panic(line) if line.contains("Kernel panic")),
        "{error}"
    );
    assert!(error.screen.len() > 3, "{error}");
    bench.stop(&guest);

    let guest = bench.start("reboots", "guest=reboot");
    let error = bench.open(&guest, &image()).map(|_| ()).unwrap_err();
    assert!(matches!(&error.fault, SessionFault::Reboots { .. }), "{error}");
}

#[test]
#[ignore = "soak: a slow boot for a screenshot"]
fn a_guest_that_shows_a_picture_is_reported_with_a_screenshot() {
    let Some(bench) = Bench::new("a_guest_that_shows_a_picture_is_reported_with_a_screenshot") else {
        return;
    };
    // The kernel draws its console itself (vesafb) in the mode that it is started in.
    let guest = bench.start("picture", "vga=0x314");
    let error = bench.open(&guest, &image()).map(|_| ()).unwrap_err();
    let file = bench.transcript(&guest).with_extension("png");
    assert_eq!(error.fault, SessionFault::Picture(Some(file.clone())), "{error}");
    let png = std::fs::read(file).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    // 800 by 600.
    assert_eq!(&png[16..24], [0, 0, 3, 32, 0, 0, 2, 88]);
    std::fs::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("vga-picture.png"),
        png,
    )
    .unwrap();
}

#[test]
#[ignore = "soak: a slow boot"]
fn a_guest_whose_qemu_has_exited_closes_its_console() {
    let Some(bench) = Bench::new("a_guest_whose_qemu_has_exited_closes_its_console") else {
        return;
    };
    let guest = bench.start("exits", "");
    let mut session = bench.open(&guest, &image()).unwrap();
    let error = session.run("poweroff -f", PATIENCE).unwrap_err();
    assert_eq!(error.fault, SessionFault::Console(ConsoleError::Closed), "{error}");
}
