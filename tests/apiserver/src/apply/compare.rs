//! The fields of a value, and those in which two values differ.

use serde_json::Value;

use super::fields::{self, Fields};
use super::typing::{Shape, Typing, member};

/// In which fields two values differ.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Fields,
    pub(super) changed: Fields,
    pub(super) removed: Fields,
}

impl Difference {
    /// What is new or has another value.
    pub(super) fn written(&self) -> Fields {
        let mut written = self.added.clone();
        written.join(&self.changed);
        written
    }
}

/// The fields that somebody who says this value wants: leaves, entries of maps and items of lists; not what merely holds
/// them.
pub(super) fn fields(typing: &Typing<'_>, value: &Value) -> Fields {
    let mut found = Fields::default();
    match (typing.shape(value), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, value) in map {
                let mut below = fields(&typing.field(name), value);
                let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
                below.itself |= empty || !typing.declares(name);
                found.add(fields::field(name), below);
            }
        }
        (Shape::Keyed(keys), Value::Array(items)) => {
            for item in items {
                let mut below = fields(&typing.item(), item);
                below.itself = true;
                found.add(typing.step(&keys, item), below);
            }
        }
        (Shape::Set, Value::Array(items)) => {
            items.iter().for_each(|item| found.add(member(item), Fields::leaf()));
        }
        _ => found.itself = true,
    }
    found
}

/// As [`fields`], with what holds others.
fn everything(typing: &Typing<'_>, value: &Value) -> Fields {
    let mut found = Fields::leaf();
    match (typing.shape(value), value) {
        (Shape::Map, Value::Object(map)) => {
            for (name, value) in map {
                found.add(fields::field(name), everything(&typing.field(name), value));
            }
        }
        (Shape::Keyed(keys), Value::Array(items)) => {
            for item in items {
                found.add(typing.step(&keys, item), everything(&typing.item(), item));
            }
        }
        (Shape::Set, Value::Array(items)) => {
            items.iter().for_each(|item| found.add(member(item), Fields::leaf()));
        }
        _ => {}
    }
    found
}

/// What turned the old object into the new one. The root itself is nobody's.
pub(super) fn difference(typing: &Typing<'_>, old: &Value, new: &Value) -> Difference {
    let mut found = at(typing, Some(old), Some(new));
    for fields in [&mut found.added, &mut found.changed, &mut found.removed] {
        fields.itself = false;
    }
    found
}

fn at(typing: &Typing<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut found = Difference::default();
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (Some(old), None) => {
            found.removed = everything(typing, old);
            return found;
        }
        (None, Some(new)) => {
            found.added = everything(typing, new);
            return found;
        }
        (None, None) => return found,
    };
    if old == new {
        return found;
    }
    let shape = typing.shape(new);
    if shape != typing.shape(old) {
        found.changed.itself = true;
        found.removed = everything(typing, old);
        found.removed.itself = false;
        found.added = everything(typing, new);
        found.added.itself = false;
        return found;
    }
    let mut step = |step: String, typing: Typing<'_>, old: Option<&Value>, new: Option<&Value>| {
        let below = at(&typing, old, new);
        found.added.add(step.clone(), below.added);
        found.changed.add(step.clone(), below.changed);
        found.removed.add(step, below.removed);
    };
    match (shape, old, new) {
        (Shape::Map, Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                step(fields::field(name), typing.field(name), old.get(name), Some(value));
            }
            for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
                step(fields::field(name), typing.field(name), Some(value), None);
            }
        }
        (Shape::Keyed(keys), Value::Array(old), Value::Array(new)) => {
            let old: Vec<_> = old.iter().map(|item| (typing.step(&keys, item), item)).collect();
            let new: Vec<_> = new.iter().map(|item| (typing.step(&keys, item), item)).collect();
            pairs(&old, &new, |key, old, new| step(key.to_owned(), typing.item(), old, new));
        }
        (Shape::Set, Value::Array(old), Value::Array(new)) => {
            let old: Vec<_> = old.iter().map(|item| (member(item), item)).collect();
            let new: Vec<_> = new.iter().map(|item| (member(item), item)).collect();
            pairs(&old, &new, |key, old, new| step(key.to_owned(), typing.item(), old, new));
        }
        _ => found.changed.itself = true,
    }
    found
}

/// The items of both lists, by step.
fn pairs<'a>(
    old: &[(String, &'a Value)],
    new: &[(String, &'a Value)],
    mut tell: impl FnMut(&str, Option<&'a Value>, Option<&'a Value>),
) {
    let find = |list: &[(String, &'a Value)], key: &str| {
        list.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
    };
    for (key, value) in new {
        tell(key, find(old, key), Some(value));
    }
    for (key, value) in old.iter().filter(|(key, _)| find(new, key).is_none()) {
        tell(key, Some(value), None);
    }
}
