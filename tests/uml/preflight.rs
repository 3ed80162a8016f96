//! A kernel that lacks what the lab needs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::kernel;

const REFUSED: &str = "nothing was changed";

/// Both hosts are named, and the module, and what to do.
#[track_caller]
fn assert_refusal(said: &str) {
    assert!(said.contains(REFUSED), "{said}");
    for host in ["node1", "node2"] {
        let from = said.find(&format!("{host}: "));
        let finding = &said[from.unwrap_or_else(|| panic!("{host} is not named: {said}"))..];
        let mut lines = finding.lines();
        assert!(lines.next().unwrap().contains("module 8021q is missing"), "{finding}");
        let help = lines.next().unwrap_or_default();
        assert!(help.contains("help: ") && help.contains("modprobe 8021q"), "{finding}");
    }
}

/// Namespaces, links, processes of libvirt and everything in the state folder but that of the locks, which stays.
const OBSERVE: &str =
    "ip -json -details link; ls -l /run/netns; pgrep -l 'virt|host-init' || true; find $NETLAB_STATE_DIR ! -name locks";

#[test]
fn a_kernel_without_8021q_is_refused_before_anything_changes() {
    let up = "status=0; netlab up labs/vlan.toml || status=$?; echo status $status";
    let parts = [
        (
            "no-8021q",
            "modprobe -r 8021q; umount /lib/modules/*; test ! -e /sys/module/8021q",
        ),
        ("before", OBSERVE),
        ("up", up),
        ("plan", &up.replace("netlab up", "netlab plan")),
        ("after", OBSERVE),
    ];
    let within = Duration::from_secs(120);
    if let Some(printed) = kernel::good("a_kernel_without_8021q_is_refused", &parts, within) {
        for verb in ["up", "plan"] {
            assert!(printed.by(verb).ends_with("status 1\n"), "{}", printed.by(verb));
            assert_refusal(printed.by(verb));
        }
        assert_eq!(printed.by("before"), printed.by("after"));
    }
}

#[test]
fn this_machines_own_kernel_has_8021q_or_is_refused_too() {
    let state = tempfile::tempdir().unwrap();
    // In namespaces of its own, where nothing changes but by netlab.
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir /run/netns
        {OBSERVE}; echo ---; netlab plan labs/vlan.toml 2>&1 && exit; netlab up labs/vlan.toml 2>&1; echo ---; {OBSERVE}"
    );
    let netlab = Path::new(env!("CARGO_BIN_EXE_netlab")).parent().unwrap();
    let path = std::env::join_paths([netlab, Path::new("/usr/sbin"), Path::new("/usr/bin"), Path::new("/bin")]);
    let run = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            &script,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", path.unwrap())
        .env("NETLAB_STATE_DIR", state.path())
        .env("NETLAB_CACHE_DIR", state.path())
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let parts: Vec<&str> = said.split("---\n").collect();
    match parts[..] {
        // What it makes of it then, others show.
        [_, plan] => assert!(plan.contains("create VLAN device eth0.10"), "{said}"),
        [before, verbs, after] => {
            assert_eq!(verbs.matches(REFUSED).count(), 2, "{verbs}");
            assert_refusal(verbs);
            assert_eq!(before, after);
        }
        _ => panic!("{said}{}", String::from_utf8_lossy(&run.stderr)),
    }
}
