//! A set of fields: a tree, since fields lie in fields.
//!
//! In JSON (`FieldsV1`) each key is one step: `f:name` a field, `k:{…}` the item of a list with these keys, `v:…` a
//! member of a set; `.` says that what holds the others is itself in the set. A leaf always is.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields below one point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The point itself is in the set.
    pub(super) itself: bool,
    /// By step, as it is written in JSON.
    pub(super) below: BTreeMap<String, Fields>,
}

/// The step to a field.
pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

impl Fields {
    /// The point alone.
    pub(super) fn leaf() -> Self {
        Self { itself: true, below: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.itself && self.below.values().all(Fields::is_empty)
    }

    /// Puts a set below this point.
    pub(super) fn add(&mut self, step: String, fields: Fields) {
        if !fields.is_empty() {
            self.below.entry(step).or_default().join(&fields);
        }
    }

    /// Becomes the union of both.
    pub(super) fn join(&mut self, other: &Fields) {
        self.itself |= other.itself;
        for (step, fields) in &other.below {
            self.below.entry(step.clone()).or_default().join(fields);
        }
    }

    /// Without what is in the other.
    pub(super) fn without(&self, other: &Fields) -> Fields {
        let mut left = Fields { itself: self.itself && !other.itself, below: BTreeMap::new() };
        for (step, fields) in &self.below {
            let rest = other.below.get(step).map_or_else(|| fields.clone(), |other| fields.without(other));
            left.add(step.clone(), rest);
        }
        left
    }

    /// What is in both.
    pub(super) fn common(&self, other: &Fields) -> Fields {
        let mut both = Fields { itself: self.itself && other.itself, below: BTreeMap::new() };
        for (step, fields) in &self.below {
            if let Some(other) = other.below.get(step) {
                both.add(step.clone(), fields.common(other));
            }
        }
        both
    }

    /// As messages name them: `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, base: &str, paths: &mut Vec<String>) {
        if self.itself {
            paths.push(base.to_owned());
        }
        for (step, fields) in &self.below {
            fields.collect(&format!("{base}{}", shown(step)), paths);
        }
    }

    /// `FieldsV1`.
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.itself && !self.below.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (step, fields) in &self.below {
            map.insert(step.clone(), fields.to_json());
        }
        Value::Object(map)
    }

    /// The set at the root of a record, which is never itself in it.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        let mut below = BTreeMap::new();
        for (step, value) in value.as_object()? {
            if step != "." {
                below.insert(step.clone(), Self::node(value)?);
            }
        }
        Some(Self { itself: false, below })
    }

    fn node(value: &Value) -> Option<Self> {
        let mut fields = Self::from_json(value)?;
        let map = value.as_object()?;
        fields.itself = map.is_empty() || map.contains_key(".");
        Some(fields)
    }
}

fn shown(step: &str) -> String {
    let (kind, rest) = step.split_once(':').unwrap_or(("f", step));
    if kind == "f" {
        return format!(".{rest}");
    }
    let keys: Option<Map<String, Value>> = serde_json::from_str(rest).ok().filter(|_| kind == "k");
    match keys {
        Some(keys) => {
            let pairs: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        None => format!("[={rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::from_json(&value).unwrap()
    }

    #[test]
    fn the_form_in_json_is_that_of_kubernetes() {
        let text = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}},
        });
        let fields = fields(text.clone());
        assert_eq!(fields.to_json(), text);
        let paths = [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.containers[name=\"a\"]",
            ".spec.containers[name=\"a\"].image",
        ];
        assert_eq!(fields.paths(), paths);
    }

    #[test]
    fn sets_are_joined_subtracted_and_intersected_point_by_point() {
        let (a, b) = (
            fields(json!({"f:x": {".": {}, "f:y": {}}, "f:z": {}})),
            fields(json!({"f:x": {"f:y": {}, "f:w": {}}})),
        );
        assert_eq!(a.without(&b).paths(), [".x", ".z"]);
        assert_eq!(a.common(&b).paths(), [".x.y"]);
        let mut both = a.clone();
        both.join(&b);
        assert_eq!(both.paths(), [".x", ".x.w", ".x.y", ".z"]);
        assert!(a.without(&a).is_empty());
    }
}
