//! The code blocks, links and paths of the documentation.

use std::collections::BTreeSet;

use crate::support::markdown::{blocks, pages};
use crate::support::sources::{self, Source};

#[test]
fn commands_are_in_blocks_that_the_tests_run_or_that_say_why_not() {
    for page in pages() {
        for block in blocks(&page) {
            let place = format!("{}:{}", block.page, block.line);
            let shell = ["sh", "bash", "shell", ""].contains(&block.language.as_str());
            let commands = block.text.lines().filter(|line| line.starts_with("$ ")).count();
            assert!(!shell, "{place}: give the block a language; `console` for commands");
            assert_eq!(
                block.language == "console",
                commands > 0,
                "{place}: `console` is for commands, after `$ `"
            );
            assert!(
                block.not_run.is_none() || block.language == "console",
                "{place}: nothing to run here"
            );
            assert!(
                block.not_run.is_none_or(|why| why.len() > 5),
                "{place}: say why it is not run"
            );
        }
        let comments = page.text.matches("<!-- not run").count();
        let used = blocks(&page).iter().filter(|block| block.not_run.is_some()).count();
        assert_eq!(
            comments, used,
            "{}: a comment `not run` is not above a block",
            page.path
        );
    }
}

#[test]
fn lab_files_shown_are_valid() {
    let images = BTreeSet::from(["mini".parse().unwrap()]);
    let mut whole = 0;
    for block in pages().iter().flat_map(blocks).filter(|block| block.language == "toml") {
        let place = format!("{}:{}", block.page, block.line);
        block
            .text
            .parse::<toml::Table>()
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        if block.text.starts_with("name = ") {
            whole += 1;
            let checked = netlab::lab::parse("lab.toml", &block.text, &images);
            assert!(checked.is_ok(), "{place}: {:?}", checked.err());
        }
    }
    assert!(whole > 0, "no lab file was found in the documentation");
}

#[test]
fn links_lead_to_pages_and_headings() {
    for page in pages() {
        let folder = sources::root().join(&page.path).parent().unwrap().to_owned();
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                sources::root().join(&page.path)
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{}: {link} leads nowhere", page.path);
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(
                    headings.any(|name| name == heading),
                    "{}: {link}: no such heading",
                    page.path
                );
            }
        }
    }
}

/// Returns the anchor that a heading has on GitHub.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars()
        .filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_')
        .collect()
}

#[test]
fn files_named_in_the_documentation_exist() {
    const FOLDERS: &[&str] = &["src/", "docs/", "labs/", "images/", "templates/", "tests/", "benches/"];
    let mut missing = Vec::new();
    for page in pages() {
        for name in page.text.split('`').skip(1).step_by(2) {
            let is_path = FOLDERS.iter().any(|folder| name.starts_with(folder)) && !name.contains(['*', ' ']);
            if is_path && !sources::root().join(name).exists() {
                missing.push(format!("{}: {name}", page.path));
            }
        }
    }
    assert!(missing.is_empty(), "no such file:\n{}", missing.join("\n"));
}

#[test]
fn blocks_are_read_with_their_comment_and_their_commands() {
    let page = Source {
        path: "p.md".to_owned(),
        text: "a\n<!-- not run: needs a moon -->\n```console\n$ one\nout\n$ two\n```\n```ini file=x.conf\ny\n```\n"
            .to_owned(),
    };
    let found = blocks(&page);
    assert_eq!(found[0].not_run.as_deref(), Some("needs a moon"));
    let commands: Vec<_> = found[0]
        .commands()
        .into_iter()
        .map(|one| (one.line, one.output))
        .collect();
    assert_eq!(
        commands,
        [("one".to_owned(), vec!["out".to_owned()]), ("two".to_owned(), vec![])]
    );
    assert_eq!((found[1].file.as_deref(), found[1].line), (Some("x.conf"), 9));
}
