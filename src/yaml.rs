//! Whether a text is YAML, as far as cloud-init needs it: one document that is a mapping.

use saphyr_parser::{Event, Parser};

/// Returns an error with the line where `text` is not a YAML document, or its root no mapping.
pub(crate) fn mapping(text: &str) -> Result<(), String> {
    let mut root = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| {
            let at = error.marker();
            format!("line {}: {}", at.line(), error.info())
        })?;
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
            Event::DocumentStart(_) => documents += 1,
            other => _ = root.get_or_insert(matches!(other, Event::MappingStart(..))),
        }
    }
    match (root, documents) {
        (Some(true), 1) => Ok(()),
        (_, 2..) => Err("it has several YAML documents".to_owned()),
        _ => Err("it is not a YAML mapping of keys and values".to_owned()),
    }
}

/// Returns the keys of the mapping that a document is; `None` where it is none.
pub(crate) fn keys(text: &str) -> Option<Vec<String>> {
    mapping(text).ok()?;
    let (mut depth, mut is_key, mut keys) = (0_usize, true, Vec::new());
    for event in Parser::new_from_str(text) {
        let ended = match event.ok()?.0 {
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth -= 1;
                None
            }
            Event::Scalar(text, ..) => Some(text),
            Event::Alias(_) => None,
            _ => continue,
        };
        if depth == 1 {
            if is_key {
                keys.extend(ended.map(|key| key.to_string()));
            }
            is_key = !is_key;
        }
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mapping_is_taken() {
        assert_eq!(mapping("#cloud-config\nruncmd:\n  - [ls, -l]\n  - echo: x\n"), Ok(()));
        let error = mapping("#cloud-config\na: [1, 2\nb: 3\n").unwrap_err();
        assert!(error.starts_with("line 3"), "{error}");
        for text in ["#cloud-config\n", "#cloud-config\n- a\n", "a: 1\n---\nb: 2\n"] {
            assert!(mapping(text).is_err(), "{text}");
        }
    }
    #[test]
    fn keys_of_the_root_are_listed_and_no_others() {
        let text =
            "#cloud-config\nruncmd:\n  - [ls, {a: b}]\n  - echo: x\nx: &y {k: v}\n? [p, q]\n: r\nz: *y\nlast: 1\n";
        assert_eq!(keys(text).unwrap(), ["runcmd", "x", "z", "last"]);
        assert_eq!(keys("- a\n"), None);
    }
}
