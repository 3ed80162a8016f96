//! The inside of a machine: its init, daemons and files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use netlab::emulated::init_pid;
use netlab::plan::Step;
use netlab::transport::{Cmd, LocalShell, Shell};
use rustix::process::{Pid, Signal, kill_process};

use super::bench::{Bench, kill, libvirt_daemon, name, namesakes, wait_until};

#[test]
fn a_machine_has_its_own_folders_and_links_and_netlabs_files() {
    let Some(bench) = Bench::new("a_machine_has_folders") else {
        return;
    };
    let host = name("node1");
    fs::write(bench.folders.state.join("file"), "netlab's").unwrap();
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();
    let inside = PathBuf::from(format!("/proc/{}/root", bench.pid(&host)));

    let seen = inside.join(bench.folders.state.strip_prefix("/").unwrap()).join("file");
    assert_eq!(fs::read_to_string(seen).unwrap(), "netlab's");
    let same = |a: PathBuf, b: &str| fs::metadata(a).unwrap().ino() == fs::metadata(b).unwrap().ino();
    assert!(!same(inside.join("run"), "/run") && !same(inside.join("var"), "/var"));
    assert!(same(inside.join("usr"), "/usr"));
    let hosts = fs::read_to_string(inside.join("etc/hosts")).unwrap();
    assert!(hosts.lines().any(|line| line == "127.0.1.1 node1"), "{hosts}");
    let links = fs::read_dir(inside.join("sys/class/net")).unwrap();
    assert_eq!(links.map(|link| link.unwrap().file_name()).collect::<Vec<_>>(), ["lo"]);
    assert!(!Path::new("/run/libvirt/libvirt-sock").exists() || !same(inside.join("run/libvirt"), "/run/libvirt"));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&bench.machine(&host)), 0o700);
    assert_eq!(mode(&bench.machine(&host).join("init.log")), 0o600);
}

#[test]
fn init_reaps_orphans() {
    let Some(bench) = Bench::new("init_reaps_orphans") else {
        return;
    };
    let host = name("node1");
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();
    let init = bench.pid(&host);
    let target = format!("--target={init}");
    let orphan = Cmd::new([
        "nsenter",
        &target,
        "--mount",
        "--pid",
        "sh",
        "-c",
        "sleep 0.2 >&- 2>&- & echo $!",
    ]);
    let pid = String::from_utf8(LocalShell.check(&orphan).unwrap()).unwrap();
    let orphan = PathBuf::from(format!("/proc/{init}/root/proc/{}", pid.trim()));
    assert!(orphan.exists() || pid.trim().parse::<u32>().is_ok());
    wait_until("the orphan is reaped", || !orphan.exists());
    let zombies = fs::read_dir(format!("/proc/{init}/root/proc"))
        .unwrap()
        .flatten()
        .filter(|process| fs::read_to_string(process.path().join("stat")).is_ok_and(|stat| stat.contains(") Z ")));
    assert_eq!(zombies.count(), 0);
}

#[test]
fn a_killed_libvirt_daemon_is_restarted_and_the_machine_counts_as_alive() {
    let Some(bench) = Bench::new("a_killed_libvirt") else {
        return;
    };
    let host = name("node1");
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();
    let init = bench.pid(&host);
    let daemon = libvirt_daemon(init).unwrap();
    kill(daemon);
    assert!(bench.observe().machines[&host].alive);
    assert_eq!(bench.pid(&host), init);
    wait_until("libvirt answers again", || bench.connect(&host).is_ok());
    assert_ne!(libvirt_daemon(init), Some(daemon));
}

#[test]
fn a_machine_ends_when_its_daemon_keeps_dying() {
    let Some(bench) = Bench::new("keeps_dying") else {
        return;
    };
    let host = name("node1");
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();
    let init = bench.pid(&host);
    wait_until("init gives up", || {
        if let Some(daemon) = libvirt_daemon(init) {
            kill(daemon);
        }
        init_pid(&bench.lab, &host).is_none()
    });
    assert!(!bench.observe().machines[&host].alive);
    let log = fs::read_to_string(bench.machine(&host).join("init.log")).unwrap();
    assert!(log.contains("not started again after 5 starts"), "{log}");
}

