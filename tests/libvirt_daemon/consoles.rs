//! Consoles of real guests: nothing hangs, nothing is lost, no session is closed by another.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netlab::guest::{Console, ConsoleError, Session, Transcript};
use netlab::libvirt::Libvirt;
use netlab::state::DomainName;

use super::daemon::{Daemon, PATIENCE, console, guest, until};

fn boot(libvirt: &Libvirt, name: &DomainName) -> Box<dyn Console> {
    libvirt.define(name, &guest(name, None, &[])).unwrap();
    libvirt.start_paused(name).unwrap();
    let console = libvirt.open_console(name).unwrap();
    libvirt.resume(name).unwrap();
    console
}

#[test]
fn hundreds_of_round_trips_over_two_guests_consoles_neither_hang_nor_lose_a_byte() {
    round_trips(
        "hundreds_of_round_trips_over_two_guests_consoles_neither_hang_nor_lose_a_byte",
        150,
    );
}

#[test]
#[ignore = "soak: thousands of round trips"]
fn thousands_of_round_trips_over_two_guests_consoles_neither_hang_nor_lose_a_byte() {
    round_trips(
        "thousands_of_round_trips_over_two_guests_consoles_neither_hang_nor_lose_a_byte",
        2000,
    );
}

fn round_trips(test: &str, trips: u32) {
    let Some(daemon) = Daemon::new(test) else {
        return;
    };
    let libvirt = daemon.libvirt();
    // In parallel on one connection, as in a run.
    std::thread::scope(|scope| {
        for vm in ["a", "b"] {
            let (libvirt, daemon) = (&libvirt, &daemon);
            scope.spawn(move || {
                let name = daemon.name(vm);
                let console = boot(libvirt, &name);
                let image = super::daemon::console();
                let mut session = Session::open(console, &image, Transcript::unwritten(), &mut |_| {}).unwrap();
                let began = Instant::now();
                for trip in 0..trips {
                    let output = session.run(&format!("echo {vm}{trip}"), PATIENCE).unwrap();
                    assert_eq!((output.status, output.text.trim()), (0, format!("{vm}{trip}").as_str()));
                }
                eprintln!("{vm}: {:?} for a round trip", began.elapsed() / trips);
                // A large transfer: every byte of 100 kB.
                let many = session.run(
                    "i=0; while [ $i -lt 5000 ]; do echo line-of-text-$i; i=$((i+1)); done",
                    PATIENCE,
                );
                let many = many.unwrap().text;
                let wanted: Vec<_> = (0..5000).map(|line| format!("line-of-text-{line}")).collect();
                let wanted = wanted.join("\n");
                assert!(many.trim() == wanted, "{} bytes of {}", many.len(), wanted.len());
            });
        }
    });
}

/// Another program, which does not outlive its test.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_error_of_a_second_opener_names_the_holder_of_the_console_which_stays_open() {
    let Some(daemon) = Daemon::new("the_error_of_a_second_opener_names_the_holder_of_the_console_which_stays_open")
    else {
        return;
    };
    let libvirt = daemon.libvirt();
    let name = daemon.name("a");
    drop(boot(&libvirt, &name));
    // virsh opens the console only once, and the test, which polls it, may have it at that moment.
    let virsh = format!("until virsh -c '{}' console demo.a; do sleep 0.1; done", daemon.uri());
    // virsh needs a terminal.
    let mut other = Command::new("script");
    other.args(["-qec", &virsh, "/dev/null"]);
    other.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut other = Other(other.spawn().unwrap());
    let error = until("virsh to have the console", || libvirt.open_console(&name).err());
    assert!(error.help().unwrap().contains("close the other console"), "{error:?}");
    let error = netlab::causes::chain(&error);
    assert!(error.contains("console demo.a`, process "), "{error}");
    assert!(error.contains("is already open"), "{error}");
    // After repeated attempts, virsh still has it.
    for _ in 0..5 {
        assert!(libvirt.open_console(&name).is_err());
    }
    assert!(other.0.try_wait().unwrap().is_none(), "virsh was disconnected");
    drop(other);
    until("virsh's console to close", || libvirt.open_console(&name).ok());
}

#[test]
fn a_console_whose_daemon_dies_reports_it_and_can_be_opened_again() {
    let Some(daemon) = Daemon::new("a_console_whose_daemon_dies_reports_it_and_can_be_opened_again") else {
        return;
    };
    let libvirt = daemon.libvirt();
    let name = daemon.name("a");
    let mut opened = boot(&libvirt, &name);
    let age = libvirt.age().unwrap();
    daemon.kill_libvirtd();
    let end = |console: &mut Box<dyn Console>| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match console.read(Duration::from_millis(100)) {
                Ok(_) => assert!(Instant::now() < deadline, "the end is not noticed"),
                Err(end) => return end,
            }
        }
    };
    let lost = end(&mut opened);
    assert_eq!(lost, ConsoleError::Lost);
    assert!(lost.to_string().contains("the guest keeps running"), "{lost}");
    assert_ne!(libvirt.age().unwrap(), age);
    let again = libvirt.open_console(&name).unwrap();
    let mut session = Session::open(again, &console(), Transcript::unwritten(), &mut |_| {}).unwrap();
    assert_eq!(session.run("echo alive", PATIENCE).unwrap().text.trim(), "alive");
    drop(session);

    // A guest that stops is a different error.
    let mut last = libvirt.open_console(&name).unwrap();
    libvirt.stop(&name, &guest(&name, None, &[]).uuid).unwrap();
    assert_eq!(end(&mut last), ConsoleError::Closed);
}
