//! The keys of a lab file: one description, from which the reader refuses unknown keys and [`schema`] makes a JSON schema.
//! A key that the reader accepts is in the schema, because both use these tables.
//!
//! ```
//! let schema = netlab::lab::schema();
//! assert!(schema["properties"]["networks"].is_object());
//! assert_eq!(schema["additionalProperties"], false);
//! ```

mod bonds;
pub(in crate::lab) mod choices;
mod example;
pub(in crate::lab) mod images;
mod kinds;
mod reference;
mod setup;
mod shaping;
pub(in crate::lab) mod tables;
pub(in crate::lab) mod verify;
pub(in crate::lab) mod vms;

use serde_json::{Map, Value, json};

pub use reference::{SchemaKey, keys};

/// A table of a lab file, by its keys.
pub(in crate::lab) struct Table {
    /// What it is, as messages call it: `a network`.
    pub name: &'static str,
    pub keys: &'static [Key],
}

/// A key of a table.
pub(in crate::lab) struct Key {
    pub name: &'static str,
    pub value: Kind,
    /// The reader reports a table without it.
    pub required: bool,
    /// What it means, with units and default.
    pub about: &'static str,
}

/// What the value of a key can be.
pub(in crate::lab) enum Kind {
    /// Any string.
    Text,
    /// A string of this pattern (ECMA 262), and an example.
    Pattern(&'static str, &'static str),
    /// A string of this pattern and at most this many characters, and an example.
    Name(&'static str, usize, &'static str),
    /// One of a few strings.
    Choice(fn() -> Vec<&'static str>),
    Flag,
    /// From the first to the second number.
    Integer(u32, u32),
    List(&'static Kind),
    /// A list of two items, and an example.
    Two(&'static Kind, &'static str),
    /// A list, or one item without the brackets.
    OneOrMore(&'static Kind),
    Either(&'static Kind, &'static Kind),
    Table(&'static Table),
    /// A table with names of the user's: the kind of a name, and of each value.
    Named(&'static Kind, &'static Kind),
}

/// Returns the JSON schema (draft 2020-12) of lab files. It has every key that the reader knows; what values mean
/// together is checked only when a lab is loaded.
pub fn schema() -> Value {
    let mut schema = table(&tables::LAB);
    if let Some(root) = schema.as_object_mut() {
        root.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert("title".to_owned(), json!("netlab lab file"));
    }
    schema
}

fn table(table: &Table) -> Value {
    let properties = table.keys.iter().map(|key| {
        let mut value = kind(&key.value);
        if let Some(object) = value.as_object_mut() {
            object.insert("description".to_owned(), json!(key.about));
        }
        (key.name.to_owned(), value)
    });
    let properties: Map<String, Value> = properties.collect();
    let required = table.keys.iter().filter(|key| key.required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn kind(value: &Kind) -> Value {
    match value {
        Kind::Text => json!({"type": "string"}),
        Kind::Pattern(pattern, _) => json!({"type": "string", "pattern": pattern}),
        Kind::Name(pattern, most, _) => json!({"type": "string", "pattern": pattern, "maxLength": most}),
        Kind::Choice(names) => json!({"enum": names()}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Integer(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
        Kind::List(item) => json!({"type": "array", "items": kind(item)}),
        Kind::Two(item, _) => json!({"type": "array", "items": kind(item), "minItems": 2, "maxItems": 2}),
        Kind::OneOrMore(item) => json!({"anyOf": [kind(item), {"type": "array", "items": kind(item)}]}),
        Kind::Either(one, other) => json!({"anyOf": [kind(one), kind(other)]}),
        Kind::Table(keys) => table(keys),
        Kind::Named(name, of) => json!({
            "type": "object",
            "propertyNames": kind(name),
            "additionalProperties": kind(of),
        }),
    }
}
