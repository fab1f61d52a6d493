//! The generated schemas against resources that people write: what is right is accepted, and what is wrong is refused
//! with words that say what to do.
//!
//! Checked as an API server does: defaults first, then types and limits ([`structural`]), then the CEL rules by
//! kube-cel. Transition rules see the object as it was before.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]
#![allow(clippy::too_many_lines, reason = "a table of cases is long, not deep")]

mod bounds;
mod cases;
mod structural;

use kube_cel::{Validator, apply_defaults};
use serde_json::{Value, json};

/// What a server would say to this object, as one text; empty: accepted.
fn verdict(kind: &str, new: &Value, old: Option<&Value>) -> String {
    let schema = schema(kind);
    let new = apply_defaults(&schema, new);
    let old = old.map(|old| apply_defaults(&schema, old));
    let mut problems = structural::check(&schema, &new, "");
    if problems.is_empty()
        && let Err(errors) = Validator::new().validate(&schema, &new, old.as_ref())
    {
        problems.extend(errors.into_vec().iter().map(ToString::to_string));
    }
    problems.join("; ")
}

/// The schema of a kind in the generated definitions.
fn schema(kind: &str) -> Value {
    let definitions = caracal_api::crds::all().unwrap();
    let found = definitions.iter().find(|d| d["spec"]["names"]["kind"] == kind);
    let found = found.unwrap_or_else(|| panic!("there is no definition of {kind}"));
    found["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "caracal.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[test]
fn what_is_right_is_accepted() {
    for (kind, name, spec) in cases::right() {
        assert_eq!(verdict(kind, &object(kind, name, &spec), None), "", "{kind} {name} {spec}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_the_reason() {
    for (kind, name, spec, says) in cases::wrong() {
        let said = verdict(kind, &object(kind, name, &spec), None);
        assert!(said.contains(says), "{kind} {name} {spec}\n  should be refused with: {says}\n  but: {said}");
    }
}

#[test]
fn changes_are_accepted_or_refused_by_what_was_there() {
    for (kind, name, old, new, says) in cases::changes() {
        let said = verdict(kind, &object(kind, name, &new), Some(&object(kind, name, &old)));
        match says {
            Some(says) => {
                assert!(said.contains(says), "{kind} {old} -> {new}\n  should say: {says}\n  but: {said}")
            }
            None => assert_eq!(said, "", "{kind} {old} -> {new}"),
        }
    }
}

#[test]
fn every_rule_of_every_kind_compiles() {
    for definition in caracal_api::crds::all().unwrap() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut broken = Vec::new();
        walk(schema, &mut |node| {
            broken.extend(
                kube_cel::compile_schema(node).compilation_errors().into_iter().map(ToString::to_string),
            );
        });
        assert!(broken.is_empty(), "{}: {broken:?}", definition["metadata"]["name"]);
    }
}

/// Calls `visit` for a schema node and for all below it.
fn walk(schema: &Value, visit: &mut impl FnMut(&Value)) {
    visit(schema);
    let below = schema["properties"].as_object().into_iter().flat_map(|map| map.values());
    for node in below.chain(schema.get("items")).chain(schema.get("additionalProperties")) {
        walk(node, visit);
    }
}