#[test]
fn init_ends_on_sigterm() {
    let Some(bench) = Bench::new("init_ends") else { return };
    let host = name("node1");
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();
    let init = Pid::from_raw(bench.pid(&host).try_into().unwrap()).unwrap();
    kill_process(init, Signal::TERM).unwrap();
    wait_until("init has ended", || init_pid(&bench.lab, &host).is_none());
    let log = fs::read_to_string(bench.machine(&host).join("init.log")).unwrap();
    assert!(!log.contains("netlab:"), "not an error: {log}");
}

#[test]
fn a_machine_keeps_no_file_of_netlab_open_and_is_no_part_of_its_session() {
    let Some(bench) = Bench::new("keeps_no_file") else {
        return;
    };
    let host = name("node1");
    // Inheritable, as after a shell's `exec 9>lock`.
    let lock = fs::File::create(bench.folders.state.join("lock")).unwrap();
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
    bench.apply(&[Step::CreateMachine(host.clone())]).unwrap();

    let init = bench.pid(&host);
    let open = |pid: &str| -> BTreeSet<PathBuf> {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).collect()
    };
    let mut shared = open("self");
    assert!(shared.contains(&bench.folders.state.join("lock")));
    shared.remove(Path::new("/dev/null"));
    // The name of an event or timer descriptor does not identify it.
    shared.retain(|file| !file.to_string_lossy().starts_with("anon_inode:"));
    let namespace = fs::read_link(format!("/proc/{init}/ns/net")).unwrap();
    // Field 6 of proc_pid_stat(5), behind the program's name: 0 where the session began outside of this PID namespace.
    let session = |pid: u32| -> u32 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(3).unwrap().parse().unwrap()
    };
    let all = namesakes(&namespace);
    // unshare, init, virtlogd and the daemon.
    assert!(all.len() >= 4, "{all:?}");
    for pid in all {
        let inherited: Vec<_> = open(&pid.to_string()).intersection(&shared).cloned().collect();
        assert_eq!(inherited, Vec::<PathBuf>::new(), "of process {pid}");
        assert_ne!(session(pid), session(std::process::id()));
    }
}

#[test]
fn qemu_is_probed_by_the_first_machine_only() {
    let cache = tempfile::tempdir().unwrap();
    let Some(bench) = Bench::with("qemu_is_probed", cache.path(), env!("CARGO_BIN_EXE_netlab")) else {
        return;
    };
    let [first, second] = [name("node1"), name("node2")];
    bench
        .apply(&[Step::CreateMachine(first.clone()), Step::CreateMachine(second.clone())])
        .unwrap();
    let known = |host| -> BTreeMap<_, _> {
        let folder = bench.machine(host).join("var/cache/libvirt/qemu/capabilities");
        let files = fs::read_dir(folder).unwrap().flatten();
        files
            .map(|file| {
                (
                    file.file_name(),
                    (fs::read_to_string(file.path()).unwrap(), file.path()),
                )
            })
            .collect()
    };
    let (learned, given) = (known(&first), known(&second));
    assert!(!learned.is_empty());
    for (name, (text, path)) in learned {
        // Without the line that would cost half a second at every start of a guest.
        let text = text.replace("  <flag name='cpu-unavailable-features'/>\n", "");
        assert_eq!(given[&name].0, text);
        // A daemon writes the capabilities after its PID file.
        let written = |path: &Path| fs::metadata(path).map(|m| (m.mtime(), m.mtime_nsec())).unwrap();
        let daemon = |host| ["libvirtd.pid", "virtqemud.pid"].map(|file| bench.machine(host).join("run").join(file));
        let started = |host| {
            daemon(host)
                .iter()
                .find(|file| file.exists())
                .map(|file| written(file))
                .unwrap()
        };
        assert!(written(&path) > started(&first), "probed by the first");
        assert!(written(&given[&name].1) < started(&second), "not by the second");
    }
}

#[test]
fn init_refuses_to_run_outside_of_its_namespaces() {
    let arguments = [
        "host-init",
        "--lab",
        "x",
        "--host",
        "y",
        "--state",
        "/nonexistent",
        "--cache",
        "/nonexistent",
    ];
    let run = assert_cmd::Command::new(env!("CARGO_BIN_EXE_netlab"))
        .args(arguments)
        .assert();
    let output = run.failure().get_output().clone();
    assert!(String::from_utf8_lossy(&output.stderr).contains("run by netlab itself"));
}
