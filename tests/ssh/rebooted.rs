//! FAULTS 5 and 66: a host behind ssh that rebooted under a lab. What a reboot takes is taken: every process and link,
//! rules, settings, /run; what is on its disk stays: domains and their disks.

use crate::machines::Machines;

/// Ends what a reboot ends, inside the machine's own PID and network namespace, and configures its NIC as at boot; the
/// kernel's boot id is another one afterwards.
const REBOOT: &str = r#"
pkill -9 qemu-system
pkill -9 dnsmasq
for name in $(ip -o link show type bridge | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do ip link delete dev "$name"; done
for name in $(ip -o link show type tun | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do ip link delete dev "$name"; done
ip link set dev eth0 down
ip link set dev eth0 alias ''
ip link set dev eth0 group default
ip address flush dev eth0
ip link set dev eth0 up
nft flush ruleset
sysctl -q -w net.ipv4.ip_forward=0
rm -rf /run/netlab
cat /proc/sys/kernel/random/uuid > /run/boot
umount /proc/sys/kernel/random/boot_id 2>/dev/null
mount --bind /run/boot /proc/sys/kernel/random/boot_id
"#;

#[test]
fn a_host_that_rebooted_is_named_by_status_rebuilt_by_up_and_cleaned_by_down() {
    let Some(machines) = Machines::new("rebooted") else {
        return;
    };
    machines.write_lab("[[nat]]\non = \"node1\"\nfrom = [\"service\"]\nout = \"mgmt\"\n");
    let lab = machines.lab();
    let text = std::fs::read_to_string(&lab).unwrap();
    std::fs::write(&lab, text.replace("nics.eth0 = {}", "nics.eth0 = {}\nnics.mgmt = {}")).unwrap();
    let lab = lab.to_str().unwrap();
    let before = machines.snapshot();
    machines.good(&["up", lab]);
    machines.good(&["verify", lab]);

    machines.run("node1", &["sh", "-c", REBOOT]);
    let status = machines.good(&["status", &machines.name]);
    let row = |host: &str| {
        let lines = status.lines().filter(|line| line.starts_with(host));
        lines.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert!(status.contains("partly up"), "{status}");
    assert!(
        row("node1 ").contains("rebooted") && row("node2 ").ends_with("up"),
        "{status}"
    );
    assert!(
        row("vm1 ").contains("crashed") || row("vm1 ").contains("shut off"),
        "{status}"
    );

    machines.good(&["up", lab]);
    let plan = machines.good(&["plan", lab]);
    assert!(plan.contains("nothing to do"), "{plan}");
    machines.good(&["verify", lab]);
    let status = machines.good(&["status", &machines.name]);
    assert!(status.contains("is up") && !status.contains("rebooted"), "{status}");

    for node in ["node1", "node2"] {
        machines.run(node, &["sh", "-c", REBOOT]);
    }
    machines.good(&["down", &machines.name]);
    for node in ["node1", "node2"] {
        let boot = "umount /proc/sys/kernel/random/boot_id && rm /run/boot";
        machines.run(node, &["sh", "-c", boot]);
    }
    machines.assert_as(&before);
}
