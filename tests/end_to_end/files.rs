//! FAULTS 6 to 9 and 48: netlab's own files, the user's lab file, and who may read what.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::support::lab::{Bench, EMPTY, GUEST, said};

fn journal(bench: &Bench) -> PathBuf {
    bench.state().join("labs").join(&bench.name).join("journal")
}

/// FAULTS 6.
#[test]
fn a_journal_cut_or_overwritten_hinders_neither_up_nor_down() {
    let test = "a_journal_cut_or_overwritten_hinders_neither_up_nor_down";
    let Some(bench) = Bench::new(test, "jr", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let whole = std::fs::read(journal(&bench)).unwrap();
    let lines: Vec<usize> = whole
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .map(|(at, _)| at)
        .collect();
    let mut damaged = vec![Vec::new(), b"garbage\0\xff".to_vec()];
    damaged.extend(
        [3, lines[0], lines[1] - 7, lines[1] + 1, lines[2] + 40, whole.len() - 1].map(|at| whole[..at].to_vec()),
    );
    let mut flipped = whole.clone();
    flipped[lines[0] + 30] ^= 0x20;
    damaged.push(flipped);
    for (round, bytes) in damaged.iter().enumerate() {
        bench.good(&["-q", "up", bench.file()]);
        std::fs::write(journal(&bench), bytes).unwrap();
        if round % 2 == 0 {
            bench.good(&["-q", "up", bench.file()]);
            let left = bench.good(&["plan", bench.file()]);
            assert!(left.contains("nothing to do"), "round {round}: {left}");
            std::fs::write(journal(&bench), bytes).unwrap();
        }
        bench.good(&["-q", "down", &bench.name]);
        bench.assert_as_before();
    }
}

/// FAULTS 6: also when the whole state folder is lost.
#[test]
fn a_lab_whose_state_folder_was_deleted_is_found_by_its_marks() {
    let test = "a_lab_whose_state_folder_was_deleted_is_found_by_its_marks";
    let Some(bench) = Bench::new(test, "lost", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    std::fs::remove_file(journal(&bench)).unwrap();
    let down = bench.good(&["down", &bench.name]);
    assert!(down.contains("removed: "), "{down}");
    bench.assert_as_before();
}

/// FAULTS 7.
#[test]
fn a_state_of_a_newer_netlab_is_refused_by_every_command_and_left_unchanged() {
    let test = "a_state_of_a_newer_netlab_is_refused_by_every_command_and_left_unchanged";
    let Some(bench) = Bench::new(test, "new", EMPTY) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    let whole = std::fs::read_to_string(journal(&bench)).unwrap();
    let newer = whole.replacen("netlab-journal 1", "netlab-journal 77", 1);
    std::fs::write(journal(&bench), &newer).unwrap();
    for verb in [
        ["up", bench.file()],
        ["plan", bench.file()],
        ["status", &bench.name],
        ["down", &bench.name],
    ] {
        let said = bench.bad(&verb, 1);
        assert!(said.contains("newer netlab") && said.contains("77"), "{verb:?}: {said}");
        assert_eq!(std::fs::read_to_string(journal(&bench)).unwrap(), newer);
    }
    bench.init("node1");
    std::fs::write(journal(&bench), whole).unwrap();
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}

/// A mount namespace in which the state folder is on a small disk.
struct Disk(Child);

impl Disk {
    fn new(bench: &Bench, options: &str) -> Self {
        std::fs::create_dir_all(bench.state()).unwrap();
        let script = "mount -t tmpfs -o \"$1\" tmpfs \"$0\" && echo mounted && exec sleep 600";
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(bench.state())
            .arg(options)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = keeper.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert_eq!(line, "mounted\n");
        Self(keeper)
    }

    fn run(&self, program: &[&str], bench: &Bench) -> std::process::Output {
        let plain = bench.netlab(&[]);
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.0.id().to_string(), "--mount", "--"])
            .args(program);
        for (key, value) in plain.get_envs() {
            command.env(key, value.unwrap());
        }
        command.output().unwrap()
    }

    fn netlab(&self, arguments: &[&str], bench: &Bench) -> std::process::Output {
        self.run(&[&[env!("CARGO_BIN_EXE_netlab")], arguments].concat(), bench)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// FAULTS 8.
#[test]
fn a_state_folder_that_cannot_be_written_stops_up_before_the_first_change() {
    let test = "a_state_folder_that_cannot_be_written_stops_up_before_the_first_change";
    let Some(bench) = Bench::new(test, "ro", EMPTY) else {
        return;
    };
    // A full disk (one page is taken by the folder's own file), a read-only disk, a file in place of the folder.
    for options in ["size=4k", "size=4k,nr_inodes=1", "ro,size=1m"] {
        let disk = Disk::new(&bench, options);
        if !options.contains("inodes") && !options.contains("ro") {
            let fill = format!("echo full > {}/full", bench.state().display());
            assert!(disk.run(&["sh", "-c", &fill], &bench).status.success());
        }
        let text = said(&disk.netlab(&["up", bench.file()], &bench), 1);
        assert!(
            ["No space", "Read-only"].iter().any(|why| text.contains(why)),
            "{options}: {text}"
        );
        assert!(
            !text.contains("node1:") && !text.contains("create emulated host"),
            "{options}: {text}"
        );
        drop(disk);
        bench.assert_as_before();
    }
    std::fs::remove_dir_all(bench.state()).unwrap();
    std::fs::write(bench.state(), "not a folder").unwrap();
    let text = bench.bad(&["up", bench.file()], 1);
    assert!(text.contains("Not a directory"), "{text}");
    std::fs::remove_file(bench.state()).unwrap();
    bench.assert_as_before();
}

/// FAULTS 8: also where it is full only later, `up` ends with an error and `down` cleans once there is space.
#[test]
fn a_disk_that_fills_up_during_a_run_fails_it_and_down_cleans() {
    let test = "a_disk_that_fills_up_during_a_run_fails_it_and_down_cleans";
    let Some(bench) = Bench::new(test, "full", EMPTY) else {
        return;
    };
    for pages in [1, 2, 3, 6, 12, 24, 48] {
        let disk = Disk::new(&bench, &format!("size={}k", 4 * pages));
        let text = said(&disk.netlab(&["up", bench.file()], &bench), 1);
        assert!(
            text.contains("No space") || text.contains("space"),
            "{pages} pages: {text}"
        );
        let state = bench.state();
        let grow = ["mount", "-o", "remount,size=64m", state.to_str().unwrap()];
        assert!(disk.run(&grow, &bench).status.success());
        said(&disk.netlab(&["-q", "down", &bench.name], &bench), 0);
        drop(disk);
        bench.assert_as_before();
    }
}

/// FAULTS 9.
#[test]
fn a_lab_file_edited_renamed_or_deleted_while_the_lab_is_up_does_not_matter_to_down() {
    let test = "a_lab_file_edited_renamed_or_deleted_while_the_lab_is_up_does_not_matter_to_down";
    let Some(bench) = Bench::new(test, "ed", EMPTY) else {
        return;
    };
    let edits: [(&str, &dyn Fn()); 4] = [
        ("deleted", &|| std::fs::remove_file(&bench.lab).unwrap()),
        ("renamed", &|| {
            std::fs::rename(&bench.lab, bench.path("other.toml")).unwrap();
        }),
        ("broken", &|| bench.write("name = [\n")),
        ("another lab", &|| bench.write("name = \"another\"\n[hosts.node7]\n")),
    ];
    for (what, edit) in edits {
        bench.write(EMPTY);
        bench.good(&["-q", "up", bench.file()]);
        edit();
        let down = bench.good(&["down", &bench.name]);
        assert!(down.contains("removed: "), "{what}: {down}");
        bench.assert_as_before();
    }
    // The file works like the name, also when its network and host were removed from it.
    bench.write(EMPTY);
    bench.good(&["-q", "up", bench.file()]);
    bench.write("name = \"LABNAME\"\n[hosts.node7]\n");
    bench.good(&["-q", "down", bench.file()]);
    bench.assert_as_before();
}

/// FAULTS 48.
#[test]
fn only_the_owner_can_read_a_labs_files_and_consoles_listen_on_loopback() {
    let test = "only_the_owner_can_read_a_labs_files_and_consoles_listen_on_loopback";
    let Some(bench) = Bench::new(test, "priv", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    bench.good(&["-q", "up", bench.file()]);
    bench.good(&["-q", "verify", bench.file()]);
    // The bench's own temporary folder is closed to others as well: opened here, to test netlab's and not its.
    std::fs::set_permissions(bench.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let readable = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "find"])
        .arg(bench.state())
        .args(["-type", "f", "-readable"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&readable.stdout),
        "",
        "files that nobody may read"
    );
    let own = bench.state().join("labs").join(&bench.name);
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (path, wanted) in [
        (own.clone(), 0o700),
        (own.join("journal"), 0o600),
        (own.join("transcripts"), 0o700),
        (own.join("transcripts/vm1.log"), 0o600),
        (own.join("hosts/node1/init.log"), 0o600),
    ] {
        assert_eq!(mode(path.clone()), wanted, "{}", path.display());
    }
    // What libvirt writes of the guest's console, on the host as its users see it.
    let logs = bench.inside(
        "node1",
        &["find", "/var/log/libvirt/qemu", "-name", "*.log", "-perm", "/077"],
    );
    assert_eq!(logs, "", "logs that others on the host may read");

    let listening = bench.inside("node1", &["ss", "-Hltn"]);
    let addresses: Vec<&str> = listening
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3))
        .collect();
    assert!(
        addresses.iter().any(|at| at.starts_with("127.0.0.1:59")),
        "VNC: {listening}"
    );
    assert!(
        addresses
            .iter()
            .all(|at| at.starts_with("127.0.0.1:") || at.starts_with("[::1]:")),
        "{listening}"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
