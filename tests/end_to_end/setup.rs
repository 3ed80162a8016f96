//! Files and commands of a guest without cloud-init: over its console, once, in order, and on from where one failed.

use crate::support::lab::{Bench, EMPTY};

fn lab(run: &str) -> String {
    format!(
        r#"{EMPTY}
[vars]
greeting = "hello"
[vms.vm1]
memory = "96MiB"
nics = [{{ network = "service" }}]
files = [
  {{ path = "/etc/new/motd", content = "{{{{ vars.greeting }}}} {{{{ vm }}}} {{{{ address }}}} it's $HOME\n", mode = "0640" }},
  {{ path = "/blob", from = "blob" }},
]
run = [{run}]
"#
    )
}

const ONE_COMMAND: &str = "node1:\n  + run 1 command in vm1 over its console\n1 step: 1 add, 0 change, 0 remove\n";

#[test]
fn a_guest_gets_files_and_runs_commands_once_and_goes_on_with_the_one_that_failed() {
    let test = "a_guest_gets_files_and_runs_commands_once_and_goes_on_with_the_one_that_failed";
    let three = "\"echo one >>/count\", \"cat /etc/new/motd | tee -a /count\", \"echo s3cr3t-why; test -e /go\"";
    let Some(bench) = Bench::new(test, "set", &lab(three)) else {
        return;
    };
    let blob: Vec<u8> = (0..5000_u32).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
    std::fs::write(bench.path("blob"), &blob).unwrap();
    let name = bench.name.as_str();
    let plan = bench.good(&["plan", bench.file()]);
    assert!(
        plan.contains("  + write 2 files and run 3 commands in vm1 over its console"),
        "{plan}"
    );
    let expanded = bench.good(&["plan", "--expand", bench.file()]);
    assert!(expanded.contains("hello vm1 10.0.1.2 it's $HOME"), "{expanded}");

    let failed = bench.run(&["up", bench.file()]);
    let failed = String::from_utf8_lossy(&[&failed.stdout[..], &failed.stderr[..]].concat()).into_owned();
    for part in [
        "command 3 of 3, `echo s3cr3t-why; test -e /go`, ended with status 1 in the guest: s3cr3t-why",
        "run `netlab up` again",
        "the rest of the lab is up",
    ] {
        assert!(failed.contains(part), "no `{part}` in {failed}");
    }
    let command = "cat /count; stat -c %a /etc/new /etc/new/motd; sha256sum </blob; ls /tmp | wc -l; touch /go";
    let seen = bench.good(&["exec", name, "vm1", "--", command]);
    assert!(
        seen.starts_with("one\nhello vm1 10.0.1.2 it's $HOME\n755\n640\n") && seen.ends_with("  -\n0\n"),
        "{seen}"
    );
    let plan = bench.good(&["plan", bench.file()]);
    assert_eq!(plan, ONE_COMMAND);
    bench.good(&["-q", "up", bench.file()]);
    assert!(bench.good(&["up", bench.file()]).contains("nothing to do"));

    // What others may read of a domain has digests only.
    let domain = format!("{name}.vm1");
    let xml = bench.inside("node1", &["virsh", "-r", "-c", "qemu:///system", "dumpxml", &domain]);
    assert!(
        xml.contains("urn:netlab:tasks:1") && xml.contains("/etc/new/motd"),
        "{xml}"
    );
    assert!(!xml.contains("s3cr3t") && !xml.contains("hello"), "{xml}");

    let journal = bench.state().join("labs").join(name).join("journal");
    let journal = std::fs::read_to_string(journal).unwrap();
    assert!(
        journal.contains("set-up-guest") && !journal.contains("s3cr3t"),
        "{journal}"
    );

    // A command that is added runs; those before it do not run again, and one that is removed changes nothing.
    bench.write(&lab(&format!("{three}, \"cat /count | wc -l >/lines\"")));
    let plan = bench.good(&["plan", bench.file()]);
    assert_eq!(plan, ONE_COMMAND);
    bench.good(&["-q", "up", bench.file()]);
    assert_eq!(bench.good(&["exec", name, "vm1", "--", "cat /lines"]), "2\n");
    bench.write(&lab(three));
    assert!(bench.good(&["up", bench.file()]).contains("nothing to do"));
    bench.good(&["-q", "down", name]);
    bench.assert_as_before();
}
