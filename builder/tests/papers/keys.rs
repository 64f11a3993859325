//! The tables of keys in docs/reference.md, from the JSON Schemas.

use profiles::schema::Document;
use serde_json::Value;
use std::fmt::Write;

/// Tables of all keys of a document: those at its top, then one for each table that it may hold.
pub fn of(document: Document) -> String {
    let mut out = String::new();
    tables(&mut out, "", &document.schema());
    out
}

/// The plain keys of the table that is called `above`, then the tables in it.
fn tables(out: &mut String, above: &str, schema: &Value) {
    let (mut inner, plain): (Vec<_>, Vec<_>) = properties(schema).partition(|(_, key)| is_table(key));
    inner.sort_by_key(|(name, _)| !is_required(schema, name));
    if !plain.is_empty() {
        table(out, schema, &plain);
    }
    for (name, key) in inner {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        let (head, schema) = match key["items"].as_object() {
            Some(_) => (format!("[[{path}]]"), &key["items"]),
            None => (format!("[{path}]"), key),
        };
        writeln!(out, "### `{head}`\n\n{}\n", text(key)).expect("a String");
        tables(out, &path, schema);
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn is_table(key: &Value) -> bool {
    key["type"] == "object" || key["items"]["type"] == "object"
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|all| all.iter().any(|key| key == name))
}

fn text(key: &Value) -> String {
    // A line break of the source is none of the sentence's.
    key["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn table(out: &mut String, schema: &Value, keys: &[(&String, &Value)]) {
    out.push_str("| key | takes | meaning |\n|---|---|---|\n");
    let mut keys = keys.to_vec();
    keys.sort_by_key(|(name, _)| !is_required(schema, name));
    for (name, key) in keys {
        let mut meaning = text(key);
        for value in key["oneOf"].as_array().into_iter().flatten() {
            write!(meaning, " `{}`: {}", value["const"], text(value)).expect("a String");
        }
        match &key["default"] {
            Value::Null => {}
            default => write!(meaning, " Default: {default}.").expect("a String"),
        }
        let needed = if is_required(schema, name) { ", needed" } else { "" };
        writeln!(out, "| `{name}` | {}{needed} | {meaning} |", takes(key)).expect("a String");
    }
    out.push('\n');
}

/// What a key takes, in a word or two.
fn takes(key: &Value) -> String {
    let quoted = |values: &Vec<Value>| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    if let Some(title) = key["title"].as_str() {
        return title.to_owned();
    }
    if let Some(values) = key["enum"].as_array() {
        return quoted(values);
    }
    if let Some(values) = key["oneOf"].as_array() {
        return quoted(&values.iter().map(|value| value["const"].clone()).collect());
    }
    match key["type"].as_str().unwrap_or_default() {
        "array" if key["items"]["enum"].is_array() => format!("list of {}", takes(&key["items"])),
        "array" => "list".to_owned(),
        "boolean" => "true, false".to_owned(),
        "integer" => "number".to_owned(),
        "string" if key["format"] == "uuid" => "UUID".to_owned(),
        "string" => "text".to_owned(),
        other => panic!("a key that takes {other:?} needs a word for it: {key}"),
    }
}
