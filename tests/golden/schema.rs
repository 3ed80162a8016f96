//! The JSON schema of lab files accepts what the reader accepts, as far as keys and types go.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

use super::{files, folder};

/// A compiled schema.
struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", schema).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// Returns why the TOML `text` is not valid; None where it is.
    fn refusal(&self, text: &str) -> Option<String> {
        let value: Value = toml::from_str(text).unwrap();
        let result = self.schemas.validate(&value, self.index);
        result.err().map(|error| format!("{error:#}"))
    }
}

#[test]
fn every_lab_is_valid_by_the_schema() {
    let schema = Schema::new(netlab::lab::schema());
    for (name, text) in files(&folder("labs"), ".toml") {
        assert_eq!(schema.refusal(&text), None, "{name}");
    }
}

#[test]
fn every_image_of_the_catalog_is_valid_by_the_schema() {
    let schema = netlab::lab::schema();
    let entry = schema["properties"]["images"]["additionalProperties"].clone();
    let schema = Schema::new(entry);
    let images = files(&folder("images"), ".toml");
    assert!(!images.is_empty());
    for (name, text) in images {
        assert_eq!(schema.refusal(&text), None, "{name}");
    }
}

#[test]
fn an_unknown_key_a_wrong_type_a_wrong_name_and_a_missing_key_are_invalid() {
    let schema = Schema::new(netlab::lab::schema());
    let bad = files(&folder("tests/golden/bad"), ".toml");
    for name in [
        "unknown-key",
        "wrong-type",
        "names-with-bad-letters",
        "names-too-long",
        "vlan-out-of-range",
        "no-subnet",
        "no-hosts",
        "empty",
    ] {
        assert!(schema.refusal(&bad[name]).is_some(), "{name}");
    }
}

#[test]
fn each_unknown_key_is_named() {
    let schema = Schema::new(netlab::lab::schema());
    let good = "name = \"a\"\nhosts.h = {}\nnetworks.n = { subnet = \"10.0.0.0/24\" }\n";
    assert_eq!(schema.refusal(good), None);
    for place in ["hosts.h", "networks.n", "vms.v", "verify", "nova", "images.i"] {
        let text = format!("name = \"a\"\nhosts = {{}}\n[{place}]\nunknown = 1\n");
        let text = text.replace("hosts = {}\n", if place == "hosts.h" { "" } else { "hosts.h = {}\n" });
        let refusal = schema.refusal(&text).unwrap_or_default();
        assert!(refusal.contains("unknown"), "{place}: {refusal}");
    }
}
