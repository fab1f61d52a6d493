//! What belongs to the spec and what to the status, and the few rules of the built-in kinds.

use serde_json::{Value, json};

use crate::builtin::{CRDS, EXTENSIONS};
use crate::crd;
use crate::field::FieldError;
use crate::object::{self, set_field, set_meta};
use crate::resource::Resource;

/// Keeps a CRD until its objects are gone.
pub(crate) const CRD_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Which part of an object a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
}

/// What a kind does to a new object before it is validated.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value) {
    // A Node's status may be given on creation: the kubelet registers itself so.
    if resource.status && !resource.is("", "nodes") {
        set_field(object, "status", None);
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => {
            let labels = object::meta_mut(object).entry("labels").or_insert_with(|| json!({}));
            let name =
                labels.as_object().and_then(|labels| labels.get("kubernetes.io/metadata.name")).is_none();
            if name {
                let name = object::name(object).to_owned();
                object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            }
            set_field(object, "spec", Some(json!({"finalizers": ["kubernetes"]})));
            set_field(object, "status", Some(json!({"phase": "Active"})));
        }
        ("", "pods") => {
            fill(object, "spec", pod_defaults());
            set_field(object, "status", Some(json!({"phase": "Pending", "qosClass": "BestEffort"})));
        }
        ("", "services") => {
            fill(object, "spec", json!({"type": "ClusterIP", "sessionAffinity": "None"}));
            set_field(object, "status", Some(json!({"loadBalancer": {}})));
        }
        ("", "secrets") => {
            encode_secret(object);
            fill_root(object, json!({"type": "Opaque"}));
        }
        (EXTENSIONS, CRDS) => {
            crd::complete(object);
            crd::set_established(object);
            let mut finalizers = object::finalizers(object);
            finalizers.push(CRD_FINALIZER);
            let finalizers = json!(finalizers);
            set_meta(object, "finalizers", Some(finalizers));
        }
        _ => {}
    }
}

/// Whether a finalizer in the spec, which only namespaces have, still holds the object.
pub(crate) fn held_by_spec(resource: &Resource, object: &Value) -> bool {
    resource.is("", "namespaces") && object.pointer("/spec/finalizers").is_some()
}

/// `stringData` is written in plain text and kept, like all data of a Secret, in base64.
fn encode_secret(secret: &mut Value) {
    use base64::Engine as _;
    let Some(plain) = secret.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    for (key, text) in plain.as_object().into_iter().flatten() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
        if !secret["data"].is_object() {
            secret["data"] = json!({});
        }
        secret["data"][key.as_str()] = encoded.into();
    }
}

fn pod_defaults() -> Value {
    json!({
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
        "enableServiceLinks": true,
        "securityContext": {},
    })
}

/// Joins the part that is written with the part that is not, and counts the generation.
pub(crate) fn prepare_update(resource: &Resource, part: Part, old: &Value, new: &mut Value) {
    match part {
        Part::Main => {
            if resource.status {
                set_field(new, "status", old.get("status").cloned());
            }
            if resource.is(EXTENSIONS, CRDS) {
                crd::complete(new);
                crd::set_established(new);
            }
            if resource.is("", "pods") {
                fill(new, "spec", pod_defaults());
            }
            if resource.is("", "secrets") {
                encode_secret(new);
            }
            if resource.is("", "namespaces") {
                set_field(new, "spec", old.get("spec").cloned());
            }
        }
        Part::Status if resource.custom => {
            // Of a custom resource nothing but the status is taken.
            let status = new.get("status").cloned();
            *new = old.clone();
            set_field(new, "status", status);
        }
        Part::Status => {
            set_field(new, "spec", old.get("spec").cloned());
            for field in ["ownerReferences", "finalizers"] {
                set_meta(new, field, old.get("metadata").and_then(|meta| meta.get(field)).cloned());
            }
        }
    }
    if resource.traits.counts_generations && content(resource, old) != content(resource, new) {
        set_meta(new, "generation", Some(json!(object::generation(old) + 1)));
    }
}

/// What the generation counts changes of.
fn content<'a>(resource: &Resource, object: &'a Value) -> Vec<(&'a String, &'a Value)> {
    let counted = |name: &str| name != "metadata" && !(resource.status && name == "status");
    object.as_object().into_iter().flatten().filter(|(name, _)| counted(name)).collect()
}

/// Rules of single kinds that no schema says.
pub(crate) fn validate_update(resource: &Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    if resource.is("", "pods") && pod_identity(old) != pod_identity(new) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`, \
                      `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations`, \
                      `spec.terminationGracePeriodSeconds`";
        return vec![FieldError::forbidden("spec", detail)];
    }
    Vec::new()
}

/// The part of a Pod's spec that stays as it is.
fn pod_identity(pod: &Value) -> Value {
    let mut spec = pod.get("spec").cloned().unwrap_or_default();
    if let Some(map) = spec.as_object_mut() {
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            map.remove(field);
        }
        for field in ["containers", "initContainers"] {
            for container in map.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                set_field(container, "image", None);
            }
        }
    }
    spec
}

fn fill(object: &mut Value, field: &str, defaults: Value) {
    let part = &mut object[field];
    if part.is_null() {
        *part = json!({});
    }
    fill_root(part, defaults);
}

fn fill_root(object: &mut Value, defaults: Value) {
    let (Some(map), Value::Object(defaults)) = (object.as_object_mut(), defaults) else { return };
    for (name, value) in defaults {
        map.entry(name).or_insert(value);
    }
}
