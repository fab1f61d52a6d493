//! Label and field selectors.

use std::borrow::Cow;

use serde_json::Value;

use crate::names::{label_value, qualified_name};
use crate::query::Query;
use crate::resource::Resource;
use crate::status::ApiError;

/// One condition on a label.
#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    /// Also met by objects without the label.
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// One condition on a field.
#[derive(Debug, Clone, PartialEq)]
struct FieldIs {
    path: String,
    value: String,
    equal: bool,
}

/// Which objects of a list or watch are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldIs>,
}

impl Selector {
    /// From `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(query: &Query, resource: &Resource) -> Result<Self, ApiError> {
        let labels = match query.get("labelSelector") {
            Some(text) => parse_labels(text).map_err(|why| {
                ApiError::bad_request(format!("unable to parse requirement: labelSelector {text:?}: {why}"))
            })?,
            None => Vec::new(),
        };
        let fields = match query.get("fieldSelector") {
            Some(text) => parse_fields(text, resource)?,
            None => Vec::new(),
        };
        Ok(Self { labels, fields })
    }

    /// The one object of this name.
    pub(crate) fn with_name(mut self, name: &str) -> Self {
        self.fields.push(FieldIs { path: "metadata.name".into(), value: name.to_owned(), equal: true });
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object.get("metadata")?.get("labels")?.get(key)?.as_str();
        let met = |requirement: &Requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::NotIn(key, values) => {
                !label(key).is_some_and(|value| values.iter().any(|v| v == value))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        };
        self.labels.iter().all(met)
            && self.fields.iter().all(|field| (field_text(object, &field.path) == field.value) == field.equal)
    }
}

/// A field as the text that selectors compare.
fn field_text<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    let value = path.split('.').try_fold(object, |value, name| value.get(name));
    match value {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Null) | None if matches!(path, "spec.unschedulable" | "spec.hostNetwork") => {
            "false".into()
        }
        Some(Value::Null) | None => Cow::Borrowed(""),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

fn parse_fields(text: &str, resource: &Resource) -> Result<Vec<FieldIs>, ApiError> {
    let mut fields = Vec::new();
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
            (path, value, false)
        } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (path, value, true)
        } else {
            let message = format!("fieldSelector {text:?}: {term:?} is neither field=value nor field!=value");
            return Err(ApiError::bad_request(message));
        };
        let known = path == "metadata.name"
            || path == "metadata.namespace" && resource.namespaced
            || resource.selectable.iter().any(|field| field == path);
        if !known {
            let message = format!(
                "Unable to find {:?} that match label selector \"\", field selector {text:?}: \
                 field label not supported: {path}",
                resource.qualified()
            );
            return Err(ApiError::bad_request(message));
        }
        fields.push(FieldIs { path: path.to_owned(), value: value.to_owned(), equal });
    }
    Ok(fields)
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    terms(text)?.into_iter().map(str::trim).filter(|term| !term.is_empty()).map(parse_label).collect()
}

/// Splits at commas outside of parentheses.
fn terms(text: &str) -> Result<Vec<&str>, String> {
    let (mut terms, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '(' if inside => return Err("'(' within '('".into()),
            '(' => inside = true,
            ')' if !inside => return Err("')' without '('".into()),
            ')' => inside = false,
            ',' if !inside => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("'(' without ')'".into());
    }
    terms.push(&text[start..]);
    Ok(terms)
}

fn parse_label(term: &str) -> Result<Requirement, String> {
    let key_of = |key: &str| {
        let key = key.trim();
        qualified_name(key).map(|()| key.to_owned()).map_err(|why| format!("key {key:?}: {why}"))
    };
    let value_of = |value: &str| {
        let value = value.trim();
        label_value(value).map(|()| value.to_owned()).map_err(|why| format!("value {value:?}: {why}"))
    };
    if let Some(open) = term.find('(') {
        let values = term[open + 1..].trim_end().strip_suffix(')').ok_or("text after ')'")?;
        let values = values.split(',').map(value_of).collect::<Result<Vec<_>, _>>()?;
        let (key, operator) =
            term[..open].trim().rsplit_once(char::is_whitespace).ok_or("expected 'key in (…)'")?;
        return match operator {
            "in" => Ok(Requirement::In(key_of(key)?, values)),
            "notin" => Ok(Requirement::NotIn(key_of(key)?, values)),
            other => Err(format!("operator {other:?}: expected in or notin")),
        };
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok(Requirement::NotIn(key_of(key)?, vec![value_of(value)?]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(Requirement::In(key_of(key)?, vec![value_of(value)?]));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(Requirement::Absent(key_of(key)?)),
        None => Ok(Requirement::Exists(key_of(term)?)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: Value) -> bool {
        let selector = Selector { labels: parse_labels(selector).unwrap(), fields: Vec::new() };
        selector.matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn label_selectors_select_as_documented() {
        assert!(selects("a=b", json!({"a": "b"})));
        assert!(selects("a==b,c", json!({"a": "b", "c": ""})));
        assert!(!selects("a=b,c", json!({"a": "b"})));
        assert!(selects("a!=b", json!({})), "objects without the label meet !=");
        assert!(selects("a in (x, y),!z", json!({"a": "y"})));
        assert!(selects("a notin (x,y)", json!({})));
        assert!(!selects("a notin (x,y)", json!({"a": "x"})));
        assert!(!selects("!a", json!({"a": ""})));
    }

    #[test]
    fn broken_label_selectors_are_refused() {
        for bad in ["a in (", "a in x)", "a like (b)", "=b", "a=b c", "a in (b))"] {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }
}
