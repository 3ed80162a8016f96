//! A router that leads to the network of the machine that netlab runs on. The Internet is a network namespace of the test's.

use std::process::Command;

use crate::support::lab::Bench;

const LAB: &str = r#"
name = "LABNAME"
[hosts.node1]
nics.eth0 = { address = "192.168.99.108/24", gateway = "192.168.99.1" }
[routers.home]
nics.lan.address = "192.168.99.1/24"
outside = "host"
[[cables]]
ends = ["node1:eth0", "home:lan"]
"#;
/// In the namespace; this machine has the first address of the subnet.
const WORLD: &str = "198.51.100.9";

fn succeeded(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A namespace with a link to this machine; both are removed when this is dropped.
struct World {
    name: String,
    link: String,
}

impl World {
    fn new() -> Self {
        let world = Self {
            name: format!("world{}", std::process::id()),
            link: format!("wld{}", std::process::id()),
        };
        let (name, link) = (&*world.name, &*world.link);
        succeeded("ip", &["netns", "add", name]);
        succeeded(
            "ip",
            &[
                "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name,
            ],
        );
        succeeded("ip", &["address", "add", "198.51.100.1/24", "dev", link]);
        succeeded("ip", &["link", "set", link, "up"]);
        succeeded("ip", &["-n", name, "address", "add", "198.51.100.9/24", "dev", "eth0"]);
        succeeded("ip", &["-n", name, "link", "set", "eth0", "up"]);
        succeeded("ip", &["-n", name, "link", "set", "lo", "up"]);
        world
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.name]).status());
        drop(Command::new("ip").args(["link", "del", &self.link]).status());
    }
}

/// What must be as before once the lab is down.
fn machine(bench: &Bench) -> [String; 3] {
    let tables = succeeded("nft", &["list", "tables"]);
    let tables: Vec<&str> = tables
        .lines()
        .filter(|line| line.contains(bench.name.as_str()))
        .collect();
    let links = succeeded("ip", &["-o", "link"]);
    let links: Vec<&str> = links
        .lines()
        .filter(|line| line.contains(": nlo") && line.contains("veth"))
        .collect();
    let records = std::fs::read_dir("/run/netlab/to-host").into_iter().flatten().flatten();
    let records: Vec<String> = records
        .map(|record| record.file_name().to_string_lossy().into_owned())
        .filter(|record| record.contains(bench.name.as_str()))
        .collect();
    [tables.join("\n"), links.join("\n"), records.join("\n")]
}

fn forwarding() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap()
}

fn is_as_before(bench: &Bench, (machine_before, forwarding_before): &([String; 3], String)) {
    bench.assert_as_before();
    assert_eq!(machine(bench), *machine_before);
    // A lab of another test may need it now.
    if !std::path::Path::new("/run/netlab/sysctl").exists() {
        assert_eq!(forwarding(), *forwarding_before);
    }
}

fn reaches(bench: &Bench) -> bool {
    let mut ping = bench.enter("node1");
    ping.args(["ping", "-c2", "-W2", WORLD])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn a_router_gives_a_lab_the_machines_own_network_and_leaves_nothing() {
    let test = "a_router_gives_a_lab_the_machines_own_network_and_leaves_nothing";
    let Some(bench) = Bench::new(test, "out", LAB) else {
        return;
    };
    let _world = World::new();
    let before = (machine(&bench), forwarding());
    assert!(before.0.iter().all(String::is_empty), "{before:?}");
    let plan = bench.run(&["plan", bench.file()]);
    let warnings = String::from_utf8_lossy(&plan.stderr).into_owned() + &String::from_utf8_lossy(&plan.stdout);
    assert!(
        warnings.contains("connects the lab to this machine's own network"),
        "{warnings}"
    );

    bench.good(&["-q", "up", bench.file()]);
    assert!(reaches(&bench));
    assert_eq!(forwarding(), "1\n");
    assert!(bench.good(&["plan", bench.file()]).contains("nothing to do"));

    // Drift: the table was deleted by hand.
    let table = format!("netlab.{}.home", bench.name);
    succeeded("nft", &["delete", "table", "ip", &table]);
    assert!(!bench.good(&["plan", bench.file()]).contains("nothing to do"));
    bench.good(&["-q", "up", bench.file()]);
    assert!(reaches(&bench));
    // Its namespace was deleted by hand: what is left on this machine is still the lab's.
    succeeded("ip", &["netns", "del", &format!("netlab.{}.home", bench.name)]);
    bench.good(&["-q", "down", &bench.name]);
    is_as_before(&bench, &before);
}

#[test]
#[ignore = "soak: a run for each step boundary of up and of down"]
fn a_router_that_leads_to_the_machine_leaves_nothing_wherever_a_run_is_killed() {
    let test = "a_router_that_leads_to_the_machine_leaves_nothing_wherever_a_run_is_killed";
    let Some(bench) = Bench::new(test, "outk", LAB) else {
        return;
    };
    let _world = World::new();
    let before = (machine(&bench), forwarding());
    let removed = || is_as_before(&bench, &before);
    for at in 1..60 {
        if !bench.killed(&["-q", "up", bench.file()], at) {
            assert!(at > 4, "only {at} boundaries were met");
            break;
        }
        if at % 2 == 0 {
            bench.good(&["-q", "up", bench.file()]);
            assert!(reaches(&bench), "boundary {at}");
        }
        bench.good(&["-q", "down", &bench.name]);
        removed();
    }
    for at in 1..60 {
        bench.good(&["-q", "up", bench.file()]);
        let killed = bench.killed(&["-q", "down", &bench.name], at);
        bench.good(&["-q", "down", &bench.name]);
        removed();
        if !killed {
            break;
        }
    }
}

const WITH_GUEST: &str = r#"
[networks.service]
subnet = "10.0.1.0/24"
gateway = { address = "10.0.1.1", on = "node1" }
[vms.vm1]
memory = "96MiB"
nics = [{ network = "service" }]
run = ["echo $http_proxy $no_proxy >/tmp/proxies"]
"#;

#[test]
fn commands_of_a_lab_that_leads_to_the_machine_have_the_callers_proxies_and_another_caller_changes_nothing() {
    let test =
        "commands_of_a_lab_that_leads_to_the_machine_have_the_callers_proxies_and_another_caller_changes_nothing";
    let Some(bench) = Bench::new(test, "prox", &format!("{LAB}{WITH_GUEST}")) else {
        return;
    };
    let netlab = |proxy: &str, arguments: &[&str]| {
        let mut command = bench.netlab(arguments);
        command.env("http_proxy", proxy).env("no_proxy", "example.net");
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), errors)
    };
    netlab("http://proxy.example.org:3128", &["-q", "up", bench.file()]);
    assert_eq!(
        bench.good(&["exec", &bench.name, "vm1", "-n", "--", "cat /tmp/proxies"]),
        "http://proxy.example.org:3128 example.net,vm1,10.0.1.2\n"
    );
    let (plan, warnings) = netlab("http://127.0.0.1:3128", &["plan", bench.file()]);
    assert!(plan.contains("nothing to do"), "{plan}");
    assert!(
        warnings.contains("guests do not get http_proxy of the environment"),
        "{warnings}"
    );
    bench.good(&["-q", "down", &bench.name]);
    bench.assert_as_before();
}
