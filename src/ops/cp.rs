//! Copies files to and from a VM: by scp(1) where its ssh server takes one of the user's keys, else over its console, in
//! pieces whose sum is checked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::exec::{check_characters, open, transcript};
use super::{Env, OpsError, Vm, find_vm, ssh_config};
use crate::event::Event;
use crate::guest::{Download, Session, download, upload};
use crate::transport::quote;

/// Bytes of a file that are copied over a console at most: a serial port passes some 30 kB a second.
const MOST: usize = 16 << 20;
/// Where distributions install the program that scp talks to since OpenSSH 9.0.
const HAS_SFTP: &str = "for f in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/libexec /usr/lib; do \
                        [ -x $f/sftp-server ] && exit 0; done; exit 1";

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path on this machine.
    Local(PathBuf),
    /// A path in a VM; one that is not absolute begins in the home of its account.
    Vm {
        /// The VM.
        vm: String,
        /// The path.
        path: String,
    },
}

impl Place {
    /// Reads `VM:PATH`, or a path of this machine: as for scp(1), one with a `/` before its first colon.
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((vm, path)) if !vm.is_empty() && !vm.contains('/') => Self::Vm {
                vm: vm.to_owned(),
                path: path.to_owned(),
            },
            _ => Self::Local(text.into()),
        }
    }
}

/// What is copied where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// The lab's name, or its file.
    pub lab: String,
    /// What is copied.
    pub from: Vec<Place>,
    /// The file or folder that it becomes.
    pub to: Place,
    /// Folders are copied with what is in them.
    pub recursive: bool,
    /// Use the console although an ssh server answers.
    pub console: bool,
    /// How long a copy over the console may take.
    pub within: Duration,
}

/// How a copy is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// By this command, which the caller runs.
    By(Vec<String>),
    /// Over the console: so many bytes.
    OverConsole(usize),
}

/// One direction, with the paths on this machine and those in the VM.
enum Direction<'a> {
    In(Vec<&'a Path>, &'a str),
    Out(Vec<&'a str>, &'a Path),
}

/// Copies over the VM's console, or returns the scp(1) command that copies.
pub fn copy(env: &Env, options: &CopyOptions) -> Result<Copied, OpsError> {
    let (vm, direction) = direction(options)?;
    let vm = find_vm(env, &options.lab, vm)?;
    let why = if options.console {
        None
    } else {
        match scp(env, options, &vm, &direction)? {
            Ok(command) => return Ok(Copied::By(command)),
            Err(why) => Some(why),
        }
    };
    if options.recursive {
        let why = why.unwrap_or_else(|| "over a console, files are copied one by one".to_owned());
        return Err(failed("a folder", &why));
    }
    if let Some(why) = why {
        env.events
            .send(Event::Warning(format!("copying over the console: {why}")));
    }
    over_console(env, options, &vm, &direction).map(Copied::OverConsole)
}

fn failed(what: &str, why: &str) -> OpsError {
    OpsError::Copy {
        what: what.to_owned(),
        why: why.to_owned(),
    }
}

/// Returns the VM, and what is copied in which direction.
fn direction(options: &CopyOptions) -> Result<(&str, Direction<'_>), OpsError> {
    match &options.to {
        Place::Vm { vm, path } => {
            let local = options.from.iter().map(|from| match from {
                Place::Local(file) => Ok(file.as_path()),
                Place::Vm { vm, .. } => Err(failed(
                    &format!("from {vm} to a VM"),
                    "one of the two is on this machine",
                )),
            });
            Ok((vm, Direction::In(local.collect::<Result<_, _>>()?, path)))
        }
        Place::Local(to) => {
            let mut names = options.from.iter().map(|from| match from {
                Place::Vm { vm, path } => Ok((vm.as_str(), path.as_str())),
                Place::Local(file) => Err(failed(
                    &file.display().to_string(),
                    "neither it nor the target is in a VM: write VM:PATH",
                )),
            });
            let names = names.by_ref().collect::<Result<Vec<_>, _>>()?;
            let Some((vm, _)) = names.first() else {
                return Err(failed("nothing", "no file is given"));
            };
            if let Some((other, _)) = names.iter().find(|(other, _)| other != vm) {
                return Err(failed(&format!("from {vm} and {other}"), "copy from one VM at a time"));
            }
            Ok((vm, Direction::Out(names.iter().map(|(_, path)| *path).collect(), to)))
        }
    }
}

/// Returns the scp(1) command, or why it would not work.
fn scp(
    env: &Env,
    options: &CopyOptions,
    vm: &Vm,
    direction: &Direction<'_>,
) -> Result<Result<Vec<String>, String>, OpsError> {
    if let Err(error) = vm.dial(22) {
        return Ok(Err(crate::causes::chain(&error)));
    }
    let config = ssh_config(env, &options.lab)?.file.display().to_string();
    let alias = format!("{}.{}", vm.name.vm(), vm.name.lab());
    // Also finds out whether a key is accepted: nobody is asked for a password here.
    let probe = Command::new("ssh")
        .args(["-F", &config, "-o", "BatchMode=yes", "--", &alias, HAS_SFTP])
        .stdin(Stdio::null())
        .output();
    let old_protocol = match probe {
        Ok(output) if matches!(output.status.code(), Some(0 | 1)) => !output.status.success(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Ok(Err(said.lines().last().unwrap_or("ssh failed").to_owned()));
        }
        Err(error) => return Ok(Err(format!("ssh(1): {error}"))),
    };
    let mut words: Vec<String> = ["scp", "-F", &config].map(ToOwned::to_owned).into();
    words.extend(old_protocol.then(|| "-O".to_owned()));
    words.extend(options.recursive.then(|| "-r".to_owned()));
    words.push("--".to_owned());
    // A colon in a path of this machine is not to be taken for that behind a host.
    let local = |path: &Path| {
        std::path::absolute(path)
            .unwrap_or_else(|_| path.to_owned())
            .display()
            .to_string()
    };
    match direction {
        Direction::In(files, to) => {
            words.extend(files.iter().map(|file| local(file)));
            words.push(format!("{alias}:{to}"));
        }
        Direction::Out(files, to) => {
            words.extend(files.iter().map(|file| format!("{alias}:{file}")));
            words.push(if to.is_dir() {
                format!("{}/", local(to))
            } else {
                local(to)
            });
        }
    }
    Ok(Ok(words))
}

