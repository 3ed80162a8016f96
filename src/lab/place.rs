//! Where a key is in a lab file.

use toml::de::{DeTable, DeValue};

/// Returns the line, from 1, and its text, of the key at `path`, e.g. `["networks", "service", "vlan"]`; of a list, a number
/// is an item. Where the last parts of the path do not exist, the line of what does; none where nothing does.
pub fn line_of(text: &str, path: &[&str]) -> Option<(usize, String)> {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut at = None;
    let mut value: Option<&DeValue<'_>> = None;
    for part in path {
        let table = match value {
            None => root.get_ref(),
            Some(DeValue::Table(table)) => table,
            Some(DeValue::Array(items)) => {
                let Some(item) = part.parse().ok().and_then(|index: usize| items.get(index)) else {
                    break;
                };
                at = Some(item.span().start);
                value = Some(item.get_ref());
                continue;
            }
            Some(_) => break,
        };
        let Some((key, found)) = table.iter().find(|(key, _)| key.get_ref().as_ref() == *part) else {
            break;
        };
        at = Some(key.span().start);
        value = Some(found.get_ref());
    }
    let at = at?;
    let line = text.get(..at)?.matches('\n').count();
    Some((line + 1, text.lines().nth(line)?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_a_table_under_dots_and_in_a_list_and_else_its_table() {
        let text = "name = \"a\"\n[networks.n]\nsubnet = \"10.0.0.0/24\"\nnics.eth0.x = 1\n[[cables]]\nends = [1]\n[[cables]]\nends = [2]\n";
        let line = |path: &[&str]| line_of(text, path).map(|(line, _)| line);
        assert_eq!(line(&["networks", "n", "subnet"]), Some(3));
        assert_eq!(line(&["networks", "n", "nics", "eth0"]), Some(4));
        assert_eq!(line(&["networks", "n", "vlan"]), Some(2));
        assert_eq!(line(&["cables", "1", "ends"]), Some(8));
        assert_eq!(line(&["vms", "x"]), None);
        assert_eq!(line_of(text, &["name"]).unwrap().1, "name = \"a\"");
    }
}
