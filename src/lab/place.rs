//! Where a key is in a lab file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A lab file that is parsed once, to find the lines of many keys.
pub struct Places<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    /// Parses `text`; of one that is wrong, what can be read is found.
    pub fn new(text: &'a str) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            root,
            lines: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// Returns the line, from 1, and its text, of the key at `path`, e.g. `["networks", "service", "vlan"]`; of a list, a
    /// number is an item. Where the last parts of the path do not exist, the line of what does; none where nothing does.
    pub fn line_of(&self, path: &[&str]) -> Option<(usize, String)> {
        let at = self.find(path).0?;
        let line = self.lines.partition_point(|start| *start <= at);
        let from = *self.lines.get(line.checked_sub(1)?)?;
        let text = self.text.get(from..)?.lines().next()?;
        Some((line, text.trim().to_owned()))
    }

    /// Returns whether the whole path exists.
    pub fn has(&self, path: &[&str]) -> bool {
        self.find(path).1 == path.len()
    }

    /// Returns the value at `path`.
    pub fn get(&self, path: &[&str]) -> Option<&DeValue<'a>> {
        let (_, found, value) = self.find(path);
        value.filter(|_| found == path.len())
    }

    /// Returns the place of the last part of `path` that exists, how many of the parts do, and the value there.
    fn find(&self, path: &[&str]) -> (Option<usize>, usize, Option<&DeValue<'a>>) {
        let mut at = None;
        let mut value: Option<&DeValue<'a>> = None;
        for (number, part) in path.iter().enumerate() {
            let table = match value {
                None => self.root.get_ref(),
                Some(DeValue::Table(table)) => table,
                Some(DeValue::Array(items)) => {
                    let Some(item) = part.parse().ok().and_then(|index: usize| items.get(index)) else {
                        return (at, number, value);
                    };
                    (at, value) = (Some(item.span().start), Some(item.get_ref()));
                    continue;
                }
                Some(_) => return (at, number, value),
            };
            let Some((key, found)) = table.get_key_value(*part) else {
                return (at, number, value);
            };
            (at, value) = (Some(key.span().start), Some(found.get_ref()));
        }
        (at, path.len(), value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_a_table_under_dots_and_in_a_list_and_else_its_table() {
        let text = "name = \"a\"\n[networks.n]\nsubnet = \"10.0.0.0/24\"\nnics.eth0.x = 1\n[[cables]]\nends = [1]\n[[cables]]\nends = [2]\n";
        let places = Places::new(text);
        let line = |path: &[&str]| places.line_of(path).map(|(line, _)| line);
        assert_eq!(line(&["networks", "n", "subnet"]), Some(3));
        assert_eq!(line(&["networks", "n", "nics", "eth0"]), Some(4));
        assert_eq!(line(&["networks", "n", "vlan"]), Some(2));
        assert_eq!(line(&["cables", "1", "ends"]), Some(8));
        assert_eq!(line(&["vms", "x"]), None);
        assert_eq!(places.line_of(&["name"]).unwrap().1, "name = \"a\"");
        assert!(places.has(&["networks", "n"]) && !places.has(&["networks", "n", "vlan"]));
    }
}
