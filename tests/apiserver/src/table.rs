//! `as=Table`: what `kubectl get` prints.

use serde_json::{Value, json};

use crate::object;
use crate::printers;
use crate::render::partial;
use crate::resource::Resource;
use crate::status::ApiError;

/// What of the object goes with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        match text {
            None | Some("Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::Nothing),
            Some("Object") => Ok(Include::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "query parameter includeObject={other:?}: supported values: \"Metadata\", \"None\", \"Object\""
            ))),
        }
    }
}

/// A table of objects; `meta` is the metadata of the list.
pub(crate) fn of_objects(resource: &Resource, meta: &Value, objects: &[&Value], include: Include) -> Value {
    let mut columns = vec![json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace.",
    })];
    columns.extend(resource.columns.iter().map(|column| {
        json!({
            "name": column.name,
            // Dates are shown as ages, which are text.
            "type": if column.kind == "date" { "string" } else { &column.kind },
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    }));
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn row(resource: &Resource, object: &Value, include: Include) -> Value {
    let mut cells = vec![Value::from(object::name(object))];
    cells.extend(resource.columns.iter().map(|column| {
        if let Some(name) = column.path.strip_prefix('@') {
            return printers::cell(name, object);
        }
        let value = at_path(object, &column.path);
        match (column.kind.as_str(), value) {
            ("date", Some(Value::String(time))) => age(time).into(),
            (_, Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)))) => value.clone(),
            (_, Some(Value::Null) | None) if column.kind == "string" => Value::from(""),
            (_, Some(Value::Null) | None) => Value::Null,
            (_, Some(other)) => other.to_string().into(),
        }
    }));
    let mut row = json!({"cells": cells});
    match include {
        Include::Nothing => {}
        Include::Metadata => row["object"] = partial(object),
        Include::Object => row["object"] = object.clone(),
    }
    row
}

/// The part of JSONPath that columns use: `.a.b`, `.a['b']`, `.a[0]`, `.a[?(@.type=="x")].b`.
fn at_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            value = step(value, &inner[..end])?;
            rest = &inner[end + 1..];
        } else {
            let name = rest.strip_prefix('.')?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            value = value.get(&name[..end])?;
            rest = &name[end..];
        }
    }
    Some(value)
}

/// Where the bracket that was opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') => return Some(at),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

fn step<'a>(value: &'a Value, inside: &str) -> Option<&'a Value> {
    if let Some(filter) = inside.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==")?;
        let (path, wanted) = (path.trim().strip_prefix('@')?, wanted.trim().trim_matches(['"', '\'']));
        return value
            .as_array()?
            .iter()
            .find(|item| at_path(item, path).and_then(Value::as_str) == Some(wanted));
    }
    match inside.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(inside.trim_matches(['"', '\''])),
    }
}

/// `5s`, `12m`, `3h`, `9d`: the time since.
pub(crate) fn age(time: &str) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else { return "<invalid>".to_owned() };
    let seconds = jiff::Timestamp::now().duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_into_objects_and_lists() {
        let object =
            json!({"a": {"b.c": 1, "list": [{"type": "X", "v": "x"}, {"type": "Ready]", "v": "r"}]}});
        assert_eq!(at_path(&object, ".a['b.c']"), Some(&json!(1)));
        assert_eq!(at_path(&object, ".a.list[0].v"), Some(&json!("x")));
        assert_eq!(at_path(&object, ".a.list[?(@.type==\"Ready]\")].v"), Some(&json!("r")));
        assert_eq!(at_path(&object, ".a.list[?(@.type==\"none\")].v"), None);
        assert_eq!(at_path(&object, ".a.missing.b"), None);
    }
}
