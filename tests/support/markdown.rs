//! The code blocks, links and paths of the documentation.

use std::path::Path;

use super::sources::{self, Source};

/// Every page of documentation, the one that starts the lab first.
const PAGES: &[&str] = &["README.md", "CONTRIBUTING.md", "docs", "tests/README.md"];

/// A fenced code block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub page: String,
    /// Of its first line, from 1.
    pub line: usize,
    /// The fence's first word: `console`, `toml`, …
    pub language: String,
    /// From ` ```ini file=NAME `: the file that the block shows.
    pub file: Option<String>,
    /// From `<!-- not run: REASON -->` in the line above.
    pub not_run: Option<String>,
    pub text: String,
}

/// A command of a `console` block with the output that is shown below it.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub line: String,
    pub output: Vec<String>,
}

impl Block {
    /// Returns the block's commands: each line that starts with `$ `, and the lines up to the next.
    pub fn commands(&self) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        for line in self.text.lines() {
            if let Some(line) = line.strip_prefix("$ ") {
                commands.push(Command {
                    line: line.to_owned(),
                    output: Vec::new(),
                });
            } else {
                let last = commands.last_mut();
                let last = last.unwrap_or_else(|| panic!("{}:{}: output before a command", self.page, self.line));
                last.output.push(line.to_owned());
            }
        }
        commands
    }
}

/// Returns all pages of documentation.
pub fn pages() -> Vec<Source> {
    let places = PAGES.iter().filter(|place| sources::root().join(place).exists());
    places
        .flat_map(|place| sources::files(place))
        .filter(|page| Path::new(&page.path).extension().is_some_and(|end| end == "md"))
        .collect()
}

/// Returns a page's fenced code blocks.
pub fn blocks(page: &Source) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (at, line) in page.text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => found.push(block),
            (Some(info), None) => {
                let mut words = info.split_whitespace();
                let comment = above
                    .strip_prefix("<!-- not run: ")
                    .and_then(|text| text.strip_suffix(" -->"));
                open = Some(Block {
                    page: page.path.clone(),
                    line: at + 2,
                    language: words.next().unwrap_or_default().to_owned(),
                    file: words.find_map(|word| word.strip_prefix("file=")).map(str::to_owned),
                    not_run: comment.map(str::to_owned),
                    text: String::new(),
                });
            }
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
        above = line;
    }
    assert!(open.is_none(), "{}: a code block has no end", page.path);
    found
}
