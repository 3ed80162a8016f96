//! The files of the repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file as text, with its path relative to the repository.
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Reads one file.
pub fn read(path: &str) -> String {
    let full = root().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// Returns every text file at or below `place`, sorted by path. Panics where nothing is found.
pub fn files(place: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join(place), &mut paths);
    assert!(!paths.is_empty(), "no files in {place}");
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = String::from_utf8(std::fs::read(&path).unwrap()).ok()?;
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            Some(Source { path, text })
        })
        .collect()
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), paths);
        }
    } else if path.is_file() {
        paths.push(path.to_owned());
    }
}

/// Returns the Rust files below `src` with whatever is compiled for tests only blanked out, line numbers kept.
pub fn without_tests() -> Vec<Source> {
    let all = files("src");
    let tests: BTreeSet<String> = all.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| {
        tests
            .iter()
            .any(|module| path == format!("{module}.rs") || path.starts_with(&format!("{module}/")))
    };
    all.into_iter()
        .filter(|source| Path::new(&source.path).extension().is_some_and(|kind| kind == "rs"))
        .filter(|source| !is_test(&source.path))
        .map(|source| Source {
            text: blank_tests(&source.text),
            path: source.path,
        })
        .collect()
}

/// Returns the paths, without ending, of the modules that this file declares behind `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let file = source.path.trim_end_matches(".rs");
    let folder = file.strip_suffix("/mod").or(file.strip_suffix("/lib")).unwrap_or(file);
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("#[cfg(") && pair[0].contains("test"))
        .filter_map(|pair| {
            let name = pair[1].split("mod ").nth(1)?.strip_suffix(';')?;
            Some(format!("{folder}/{name}"))
        })
        .collect()
}

/// Blanks the item after each `#[cfg(test)]`: to its semicolon, or to the brace that closes at its indentation.
pub fn blank_tests(text: &str) -> String {
    let mut out = String::new();
    let mut until: Option<String> = None;
    let mut pending = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        if let Some(end) = &until {
            if line == end {
                until = None;
            }
        } else if pending {
            if trimmed.ends_with('{') {
                until = Some(format!("{indent}}}"));
            }
            pending = trimmed.starts_with("#[");
        } else if trimmed.starts_with("#[cfg(") && trimmed.contains("test") && !trimmed.contains("not(test") {
            pending = true;
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}
