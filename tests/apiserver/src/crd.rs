//! CustomResourceDefinition -> the resources it defines, and its status.

use serde_json::{Value, json};

use crate::field::{Cause, FieldError, child, item};
use crate::names::{dns_label, dns_subdomain};
use crate::object;
use crate::resource::{Column, Conversion, Resource, Traits, api_version, next_shape};
use crate::schema::Schema;

/// One resource for each served version; or everything that is wrong with the definition.
pub(crate) fn resources(crd: &Value) -> Result<Vec<Resource>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let group = text(crd, "/spec/group", &mut errors);
    let plural = text(crd, "/spec/names/plural", &mut errors);
    let kind = text(crd, "/spec/names/kind", &mut errors);
    check_names(crd, &group, &plural, &mut errors);
    let namespaced = match crd.pointer("/spec/scope").and_then(Value::as_str) {
        Some("Namespaced") => true,
        Some("Cluster") => false,
        found => {
            let detail = r#"supported values: "Cluster", "Namespaced""#;
            let error = FieldError::new(Cause::NotSupported, "spec.scope", detail);
            errors.push(error.with_value(&Value::from(found)));
            false
        }
    };
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array).cloned().unwrap_or_default();
    let is = |version: &Value, flag: &str| version.get(flag).and_then(Value::as_bool).unwrap_or_default();
    let storage: Vec<&Value> = versions.iter().filter(|version| is(version, "storage")).collect();
    let [storage] = storage.as_slice() else {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &Value::from(versions.len()), detail));
        return Err(errors);
    };
    let storage = storage.get("name").and_then(Value::as_str).unwrap_or_default();
    let strings = |pointer: &str| {
        let list = crd.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let or = |pointer: &str, default: String| {
        crd.pointer(pointer).and_then(Value::as_str).map_or(default, str::to_owned)
    };
    let mut resources = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let path = item("spec.versions", index);
        let name = version.get("name").and_then(Value::as_str).unwrap_or_default();
        if let Err(why) = dns_label(name) {
            errors.push(FieldError::invalid(child(&path, "name"), &Value::from(name), why));
        }
        let (schema, openapi) = version_schema(version, &path, &mut errors);
        if !is(version, "served") {
            continue;
        }
        resources.push(Resource {
            group: group.clone(),
            version: name.to_owned(),
            kind: kind.clone(),
            list_kind: or("/spec/names/listKind", format!("{kind}List")),
            plural: plural.clone(),
            singular: or("/spec/names/singular", kind.to_lowercase()),
            short_names: strings("/spec/names/shortNames"),
            categories: strings("/spec/names/categories"),
            namespaced,
            status: version.pointer("/subresources/status").is_some(),
            custom: true,
            traits: Traits::CUSTOM,
            conversion: Conversion::None,
            bucket: format!("{plural}.{group}"),
            storage_version: api_version(&group, storage),
            shape: next_shape(),
            has_defaults: schema.has_defaults(),
            schema,
            openapi,
            metadata: crate::builtin::metadata_schema(),
            selectable: selectable(version, &path, &mut errors),
            columns: columns(version),
        });
    }
    if errors.is_empty() { Ok(resources) } else { Err(errors) }
}

fn check_names(crd: &Value, group: &str, plural: &str, errors: &mut Vec<FieldError>) {
    let name = object::name(crd);
    if !group.is_empty() && !plural.is_empty() && name != format!("{plural}.{group}") {
        let detail = r#"must be spec.names.plural+"."+spec.group"#;
        errors.push(FieldError::invalid("metadata.name", &Value::from(name), detail));
    }
    if let Err(why) = dns_subdomain(group) {
        errors.push(FieldError::invalid("spec.group", &Value::from(group), why));
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", &Value::from(group), detail));
    }
    if let Err(why) = dns_label(plural) {
        errors.push(FieldError::invalid("spec.names.plural", &Value::from(plural), why));
    }
}

