//! DevStack's configuration as the nova.conf that its scripts write from it (`lib/nova`, `functions-common`): shell variables
//! of `[[local|localrc]]`, and what `[[post-config|$NOVA_CONF]]` adds.

use std::collections::BTreeMap;

use super::ImportError;
use super::conf::{Conf, Entry};

/// The variables with the options that DevStack writes them as.
const VARIABLES: [(&str, &str); 15] = [
    ("NET_MAN", "network_manager"),
    ("NETWORK_MANAGER", "network_manager"),
    ("FIXED_RANGE", "fixed_range"),
    ("FIXED_NETWORK_SIZE", "network_size"),
    ("FLAT_INTERFACE", "flat_interface"),
    ("GUEST_INTERFACE", "flat_interface"),
    ("FLAT_NETWORK_BRIDGE", "flat_network_bridge"),
    ("PUBLIC_INTERFACE", "public_interface"),
    ("VLAN_INTERFACE", "vlan_interface"),
    ("VLAN_START", "vlan_start"),
    ("NETWORK_GATEWAY", "gateway"),
    ("MULTI_HOST", "multi_host"),
    ("HOST_IP", "my_ip"),
    ("FLOATING_RANGE", "floating_range"),
    ("FORCE_DHCP_RELEASE", "force_dhcp_release"),
];

/// What DevStack writes without a variable.
const DEFAULTS: [(&str, &str); 7] = [
    ("network_manager", "FlatDHCPManager"),
    ("fixed_range", "10.0.0.0/24"),
    ("network_size", "256"),
    ("flat_interface", "eth0"),
    ("vlan_interface", "eth0"),
    ("flat_network_bridge", "br100"),
    ("public_interface", "br100"),
];

/// Reads a local.conf, or the localrc of the first releases, which has no sections of this kind.
pub(super) fn read(text: &str) -> Result<Conf, ImportError> {
    let mut local = Vec::new();
    let mut post = Vec::new();
    let mut conf = Conf::default();
    let mut section = Section::Local;
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let head = line.trim().strip_prefix("[[").and_then(|head| head.strip_suffix("]]"));
        if let Some(head) = head {
            let (phase, file) = head.split_once('|').unwrap_or((head, ""));
            section = match (phase.trim(), file.trim()) {
                ("local", _) => Section::Local,
                ("post-config" | "post-extra", file) if file == "$NOVA_CONF" || file.ends_with("nova.conf") => {
                    Section::Nova
                }
                _ => {
                    conf.sections.push((number, head.to_owned()));
                    Section::Other
                }
            };
            continue;
        }
        match section {
            Section::Local => local.push((number, line)),
            Section::Nova => post.push((number, line)),
            Section::Other => {}
        }
    }
    let mut shell = Shell::default();
    for (number, line) in local {
        shell.line(number, line, &mut conf);
    }
    shell.no_neutron()?;
    conf.add(post.into_iter());
    Ok(conf.with_defaults(&DEFAULTS))
}

/// Where a line is.
#[derive(Debug, Clone, Copy)]
enum Section {
    Local,
    Nova,
    Other,
}

/// The variables and services so far.
#[derive(Debug, Default)]
struct Shell {
    variables: BTreeMap<String, String>,
    /// Services with the line that enables each.
    services: BTreeMap<String, usize>,
}

impl Shell {
    fn line(&mut self, number: usize, written: &str, conf: &mut Conf) {
        let line = without_comment(written).trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim();
        if line.is_empty() {
            return;
        }
        let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        match words.next() {
            Some("enable_service") => self.services.extend(words.map(|service| (service.to_owned(), number))),
            Some("disable_service") => words.for_each(|service| _ = self.services.remove(service)),
            Some("disable_all_services") => self.services.clear(),
            Some("enable_plugin") => {
                let plugin = words.next().unwrap_or_default();
                self.services.insert(plugin.to_owned(), number);
            }
            _ => match line.split_once('=') {
                Some((name, value)) if is_variable(name.trim_end_matches('+')) => {
                    self.assign(number, name, value, conf);
                }
                _ => conf.unreadable.push((number, line.to_owned())),
            },
        }
    }

    fn assign(&mut self, number: usize, name: &str, value: &str, conf: &mut Conf) {
        let value = self.expand(unquoted(value.trim()));
        let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
        if name == "ENABLED_SERVICES" {
            if !adds {
                self.services.clear();
            }
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            for name in names {
                match name.strip_prefix('-') {
                    Some(name) => _ = self.services.remove(name),
                    None => _ = self.services.insert(name.to_owned(), number),
                }
            }
        }
        let option = VARIABLES.iter().find(|(variable, _)| *variable == name);
        let option = option.map_or(name, |(_, option)| option);
        conf.entries.push(Entry {
            line: number,
            option: option.to_owned(),
            value: value.clone(),
        });
        self.variables.insert(name.to_owned(), value);
    }

    /// Replaces `$NAME`, `${NAME}` and `${NAME:-default}`.
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (name, after) = braced.unwrap_or_else(|| {
                let end = after.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                after.split_at(end.unwrap_or(after.len()))
            });
            let (name, default) = name.split_once(":-").unwrap_or((name, ""));
            let value = self.variables.get(name).filter(|value| !value.is_empty());
            out.push_str(value.map_or(default, String::as_str));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// Refuses a cloud whose networks are neutron's.
    fn no_neutron(&self) -> Result<(), ImportError> {
        let neutrons = |name: &str| name.starts_with("q-") || name.starts_with("neutron") || name == "quantum";
        let first = self
            .services
            .iter()
            .filter(|(name, _)| neutrons(name))
            .min_by_key(|(_, line)| **line);
        first.map_or(Ok(()), |(name, line)| {
            Err(ImportError::Neutron {
                line: *line,
                text: format!("service {}", crate::lab::readable(name)),
            })
        })
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}

/// Returns a line up to a comment: `#` at its start or after a space, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut previous = ' ';
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && previous.is_whitespace() => return line.get(..at).unwrap_or_default(),
            _ => {}
        }
        previous = c;
    }
    line
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}