/// Copies over the console; returns the number of bytes.
fn over_console(env: &Env, options: &CopyOptions, vm: &Vm, direction: &Direction<'_>) -> Result<usize, OpsError> {
    let limit = (Instant::now(), options.within);
    let image = vm.console()?;
    let console = open(env, vm, image, limit)?;
    let mut session = Session::open_within(console, image, transcript(env, vm)?, limit)?;
    let mut bytes = 0;
    match direction {
        Direction::In(files, to) => {
            for file in files {
                bytes += put(&mut session, file, to, options.within)?;
            }
        }
        Direction::Out(files, to) => {
            for file in files {
                bytes += get(&mut session, file, to, options.within)?;
            }
        }
    }
    Ok(bytes)
}

/// Returns a path in a VM as a word of its shell.
fn word(path: &str) -> Result<String, OpsError> {
    check_characters(path)?;
    Ok(match path {
        "" => ".".to_owned(),
        path if path.starts_with('-') => quote(&format!("./{path}")),
        path => quote(path),
    })
}

/// Writes a file of this machine to `to` in the guest, a file or a folder.
fn put(session: &mut Session<'_>, file: &Path, to: &str, within: Duration) -> Result<usize, OpsError> {
    let io = |source| OpsError::File {
        doing: "read",
        path: file.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(file).map_err(io)?;
    if metadata.len() > MOST as u64 {
        let why = format!("over the console at most {MOST} bytes are copied");
        return Err(failed(&file.display().to_string(), &why));
    }
    let content = std::fs::read(file).map_err(io)?;
    let mode = metadata.permissions().mode() & 0o777;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (target, name) = (word(to)?, word(&name)?);
    let sent = upload(session, &content, within)?;
    // A file that exists keeps its owner and its mode, as with scp.
    let script = format!(
        "( cd; t={target}; [ -d \"$t\" ] && t=\"$t\"/{name}; [ -e \"$t\" ] || m={mode:o}\n\
         cat {sent} >\"$t\" && {{ [ -z \"$m\" ] || chmod $m \"$t\"; }} ) 2>&1; s=$?; rm -f {sent}; (exit $s)"
    );
    let done = session.run_idempotent(&script, within)?;
    if done.status != 0 {
        return Err(failed(&file.display().to_string(), done.text.trim()));
    }
    Ok(content.len())
}

/// Reads the file `from` of the guest into `to` on this machine, a file or a folder.
fn get(session: &mut Session<'_>, from: &str, to: &Path, within: Duration) -> Result<usize, OpsError> {
    let content = match download(session, &word(from)?, MOST, within)? {
        Download::File(content) => content,
        Download::Unreadable(why) => return Err(failed(from, &why)),
    };
    let name = Path::new(from).file_name().unwrap_or_default();
    let path = if to.is_dir() { to.join(name) } else { to.to_owned() };
    std::fs::write(&path, &content).map_err(|source| OpsError::File {
        doing: "write",
        path,
        source,
    })?;
    Ok(content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(from: &[&str], to: &str) -> CopyOptions {
        CopyOptions {
            lab: "demo".to_owned(),
            from: from.iter().map(|text| Place::parse(text)).collect(),
            to: Place::parse(to),
            recursive: false,
            console: false,
            within: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_place_in_a_vm_has_a_colon_before_any_slash() {
        let vm = |vm: &str, path: &str| Place::Vm {
            vm: vm.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(Place::parse("vm1:/etc/hosts"), vm("vm1", "/etc/hosts"));
        assert_eq!(Place::parse("vm1:"), vm("vm1", ""));
        assert_eq!(Place::parse("./vm1:x"), Place::Local("./vm1:x".into()));
        assert_eq!(Place::parse("hosts"), Place::Local("hosts".into()));
    }

    #[test]
    fn exactly_one_side_is_a_vm() {
        assert!(matches!(
            direction(&options(&["a", "b"], "vm1:/tmp")),
            Ok(("vm1", Direction::In(files, "/tmp"))) if files.len() == 2
        ));
        assert!(matches!(
            direction(&options(&["vm1:a"], ".")),
            Ok(("vm1", Direction::Out(files, _))) if files == ["a"]
        ));
        for (from, to) in [(&["a"][..], "b"), (&["vm1:a"], "vm2:b"), (&["vm1:a", "vm2:b"], ".")] {
            assert!(direction(&options(from, to)).is_err(), "{from:?} {to}");
        }
    }
}