fn version_schema(version: &Value, path: &str, errors: &mut Vec<FieldError>) -> (Schema, Value) {
    let path = child(path, "schema.openAPIV3Schema");
    let Some(openapi) = version.pointer("/schema/openAPIV3Schema") else {
        let detail = "schemas are required";
        errors.push(FieldError { detail: detail.into(), ..FieldError::required(path) });
        return (Schema::open(), Value::Null);
    };
    match Schema::parse(openapi, &path) {
        Ok(schema) => (schema, openapi.clone()),
        Err(more) => {
            errors.extend(more);
            (Schema::open(), Value::Null)
        }
    }
}

fn selectable(version: &Value, path: &str, errors: &mut Vec<FieldError>) -> Vec<String> {
    const MOST: usize = 8;
    let fields = version.get("selectableFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let path = child(path, "selectableFields");
    if fields.len() > MOST {
        errors.push(FieldError::new(Cause::TooMany, path.clone(), format!("must have at most {MOST} items")));
    }
    let mut names = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let json_path = field.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        let schema =
            json_path.trim_start_matches('.').split('.').try_fold(
                version.pointer("/schema/openAPIV3Schema").unwrap_or(&Value::Null),
                |schema, name| schema.get("properties").and_then(|properties| properties.get(name)),
            );
        let kind = schema.and_then(|schema| schema.get("type")).and_then(Value::as_str);
        let simple = json_path.starts_with('.') && !json_path.starts_with(".metadata");
        if simple && matches!(kind, Some("string" | "boolean" | "integer")) {
            names.push(json_path.trim_start_matches('.').to_owned());
        } else {
            let detail = "must be the simple path of a string, boolean or integer field outside of metadata";
            let path = child(&item(&path, index), "jsonPath");
            errors.push(FieldError::invalid(path, &Value::from(json_path), detail));
        }
    }
    names
}

fn columns(version: &Value) -> Vec<Column> {
    let text =
        |column: &Value, name: &str| column.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let declared = version.get("additionalPrinterColumns").and_then(Value::as_array);
    let mut columns: Vec<Column> = declared
        .into_iter()
        .flatten()
        .map(|column| Column {
            name: text(column, "name"),
            kind: text(column, "type"),
            format: text(column, "format"),
            description: text(column, "description"),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
            path: text(column, "jsonPath"),
        })
        .collect();
    if columns.is_empty() {
        columns.push(Column {
            name: "Age".into(),
            kind: "date".into(),
            format: String::new(),
            description: "When the object was created".into(),
            priority: 0,
            path: ".metadata.creationTimestamp".into(),
        });
    }
    columns
}

/// Fills in what a real server derives from the spec.
pub(crate) fn complete(crd: &mut Value) {
    let kind = crd.pointer("/spec/names/kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(names) = crd.pointer_mut("/spec/names").and_then(Value::as_object_mut) {
        names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
        names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
    }
    if let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    }
}

/// The status of an accepted definition. The kind is served as soon as this is written.
pub(crate) fn set_established(crd: &mut Value) {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": object::now(),
        })
    };
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array).cloned().unwrap_or_default();
    let stored = versions.iter().filter(|version| version["storage"] == true);
    let mut stored: Vec<Value> = stored.map(|version| version["name"].clone()).collect();
    for earlier in
        crd.pointer("/status/storedVersions").and_then(Value::as_array).cloned().unwrap_or_default()
    {
        if !stored.contains(&earlier) {
            stored.insert(0, earlier);
        }
    }
    let conditions = match crd.pointer("/status/conditions") {
        Some(conditions) => conditions.clone(),
        None => json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ]),
    };
    let status = json!({
        "acceptedNames": crd.pointer("/spec/names").cloned().unwrap_or_default(),
        "conditions": conditions,
        "storedVersions": stored,
    });
    object::set_field(crd, "status", Some(status));
}

fn text(crd: &Value, pointer: &str, errors: &mut Vec<FieldError>) -> String {
    match crd.pointer(pointer).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => {
            errors.push(FieldError::required(pointer.trim_start_matches('/').replace('/', ".")));
            String::new()
        }
    }
}
