//! What the schema says of a value: how it is merged, and what in it can be owned.
//!
//! Of custom resources the schema says it by `x-kubernetes-list-type`, `…-list-map-keys` and `…-map-type`. The schemas
//! of built-in kinds do not, here: their lists are known by name, as for strategic merges.

use serde_json::Value;

use crate::resource::Resource;
use crate::schema::{ListKind, Schema};
use crate::strategic;

/// What is known of the value at one point of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Typing<'a> {
    /// The name of the field that holds it.
    name: &'a str,
    schema: Option<&'a Schema>,
    custom: bool,
    depth: Depth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Root,
    Meta,
    Below,
}

/// How the values at a point are merged and owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// As one whole: scalars, and what the schema calls atomic.
    Whole,
    /// By field.
    Map,
    /// A list whose items are told apart by these of their fields.
    Keyed(Vec<String>),
    /// A list of different scalars.
    Set,
}

/// Maps of built-in kinds that belong together.
const WHOLE_MAPS: [&str; 5] =
    ["selector", "nodeSelector", "labelSelector", "podSelector", "namespaceSelector"];

impl<'a> Typing<'a> {
    pub(super) fn root(resource: &'a Resource) -> Self {
        Self { name: "", schema: Some(&resource.schema), custom: resource.custom, depth: Depth::Root }
    }

    /// Of a field of this value.
    pub(super) fn field<'b>(&self, name: &'b str) -> Typing<'b>
    where
        'a: 'b,
    {
        let meta = self.depth == Depth::Root && name == "metadata";
        let schema = if meta || self.depth == Depth::Meta { None } else { self.schema };
        Typing {
            name,
            schema: schema.and_then(|schema| schema.field(name)),
            // `metadata` is the same for all kinds: its lists are known by name.
            custom: self.custom && !meta && self.depth != Depth::Meta,
            depth: if meta { Depth::Meta } else { Depth::Below },
        }
    }

    /// Whether the field is one that the schema names: one that is not is an entry of a map.
    pub(super) fn declares(&self, name: &str) -> bool {
        match self.depth {
            Depth::Root | Depth::Meta => true,
            Depth::Below => self.schema.is_some_and(|schema| schema.properties.contains_key(name)),
        }
    }

    /// Of the items of this list.
    pub(super) fn item(&self) -> Typing<'a> {
        Typing { schema: self.schema.and_then(|schema| schema.items.as_deref()), ..*self }
    }

    pub(super) fn shape(&self, value: &Value) -> Shape {
        match value {
            Value::Object(_) => {
                let whole = self.schema.is_some_and(|schema| schema.atomic_map);
                let known = !self.custom && WHOLE_MAPS.contains(&self.name);
                if whole || known { Shape::Whole } else { Shape::Map }
            }
            Value::Array(items) if self.custom => match self.schema.map(|schema| &schema.list) {
                Some(ListKind::Map(keys)) if items.iter().all(Value::is_object) => Shape::Keyed(keys.clone()),
                Some(ListKind::Set) => Shape::Set,
                Some(ListKind::Map(_) | ListKind::Atomic) | None => Shape::Whole,
            },
            Value::Array(items) => {
                if strategic::SETS.contains(&self.name) {
                    return Shape::Set;
                }
                let key =
                    strategic::merge_key(self.name, items).filter(|_| items.iter().all(Value::is_object));
                let Some(key) = key else { return Shape::Whole };
                let mut keys = vec![key.to_owned()];
                // One port may be served by two protocols.
                if self.name == "ports" {
                    keys.push("protocol".into());
                }
                Shape::Keyed(keys)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Shape::Whole,
        }
    }

    /// The step to an item with these keys. One that is missing counts with its default.
    pub(super) fn step(&self, keys: &[String], item: &Value) -> String {
        let schema = self.schema.and_then(|schema| schema.items.as_deref());
        let mut found = serde_json::Map::new();
        let mut sorted: Vec<&String> = keys.iter().collect();
        sorted.sort();
        for key in sorted {
            let default = || schema.and_then(|schema| schema.properties.get(key)?.default.clone());
            let usual = || (self.name == "ports" && key == "protocol").then(|| Value::from("TCP"));
            if let Some(value) = item.get(key).cloned().or_else(default).or_else(usual) {
                found.insert(key.clone(), value);
            }
        }
        format!("k:{}", Value::Object(found))
    }
}

/// The step to a member of a set.
pub(super) fn member(value: &Value) -> String {
    format!("v:{value}")
}
