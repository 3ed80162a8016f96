//! DHCP and DNS servers with real clients.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use netlab::lab::NetworkName;
use netlab::linux::dnsmasq::DhcpServers;
use netlab::linux::nftables;
use netlab::plan::Step;
use netlab::state::{Dhcp, Firewall, Lease, LocalGateway};
use netlab::transport::Shell;
use netlab::transport::cmd::Cmd;
use tempfile::TempDir;

use crate::namespace::{Namespace, bridge, ifname, lab, skip};

/// What udhcpc calls with a lease: sets the address and prints what the server sent.
const HOOK: &str = "#!/bin/sh
case $1 in bound|renew)
    ip address replace \"$ip/$mask\" dev \"$interface\"
    echo \"leased $ip/$mask router $router dns $dns domain $domain mtu $mtu\" ;;
esac
";

/// A host with `br1`, which has 10.0.1.1, and its servers.
struct Host {
    namespace: Namespace,
    servers: DhcpServers,
    folder: TempDir,
}

impl Host {
    fn new(test: &str) -> Option<Self> {
        let namespace = Namespace::new(test)?;
        for program in ["dnsmasq", "busybox", "perl"] {
            if namespace.shell.run(&Cmd::new(["which", program])).ok()?.status != 0 {
                skip(test, &format!("{program} is not installed"));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let hook = folder.path().join("hook");
        std::fs::write(&hook, HOOK).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut wanted = bridge("network service");
        wanted.addresses.insert("10.0.1.1/24".parse().unwrap());
        namespace.apply(&[Step::CreateLink(ifname("br1"), wanted)]).unwrap();
        Some(Self {
            namespace,
            servers: DhcpServers {
                folder: folder.path().join("dhcp"),
            },
            folder,
        })
    }

    fn observe(&self) -> BTreeMap<NetworkName, Dhcp> {
        self.servers.observe(&self.namespace.shell, &lab()).unwrap()
    }

    fn start(&self, network: &str, server: &Dhcp) -> Result<(), String> {
        let started = [(&name(network), server)];
        self.servers
            .start(&self.namespace.shell, &lab(), &started)
            .map_err(|failed| failed.to_string())
    }

    fn stop(&self, network: &str) {
        self.servers
            .stop(&self.namespace.shell, &lab(), &[&name(network)])
            .unwrap();
    }

    /// A guest's namespace at a port of the bridge.
    fn guest(&self, test: &str, tap: &str, mac: &str) -> Option<Namespace> {
        let guest = Namespace::new(test)?;
        self.namespace.cable(tap, &guest, "eth0");
        self.namespace.ip(&format!("link set dev {tap} master br1"));
        guest.ip(&format!(
            "link set dev eth0 down\nlink set dev eth0 address {mac}\nlink set dev eth0 up"
        ));
        Some(guest)
    }

    /// Returns what a DHCP client on `guest` received; none if no server answered.
    fn lease(&self, guest: &Namespace) -> Option<String> {
        let hook = self.folder.path().join("hook");
        let client = "busybox udhcpc -i eth0 -n -q -f -t 3 -T 1 -s";
        let mut cmd = Cmd::new(client.split(' '));
        cmd.argv.push(hook.to_str().unwrap().to_owned());
        let output = guest.shell.run(&cmd).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lease = text.lines().find_map(|line| line.strip_prefix("leased "));
        lease.map(ToOwned::to_owned).filter(|_| output.status == 0)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let networks: Vec<NetworkName> = self.observe().into_keys().collect();
        let _ = self
            .servers
            .stop(&self.namespace.shell, &lab(), &networks.iter().collect::<Vec<_>>());
    }
}

fn name(network: &str) -> NetworkName {
    NetworkName::new(network).unwrap()
}

const FIRST: &str = "52:54:00:00:00:01";
const SECOND: &str = "52:54:00:00:00:02";

fn server() -> Dhcp {
    let lease = |mac: &str, vm: &str, last: u8| {
        let lease = Lease {
            vm: vm.parse().unwrap(),
            address: [10, 0, 1, last].into(),
        };
        (mac.parse().unwrap(), lease)
    };
    Dhcp {
        bridge: ifname("br1"),
        subnet: "10.0.1.0/24".parse().unwrap(),
        gateway: [10, 0, 1, 1].into(),
        domain: lab(),
        leases: BTreeMap::from([lease(FIRST, "vm1", 2), lease(SECOND, "vm2", 3)]),
        nameservers: Vec::new(),
        mtu: Some(1400),
        lease: None,
        running: true,
    }
}

/// The answer to a question of DNS asked on `guest`.
fn resolved(guest: &Namespace, what: &str) -> Option<String> {
    let asked = guest
        .shell
        .run(&Cmd::new(["busybox", "nslookup", what, "10.0.1.1"]))
        .unwrap();
    let text = String::from_utf8(asked.stdout).unwrap();
    let answer = text.lines().rev().find_map(|line| {
        let found = line.strip_prefix("Address: ");
        found.or_else(|| line.split_once("name = ").map(|(_, name)| name))
    });
    answer
        .map(|answer| answer.trim().to_owned())
        .filter(|_| asked.status == 0)
}

#[test]
fn a_guest_is_leased_its_address_and_all_names_and_a_stranger_nothing() {
    let test = "a_guest_is_leased_its_address_and_all_names";
    let Some(host) = Host::new(test) else { return };
    let (Some(guest), Some(stranger)) = (
        host.guest(test, "tap1", FIRST),
        host.guest(test, "tap2", "52:54:00:00:00:99"),
    ) else {
        return;
    };
    assert_eq!(host.observe(), BTreeMap::new());
    host.start("service", &server()).unwrap();
    assert_eq!(host.observe(), BTreeMap::from([(name("service"), server())]));

    let expected = format!("10.0.1.2/24 router 10.0.1.1 dns 10.0.1.1 domain {} mtu 1400", lab());
    assert_eq!(host.lease(&guest), Some(expected));
    assert_eq!(host.lease(&stranger), None);
    for (asked, answer) in [("vm1", "10.0.1.2"), ("vm2", "10.0.1.3"), ("vm2.quickstart", "10.0.1.3")] {
        assert_eq!(resolved(&guest, asked).as_deref(), Some(answer), "{asked}");
    }
    assert_eq!(resolved(&guest, "10.0.1.3").as_deref(), Some("vm2.quickstart"));
    assert_eq!(resolved(&guest, "vm9.quickstart"), None);
    assert_eq!(
        resolved(&guest, "localhost.localdomain"),
        None,
        "the host's own names are not the lab's"
    );

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = host.servers.folder.join("quickstart.service");
    assert_eq!((mode(&folder), mode(&folder.join("conf"))), (0o700, 0o600));
    let leases = std::fs::read_to_string(folder.join("leases")).unwrap();
    assert!(leases.contains("10.0.1.2 vm1"), "{leases}");

    host.stop("service");
    host.stop("service");
    assert_eq!(host.observe(), BTreeMap::new());
    assert!(!host.servers.folder.exists(), "the leases are removed with the rest");
    assert_eq!(resolved(&guest, "vm1"), None);
}

#[test]
fn a_server_that_was_killed_is_observed_as_not_running_and_a_strangers_process_is_left_alone() {
    let test = "a_server_that_was_killed_is_observed_as_not_running";
    let Some(host) = Host::new(test) else { return };
    host.start("service", &server()).unwrap();
    let pid_file = host.servers.folder.join("quickstart.service/pid");
    let pid = std::fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    host.namespace.check_fed(&["kill", "-9", &pid], "");
    let dead = Dhcp {
        running: false,
        ..server()
    };
    let mut seen = host.observe();
    for _ in 0..200 {
        if seen[&name("service")] == dead {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        seen = host.observe();
    }
    assert_eq!(seen, BTreeMap::from([(name("service"), dead.clone())]));

    // The number goes to somebody else.
    let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(&pid_file, format!("{}\n", stranger.id())).unwrap();
    assert_eq!(host.observe()[&name("service")], dead);
    host.stop("service");
    assert_eq!(stranger.try_wait().unwrap(), None, "it lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(host.observe(), BTreeMap::new());

    // What a run killed in the middle leaves is removed like any other.
    std::fs::create_dir_all(host.servers.folder.join("quickstart.half")).unwrap();
    assert!(!host.observe()[&name("half")].running);
    host.stop("half");
    assert_eq!(host.observe(), BTreeMap::new());
}

/// FAULTS 45.
#[test]
fn there_is_never_a_second_server_on_a_bridge_nor_on_a_wire_that_has_one() {
    let test = "there_is_never_a_second_server_on_a_bridge";
    let Some(host) = Host::new(test) else { return };
    let Some(elsewhere) = host.guest(test, "tap1", "52:54:00:00:00:77") else {
        return;
    };
    host.start("service", &server()).unwrap();
    let error = host.start("other", &server()).unwrap_err();
    assert!(
        error.contains("already listens on bridge br1") && error.contains("dnsmasq"),
        "{error}"
    );
    assert_eq!(host.observe().len(), 1, "the refused one left nothing");
    host.stop("service");

    // A server such as a home router's, at the other end of the cable.
    elsewhere.ip("address add 10.0.1.77/24 dev eth0");
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    elsewhere.check_fed(
        &[
            "dnsmasq",
            "--conf-file=/dev/null",
            "--port=0",
            "--interface=eth0",
            "--bind-interfaces",
            "--except-interface=lo",
            "--dhcp-range=10.0.1.100,10.0.1.110",
            &format!("--dhcp-leasefile={}", folder.path().join("leases").display()),
            &format!("--pid-file={}", pid_file.display()),
        ],
        "",
    );
    let refused = host.start("service", &server());
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    elsewhere.check_fed(&["kill", pid.trim()], "");
    let error = refused.unwrap_err();
    assert!(error.contains("answers on bridge br1, from 10.0.1.77"), "{error}");
    assert_eq!(host.observe(), BTreeMap::new());
}

#[test]
fn a_server_that_cannot_start_says_why_and_leaves_nothing() {
    let Some(host) = Host::new("a_server_that_cannot_start_says_why_and_leaves_nothing") else {
        return;
    };
    let elsewhere = Dhcp {
        bridge: ifname("br9"),
        ..server()
    };
    let started = [
        (&name("service"), &server()),
        (&name("other"), &elsewhere),
        (&name("third"), &elsewhere),
    ];
    let failed = host.servers.start(&host.namespace.shell, &lab(), &started).unwrap_err();
    assert_eq!(failed.at, 1);
    assert!(failed.to_string().contains("br9"), "{failed}");
    assert_eq!(host.observe(), BTreeMap::from([(name("service"), server())]));
}

#[test]
fn each_host_leases_to_its_own_guests_where_all_have_the_gateway() {
    let test = "each_host_leases_to_its_own_guests";
    let (Some(first), Some(second)) = (Host::new(test), Host::new(test)) else {
        return;
    };
    first.namespace.cable("eth0", &second.namespace, "eth0");
    let gateway = Ipv4Addr::from([10, 0, 1, 1]);
    for host in [&first, &second] {
        host.namespace.ip("link set dev eth0 master br1");
        let firewall = Firewall {
            local_gateways: [LocalGateway {
                port: ifname("eth0"),
                address: gateway,
            }]
            .into(),
            ..Firewall::default()
        };
        if let Err(why) = nftables::load(&host.namespace.shell, &lab(), &firewall) {
            skip(test, &why.to_string());
            return;
        }
        // The other one's is not heard over the wire.
        host.start("service", &server()).unwrap();
    }
    let (Some(guest), Some(other)) = (first.guest(test, "tap1", FIRST), second.guest(test, "tap1", SECOND)) else {
        return;
    };
    for (host, guest, address) in [(&first, &guest, "10.0.1.2"), (&second, &other, "10.0.1.3")] {
        let lease = host.lease(guest);
        assert!(
            lease.as_deref().is_some_and(|lease| lease.starts_with(address)),
            "{lease:?}"
        );
        let leases = std::fs::read_to_string(host.servers.folder.join("quickstart.service/leases")).unwrap();
        assert_eq!(leases.matches("10.0.1.").count(), 1, "only the own guest's: {leases}");
    }
    second.stop("service");
    assert_eq!(second.lease(&other), None, "no answer crosses the trunk");
}
