//! What ssh, and programs that use it, need to reach the guests of a lab: a configuration whose `ProxyCommand` is
//! `netlab proxy`, and an Ansible inventory.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::vm::configuration;
use super::{Env, OpsError, up_lab};
use crate::atomic_file;
use crate::folders::Folders;
use crate::lab::{HostName, LabName, VmName};
use crate::transport::quote;

/// The account of a guest whose console is a shell without a login.
const ROOT: &str = "root";

/// How ssh reaches the guests of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshConfig {
    /// The lab.
    pub lab: LabName,
    /// The file that has this configuration.
    pub file: PathBuf,
    /// The caller's private keys, of which the VMs were given the public ones: under sudo(8) ssh alone would use root's.
    pub identities: Vec<PathBuf>,
    /// The VMs.
    pub vms: Vec<SshVm>,
}

/// How ssh reaches one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SshVm {
    /// Its name.
    pub vm: VmName,
    /// The name that no other lab's VM has: `<vm>.<lab>`.
    pub alias: String,
    /// The host that it runs on.
    pub host: HostName,
    /// The account.
    pub user: String,
    /// The file of its known host keys.
    pub known_hosts: PathBuf,
    /// The command that connects standard input and output to its ssh server.
    pub proxy: String,
}

/// Returns how ssh reaches the VMs of `lab`, a lab's name or file, and writes it to [`SshConfig::file`]. The account of a
/// VM is that of its image's login, else root.
pub fn ssh_config(env: &Env, lab: &str) -> Result<SshConfig, OpsError> {
    let up = up_lab(env, lab)?;
    let folders = Folders {
        state: absolute(&env.folders.state)?,
        ..env.folders.clone()
    };
    let program = format!(
        "env {} {}",
        quote(&format!("NETLAB_STATE_DIR={}", folders.state.display())),
        quote(&env.program.display().to_string())
    );
    let vms = up.domains().map(|(host, name, domain)| {
        let (lab, vm) = (name.lab(), name.vm());
        let login = configuration(domain).and_then(|config| config.console.login.as_ref());
        SshVm {
            vm: vm.clone(),
            alias: format!("{vm}.{lab}"),
            host: host.clone(),
            user: login.map_or_else(|| ROOT.to_owned(), |login| login.user.clone()),
            known_hosts: folders.known_hosts(lab, vm),
            proxy: format!("{program} proxy {lab} {vm}"),
        }
    });
    let config = SshConfig {
        file: folders.ssh_config(&up.lab),
        vms: vms.collect(),
        identities: env.caller.identities(),
        lab: up.lab.clone(),
    };
    let written = Folders::make(&folders.lab(&up.lab))
        .and_then(|()| atomic_file::replace(&config.file, 0o600, config.text().as_bytes()).map(drop));
    written.map_err(|source| OpsError::File {
        doing: "write",
        path: config.file.clone(),
        source,
    })?;
    Ok(config)
}

fn absolute(path: &Path) -> Result<PathBuf, OpsError> {
    std::path::absolute(path).map_err(|source| OpsError::File {
        doing: "make absolute the path of",
        path: path.to_owned(),
        source,
    })
}

impl SshConfig {
    /// Returns it as ssh_config(5). Host keys are pinned in files of the lab; one that is not known yet is learned by
    /// `netlab proxy` before ssh sees it, or else accepted the first time.
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Guests of lab {}, by netlab: for ssh, scp and rsync -e ssh, with -F.\n",
            self.lab
        );
        let path = |path: &Path| quoted(&path.display().to_string().replace('%', "%%"));
        for vm in &self.vms {
            // Writing to a `String` cannot fail.
            let _ = write!(
                text,
                "\nHost {vm} {alias}\n  HostName {alias}\n  HostKeyAlias {alias}\n  User {user}\n  \
                 ProxyCommand {proxy}\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n  \
                 StrictHostKeyChecking accept-new\n  UpdateHostKeys no\n  CheckHostIP no\n  LogLevel ERROR\n",
                vm = vm.vm,
                alias = vm.alias,
                user = quoted(&vm.user),
                proxy = vm.proxy.replace('%', "%%"),
                known = path(&vm.known_hosts),
            );
            for identity in &self.identities {
                let _ = writeln!(text, "  IdentityFile {}", path(identity));
            }
        }
        text
    }

    /// Returns it as an Ansible inventory in YAML: the VMs, and a group of those of each host.
    pub fn inventory(&self) -> String {
        let mut text = format!(
            "all:\n  vars:\n    ansible_ssh_common_args: {}\n  hosts:\n",
            yaml(&format!("-F {}", quote(&self.file.display().to_string())))
        );
        for SshVm { vm, alias, user, .. } in &self.vms {
            let user = yaml(user);
            let _ = write!(
                text,
                "    {vm}:\n      ansible_host: {alias}\n      ansible_user: {user}\n"
            );
        }
        let mut hosts: Vec<&HostName> = self.vms.iter().map(|vm| &vm.host).collect();
        hosts.sort();
        hosts.dedup();
        if !hosts.is_empty() {
            text.push_str("  children:\n");
        }
        for host in hosts {
            // A group's name is a variable's: letters, digits and underscores.
            let group = host.as_str().replace(['-', '.'], "_");
            let _ = write!(text, "    host_{group}:\n      hosts:\n");
            for vm in self.vms.iter().filter(|vm| vm.host == *host) {
                let _ = writeln!(text, "        {}:", vm.vm);
            }
        }
        text
    }
}

/// Returns an argument of ssh_config(5), in double quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns a single-quoted scalar of YAML.
fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SshConfig {
        let vm = |name: &str, host: &str, user: &str| SshVm {
            vm: name.parse().unwrap(),
            alias: format!("{name}.demo"),
            host: host.parse().unwrap(),
            user: user.to_owned(),
            known_hosts: format!("/s 50%/labs/demo/known_hosts/{name}").into(),
            proxy: format!("env 'NETLAB_STATE_DIR=/s 50%' /usr/bin/netlab proxy demo {name}"),
        };
        SshConfig {
            lab: "demo".parse().unwrap(),
            file: "/s 50%/labs/demo/ssh_config".into(),
            identities: vec!["/home/50% me/.ssh/id".into()],
            vms: vec![vm("web-1", "node-1", "root"), vm("db", "node2", "debian")],
        }
    }

    #[test]
    fn ssh_reads_every_value_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, config().text()).unwrap();
        let ssh = std::process::Command::new("ssh")
            .arg("-F")
            .arg(&file)
            .args(["-G", "web-1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&ssh.stdout).into_owned();
        for line in [
            "user root",
            "hostname web-1.demo",
            "hostkeyalias web-1.demo",
            "proxycommand env 'NETLAB_STATE_DIR=/s 50%%' /usr/bin/netlab proxy demo web-1",
            "stricthostkeychecking accept-new",
            "identityfile /home/50%% me/.ssh/id",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
        assert!(text.contains("userknownhostsfile /s 50%"), "{text}");
    }

    #[test]
    fn an_inventory_has_every_vm_and_the_group_of_its_host() {
        assert_eq!(
            config().inventory(),
            "all:\n  vars:\n    ansible_ssh_common_args: '-F ''/s 50%/labs/demo/ssh_config'''\n  hosts:\n    \
             web-1:\n      ansible_host: web-1.demo\n      ansible_user: 'root'\n    \
             db:\n      ansible_host: db.demo\n      ansible_user: 'debian'\n  children:\n    \
             host_node_1:\n      hosts:\n        web-1:\n    host_node2:\n      hosts:\n        db:\n"
        );
    }
}
