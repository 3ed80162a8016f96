//! Anybody can ask what a lab would do.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::live::labs;
use crate::support::lab::Bench;

/// A user without any right, `nobody`.
const NOBODY: &str = "65534";

#[test]
fn the_plan_of_every_lab_is_printed_for_a_user_without_rights() {
    let test = "the_plan_of_every_lab_is_printed_for_a_user_without_rights";
    let Some(bench) = Bench::new(test, "pl", "") else {
        return;
    };
    // The repository may lie where this user cannot go.
    std::fs::set_permissions(bench.path(""), Permissions::from_mode(0o755)).unwrap();
    let program = bench.path("netlab");
    std::fs::copy(env!("CARGO_BIN_EXE_netlab"), &program).unwrap();
    for lab in std::fs::read_dir(labs()).unwrap() {
        let lab = lab.unwrap().path();
        let text = std::fs::read_to_string(&lab).unwrap();
        let shown = bench.path("shown.toml");
        std::fs::write(&shown, text).unwrap();
        let mut plan = Command::new("setpriv");
        plan.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        plan.arg(&program).arg("plan").arg(&shown);
        plan.env("NETLAB_STATE_DIR", "/nowhere")
            .env("NETLAB_CACHE_DIR", "/nowhere");
        let output = plan.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", lab.display());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.starts_with("localhost:\n") && text.contains("  + create emulated host node1\n"),
            "{}: {text}",
            lab.display()
        );
    }
}
