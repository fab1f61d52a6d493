//! Whether a CEL rule speaks of fields that exist.
//!
//! A real server type-checks rules when the CRD is written and refuses one that selects a field which the
//! schema does not declare. The evaluator here would only notice when a rule reaches that field, if ever, so
//! this walk over the parsed rule follows selections from `self` through the schema. What it cannot follow
//! (results of functions, data without a schema) it lets pass.

use std::collections::HashMap;

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr};
use serde_json::{Value, json};

/// Names that are types or bound by macros, not variables of the rule.
const KNOWN_NAMES: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "optional",
    "string",
    "type",
    "uint",
    "duration",
    "timestamp",
];

/// Returns what is wrong with the selections of a rule of the schema node `schema`.
pub(super) fn check(rule: &IdedExpr, schema: &Value, root: bool) -> Vec<String> {
    let mut node = schema.clone();
    if root && let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        // Of the envelope a rule sees only this.
        let text = json!({"type": "string"});
        let meta = json!({"type": "object", "properties": {"name": text, "generateName": text}});
        properties.insert("metadata".into(), meta);
        properties.entry("apiVersion").or_insert_with(|| text.clone());
        properties.entry("kind").or_insert(text);
    }
    let mut walk = Walk { scope: HashMap::new(), wrong: Vec::new() };
    walk.scope.insert("self", Some(&node));
    walk.scope.insert("oldSelf", Some(&node));
    walk.visit(rule);
    walk.wrong
}

struct Walk<'a> {
    /// Variable -> its schema, if known.
    scope: HashMap<&'a str, Option<&'a Value>>,
    wrong: Vec<String>,
}

impl<'a> Walk<'a> {
    /// Visits an expression; returns the schema of its value, if known.
    fn visit(&mut self, expression: &'a IdedExpr) -> Option<&'a Value> {
        match &expression.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => {
                let schema = self.visit(&select.operand)?;
                self.field(schema, &select.field)
            }
            Expr::Call(call) => {
                let target = call.target.as_deref().and_then(|target| self.visit(target));
                let arguments: Vec<Option<&Value>> =
                    call.args.iter().map(|argument| self.visit(argument)).collect();
                match call.func_name.as_str() {
                    "_[_]" => element(target.or(arguments.first().copied().flatten())?),
                    _ => None,
                }
            }
            Expr::Comprehension(macro_call) => {
                let range = self.visit(&macro_call.iter_range);
                let of_list = range.filter(|range| range.get("type").is_some_and(|kind| kind == "array"));
                self.visit(&macro_call.accu_init);
                let outer = self.scope.clone();
                self.scope.insert(&macro_call.iter_var, of_list.and_then(element));
                if let Some(second) = &macro_call.iter_var2 {
                    self.scope.insert(second, None);
                }
                self.scope.insert(&macro_call.accu_var, None);
                self.visit(&macro_call.loop_cond);
                self.visit(&macro_call.loop_step);
                self.visit(&macro_call.result);
                self.scope = outer;
                None
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.visit(element);
                }
                None
            }
            Expr::Map(map) => {
                map.entries.iter().for_each(|entry| self.entry(&entry.expr));
                None
            }
            Expr::Struct(structure) => {
                structure.entries.iter().for_each(|entry| self.entry(&entry.expr));
                None
            }
            Expr::Literal(_) | Expr::Unspecified => None,
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => {
                self.visit(&field.value);
            }
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key);
                self.visit(&entry.value);
            }
        }
    }

    fn variable(&mut self, name: &'a str) -> Option<&'a Value> {
        if let Some(schema) = self.scope.get(name) {
            return *schema;
        }
        if !KNOWN_NAMES.contains(&name) && !name.starts_with('@') {
            self.wrong.push(format!("undeclared reference to '{name}'"));
        }
        None
    }

    fn field(&mut self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        if is_open(schema) {
            return None;
        }
        let properties = schema.get("properties");
        let found = properties.and_then(|known| known.get(name).or_else(|| known.get(unescape(name))));
        if found.is_some() {
            return found;
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) | None => {
                self.wrong.push(format!("undefined field '{name}'"));
                None
            }
            Some(values) => Some(values).filter(|values| values.is_object()),
        }
    }
}

/// Whether a value of this schema may hold fields that it does not declare.
fn is_open(schema: &Value) -> bool {
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or_default();
    flag("x-kubernetes-preserve-unknown-fields")
        || flag("x-kubernetes-int-or-string")
        || flag("x-kubernetes-embedded-resource")
        || schema.get("type").is_none()
}

/// The schema of an item of a list or an entry of a map.
fn element(schema: &Value) -> Option<&Value> {
    schema.get("items").or_else(|| schema.get("additionalProperties")).filter(|schema| schema.is_object())
}

/// The field that an escaped name in a rule stands for.
fn unescape(name: &str) -> String {
    let plain = name
        .replace("__dot__", ".")
        .replace("__dash__", "-")
        .replace("__slash__", "/")
        .replace("__underscores__", "__");
    match plain.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")) {
        Some(keyword) if !keyword.is_empty() => keyword.to_owned(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use kube_cel::cel::Program;

    use super::*;

    fn wrong(rule: &str) -> Vec<String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "name-of": {"type": "string"},
                "namespace": {"type": "string"},
                "peers": {"type": "array", "items": {"type": "object", "properties": {"asn": {"type": "integer"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        });
        check(Program::compile(rule).unwrap().expression(), &schema, false)
    }

    #[test]
    fn declared_fields_pass() {
        for rule in [
            "self.size > 1 && (!has(oldSelf.size) || oldSelf.size < self.size)",
            "self.name__dash__of.startsWith('a') && self.__namespace__ != ''",
            "self.peers.all(p, p.asn > 0) && self.peers[0].asn > 1",
            "self.map['x'].a == '' && self.map.x.a == '' && self.map.all(k, self.map[k].a != '')",
            "self.free.any.thing == 1",
            "type(self.size) == int",
        ] {
            assert_eq!(wrong(rule), Vec::<String>::new(), "{rule}");
        }
    }

    #[test]
    fn undeclared_fields_and_variables_are_told() {
        for (rule, what) in [
            ("self.sise > 1", "undefined field 'sise'"),
            ("!has(self.sise) || self.size > 1", "undefined field 'sise'"),
            ("self.size.x == 1", "undefined field 'x'"),
            ("self.peers.all(p, p.as > 0)", "undefined field 'as'"),
            ("self.map.x.b == ''", "undefined field 'b'"),
            ("object.size == 1", "undeclared reference to 'object'"),
        ] {
            assert!(wrong(rule).iter().any(|found| found == what), "{rule}: {:?}", wrong(rule));
        }
    }
}
