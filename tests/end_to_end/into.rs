//! Into a guest with OpenSSH's server: this machine's own, sent to the built-in guest over its network.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::lab::{Bench, EMPTY};
use crate::support::skip;

/// With room for the server and a file of 10 MiB in its memory.
const GUEST: &str = r#"
[vms.vm1]
memory = "256MiB"
nics = [{ network = "service" }]
"#;

const SSHD: &str = "/usr/sbin/sshd";

/// Configures and starts the server. The guest has neither accounts nor terminals of its own.
const START: &str = "mkdir -p /var/empty /run/sshd /dev/pts && wget -q -O- http://10.0.1.1:8000/root.tar | tar x -C / && \
                     echo sshd:x:100:65534::/var/empty:/bin/false >>/etc/passwd && \
                     chown -R 0:0 /root /var/empty /etc/ssh && chmod 700 /root /root/.ssh /var/empty && \
                     chmod 600 /etc/ssh/key && ln -s key /etc/ssh/ssh_host_ed25519_key && \
                     ln -s key.pub /etc/ssh/ssh_host_ed25519_key.pub && \
                     mount -t devpts devpts /dev/pts && /usr/sbin/sshd";

/// A folder with the server, its libraries, its keys, and `authorized` as the key of root.
fn root_folder(root: &Path, authorized: &str) {
    for program in [SSHD, "/usr/lib/openssh/sftp-server"] {
        let libraries = Command::new("ldd").arg(program).output().unwrap();
        let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
        let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain([program]) {
            let copy = root.join(&file[1..]);
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(file, copy).unwrap();
        }
    }
    for folder in ["etc/ssh", "root/.ssh"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    make_key(&root.join("etc/ssh/key"));
    let config = "Subsystem sftp /usr/lib/openssh/sftp-server\nUsePAM no\n";
    std::fs::write(root.join("etc/ssh/sshd_config"), config).unwrap();
    std::fs::write(root.join("root/.ssh/authorized_keys"), authorized).unwrap();
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status();
    assert!(made.unwrap().success());
}

/// Sends the folder to the guest over its network, from a web server on its host, and starts the ssh server.
fn start_server(bench: &Bench, root: &Path) {
    let served = bench.path("served");
    std::fs::create_dir(&served).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root).arg("-cf").arg(served.join("root.tar")).arg(".");
    assert!(tar.status().unwrap().success());
    let mut server = bench.enter("node1");
    server
        .args(["busybox", "httpd", "-f", "-p", "10.0.1.1:8000", "-h"])
        .arg(&served);
    let mut server = server.spawn().unwrap();
    let started = bench.run(&["exec", &bench.name, "vm1", "--timeout", "120", "-n", "--", START]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stdout));
}

/// An agent of the test's own.
pub(super) struct Agent {
    pub(super) socket: String,
    pid: String,
}

impl Agent {
    pub(super) fn with(key: &Path) -> Self {
        let printed = Command::new("ssh-agent").arg("-s").output().unwrap();
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        let value = |key: &str| printed.split(key).nth(1).unwrap().split(';').next().unwrap().to_owned();
        let agent = Self {
            socket: value("SSH_AUTH_SOCK="),
            pid: value("SSH_AGENT_PID="),
        };
        let mut add = Command::new("ssh-add");
        let added = add.arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket).status();
        assert!(added.unwrap().success());
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.pid).status();
    }
}

fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {errors}", output.status);
    // No question, no warning, no notice of a new key.
    assert_eq!(errors, "");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "soak: an ssh server in a guest"]
fn ssh_and_what_uses_it_reach_a_guest_through_its_host_and_its_keys_are_read_over_the_console() {
    let test = "ssh_and_what_uses_it_reach_a_guest_through_its_host_and_its_keys_are_read_over_the_console";
    if !Path::new(SSHD).is_file() {
        skip(test, "needs sshd");
        return;
    }
    let Some(bench) = Bench::new(test, "into", &format!("{EMPTY}{GUEST}")) else {
        return;
    };
    let lab = bench.name.as_str();
    bench.good(&["-q", "up", bench.file()]);
    let user = bench.path("user");
    make_key(&user);
    let public = std::fs::read_to_string(user.with_extension("pub")).unwrap();
    let root = bench.path("root");
    root_folder(&root, &public);
    start_server(&bench, &root);

    // A home of the test's own: its key, and no known_hosts.
    let home = bench.path("home");
    std::fs::create_dir(&home).unwrap();
    let agent = Agent::with(&user);
    let netlab = |arguments: &[&str]| {
        let mut command = bench.netlab(arguments);
        command
            .env("SSH_AUTH_SOCK", &agent.socket)
            .env("HOME", &home)
            .output()
            .unwrap()
    };

    assert_eq!(succeeded(&netlab(&["ssh", lab, "vm1", "--", "echo", "a  b"])), "a  b\n");
    let known = std::fs::read_to_string(bench.state().join(format!("labs/{lab}/known_hosts/vm1"))).unwrap();
    let key = std::fs::read_to_string(root.join("etc/ssh/key.pub")).unwrap();
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    assert_eq!(known, format!("vm1.{lab} {}\n", key.join(" ")));
    assert_eq!(netlab(&["ssh", lab, "vm1", "--", "exit 7"]).status.code(), Some(7));

    let (big, back) = (bench.path("big"), bench.path("back"));
    let content: Vec<u8> = (0..10_u32 << 20)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    std::fs::write(&big, &content).unwrap();
    succeeded(&netlab(&["-q", "cp", lab, big.to_str().unwrap(), "vm1:/tmp/big"]));
    succeeded(&netlab(&["-q", "cp", lab, "vm1:/tmp/big", back.to_str().unwrap()]));
    assert!(std::fs::read(&back).unwrap() == content);

    // Another program, with nothing but the configuration.
    let config = bench.path("config");
    std::fs::write(&config, succeeded(&netlab(&["ssh-config", lab]))).unwrap();
    let mut scp = Command::new("scp");
    scp.args(["-q", "-F"]).arg(&config).arg("vm1:/etc/passwd").arg(&back);
    scp.env("SSH_AUTH_SOCK", &agent.socket).env("HOME", &home);
    succeeded(&scp.output().unwrap());
    assert!(std::fs::read_to_string(&back).unwrap().starts_with("root:"));
    assert!(!home.join(".ssh/known_hosts").exists());

    // Somebody else's server in its place.
    let other = root.join("etc/ssh/other");
    make_key(&other);
    bench.good(&[
        "-q",
        "cp",
        "--console",
        lab,
        other.to_str().unwrap(),
        "vm1:/etc/ssh/other",
    ]);
    bench.good(&[
        "exec",
        lab,
        "vm1",
        "-n",
        "--",
        "chmod 600 /etc/ssh/other; kill $(cat /run/sshd.pid); \
                  /usr/sbin/sshd -h /etc/ssh/other",
    ]);
    let refused = netlab(&["ssh", lab, "vm1", "--", "true"]);
    assert_eq!(
        refused.status.code(),
        Some(255),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );

    bench.good(&["-q", "down", lab]);
    bench.assert_as_before();
}
