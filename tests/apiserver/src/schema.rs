//! Structural schemas: the OpenAPI v3 subset by which Kubernetes prunes, defaults and validates objects.
//!
//! A schema is parsed once, when its CustomResourceDefinition is written (`parse`), and is then walked beside
//! an object, one file for each walk: `prune`, `default`, `validate`, and `cel` for the rules in
//! `x-kubernetes-validations`. Every walk knows the old object where there is one, so that values which an
//! update leaves alone are not held against it (ratcheting).

mod cel;
mod default;
mod format;
mod parse;
mod prune;
mod references;
mod structural;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

pub(crate) use cel::Rules;
pub(crate) use format::Format;

use crate::field::FieldError;

/// The JSON type that a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Type::Object => "object",
            Type::Array => "array",
            Type::String => "string",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Boolean => "boolean",
        }
    }
}

/// What keys besides `properties` an object may have.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// None: they are pruned.
    #[default]
    Closed,
    /// Any, kept as they are.
    Any,
    /// A map with values of this schema.
    Schema(Box<Schema>),
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// One bound of a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) value: f64,
    pub(crate) exclusive: bool,
}

/// What a value must satisfy beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) one_of_values: Option<Vec<Value>>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: Range,
    pub(crate) items: Range,
    pub(crate) properties: Range,
    pub(crate) unique_items: bool,
    pub(crate) pattern: Option<Regex>,
    pub(crate) format: Option<Format>,
    pub(crate) required: Vec<String>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
}

/// Inclusive bounds of a count.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) least: Option<u64>,
    pub(crate) most: Option<u64>,
}

/// One node of a schema.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    /// Unknown fields of this object are kept.
    pub(crate) preserve_unknown: bool,
    pub(crate) int_or_string: bool,
    /// A whole Kubernetes object: apiVersion, kind and metadata are always kept.
    pub(crate) embedded: bool,
    pub(crate) list: ListKind,
    /// `x-kubernetes-map-type: atomic`: applied as one whole.
    pub(crate) atomic_map: bool,
    pub(crate) limits: Limits,
    pub(crate) rules: Option<Rules>,
}

impl Schema {
    /// A schema that accepts and keeps everything.
    pub(crate) fn open() -> Self {
        Self { kind: Some(Type::Object), preserve_unknown: true, ..Self::default() }
    }

    /// Parses `openAPIV3Schema` of a CRD, with everything that makes it not structural told.
    pub(crate) fn parse(value: &Value, path: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let schema = parse::node(value, path, &mut errors);
        structural::check(value, path, &mut errors);
        if errors.is_empty() { Ok(schema) } else { Err(errors) }
    }

    /// Parses a schema without asking that it be structural: those of the built-in kinds, which are ours.
    pub(crate) fn parse_lenient(value: &Value) -> Self {
        parse::node(value, "", &mut Vec::new())
    }

    /// Drops what the schema does not know and returns the paths of what was dropped.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::object(self, object)
    }

    /// Fills in defaults, and drops nulls where a default stands.
    pub(crate) fn apply_defaults(&self, object: &mut Value) {
        default::apply(self, object);
    }

    /// Whether there is any default in the schema, so that reading old objects needs a look at them.
    pub(crate) fn has_defaults(&self) -> bool {
        default::any(self)
    }

    /// Types, limits and CEL rules; `old` is the stored object of an update.
    pub(crate) fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::object(self, new, old, &mut errors);
        // Rules assume values of the declared types, so a real server does not run them on others.
        if errors.is_empty() {
            cel::object(self, new, old, &mut errors);
        }
        errors
    }

    /// The schema of a field of this object, if one is declared.
    pub(crate) fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Closed | Additional::Any => None,
        })
    }
}

/// The entry of `old` that an item of a list with map keys stands for.
pub(crate) fn correlated<'a>(keys: &[String], item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    old?.as_array()?.iter().find(|candidate| {
        keys.iter().all(|key| candidate.get(key) == item.get(key) && item.get(key).is_some())
    })
}
