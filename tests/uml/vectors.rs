//! The vector registers of the kernel's processes, which `ptrace.c` writes.

use std::process::Command;

use crate::compiled::compiled;
use crate::kernel::{SOON, good};

#[test]
fn the_kernel_boots_and_its_processes_keep_their_vector_registers_across_switches() {
    let program = compiled("vectors", &[]);
    let parts = [
        ("preload", "echo \"${LD_PRELOAD-none}\""),
        ("vectors", &format!("'{}'", program.display())),
    ];
    let Some(printed) = good("the_kernel_boots_and_its_processes_keep", &parts, SOON) else {
        return;
    };
    assert_eq!(
        printed.by("preload"),
        "none\n",
        "only the kernel itself loads the library"
    );
    // The same program on the machine itself prints every kind of register that the processor has.
    let outside = Command::new(&program).output().unwrap();
    let outside = String::from_utf8(outside.stdout).unwrap();
    assert!(outside.starts_with("xmm\n") && !outside.contains("lost"), "{outside}");
    assert_eq!(printed.by("vectors"), outside);
}
