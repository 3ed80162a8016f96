//! A guest that configures itself from a seed disk, as with cloud-init: netlab writes the disk, and only queries the
//! guest over the console.

use std::fs;

use super::bench::guest_files;
use super::labs::{HOSTS, compressed, exec, image_of, lab, verified};
use crate::support::server::{Act, Server};

#[test]
#[ignore = "soak: a guest with a screen boots twice"]
fn a_guest_with_cloud_init_reads_its_settings_from_a_disk_and_keeps_its_data_when_they_change() {
    let test = "a_guest_with_cloud_init_reads_its_settings_from_a_disk_and_keeps_its_data_when_they_change";
    let Some(bench) = lab(test, "ci", HOSTS) else {
        return;
    };
    assert!(guest_files().unwrap().join("seed.img").is_file());
    let file = compressed("seed.img");
    let server = Server::start(&file, &[Act::Give]);
    let console = "kind = \"serial\", login = { user = \"netlab\", password = \"it's: \\\"me\\\"\" }";
    let image = format!("cloud_init = true\n{}", image_of(&server, &file, "rtl8139", console));
    let lab_file = |address: &str| {
        format!(
            "image = \"seed\"\n{HOSTS}[vms.vm]\nhost = \"node1\"\nnics = [{{ network = \"service\", address = \
             \"{address}\" }}]\n[images.seed]\n{image}"
        )
    };
    bench.write(&lab_file("10.0.1.7"));
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("wait for cloud-init in vm: 10.0.1.7/24"), "{plan}");
    bench.good(&["-q", "up", bench.file()]);
    assert!(bench.good(&["up", bench.file()]).contains("nothing to do"));
    assert!(verified(&bench) >= 1);
    assert_eq!(
        exec(&bench, "vm", &["hostname; ip route; echo mine >/own; sync"], 0)
            .lines()
            .next(),
        Some("vm")
    );
    let transcript = bench.state().join("labs").join(&bench.name).join("transcripts/vm.log");
    let transcript = fs::read_to_string(transcript).unwrap();
    assert!(
        transcript.contains("ip -4 -o addr show"),
        "it was queried: {transcript}"
    );
    assert!(!transcript.contains("addr add"), "it was not configured: {transcript}");

    // Another address is another seed: the guest restarts with its existing disk.
    bench.write(&lab_file("10.0.1.8"));
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("stop ") && !plan.contains("disk"), "{plan}");
    bench.good(&["-q", "up", bench.file()]);
    assert!(verified(&bench) >= 1);
    let said = exec(&bench, "vm", &["cat /own; ip -4 -o addr show"], 0);
    assert!(
        said.contains("mine") && said.contains("10.0.1.8/24") && !said.contains("10.0.1.7"),
        "{said}"
    );

    // A deleted seed disk is drift.
    let seed = format!("/var/lib/libvirt/images/netlab.{0}/{0}.vm.seed.iso", bench.name);
    bench.inside("node1", &["test", "-s", &seed]);
    bench.inside("node1", &["rm", &seed]);
    let plan = bench.good(&["plan", bench.file()]);
    assert!(plan.contains("define domain"), "{plan}");
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
    bench.good(&["image", "rm", "seed", "--lab", bench.file()]);
}
