//! `x-kubernetes-validations`: CEL rules.
//!
//! Each node with rules is compiled on its own, with the rules below it left out, so that this walk decides
//! which old value stands for which new one and can ratchet: a rule that does not read `oldSelf` is not held
//! against a value that the update leaves alone. Rules that read `oldSelf` run only where there is an old
//! value (unless they say `optionalOldSelf`), hence never on create.

use std::collections::HashSet;
use std::fmt;

use kube_cel::{CompiledSchema, ErrorKind, compile_schema, validate_compiled};
use serde_json::{Map, Value};

use super::validate::type_name;
use super::{Additional, ListKind, Schema, correlated, references};
use crate::field::{Cause, FieldError, child, item};

/// A rule longer than this is refused: nothing here bounds the cost of evaluating one.
const LONGEST_RULE: usize = 4096;
const KEYWORD: &str = "x-kubernetes-validations";

/// The rules of one node.
pub(crate) struct Rules {
    compiled: CompiledSchema,
    /// Texts of the rules that read `oldSelf`.
    transitions: HashSet<String>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules", self.compiled.validations.len())
    }
}

impl Rules {
    /// Compiles the rules of the schema node `map`; `None` if it has none.
    pub(super) fn parse(map: &Map<String, Value>, path: &str) -> Result<Option<Self>, Vec<FieldError>> {
        let Some(rules) = map.get(KEYWORD).and_then(Value::as_array).filter(|rules| !rules.is_empty()) else {
            return Ok(None);
        };
        let base = child(path, KEYWORD);
        let mut errors = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
            let path = child(&item(&base, index), "rule");
            if text.trim().is_empty() {
                errors.push(FieldError::required(path));
            } else if text.len() > LONGEST_RULE {
                let detail = format!("may not be more than {LONGEST_RULE} bytes");
                errors.push(FieldError::new(Cause::TooLong, path, detail));
            }
        }
        let mut node = Value::Object(map.clone());
        strip_nested(&mut node, true);
        let compiled = compile_schema(&node);
        let root = path.ends_with("openAPIV3Schema");
        let schema = Value::Object(map.clone());
        for (index, result) in compiled.validations.iter().enumerate() {
            let wrong = match result {
                Ok(rule) => references::check(rule.program.expression(), &schema, root),
                Err(error) => vec![error.to_string()],
            };
            for what in wrong {
                let detail = format!("compilation failed: {what}");
                errors.push(FieldError::new(Cause::Invalid, child(&item(&base, index), "rule"), detail));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let transitions = compiled
            .validations
            .iter()
            .flatten()
            .filter(|rule| rule.is_transition_rule)
            .map(|rule| rule.rule.rule.clone())
            .collect();
        Ok(Some(Self { compiled, transitions }))
    }

    fn check(&self, new: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
        let Err(failures) = validate_compiled(&self.compiled, new, old) else { return };
        let unchanged = old == Some(new);
        for failure in failures {
            if unchanged && !self.transitions.contains(&failure.rule) {
                continue;
            }
            let cause = match failure.reason.as_deref() {
                Some("FieldValueForbidden") => Cause::Forbidden,
                Some("FieldValueRequired") => Cause::Required,
                Some("FieldValueDuplicate") => Cause::Duplicate,
                _ => Cause::Invalid,
            };
            let message = match failure.kind {
                ErrorKind::ValidationFailure => failure.message.clone(),
                _ => format!("rule {:?}: {}", failure.rule, failure.message),
            };
            let path = match failure.field_path.trim_start_matches('.') {
                "" => path.to_owned(),
                below => child(path, below),
            };
            let error = FieldError::new(cause, path, message);
            errors.push(match cause {
                Cause::Invalid | Cause::Duplicate => error.with_value(&Value::from(type_name(new))),
                _ => error,
            });
        }
    }
}

/// Removes the rules below a node.
fn strip_nested(value: &mut Value, top: bool) {
    match value {
        Value::Object(map) => {
            // Only schemas hold the keyword as a list: a property of that name holds a schema, an object.
            if !top && map.get(KEYWORD).is_some_and(Value::is_array) {
                map.remove(KEYWORD);
            }
            map.iter_mut()
                .filter(|(name, _)| name.as_str() != KEYWORD)
                .for_each(|(_, v)| strip_nested(v, false));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip_nested(item, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Runs all rules of a schema on an object.
pub(super) fn object(schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    walk(schema, new, old, "", errors);
}

fn walk(schema: &Schema, new: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(rules) = schema.rules.as_ref().filter(|_| !new.is_null()) {
        rules.check(new, old, path, errors);
    }
    match new {
        Value::Object(map) => {
            for (name, value) in map {
                let Some(known) = schema.field(name) else { continue };
                let in_map = !schema.properties.contains_key(name)
                    && matches!(schema.additional, Additional::Schema(_));
                let path = if in_map { item(path, name) } else { child(path, name) };
                walk(known, value, old.and_then(|old| old.get(name)), &path, errors);
            }
        }
        Value::Array(items) => {
            let Some(schema_of_items) = &schema.items else { return };
            for (index, value) in items.iter().enumerate() {
                let before = match &schema.list {
                    ListKind::Map(keys) => correlated(keys, value, old),
                    ListKind::Set | ListKind::Atomic => None,
                };
                walk(schema_of_items, value, before, &item(path, index), errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
