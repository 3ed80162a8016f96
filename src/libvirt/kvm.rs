//! Whether hardware virtualization works. A /dev/kvm that exists and that root can open proves nothing: guests run as
//! another user.

use crate::libvirt::domain_xml::Node;
use crate::state::survey::Kvm;
use crate::transport::cmd::{Cmd, CmdError, Shell};

/// Determines it from libvirt's capabilities, the CPU's flags and the permissions of /dev/kvm.
pub(super) fn kvm(capabilities: &Node, shell: &dyn Shell) -> Result<Kvm, CmdError> {
    let stat = Cmd::new(["stat", "-c", "%F %a %u %g", "/dev/kvm"]);
    let outputs: Vec<String> = shell
        .run_all(&[stat, Cmd::new(CPUINFO)])?
        .iter()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .collect();
    let [found, info] = &outputs[..] else {
        return Ok(Kvm::Absent);
    };
    let device = found
        .trim()
        .strip_prefix("character special file ")
        .and_then(Rights::read);
    let Some(device) = device else {
        return Ok(Kvm::Absent);
    };
    let host = capabilities
        .at(&["host", "cpu", "arch"])
        .map(|arch| arch.text.trim().to_owned())
        .unwrap_or_default();
    if ["x86_64", "i686"].contains(&host.as_str()) && !has_flags(info) {
        return Ok(Kvm::Useless(NO_FLAGS.to_owned()));
    }
    if !offers_kvm(capabilities, &host) {
        return Ok(Kvm::Useless("libvirt does not offer it".to_owned()));
    }
    let Some((user, group)) = qemu_user(capabilities) else {
        return Ok(Kvm::Usable);
    };
    // `+64055` is a number; anything else a name. id(1) takes both.
    let groups = shell.check(&Cmd::new(["id", "-G", "--", user.trim_start_matches('+')]));
    let mut groups: Vec<u32> = match groups {
        Ok(groups) => numbers(&String::from_utf8_lossy(&groups)),
        Err(_) => Vec::new(),
    };
    groups.extend(group.trim_start_matches('+').parse::<u32>());
    let Ok(user) = user.trim_start_matches('+').parse() else {
        return Ok(Kvm::Usable);
    };
    Ok(if device.allow(user, &groups) {
        Kvm::Usable
    } else {
        Kvm::Useless(format!("user {user}, which libvirt runs QEMU as, may not open it"))
    })
}

/// Determines the same for an emulated host that does not run yet: its libvirt runs QEMU as root and offers what this
/// machine's processor can do.
pub(crate) fn kvm_of_emulated_host(shell: &dyn Shell) -> Result<Kvm, CmdError> {
    let x86 = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    if shell.run(&Cmd::new(["test", "-c", "/dev/kvm"]))?.status != 0 {
        Ok(Kvm::Absent)
    } else if x86 && !has_flags(&String::from_utf8_lossy(&shell.check(&Cmd::new(CPUINFO))?)) {
        Ok(Kvm::Useless(NO_FLAGS.to_owned()))
    } else {
        Ok(Kvm::Usable)
    }
}

const NO_FLAGS: &str = "the CPU has neither vmx nor svm";

const CPUINFO: [&str; 2] = ["cat", "/proc/cpuinfo"];

fn has_flags(info: &str) -> bool {
    info.split_whitespace().any(|field| field == "vmx" || field == "svm")
}

fn offers_kvm(capabilities: &Node, host: &str) -> bool {
    let arches = capabilities.all("guest").filter_map(|guest| guest.child("arch"));
    arches
        .filter(|arch| arch.attr("name") == Some(host))
        .any(|arch| arch.all("domain").any(|domain| domain.attr("type") == Some("kvm")))
}

/// User and group that QEMU runs as: libvirt's DAC label for kvm guests, `+64055:+64055`.
pub(super) fn qemu_user(capabilities: &Node) -> Option<(String, String)> {
    let models = capabilities.child("host")?.all("secmodel");
    let dac = models
        .into_iter()
        .find(|m| m.child("model").is_some_and(|model| model.text == "dac"))?;
    let label = dac.all("baselabel").find(|label| label.attr("type") == Some("kvm"))?;
    let (user, group) = label.text.split_once(':')?;
    Some((user.to_owned(), group.to_owned()))
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|field| field.parse().ok()).collect()
}

/// The owner and permissions of a file.
struct Rights {
    mode: u32,
    user: u32,
    group: u32,
}

impl Rights {
    /// Parses what `stat -c '%a %u %g'` prints.
    fn read(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace();
        Some(Self {
            mode: u32::from_str_radix(fields.next()?, 8).ok()?,
            user: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }

    fn allow(&self, user: u32, groups: &[u32]) -> bool {
        let shift = match () {
            () if user == 0 => return true,
            () if user == self.user => 6,
            () if groups.contains(&self.group) => 3,
            () => 0,
        };
        self.mode >> shift & 0o6 == 0o6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::cmd::Output;

    /// A host that has only these files.
    struct Host {
        device: &'static str,
        flags: &'static str,
        groups: &'static str,
    }
    impl Shell for Host {
        fn run(&self, cmd: &Cmd) -> Result<Output, CmdError> {
            let text = match cmd.argv[0].as_str() {
                "stat" => self.device,
                "cat" => self.flags,
                _ => self.groups,
            };
            Ok(Output {
                status: i32::from(text.is_empty()),
                stdout: text.into(),
                stderr: Vec::new(),
            })
        }
    }

    fn capabilities(domain: &str) -> Node {
        let xml = format!(
            "<capabilities><host><cpu><arch>x86_64</arch></cpu><secmodel><model>none</model></secmodel><secmodel>\
             <model>dac</model><baselabel type='kvm'>+64055:+108</baselabel></secmodel></host>\
             <guest><arch name='x86_64'><domain type='qemu'/><domain type='{domain}'/></arch></guest></capabilities>"
        );
        Node::parse(&xml).unwrap()
    }

    #[test]
    fn kvm_is_usable_only_if_the_cpu_has_it_libvirt_offers_it_and_qemus_user_may_open_it() {
        let good = Host {
            device: "character special file 660 0 108\n",
            flags: "flags\t\t: fpu vmx lm\n",
            groups: "64055 108",
        };
        let ask = |host: &Host, domain: &str| kvm(&capabilities(domain), host).unwrap();
        let why = |kvm: Kvm| match kvm {
            Kvm::Useless(why) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(ask(&good, "kvm"), Kvm::Usable);
        assert_eq!(ask(&Host { device: "", ..good }, "kvm"), Kvm::Absent);
        // What an emulated host has in place of a /dev/kvm that does not work.
        let emptied = Host {
            device: "regular empty file 644 0 0",
            ..good
        };
        assert_eq!(ask(&emptied, "kvm"), Kvm::Absent);
        assert!(
            why(ask(
                &Host {
                    flags: "flags: fpu lm",
                    ..good
                },
                "kvm"
            ))
            .contains("neither vmx nor svm")
        );
        assert!(why(ask(&good, "qemu")).contains("does not offer"));
        let closed = Host {
            device: "character special file 600 0 0",
            ..good
        };
        assert!(why(ask(&closed, "kvm")).contains("user 64055"));
        let open = Host {
            device: "character special file 666 0 0",
            ..good
        };
        assert_eq!(ask(&open, "kvm"), Kvm::Usable);
    }
}
