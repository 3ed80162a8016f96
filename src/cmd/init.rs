//! `netlab init`: writes a lab file to start from, one of the examples.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde::Serialize;

use super::Context;
use super::error::CommandError;
use crate::lab::LabName;
use crate::ops::LAB_TOML;

/// The examples of `labs/`.
const EXAMPLES: &[(&str, &str)] = &[
    ("bond", include_str!("../../labs/bond.toml")),
    ("checks", include_str!("../../labs/checks.toml")),
    ("cloud", include_str!("../../labs/cloud.toml")),
    ("cloud-ovs", include_str!("../../labs/cloud-ovs.toml")),
    ("flat", include_str!("../../labs/flat.toml")),
    ("flat-dhcp", include_str!("../../labs/flat-dhcp.toml")),
    ("multi-host", include_str!("../../labs/multi-host.toml")),
    ("nat", include_str!("../../labs/nat.toml")),
    ("ovs-gre", include_str!("../../labs/ovs-gre.toml")),
    ("ovs-vlan", include_str!("../../labs/ovs-vlan.toml")),
    ("quickstart", include_str!("../../labs/quickstart.toml")),
    ("snat-floating", include_str!("../../labs/snat-floating.toml")),
    ("switch", include_str!("../../labs/switch.toml")),
    ("tenants", include_str!("../../labs/tenants.toml")),
    ("two-vlans", include_str!("../../labs/two-vlans.toml")),
    ("vlan", include_str!("../../labs/vlan.toml")),
    ("vxlan", include_str!("../../labs/vxlan.toml")),
];

#[derive(clap::Args)]
pub struct Args {
    /// The file to write, or the folder in which a `lab.toml` is written.
    #[arg(default_value = LAB_TOML)]
    file: PathBuf,
    /// The example to start from.
    #[arg(long, value_name = "EXAMPLE", default_value = "quickstart", value_parser = examples())]
    from: String,
    /// The lab's name; by default, that of the example.
    #[arg(long)]
    name: Option<LabName>,
}

#[derive(Serialize)]
struct Answer<'a> {
    file: &'a Path,
    example: &'a str,
}

pub fn run(context: &Context, args: &Args) -> Result<(), CommandError> {
    let file = if args.file.is_dir() {
        args.file.join(LAB_TOML)
    } else {
        args.file.clone()
    };
    let example = EXAMPLES.iter().find(|(name, _)| *name == args.from);
    let Some((example, text)) = example else {
        return Err(CommandError::Usage {
            message: format!("there is no example {}", args.from),
            help: "`netlab init --help` lists them",
        });
    };
    let text = written(text, example, &file, args.name.as_ref());
    let mut options = OpenOptions::new();
    // Never over a file that is there.
    let opened = options.write(true).create_new(true).open(&file);
    let wrote = opened.and_then(|mut new| new.write_all(text.as_bytes()));
    wrote.map_err(|source| CommandError::File {
        doing: "write",
        path: file.clone(),
        source,
    })?;
    let shown = file.display();
    let up = if file == Path::new(LAB_TOML) {
        String::new()
    } else {
        format!(" {shown}")
    };
    let text = format!("{shown}: the example {example}; start it with `netlab up{up}`\n");
    let answer = Answer { file: &file, example };
    context.answer(&text, &answer)
}

/// Returns the text of an example with the commands in its comments for `file`.
fn written(text: &str, example: &str, file: &Path, name: Option<&LabName>) -> String {
    let shown = file.display().to_string();
    let mut text = text.replace(&format!("labs/{example}.toml"), &shown);
    for (other, _) in EXAMPLES {
        // The other examples are not files for who has only the program.
        text = text.replace(&format!("labs/{other}.toml"), &format!("`netlab init --from {other}`"));
    }
    if let Some(name) = name {
        text = text.replacen(&format!("name = \"{example}\""), &format!("name = \"{name}\""), 1);
        text = text.replace(&format!("netlab.{example}."), &format!("netlab.{name}."));
    }
    text
}

/// Accepts the names of the examples, each with the first sentence of its comment.
fn examples() -> PossibleValuesParser {
    EXAMPLES
        .iter()
        .map(|(name, text)| PossibleValue::new(*name).help(first_sentence(text)))
        .collect::<Vec<_>>()
        .into()
}

fn first_sentence(text: &str) -> String {
    let comment = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    let comment = comment.collect::<Vec<_>>().join(" ");
    let end = comment.find(['.', ':']).unwrap_or(comment.len());
    comment[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_there_under_its_own_name_and_has_a_description() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        files.sort();
        let names: Vec<_> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, files);
        for (name, text) in EXAMPLES {
            assert!(text.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(first_sentence(text).len() > 10, "{name}");
        }
    }

    #[test]
    fn the_commands_in_the_comments_are_for_the_file_that_was_written() {
        let name = "mine".parse().unwrap();
        let text = written(EXAMPLES[6].1, EXAMPLES[6].0, Path::new("lab.toml"), Some(&name));
        assert!(text.contains("name = \"mine\""), "{text}");
        assert!(text.contains("netlab up lab.toml") && !text.contains("labs/"), "{text}");
    }
}
