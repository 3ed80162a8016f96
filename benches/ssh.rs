//! What a far way costs: `up` of the quickstart lab on two machines behind ssh, with a delay on everything that is sent
//! there and back, and without. The delay is made here, by a relay between netlab and sshd, as not every kernel can
//! make one on a cable. `NETLAB_DELAY` is in milliseconds and each way (default 25), `RUNS` how often each is measured
//! (default 3); the fastest counts, as what disturbs a run only makes it slower. Needs root, sshd and libvirt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a benchmark cannot make ends it, and what it measured is what it says"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/ssh/machines.rs"]
mod machines;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/ssh/sshd.rs"]
mod sshd;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use machines::Machines;

/// The first argument that makes this program the relay.
const RELAY: &str = "relay";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, delay, host, port] = &arguments[..]
        && word == RELAY
    {
        let delay = Duration::from_millis(delay.parse().unwrap());
        return relay(delay, &format!("{host}:{port}")).unwrap();
    }
    let (delay, runs) = (number("NETLAB_DELAY", 25), number("RUNS", 3));
    let Some(machines) = Machines::new("bench ssh") else {
        return;
    };
    std::fs::write(machines.lab(), quickstart(&machines.name)).unwrap();
    println!(
        "quickstart over ssh, in ms: a way of 0 ms, one of {delay} ms there and {delay} ms back, and the difference"
    );
    let mut fastest = [[u128::MAX; VERBS.len()]; 2];
    for run in 1..=runs {
        for (fastest, delay) in fastest.iter_mut().zip([0, delay]) {
            let took = round(&machines, delay).map(|took| took.as_millis());
            println!("run {run}, {delay} ms: {VERBS:?} {took:?}");
            *fastest = std::array::from_fn(|at| fastest[at].min(took[at]));
        }
    }
    let [near, far] = fastest;
    for (at, verb) in VERBS.iter().enumerate() {
        println!(
            "{verb:<10} {:>6} {:>6} {:>6}",
            near[at],
            far[at],
            far[at].saturating_sub(near[at])
        );
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

const VERBS: [&str; 3] = ["up", "up again", "down"];

/// How long each verb takes over a way with that delay.
fn round(machines: &Machines, delay: u64) -> [Duration; 3] {
    let program = std::env::current_exe().unwrap();
    let proxy = format!("Host *\n  ProxyCommand {} {RELAY} {delay} %h %p\n", program.display());
    machines.keyring.configure(&proxy);
    let lab = machines.lab();
    let lab = lab.to_str().unwrap();
    [["up", lab], ["up", lab], ["down", lab]].map(|arguments| {
        let start = Instant::now();
        machines.good(&arguments);
        start.elapsed()
    })
}

/// The lab, with its hosts behind ssh.
fn quickstart(name: &str) -> String {
    let mut text = include_str!("../labs/quickstart.toml").replace("\"quickstart\"", &format!("\"{name}\""));
    for (host, address) in [("node1", "172.16.99.108/24"), ("node2", "172.16.99.109/24")] {
        let emulated = format!("nics.eth0.address = \"{address}\"");
        assert!(text.contains(&emulated), "the lab is another one now");
        let far = format!("connect = \"ssh://root@{}\"\nnics.eth0 = {{}}", machines::address(host));
        text = text.replace(&emulated, &far);
    }
    text
}

/// Carries bytes between standard input and output and a server, each for so long on its way, however many they are.
fn relay(delay: Duration, server: &str) -> io::Result<()> {
    // The handshake of TCP.
    thread::sleep(delay * 2);
    let there = TcpStream::connect(server)?;
    there.set_nodelay(true)?;
    let back = there.try_clone()?;
    let out = thread::spawn({
        let there = there.try_clone()?;
        move || {
            let _ = carry(delay, io::stdin(), &there);
            let _ = there.shutdown(std::net::Shutdown::Write);
        }
    });
    // Whoever started this sees the end of the connection by the end of the output.
    let _ = carry(delay, back, io::stdout());
    drop(out);
    Ok(())
}

fn carry(delay: Duration, mut from: impl Read, mut to: impl Write + Send) -> io::Result<()> {
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    // Read all the time, so that what was sent first does not hold up what comes behind it.
    thread::scope(|scope| {
        let written = scope.spawn(move || -> io::Result<()> {
            for (due, bytes) in under_way {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                to.write_all(&bytes)?;
                to.flush()?;
            }
            Ok(())
        });
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let got = from.read(&mut buffer)?;
            if got == 0 || sender.send((Instant::now() + delay, buffer[..got].to_vec())).is_err() {
                break;
            }
        }
        drop(sender);
        written.join().unwrap()
    })
}
