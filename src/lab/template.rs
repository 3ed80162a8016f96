//! Texts with names in double braces: `{{ vm }}`, `{{ address }}`, `{{ vms.web.address }}`, `{{ vars.domain }}`. A literal
//! `{{` is written `{{ '{{' }}`, as in Jinja.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use super::VmName;
use super::problem::suggest;

/// A text whose names are replaced once every address is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name of the VM that has the text.
    Vm,
    /// The address of its first NIC.
    Address,
    /// The address of another VM's first NIC.
    AddressOf(VmName),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateError {
    pub message: String,
    pub help: String,
}

/// How a literal `{{` is written.
const LITERAL: &str = "'{{'";

impl Template {
    /// Creates a template without names.
    pub fn plain(text: impl Into<String>) -> Self {
        let mut template = Self::default();
        template.push(&text.into());
        template
    }

    /// Reads a template. `vars` are the lab's own names; `vms` the names of its VMs that have an address, or none where they
    /// are not known.
    pub(super) fn parse(
        text: &str,
        vars: &BTreeMap<String, String>,
        vms: Option<&[&VmName]>,
    ) -> Result<Self, TemplateError> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once("{{") {
            template.push(before);
            // The literal has braces itself.
            let literal = inside.trim_start().strip_prefix(LITERAL);
            let (name, after) = match literal.and_then(|after| after.trim_start().strip_prefix("}}")) {
                Some(after) => (LITERAL, after),
                None => inside.split_once("}}").ok_or_else(|| TemplateError {
                    message: "`{{` has no `}}`".to_owned(),
                    help: literal_help(),
                })?,
            };
            template.name(name.trim(), vars, vms)?;
            rest = after;
        }
        template.push(rest);
        Ok(template)
    }

    fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(before)) => before.push_str(text),
            _ => self.0.push(Part::Text(text.to_owned())),
        }
    }

    fn name(
        &mut self,
        name: &str,
        vars: &BTreeMap<String, String>,
        vms: Option<&[&VmName]>,
    ) -> Result<(), TemplateError> {
        let vm = name.strip_prefix("vms.").and_then(|rest| rest.strip_suffix(".address"));
        let part = match (name, vm, name.strip_prefix("vars.")) {
            (LITERAL, ..) => {
                self.push("{{");
                return Ok(());
            }
            ("vm", ..) => Part::Vm,
            ("address", ..) => Part::Address,
            (_, _, Some(var)) if vars.contains_key(var) => {
                self.push(&vars[var]);
                return Ok(());
            }
            (_, Some(vm), _) => match vm.parse() {
                Ok(vm) if vms.is_none_or(|vms| vms.contains(&&vm)) => Part::AddressOf(vm),
                _ => return Err(unknown(name, vars, vms)),
            },
            _ => return Err(unknown(name, vars, vms)),
        };
        self.0.push(part);
        Ok(())
    }

    /// Returns whether the VM that has the text needs an address.
    pub(super) fn needs_address(&self) -> bool {
        self.0.contains(&Part::Address)
    }

    /// Returns the text of `vm`; `address` returns that of a VM's first NIC. A VM without one, which a checked lab does not
    /// name, leaves nothing.
    pub fn text(&self, vm: &VmName, address: impl Fn(&VmName) -> Option<Ipv4Addr>) -> String {
        let address = |vm: &VmName| address(vm).map_or_else(String::new, |address| address.to_string());
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Vm => vm.to_string(),
            Part::Address => address(vm),
            Part::AddressOf(vm) => address(vm),
        };
        self.0.iter().map(part).collect()
    }
}

/// As in a lab file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace("{{", "{{ '{{' }}")),
            Part::Vm => f.write_str("{{ vm }}"),
            Part::Address => f.write_str("{{ address }}"),
            Part::AddressOf(vm) => write!(f, "{{{{ vms.{vm}.address }}}}"),
        })
    }
}

fn literal_help() -> String {
    "write `{{ '{{' }}` for two braces that are meant as they are".to_owned()
}

fn unknown(name: &str, vars: &BTreeMap<String, String>, vms: Option<&[&VmName]>) -> TemplateError {
    let mut names = vec!["vm".to_owned(), "address".to_owned()];
    names.extend(vars.keys().map(|var| format!("vars.{var}")));
    names.extend(vms.into_iter().flatten().map(|vm| format!("vms.{vm}.address")));
    let help = if name.starts_with("vms.") && !name.ends_with(".address") {
        "of another VM there is `vms.NAME.address`".to_owned()
    } else {
        suggest(name, names.iter().map(String::as_str))
    };
    let help = if help.is_empty() || name.starts_with('.') {
        literal_help()
    } else {
        help
    };
    TemplateError {
        message: format!("there is no name `{name}` in double braces"),
        help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, TemplateError> {
        let vars = BTreeMap::from([("domain".to_owned(), "example.org".to_owned())]);
        let (web, db): (VmName, VmName) = ("web".parse().unwrap(), "db-1".parse().unwrap());
        Template::parse(text, &vars, Some(&[&web, &db]))
    }

    fn text(of: &str) -> String {
        let address = |vm: &VmName| match vm.as_str() {
            "web" => Some(Ipv4Addr::new(10, 0, 1, 2)),
            "db-1" => Some(Ipv4Addr::new(10, 0, 1, 3)),
            _ => None,
        };
        parse(of).unwrap().text(&"web".parse().unwrap(), address)
    }

    #[test]
    fn names_in_double_braces_are_replaced_and_all_else_is_kept() {
        assert_eq!(
            text("{{vm}}.{{ vars.domain }} {{ address }} {{ vms.db-1.address }} {x} }}"),
            "web.example.org 10.0.1.2 10.0.1.3 {x} }}"
        );
        assert_eq!(
            text("docker ps --format '{{ '{{' }}.Names}}'"),
            "docker ps --format '{{.Names}}'"
        );
    }

    #[test]
    fn a_template_is_written_as_it_is_read() {
        for source in [
            "a {{ vm }} {{ address }} {{ vms.web.address }}",
            "{{ '{{' }}.Names}}",
            "",
        ] {
            let template = parse(source).unwrap();
            assert_eq!(template.to_string(), source);
            assert_eq!(parse(&template.to_string()).unwrap(), template);
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_suggests_one() {
        let error = parse("x {{ vms.wed.address }}").unwrap_err();
        assert!(error.message.contains("`vms.wed.address`") && error.help.contains("vms.web.address"));
        assert!(parse("{{ adress }}").unwrap_err().help.contains("address"));
        assert!(parse("{{ vars.domian }}").unwrap_err().help.contains("vars.domain"));
        assert!(parse("{{ vms.web }}").unwrap_err().help.contains("vms.NAME.address"));
        assert!(parse("{{ .Names }}").unwrap_err().help.contains("'{{'"));
        assert!(parse("{{ vm").unwrap_err().message.contains("}}"));
    }
}
