//! The words that docs/STYLE.md bans do not appear. The table there is the only list: this test reads it.

use crate::support::sources::{self, Source};

/// Where the words are searched.
const PLACES: &[&str] = &[
    "src",
    "labs",
    "images",
    "templates",
    "docs",
    "benches",
    "packaging",
    "tests",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "Makefile",
];

/// Uses that stay: file, banned word, reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("tests/repository/words.rs", "tell", "this list"),
    ("tests/labs/tagged.rs", "tell", "tcpdump prints ARP requests with it"),
    ("tests/uml/labs.rs", "tell", "tcpdump prints ARP requests with it"),
];

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

#[test]
fn no_banned_word_is_used() {
    let banned = banned();
    let sources = PLACES.iter().flat_map(|place| sources::files(place));
    let wrong: Vec<String> = sources
        .flat_map(|source| {
            let allowed = |word: &str| {
                ALLOWED
                    .iter()
                    .any(|(path, allowed, _)| (*path, *allowed) == (&source.path, word))
            };
            let found = hits(&source, &banned).into_iter().filter(|(_, word)| !allowed(word));
            let found = found.map(|(line, word)| format!("{}:{line}: {word}", source.path));
            found.collect::<Vec<_>>()
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "docs/STYLE.md has what to write instead of:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn names_are_split_into_their_parts() {
    let words: Vec<_> = split("let left_hand = LeftHand::gateway(IPv4);\n// the left\n")
        .into_iter()
        .map(|(_, w)| w)
        .collect();
    assert_eq!(
        words,
        ["let", "left", "hand", "left", "hand", "gateway", "ipv", "the", "left"]
    );
}

#[test]
fn a_phrase_is_found_across_a_line_break_and_inside_a_name() {
    let source = Source {
        path: "src/x.rs".to_owned(),
        text: "// the left\n// hand\nfn left_hand() {}\n".to_owned(),
    };
    let found = hits(&source, &[vec!["left".to_owned(), "hand".to_owned()]]);
    assert_eq!(found, [(1, "left hand".to_owned()), (3, "left hand".to_owned())]);
}
