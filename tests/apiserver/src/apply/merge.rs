//! A value into another, and fields out of it.

use serde_json::{Map, Value};

use super::fields::{self, Fields};
use super::typing::{Shape, Typing, member};

/// Puts what is wanted into an object.
pub(super) fn merge(typing: &Typing<'_>, live: &mut Value, wanted: &Value) {
    let shape = typing.shape(wanted);
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) if shape == Shape::Map => {
            for (name, value) in wanted {
                match live.get_mut(name) {
                    Some(known) => merge(&typing.field(name), known, value),
                    None => drop(live.insert(name.clone(), value.clone())),
                }
            }
        }
        (Value::Array(live), Value::Array(wanted)) => match shape {
            Shape::Keyed(keys) => keyed(typing, &keys, live, wanted),
            Shape::Set => {
                for item in wanted {
                    if !live.contains(item) {
                        live.push(item.clone());
                    }
                }
            }
            Shape::Whole | Shape::Map => live.clone_from(wanted),
        },
        (live, wanted) => *live = wanted.clone(),
    }
}

/// Items that both have take the order of what is wanted, in the places that they had; new ones come last.
fn keyed(typing: &Typing<'_>, keys: &[String], live: &mut Vec<Value>, wanted: &[Value]) {
    let steps: Vec<String> = wanted.iter().map(|item| typing.step(keys, item)).collect();
    let known: Vec<(usize, String)> = live
        .iter()
        .map(|item| typing.step(keys, item))
        .enumerate()
        .filter(|(_, step)| steps.contains(step))
        .collect();
    let mut places = known.iter().map(|(place, _)| *place);
    let before = live.clone();
    for (item, step) in wanted.iter().zip(&steps) {
        let old = known.iter().find(|(_, known)| known == step).map(|(place, _)| &before[*place]);
        let mut merged = old.unwrap_or(item).clone();
        merge(&typing.item(), &mut merged, item);
        match places.next().filter(|_| old.is_some()) {
            Some(place) => live[place] = merged,
            None => live.push(merged),
        }
    }
}

/// Takes out the fields of a set, except what is kept and what holds it.
pub(super) fn remove(typing: &Typing<'_>, value: &mut Value, unwanted: &Fields, kept: &Fields) {
    let shape = typing.shape(value);
    match value {
        Value::Object(map) if shape == Shape::Map => {
            for (step, unwanted) in &unwanted.below {
                if let Some(name) = step.strip_prefix("f:") {
                    remove_field(typing, map, name, unwanted, kept.below.get(&fields::field(name)));
                }
            }
        }
        Value::Array(items) => {
            let step = |item: &Value| match &shape {
                Shape::Keyed(keys) => Some(typing.step(keys, item)),
                Shape::Set => Some(member(item)),
                Shape::Whole | Shape::Map => None,
            };
            items.retain_mut(|item| {
                let Some(step) = step(item) else { return true };
                let Some(unwanted) = unwanted.below.get(&step) else { return true };
                match kept.below.get(&step).filter(|kept| !kept.is_empty()) {
                    Some(kept) => {
                        remove(&typing.item(), item, unwanted, kept);
                        true
                    }
                    None => !unwanted.itself,
                }
            });
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn remove_field(
    typing: &Typing<'_>,
    map: &mut Map<String, Value>,
    name: &str,
    unwanted: &Fields,
    kept: Option<&Fields>,
) {
    let kept = kept.filter(|kept| !kept.is_empty());
    if kept.is_none() && unwanted.itself {
        map.remove(name);
        return;
    }
    let Some(field) = map.get_mut(name) else { return };
    let nothing = Fields::default();
    remove(&typing.field(name), field, unwanted, kept.unwrap_or(&nothing));
    // What held the last field of this manager, and nothing of others, goes with it.
    let empty = match field {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    if empty && kept.is_none() {
        map.remove(name);
    }
}
