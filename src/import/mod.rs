//! A lab file from what a cloud of that time was configured with: takes the text of nova-network's nova.conf, or of
//! DevStack's local.conf, returns the text of a lab that builds the same networks on emulated hosts. Whatever of it a lab
//! cannot have is a comment in the lab, with its line. Reads no file and no host.

mod build;
mod comments;
mod conf;
mod devstack;
mod hosts;
mod networks;
mod options;
mod place;
mod source;
mod value;
mod vms;

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use self::comments::Comments;
use self::conf::Conf;
use self::options::{is_of_nova_network, known, meant};
use crate::lab::{self, HostName, ImageName, LabName, readable};

/// What the file to import is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A nova.conf.
    #[default]
    NovaConf,
    /// DevStack's local.conf, or the localrc of its first releases.
    DevStack,
}

/// How a configuration is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// The lab's name.
    pub name: LabName,
    /// What the file is.
    pub format: Format,
    /// Hosts besides those that the configuration names.
    pub hosts: Vec<AddedHost>,
    /// How many VMs the lab has.
    pub vms: u32,
}

/// A host that a nova.conf does not name, written `node2=172.16.99.109`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedHost {
    /// Its name.
    pub name: HostName,
    /// Its own `my_ip`.
    pub address: Ipv4Addr,
}

impl FromStr for AddedHost {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text
            .split_once('=')
            .ok_or("write NAME=ADDRESS, e.g. node2=172.16.99.109")?;
        Ok(Self {
            name: HostName::new(name).map_err(|error| error.to_string())?,
            address: address
                .parse()
                .map_err(|error| format!("{}: {error}", readable(address)))?,
        })
    }
}

/// A configuration as a lab file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The lab file.
    pub text: String,
    /// What is probably a mistake in the configuration.
    pub warnings: Vec<String>,
}

/// One thing wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1; 0 where it is not in the file.
    pub line: usize,
    /// The option.
    pub option: String,
    /// What is written.
    pub value: String,
    /// Why it is wrong.
    pub message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.option.is_empty() {
            write!(f, "{} = {}: ", readable(&self.option), readable(&self.value))?;
        }
        f.write_str(&self.message)
    }
}

/// Why a configuration cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Values are wrong, or the networks are not possible.
    #[error("{}", lines(problems))]
    Invalid {
        /// All that is wrong.
        problems: Vec<Wrong>,
    },
    /// The cloud has its networks from neutron, which keeps them in its database.
    #[error("line {line}: {text}: the networks of this cloud are neutron's, not nova-network's")]
    Neutron {
        /// The line, from 1.
        line: usize,
        /// What is written.
        text: String,
    },
    /// There is no option about networks.
    #[error("{}", nothing(meant))]
    Nothing {
        /// What may have been meant to be one.
        meant: Vec<String>,
    },
}

impl ImportError {
    /// Returns what the user can do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { .. } => None,
            Self::Neutron { .. } => {
                Some("neutron keeps its networks in a database: write the lab by hand, see docs/lab-file.md")
            }
            Self::Nothing { .. } => {
                Some("give a nova.conf with nova-network's options, or `--from-devstack` and DevStack's local.conf")
            }
        }
    }
}

fn nothing(meant: &[String]) -> String {
    let mut lines = vec!["no option of nova-network found"];
    lines.extend(meant.iter().map(String::as_str));
    lines.join("\n")
}

fn lines(problems: &[Wrong]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl From<Wrong> for ImportError {
    fn from(wrong: Wrong) -> Self {
        let problems = vec![wrong];
        Self::Invalid { problems }
    }
}

/// Most lines that say what may have been meant where nothing can be imported.
const MOST_HINTS: usize = 8;

/// Returns the lab file for the configuration `bytes`.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, ImportError> {
    let text = conf::decode(bytes);
    let conf = match options.format {
        Format::NovaConf => Conf::read(&text),
        Format::DevStack => devstack::read(&text)?,
    };
    neutron(&conf)?;
    let is_devstack = options.format == Format::DevStack;
    if !is_devstack && !conf.names().into_iter().any(is_of_nova_network) {
        let meant = mistyped(&conf).take(MOST_HINTS);
        let meant = meant.map(|(line, text)| format!("line {line}: {text}")).collect();
        return Err(ImportError::Nothing { meant });
    }
    let mut comments = Comments::new(options.format);
    let source = build::build(&conf, options, &mut comments)?;
    let images = ImageName::new("mini").into_iter().collect::<BTreeSet<_>>();
    let lab = lab::parse("lab.toml", source.text(), &images).map_err(|error| {
        let mut problems: Vec<Wrong> = error.problems.iter().map(|problem| source.place(problem)).collect();
        // Those of lines that are from no option follow from the others.
        if problems.iter().any(|problem| problem.line > 0) {
            problems.retain(|problem| problem.line > 0);
        }
        ImportError::Invalid { problems }
    })?;
    comments.rest(&conf);
    Ok(Imported {
        text: format!("{}{}", comments.text(), lab::write(&lab)),
        warnings: warnings(&conf),
    })
}

/// Refuses the nova.conf of a cloud with neutron, or quantum, its first name.
fn neutron(conf: &Conf) -> Result<(), ImportError> {
    let written = |option: &str| conf.value(option).map_err(ImportError::from);
    let is_neutrons = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("neutron") || text.contains("quantum")
    };
    let refused = |line, text: String| Err(ImportError::Neutron { line, text });
    for option in ["network_api_class", "network_manager"] {
        if let Some(value) = written(option)?.filter(|value| is_neutrons(&value.text)) {
            return refused(value.line, format!("{option} = {}", readable(&value.text)));
        }
    }
    let using = written("use_neutron")?;
    let denied = match &using {
        Some(value) if value.flag()? => return refused(value.line, format!("use_neutron = {}", value.text)),
        using => using.is_some(),
    };
    if denied || conf.names().into_iter().any(is_of_nova_network) {
        return Ok(());
    }
    if let Some((line, name)) = conf.sections.iter().find(|(_, name)| is_neutrons(name)) {
        return refused(*line, format!("[{}]", readable(name)));
    }
    // The value may be a password.
    let of_neutron = |entry: &&conf::Entry| is_neutrons(&entry.option) || is_neutrons(&entry.value);
    match conf.entries.iter().find(of_neutron) {
        Some(entry) => refused(entry.line, readable(&entry.option)),
        None => Ok(()),
    }
}

/// What is probably a mistake: names near to those of options, and lines that are none.
fn warnings(conf: &Conf) -> Vec<String> {
    let unreadable = conf.unreadable.iter();
    let unreadable = unreadable.map(|(line, text)| (*line, format!("{}: not an option", comments::first_word(text))));
    let mut found: Vec<(usize, String)> = mistyped(conf).chain(unreadable).collect();
    found.sort();
    found
        .into_iter()
        .map(|(line, text)| format!("line {line}: {text}"))
        .collect()
}

/// Names near to those of options, and to that of the section which is read.
fn mistyped(conf: &Conf) -> impl Iterator<Item = (usize, String)> {
    let unknown = conf.entries.iter().filter(|entry| known(&entry.option).is_none());
    let options = unknown.filter_map(|entry| {
        let meant = meant(&entry.option)?;
        let text = format!("{}: did you mean {meant}?", readable(&entry.option));
        Some((entry.line, text))
    });
    let sections = conf.sections.iter();
    let sections = sections.filter(|(_, name)| name.eq_ignore_ascii_case("DEFAULT"));
    options.chain(sections.map(|(line, name)| (*line, format!("[{name}]: did you mean [DEFAULT]?"))))
}

#[cfg(test)]
mod tests;
