//! The cost of latency: `up` of the quickstart lab on two machines behind ssh, with and without a delay in both
//! directions. A relay between netlab and sshd makes the delay, since not every kernel has netem. `NETLAB_DELAY` is the
//! delay per direction in milliseconds (default 25), `RUNS` the number of runs (default 3); the fastest counts, since
//! other load only makes a run slower. Needs root, sshd and libvirt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and a panic is its report"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/ssh/machines.rs"]
mod machines;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/ssh/sshd.rs"]
mod sshd;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use machines::Machines;

/// The first argument that turns this program into the relay.
const RELAY: &str = "relay";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, delay, host, port] = &arguments[..]
        && mode == RELAY
    {
        let delay = Duration::from_millis(delay.parse().unwrap());
        return relay(delay, &format!("{host}:{port}")).unwrap();
    }
    let (delay, runs) = (number("NETLAB_DELAY", 25), number("RUNS", 3));
    let Some(machines) = Machines::new("bench ssh") else {
        return;
    };
    std::fs::write(machines.lab(), quickstart(&machines.name)).unwrap();
    println!("quickstart over ssh, in ms: no delay, {delay} ms in each direction, and the difference");
    let mut fastest = [[u128::MAX; COMMANDS.len()]; 2];
    for run in 1..=runs {
        for (fastest, delay) in fastest.iter_mut().zip([0, delay]) {
            let took = round(&machines, delay).map(|took| took.as_millis());
            println!("run {run}, {delay} ms: {COMMANDS:?} {took:?}");
            *fastest = std::array::from_fn(|at| fastest[at].min(took[at]));
        }
    }
    let [without, with] = fastest;
    for (at, command) in COMMANDS.iter().enumerate() {
        println!(
            "{command:<10} {:>6} {:>6} {:>6}",
            without[at],
            with[at],
            with[at].saturating_sub(without[at])
        );
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

const COMMANDS: [&str; 3] = ["up", "up again", "down"];

/// Measures each command over connections with that delay in milliseconds.
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

/// Returns the lab with its hosts behind ssh.
fn quickstart(name: &str) -> String {
    let mut text = include_str!("../labs/quickstart.toml").replace("\"quickstart\"", &format!("\"{name}\""));
    for (host, address) in [("node1", "172.16.99.108/24"), ("node2", "172.16.99.109/24")] {
        let emulated = format!("nics.eth0.address = \"{address}\"");
        assert!(text.contains(&emulated), "labs/quickstart.toml has changed");
        let remote = format!("connect = \"ssh://root@{}\"\nnics.eth0 = {{}}", machines::address(host));
        text = text.replace(&emulated, &remote);
    }
    text
}

/// Copies bytes between a server and standard input and output, each `delay` later; throughput is not limited.
fn relay(delay: Duration, server: &str) -> io::Result<()> {
    // The handshake of TCP.
    thread::sleep(delay * 2);
    let socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    let received = socket.try_clone()?;
    let out = thread::spawn({
        let socket = socket.try_clone()?;
        move || {
            let _ = copy(delay, io::stdin(), &socket);
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    });
    // The client sees the end of the connection as the end of the output.
    let _ = copy(delay, received, io::stdout());
    drop(out);
    Ok(())
}

fn copy(delay: Duration, mut from: impl Read, mut to: impl Write + Send) -> io::Result<()> {
    let (sender, pending) = mpsc::channel::<(Instant, Vec<u8>)>();
    // Read while earlier bytes wait, so that they do not delay later ones.
    thread::scope(|scope| {
        let written = scope.spawn(move || -> io::Result<()> {
            for (due, bytes) in pending {
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
