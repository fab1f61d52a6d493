//! The managers of an object: `metadata.managedFields`.

use serde_json::{Value, json};

use super::compare::Difference;
use super::fields::Fields;
use crate::object;

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One manager: the same name is another one when it writes in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) version: String,
    /// Empty for the object itself.
    pub(super) subresource: String,
}

impl Who {
    /// What is said of it in refusals, after its name.
    pub(super) fn words(&self) -> String {
        let with = if self.subresource.is_empty() {
            String::new()
        } else {
            format!("with subresource {:?} ", self.subresource)
        };
        format!("{with}using {}", self.version)
    }
}

#[derive(Debug, Clone)]
struct Entry {
    who: Who,
    fields: Fields,
    time: Option<Value>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default)]
pub(super) struct Managers(Vec<Entry>);

impl Managers {
    /// Reads a record; `None` if it is empty or not one.
    pub(super) fn parse(record: &Value) -> Option<Self> {
        let entries: Option<Vec<Entry>> = record.as_array()?.iter().map(entry).collect();
        entries.filter(|entries| !entries.is_empty()).map(Self)
    }

    /// As it is stored: appliers first, then by time and name.
    pub(super) fn to_json(&self) -> Value {
        let mut entries: Vec<&Entry> = self.0.iter().filter(|entry| !entry.fields.is_empty()).collect();
        let time = |entry: &Entry| entry.time.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        entries.sort_by_key(|entry| {
            let Who { name, operation, version, subresource } = &entry.who;
            (*operation, time(entry), name.clone(), version.clone(), subresource.clone())
        });
        entries.into_iter().map(to_json).collect()
    }

    /// The fields of a manager.
    pub(super) fn of(&self, who: &Who) -> Fields {
        self.0.iter().find(|entry| entry.who == *who).map(|entry| entry.fields.clone()).unwrap_or_default()
    }

    /// The fields of all managers.
    pub(super) fn all(&self) -> Fields {
        let mut all = Fields::default();
        self.0.iter().for_each(|entry| all.join(&entry.fields));
        all
    }

    /// Gives a manager these fields. Its time stays if it had the same.
    pub(super) fn set(&mut self, who: &Who, fields: Fields) {
        match self.0.iter_mut().find(|entry| entry.who == *who) {
            Some(entry) if entry.fields == fields => {}
            Some(entry) => {
                entry.fields = fields;
                entry.time = Some(object::now());
            }
            None => self.0.push(Entry { who: who.clone(), fields, time: Some(object::now()) }),
        }
    }

    /// A write that needs nobody's leave: what it changed is the writer's now.
    pub(super) fn wrote(&mut self, who: &Who, difference: &Difference) {
        self.lost(who, difference);
        let mut fields = self.of(who);
        fields.join(&difference.written());
        self.set(who, fields.without(&difference.removed));
    }

    /// Takes from all others what somebody changed, and from everybody what is gone.
    pub(super) fn lost(&mut self, winner: &Who, difference: &Difference) {
        let written = difference.written();
        for entry in &mut self.0 {
            let mut left = entry.fields.without(&difference.removed);
            if entry.who != *winner {
                left = left.without(&written);
            }
            entry.fields = left;
        }
    }

    /// What others own of that which is to change.
    pub(super) fn conflicts(&self, who: &Who, difference: &Difference) -> Vec<(Who, Fields)> {
        let written = difference.written();
        let others = self.0.iter().filter(|entry| entry.who != *who);
        let conflicts = others.map(|entry| (entry.who.clone(), entry.fields.common(&written)));
        conflicts.filter(|(_, fields)| !fields.is_empty()).collect()
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let who = Who {
        name: text("manager"),
        operation,
        version: text("apiVersion"),
        subresource: text("subresource"),
    };
    let fields = value.get("fieldsV1").and_then(Fields::from_json)?;
    Some(Entry { who, fields, time: value.get("time").cloned() })
}

fn to_json(entry: &Entry) -> Value {
    let Entry { who, fields, time } = entry;
    let mut value = json!({
        "manager": who.name,
        "operation": match who.operation { Operation::Apply => "Apply", Operation::Update => "Update" },
        "apiVersion": who.version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields.to_json(),
    });
    if let Some(time) = time {
        value["time"] = time.clone();
    }
    if !who.subresource.is_empty() {
        value["subresource"] = who.subresource.as_str().into();
    }
    value
}
