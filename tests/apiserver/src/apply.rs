//! Server-side apply: who manages which field, and what follows from it.
//!
//! Each writer is a manager. One that applies says all that it wants, and nothing else; the server merges that into
//! the object, takes back what the same manager wanted before and no longer does, and refuses to change what another
//! manager set, unless forced. For that it keeps, in `metadata.managedFields`, the set of fields of each manager.
//!
//! | file | purpose |
//! |---|---|
//! | `fields` | a set of fields, and its form in JSON (`FieldsV1`) |
//! | `typing` | what the schema says of a value: merged by field, by key, as a set, or as one whole |
//! | `compare` | the fields of a value, and of the difference between two |
//! | `merge` | a value into another, and fields out of it |
//! | `managers` | the managers of an object, and how a write changes them |
//!
//! A real server records every writer of every object. Here the record of an object begins when a writer creates it
//! that gives its name (`fieldManager=`, as kubectl always does), or with its first apply: most objects of a lab are
//! written by agents alone, and stay as small as they were. What an object without a record held when it was first
//! applied belongs to `before-first-apply`, as on a real server.

mod compare;
mod fields;
mod managers;
mod merge;
mod typing;

use serde_json::Value;

use crate::field::{Cause, FieldError};
use crate::object::{self, set_field, set_meta};
use crate::query::Query;
use crate::resource::Resource;
use crate::status::ApiError;
use crate::strategy::Part;
use fields::Fields;
use managers::{Managers, Operation, Who};
use typing::Typing;

const MANAGED: &str = "managedFields";
/// Longest name of a manager.
const LONGEST_NAME: usize = 128;
/// Owner of what was there before an object had managers.
const BEFORE: &str = "before-first-apply";
/// Fields of `metadata` that no writer owns: they say which object it is, or are the server's.
const NOBODYS: [&str; 8] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The writer of a request.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    name: String,
    /// It gave its name itself; otherwise the name is that of its program.
    named: bool,
    force: bool,
}

impl Writer {
    /// From `fieldManager` and `force`, or the first word of the user agent.
    pub(crate) fn of(query: &Query, user_agent: &str) -> Self {
        let program = user_agent.split('/').next().filter(|word| !word.is_empty()).unwrap_or("unknown");
        let named = query.get("fieldManager");
        Self { name: named.unwrap_or(program).to_owned(), named: named.is_some(), force: query.flag("force") }
    }

    /// Checks what an apply must say of itself.
    pub(crate) fn may_apply(&self) -> Result<(), ApiError> {
        if !self.named {
            let error = FieldError::new(Cause::Required, "fieldManager", "is required for apply patch");
            return Err(ApiError::invalid_options(&error));
        }
        if self.name.len() > LONGEST_NAME {
            let detail = format!("may not be more than {LONGEST_NAME} bytes");
            return Err(ApiError::invalid_options(&FieldError::new(Cause::TooLong, "fieldManager", detail)));
        }
        Ok(())
    }
}

/// Whether a write still has to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recording {
    /// The object holds what its writer says of the record.
    Write,
    /// An apply: the object holds the record as it is to be.
    Done,
}

/// Takes the record out of an object, as a client sent it or as it is stored.
pub(crate) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(MANAGED)
}

/// Puts a record into an object.
pub(crate) fn put(object: &mut Value, record: Option<Value>) {
    let filled = record.filter(|record| record.as_array().is_some_and(|list| !list.is_empty()));
    set_meta(object, MANAGED, filled);
}

/// The record after a write that was no apply. `declared` is what the client says that the record is: a list with one
/// empty entry empties it, a list of entries replaces it, and no list leaves it.
pub(crate) fn after_write(
    resource: &Resource,
    part: Part,
    old: Option<&Value>,
    new: &Value,
    declared: Option<Value>,
    writer: &Writer,
) -> Option<Value> {
    if declared.as_ref().is_some_and(is_reset) {
        return None;
    }
    let stored = old.and_then(|old| old.get("metadata")?.get(MANAGED));
    let declared = declared.as_ref().and_then(Managers::parse).filter(|_| part == Part::Main);
    let known = declared.or_else(|| stored.and_then(Managers::parse));
    // An object that nobody kept a record of stays without; its first named writer does not know who wrote the rest.
    if known.is_none() && !(writer.named && old.is_none()) {
        return None;
    }
    let mut managers = known.unwrap_or_default();
    let typing = Typing::root(resource);
    let nothing = Value::Object(serde_json::Map::new());
    let old = old.map(visible);
    let difference = compare::difference(&typing, old.as_ref().unwrap_or(&nothing), &visible(new));
    managers.wrote(&who(resource, part, &writer.name, Operation::Update), &difference);
    Some(managers.to_json())
}

