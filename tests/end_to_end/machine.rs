//! FAULTS 14, 17 and 49, and what netlab says of a machine on which it cannot work: no rights, a full disk, a state folder
//! that is too deep.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use super::bounded::text;
use super::local::Local;
use crate::support::lab::{Bench, EMPTY, GUEST, PATIENT, said};
use crate::support::skip;

/// Runs a shell script in a mount namespace of its own, which may mount something and then run `$NETLAB`; emulated hosts
/// that it makes can be seen only there.
fn apart(bench: &Bench, script: &str) -> Output {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "bash", "-ec", script])
        .env("NETLAB", env!("CARGO_BIN_EXE_netlab"))
        .env("NETLAB_STATE_DIR", bench.state())
        .env("NETLAB_CACHE_DIR", Bench::cache())
        .env("FOLDER", bench.lab.parent().unwrap())
        .env("FILE", &bench.lab)
        .env("LAB", &bench.name);
    command.output().unwrap()
}

/// FAULTS 17: a /dev/kvm that can be opened on a CPU without hardware virtualization. About 10 s.
#[test]
fn a_useless_kvm_is_a_warning_and_guests_run_without_it() {
    let test = "a_useless_kvm_is_a_warning_and_guests_run_without_it";
    let Some(bench) = Bench::new(test, "kvm", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    // Such a machine, whatever this one is.
    let script = r#"
grep -v ^flags /proc/cpuinfo >$FOLDER/cpuinfo
mount --bind $FOLDER/cpuinfo /proc/cpuinfo
[ -c /dev/kvm ] || { echo SKIP; exit 0; }
exec 2>&1
trap '$NETLAB -q down $LAB' EXIT
echo BEFORE; $NETLAB doctor $FILE
echo UP; $NETLAB up $FILE
echo AFTER; $NETLAB doctor $FILE
init=$(pgrep -f -- "host-init --lab $LAB " | tail -1)
echo XML; nsenter --target $init --net --mount --pid -- virsh -q dumpxml $LAB.vm1
"#;
    let output = apart(&bench, script);
    let said = text(&output);
    if said.contains("SKIP") {
        return skip(test, "no /dev/kvm");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    let part = |from: &str, to: &str| said.split(from).nth(1).unwrap().split(to).next().unwrap();
    let kvm = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("/dev/kvm"));
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    let up = part("UP\n", "AFTER\n");
    assert!(
        up.contains("warning: localhost: /dev/kvm exists but does not work"),
        "{said}"
    );
    assert!(up.contains("is up:"), "{said}");
    assert!(part("XML\n", "\n#").contains("<domain type='qemu'"), "{said}");
    // And doctor has the same answer before and after.
    let [before, after] = [part("BEFORE\n", "UP\n"), part("AFTER\n", "XML\n")].map(kvm);
    assert_eq!(before.len(), 1, "{said}");
    assert_eq!(before, after, "{said}");
    bench.assert_as_before();
}

/// FAULTS 14: the first probe of QEMU on a machine may be slow, and so may that of a daemon that starts again.
#[test]
#[ignore = "soak: every probe of QEMU takes 26 s"]
fn a_slow_probe_of_qemu_is_waited_for() {
    let test = "a_slow_probe_of_qemu_is_waited_for";
    let Some(bench) = Bench::new(test, "slow", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    // What libvirt runs to find out what an emulator can do has `-machine none` among its arguments.
    let script = r#"
# QEMU finds its modules by its own path: the real one takes the place of a program beside it.
qemu=/usr/bin/qemu-system-x86_64
mount --bind $qemu /usr/bin/qemu-nbd
printf '#!/bin/sh\ncase " $* " in *" none,"*|*" none "*) sleep 26; echo probe >>%s;; esac\nexec %s "$@"\n' \
  $FOLDER/probes /usr/bin/qemu-nbd >$FOLDER/slow
chmod 755 $FOLDER/slow
mount --bind $FOLDER/slow $qemu
mkdir -p $FOLDER/cache
cp -r $NETLAB_CACHE_DIR/images $FOLDER/cache/
export NETLAB_CACHE_DIR=$FOLDER/cache
exec 2>&1
trap '$NETLAB -q down $LAB' EXIT
$NETLAB -q up $FILE
echo UP $(wc -l <$FOLDER/probes) $SECONDS
init=$(pgrep -f -- "host-init --lab $LAB " | tail -1)
nsenter --target $init --net --mount --pid -- rm -rf /var/cache/libvirt/qemu/capabilities
kill -9 $(pgrep -P $init 'libvirtd|virtqemud')
sleep 0.2
$NETLAB plan $FILE
$NETLAB status $LAB
echo AGAIN $(wc -l <$FOLDER/probes)
"#;
    let output = apart(&bench, script);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let numbers = |word: &str| -> Vec<u64> {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(word))
            .unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    let (up, again) = (numbers("UP "), numbers("AGAIN "));
    // Longer than any limit that does not know of probes.
    assert!(up[0] >= 1 && up[1] > 26, "nothing was slow: {said}");
    assert!(again[0] > up[0], "the daemon did not forget: {said}");
    assert!(said.contains("nothing to do"), "{said}");
    bench.assert_as_before();
}

/// FAULTS 49: the wall clock jumps by hours, forward and back, three times a second. About 20 s.
#[test]
fn a_lab_comes_up_and_goes_while_the_wall_clock_jumps_by_hours() {
    let test = "a_lab_comes_up_and_goes_while_the_wall_clock_jumps_by_hours";
    let Some(bench) = Bench::new(test, "jump", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/clock.c");
    let library = bench.path("clock.so");
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    match compiled {
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
        Err(error) => return skip(test, &format!("no gcc: {error}")),
    }
    let jumping = |arguments: &[&str]| {
        let began = Instant::now();
        let mut command = bench.netlab(arguments);
        command
            .env("LD_PRELOAD", &library)
            .env("CLOCK_LOG", bench.path("jumps"));
        (command.output().unwrap(), began.elapsed())
    };
    let good = |arguments: &[&str]| {
        let (output, _) = jumping(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    };
    good(&["-q", "up", bench.file()]);
    good(&["-q", "verify", "--wait", PATIENT, bench.file()]);
    // A deadline ends neither early nor late.
    good(&["exec", &bench.name, "vm1", "--within", "30", "--", "sleep 3"]);
    let (output, took) = jumping(&["exec", &bench.name, "vm1", "--within", "4", "--", "sleep 1000"]);
    assert_eq!(output.status.code(), Some(124), "{}", text(&output));
    assert!((3..8).contains(&took.as_secs()), "{took:?}");
    good(&["-q", "down", &bench.name]);
    // The clock did jump, as netlab and its libraries saw it.
    let jumps = std::fs::read_to_string(bench.path("jumps")).unwrap();
    assert!(jumps.lines().count() > 5, "{jumps}");
    bench.assert_as_before();
}

/// About 1 s.
#[test]
fn a_state_folder_too_deep_for_a_socket_is_refused_with_its_length() {
    let test = "a_state_folder_too_deep_for_a_socket_is_refused_with_its_length";
    let Some(bench) = Bench::new(test, "deep", EMPTY) else {
        return;
    };
    let deep = bench.path(&"d".repeat(80));
    for arguments in [
        &["plan", bench.file()][..],
        &["up", bench.file()],
        &["doctor", bench.file()],
    ] {
        let mut command = bench.netlab(arguments);
        let said = said(&command.env("NETLAB_STATE_DIR", &deep).output().unwrap(), 1);
        let length = deep.join(format!("labs/{}/hosts/node1/run/libvirt/virtqemud-sock", bench.name));
        let length = length.as_os_str().len();
        assert!(
            said.contains(&format!("has {length} bytes, at most 107")) && said.contains("NETLAB_STATE_DIR"),
            "{length}: {said}"
        );
    }
    bench.assert_as_before();
}

/// About 3 s.
#[test]
fn missing_rights_are_reported_as_such() {
    let Some(machine) = Local::new("missing_rights_are_reported_as_such", "us") else {
        return;
    };
    // A program and lab files that everybody may read.
    let folder = tempfile::Builder::new().prefix("nlu").tempdir_in("/tmp").unwrap();
    let inside = |name: &str| folder.path().join(name);
    std::fs::copy(env!("CARGO_BIN_EXE_netlab"), inside("netlab")).unwrap();
    std::fs::write(inside("emulated.toml"), EMPTY.replace("LABNAME", "user")).unwrap();
    let local = EMPTY
        .replace("LABNAME", "user")
        .replace("[hosts.node1]\n", "[hosts.node1]\nconnect = \"local\"\n");
    std::fs::write(inside("local.toml"), local).unwrap();
    for name in ["", "netlab", "emulated.toml", "local.toml"] {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(inside(name), open).unwrap();
    }
    for lab in ["emulated.toml", "local.toml"] {
        let mut command = machine.0.enter("machine");
        command
            .args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(inside("netlab"))
            .args(["doctor", inside(lab).to_str().unwrap()])
            .env("NETLAB_STATE_DIR", inside("s"))
            .env("NETLAB_CACHE_DIR", inside("c"));
        let said = said(&command.output().unwrap(), 1);
        assert!(said.contains("root"), "{said}");
        assert!(
            !said.contains("not installed") && !said.contains("apt-get install"),
            "{said}"
        );
    }
    machine.end();
}

/// About 5 s; needs the distribution's package server, as the image itself does.
#[test]
fn an_image_that_does_not_fit_on_the_disk_is_reported_with_the_folder() {
    let test = "an_image_that_does_not_fit_on_the_disk_is_reported_with_the_folder";
    let Some(bench) = Bench::new(test, "full", EMPTY) else {
        return;
    };
    let script = "mkdir -p $FOLDER/small; mount -t tmpfs -o size=4m tmpfs $FOLDER/small\n\
                  NETLAB_CACHE_DIR=$FOLDER/small $NETLAB -q image build mini";
    let said = said(&apart(&bench, script), 1);
    let folder = bench.path("small/images");
    assert!(
        said.contains("no space left in") && said.contains(folder.to_str().unwrap()),
        "{said}"
    );
    assert!(
        said.contains("apt-get") && said.contains("NETLAB_CACHE_DIR moves it"),
        "{said}"
    );
}
