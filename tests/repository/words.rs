//! The words that docs/STYLE.md bans do not appear. The table there is the only list: this test reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::sources::{self, Source};

/// Where the words are searched.
const PLACES: &[&str] = &[
    "src",
    "labs",
    "images",
    "templates",
    "docs",
    "benches",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "Makefile",
];

/// Uses that stay: file, banned word, reason.
const ALLOWED: &[(&str, &str, &str)] = &[];

/// Files that still have banned words, by folder, and how many. A number may only become smaller.
const REMAINING: &[(&str, usize)] = &[];

/// Splits text into lower-case words, with the line of each: `snake_case` and `CamelCase` names into their parts.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut word = String::new();
        let mut previous = ' ';
        for c in line.chars().chain([' ']) {
            let boundary = !c.is_ascii_alphabetic() || (c.is_ascii_uppercase() && previous.is_ascii_lowercase());
            if boundary && !word.is_empty() {
                words.push((at + 1, std::mem::take(&mut word)));
            }
            if c.is_ascii_alphabetic() {
                word.push(c.to_ascii_lowercase());
            }
            previous = c;
        }
    }
    words
}

/// Reads the first column of the table under "Banned words": words or phrases in backticks, separated by commas.
fn banned() -> Vec<Vec<String>> {
    let style = sources::read("docs/STYLE.md");
    let (_, table) = style.split_once("## Banned words").expect("a section \"Banned words\"");
    let mut found = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap();
        for phrase in cell.split('`').skip(1).step_by(2) {
            found.push(split(phrase).into_iter().map(|(_, word)| word).collect());
        }
    }
    assert!(found.len() > 20, "the table of docs/STYLE.md was not read");
    found
}

/// Returns each banned word of a file with its line. The table itself is not searched.
fn hits(source: &Source, banned: &[Vec<String>]) -> Vec<(usize, String)> {
    let text = if source.path == "docs/STYLE.md" {
        source.text.split("## Banned words").next().unwrap()
    } else {
        &source.text
    };
    let words = split(text);
    let mut found = Vec::new();
    for (at, (line, _)) in words.iter().enumerate() {
        for phrase in banned {
            let here = words[at..].iter().map(|(_, word)| word).take(phrase.len());
            if here.eq(phrase) {
                found.push((*line, phrase.join(" ")));
            }
        }
    }
    found
}

/// Returns the folder that a file is counted under: `src/lab`, `labs`, `README.md`.
fn folder(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["src", module, ..] => format!("src/{module}"),
        [first, ..] => first.to_owned(),
        [] => String::new(),
    }
}

#[test]
fn no_banned_word_is_used() {
    let banned = banned();
    let mut by_folder: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut used = vec![false; ALLOWED.len()];
    for source in PLACES.iter().flat_map(|place| sources::files(place)) {
        for (line, word) in hits(&source, &banned) {
            match ALLOWED
                .iter()
                .position(|(path, allowed, _)| *path == source.path && *allowed == word)
            {
                Some(at) => used[at] = true,
                None => by_folder
                    .entry(folder(&source.path))
                    .or_default()
                    .push(format!("{}:{line}: {word}", source.path)),
            }
        }
    }
    let remaining: BTreeMap<&str, usize> = REMAINING.iter().copied().collect();
    let mut wrong = String::new();
    for (folder, found) in &by_folder {
        let limit = remaining.get(folder.as_str()).copied().unwrap_or(0);
        if found.len() > limit {
            writeln!(
                wrong,
                "{folder}: {} banned words, {limit} allowed:\n  {}",
                found.len(),
                found.join("\n  ")
            )
            .unwrap();
        }
    }
    for (used, (path, word, _)) in used.iter().zip(ALLOWED) {
        if !used {
            writeln!(wrong, "{path} no longer uses `{word}`: delete its entry in {}", file!()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "docs/STYLE.md has what to write instead.\n{wrong}");
}

#[test]
fn names_are_split_into_their_parts() {
    let words: Vec<_> = split("let far_end = FarEnd::gateway(IPv4);\n// the far\n")
        .into_iter()
        .map(|(_, w)| w)
        .collect();
    assert_eq!(
        words,
        ["let", "far", "end", "far", "end", "gateway", "ipv", "the", "far"]
    );
}

#[test]
fn a_phrase_is_found_across_a_line_break_and_inside_a_name() {
    let source = Source {
        path: "src/x.rs".to_owned(),
        text: "// the far\n// end\nfn far_end() {}\n".to_owned(),
    };
    let found = hits(&source, &[vec!["far".to_owned(), "end".to_owned()]]);
    assert_eq!(found, [(1, "far end".to_owned()), (3, "far end".to_owned())]);
}