/// The object after an apply, with its record. `live` is `None` for an object that is to be created.
pub(crate) fn apply(
    resource: &Resource,
    part: Part,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer,
) -> Result<Value, ApiError> {
    let typing = Typing::root(resource);
    let config = only(part, resource, config);
    let wanted = compare::fields(&typing, &visible(&config));
    let record = live.and_then(|live| live.get("metadata")?.get(MANAGED)).and_then(Managers::parse);
    let mut managers = match (record, live) {
        (Some(managers), _) => managers,
        (None, None) => Managers::default(),
        (None, Some(live)) => {
            let all = compare::difference(&typing, &Value::Object(serde_json::Map::new()), &visible(live));
            let mut managers = Managers::default();
            managers.wrote(&who(resource, Part::Main, BEFORE, Operation::Update), &all);
            managers
        }
    };
    let me = who(resource, part, &writer.name, Operation::Apply);
    let before = managers.of(&me);
    managers.set(&me, wanted);

    let mut object = live.cloned().unwrap_or_else(|| config.clone());
    // What the manager wanted before, and now nobody wants, goes first.
    merge::merge(&typing, &mut object, &config);
    merge::remove(&typing, &mut object, &before, &managers.all());
    if let Some(live) = live {
        let difference = compare::difference(&typing, &visible(live), &visible(&object));
        let conflicts = managers.conflicts(&me, &difference);
        if !conflicts.is_empty() && !writer.force {
            return Err(refusal(resource, object::name(live), &conflicts));
        }
        managers.lost(&me, &difference);
    }
    put(&mut object, Some(managers.to_json()));
    Ok(object)
}

fn who(resource: &Resource, part: Part, name: &str, operation: Operation) -> Who {
    Who {
        name: name.to_owned(),
        operation,
        version: resource.api_version(),
        subresource: if part == Part::Status { "status".to_owned() } else { String::new() },
    }
}

/// The part of an applied object that the path is for; the rest is ignored, as on a real server.
fn only(part: Part, resource: &Resource, config: &Value) -> Value {
    let mut config = config.clone();
    match part {
        Part::Main if resource.status => set_field(&mut config, "status", None),
        Part::Main => {}
        Part::Status => {
            if let Some(map) = config.as_object_mut() {
                map.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            }
            object::meta_mut(&mut config).retain(|name, _| NOBODYS.contains(&name.as_str()));
        }
    }
    config
}

/// An object without the fields that nobody owns.
fn visible(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["apiVersion", "kind"] {
        set_field(&mut object, field, None);
    }
    let meta = object::meta_mut(&mut object);
    meta.retain(|name, _| !NOBODYS.contains(&name.as_str()));
    if meta.is_empty() {
        set_field(&mut object, "metadata", None);
    }
    object
}

fn is_reset(declared: &Value) -> bool {
    match declared.as_array().map(Vec::as_slice) {
        Some([one]) => one.as_object().is_some_and(serde_json::Map::is_empty),
        Some(_) | None => false,
    }
}

fn refusal(resource: &Resource, name: &str, conflicts: &[(Who, Fields)]) -> ApiError {
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (who, fields) in conflicts {
        let paths = fields.paths();
        let with = format!("{:?} {}", who.name, who.words());
        for path in &paths {
            causes.push(serde_json::json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {with}"),
                "field": path,
            }));
        }
        lines.push(match paths.as_slice() {
            [path] => format!("conflict with {with}: {path}"),
            many => {
                let list: Vec<String> = many.iter().map(|path| format!("\n- {path}")).collect();
                format!("conflicts with {with}:{}", list.concat())
            }
        });
    }
    let count = causes.len();
    let message = format!(
        "Apply failed with {count} conflict{}: {}",
        if count == 1 { "" } else { "s" },
        lines.join("\n")
    );
    let mut error = ApiError::conflict(resource, name, "");
    error.message = message;
    error.details = Some(serde_json::json!({"causes": causes}));
    error
}
