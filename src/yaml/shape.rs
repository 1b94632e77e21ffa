//! The tables of keys that files are read by, and the JSON Schema that follows from them.
//!
//! A mapping read with a [`Section`] knows its keys from there, so that reader, reports and schema
//! cannot differ. Schemas follow draft 2020-12.

use serde_json::{Map as Object, Value, json};

/// The keys of one kind of mapping.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its keys, in the order in which reports list them.
    pub keys: Vec<Key>,
    /// Exactly one of these must be there; none where it is empty.
    pub one_of: &'static [&'static str],
    /// At least one of these must be there; none where it is empty.
    pub any_of: &'static [&'static str],
    /// Keys that stand only beside another: this one, those.
    pub beside: (&'static str, &'static [&'static str]),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What may stand behind it.
    pub shape: Shape,
    /// What it is about, in one sentence for editors.
    pub about: &'static str,
}

/// What may be written as a value.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Any text or number.
    Text,
    /// Text that fits a regular expression.
    Pattern(&'static str),
    /// A word of a-z, 0-9 and `. _ -`, beginning with a letter or digit, other than this one.
    NameBut(&'static str),
    /// `true` or `false`.
    Boolean,
    /// `true` alone.
    True,
    /// A whole number within bounds, both included.
    Integer(u64, u64),
    /// One of some words.
    Words(Vec<&'static str>),
    /// A number and s, min, h or d.
    Duration,
    /// A port from the number on.
    Port(u16),
    /// A port or a range of ports from the number on.
    Ports(u16),
    /// One value, or a list of at least one.
    OneOrMany(Box<Self>),
    /// A list, empty or not.
    List(Box<Self>),
    /// A mapping with these keys.
    Map(&'static Section),
    /// A mapping with free names as keys.
    Named(Box<Self>),
    /// The same, and the names are like those of rules.
    Groups(Box<Self>),
    /// Any one of these.
    Either(Vec<Self>),
}

impl Key {
    /// A key that may be left out.
    pub fn optional(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self {
            name,
            required: false,
            shape,
            about,
        }
    }

    /// A key that must be there.
    pub fn required(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self {
            required: true,
            ..Self::optional(name, shape, about)
        }
    }
}

impl Shape {
    /// The names of words that stand for values.
    pub fn words<T>(named: &[(&'static str, T)]) -> Self {
        Self::Words(named.iter().map(|(name, _)| *name).collect())
    }

    /// One value of a shape, or a list of at least one.
    pub fn many(shape: Self) -> Self {
        Self::OneOrMany(Box::new(shape))
    }

    fn schema(&self) -> Value {
        match self {
            Self::Text => json!({ "type": ["string", "number"], "minLength": 1 }),
            Self::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
            Self::NameBut(other) => json!({
                "type": ["string", "number"],
                "pattern": "^[a-z0-9][a-z0-9._-]*$",
                "not": { "const": other },
            }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::True => json!({ "const": true }),
            Self::Integer(low, high) => {
                json!({ "type": "integer", "minimum": low, "maximum": high })
            }
            Self::Words(words) => json!({ "enum": words }),
            Self::Duration => {
                json!({ "type": "string", "pattern": "^(0|[1-9][0-9]*)(s|min|h|d)$" })
            }
            Self::Port(low) => json!({ "type": "integer", "minimum": low, "maximum": 65_535 }),
            Self::Ports(low) => json!({ "anyOf": [
                { "type": "integer", "minimum": low, "maximum": 65_535 },
                { "type": "string", "pattern": "^[1-9][0-9]{0,4} *(- *[1-9][0-9]{0,4})?$" },
            ] }),
            Self::OneOrMany(shape) => {
                let one = shape.schema();
                json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
            }
            Self::List(shape) => json!({ "type": "array", "items": shape.schema() }),
            Self::Map(section) => section.schema(),
            Self::Named(shape) => {
                json!({ "type": "object", "additionalProperties": shape.schema() })
            }
            Self::Groups(shape) => json!({
                "type": "object",
                "propertyNames": { "pattern": "^[a-z0-9][a-z0-9._-]*$" },
                "additionalProperties": shape.schema(),
            }),
            Self::Either(shapes) => {
                let any: Vec<Value> = shapes.iter().map(Self::schema).collect();
                json!({ "anyOf": any })
            }
        }
    }
}

impl Section {
    /// A mapping with these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self {
            keys,
            ..Self::default()
        }
    }

    /// Gives the JSON Schema of a file that holds this mapping.
    pub fn document(&self, title: &str) -> Value {
        let mut schema = self.schema();
        if let Some(object) = schema.as_object_mut() {
            let draft = "https://json-schema.org/draft/2020-12/schema";
            object.insert("$schema".to_owned(), json!(draft));
            object.insert("title".to_owned(), json!(title));
        }
        schema
    }

    /// Gives the bounds of a whole number.
    pub(super) fn bounds(&self, name: &str) -> Option<(u64, u64)> {
        let key = self.keys.iter().find(|key| key.name == name)?;
        let Shape::Integer(low, high) = key.shape else {
            return None;
        };
        Some((low, high))
    }

    fn schema(&self) -> Value {
        let mut properties = Object::new();
        for key in &self.keys {
            let mut schema = key.shape.schema();
            if let Some(object) = schema.as_object_mut() {
                object.insert("description".to_owned(), json!(key.about));
            }
            properties.insert(key.name.to_owned(), schema);
        }
        let required = self.keys.iter().filter(|key| key.required);
        let required: Vec<&str> = required.map(|key| key.name).collect();
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        for (word, names) in [("oneOf", self.one_of), ("anyOf", self.any_of)] {
            if let Some(object) = schema.as_object_mut()
                && !names.is_empty()
            {
                let each = names.iter().map(|name| json!({ "required": [name] }));
                object.insert(word.to_owned(), each.collect());
            }
        }
        let (other, keys) = self.beside;
        if let Some(object) = schema.as_object_mut()
            && !keys.is_empty()
        {
            let needed = keys.iter().map(|key| ((*key).to_owned(), json!([other])));
            let needed: Object<String, Value> = needed.collect();
            object.insert("dependentRequired".to_owned(), Value::Object(needed));
        }
        schema
    }
}
