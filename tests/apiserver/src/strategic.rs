//! Strategic merge: a merge patch that knows by which field the items of a list are told apart.
//!
//! A real server reads these keys from the Go types. Here they are a table by the name of the list, which is
//! unambiguous within the kinds served, but for `ports`: of containers by `containerPort`, of Services by
//! `port`, told apart by what the patch carries. Lists that are not in the table are replaced whole.
//! Known directives: `$patch: delete|replace|merge`, `$deleteFromPrimitiveList/<list>`; `$setElementOrder`
//! and `$retainKeys` are accepted and not acted upon (they order and drop, they do not add).

use serde_json::{Map, Value};

/// List -> merge key.
const KEYS: [(&str, &str); 17] = [
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("env", "name"),
    ("ephemeralContainers", "name"),
    ("hostAliases", "ip"),
    ("hostIPs", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("podIPs", "ip"),
    ("resourceClaims", "name"),
    ("secrets", "name"),
    ("topologySpreadConstraints", "topologyKey"),
    ("volumeDevices", "devicePath"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];
/// Lists of plain values that are joined instead of replaced.
pub(crate) const SETS: [&str; 2] = ["finalizers", "podCIDRs"];
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Merges a patch into an object.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
        *target = Value::Object(without_directives(patch));
        return;
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            let unwanted = value.as_array().cloned().unwrap_or_default();
            if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !unwanted.contains(item));
            }
        } else if name.starts_with('$') {
        } else if value.is_null() || value.get("$patch").and_then(Value::as_str) == Some("delete") {
            map.remove(name);
        } else {
            let entry = map.entry(name.clone()).or_insert(Value::Null);
            match value {
                Value::Array(items) => merge_list(name, entry, items),
                Value::Object(_) => merge(entry, value),
                other => *entry = other.clone(),
            }
        }
    }
}

fn merge_list(name: &str, target: &mut Value, patch: &[Value]) {
    let replace = patch.iter().any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace"));
    let key = merge_key(name, patch).filter(|_| !replace);
    let set = SETS.contains(&name) && !replace;
    let Some(items) = target.as_array_mut().filter(|_| key.is_some() || set) else {
        let items = patch.iter().filter(|item| item.get("$patch").is_none());
        *target = Value::Array(items.cloned().collect());
        return;
    };
    for item in patch {
        let Some(key) = key else {
            if !items.contains(item) {
                items.push(item.clone());
            }
            continue;
        };
        let identity = item.get(key);
        let delete = item.get("$patch").and_then(Value::as_str) == Some("delete");
        match items.iter().position(|known| known.get(key) == identity) {
            Some(at) if delete => drop(items.remove(at)),
            Some(at) => merge(&mut items[at], item),
            None if delete => {}
            None => items.push(item.clone()),
        }
    }
}

/// By which field the items of a list are told apart, if they are.
pub(crate) fn merge_key(name: &str, patch: &[Value]) -> Option<&'static str> {
    if name == "ports" {
        let of_container = patch.iter().any(|item| item.get("containerPort").is_some());
        return Some(if of_container { "containerPort" } else { "port" });
    }
    KEYS.iter().find(|(list, _)| *list == name).map(|(_, key)| *key)
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, &patch);
        target
    }

    #[test]
    fn conditions_merge_by_type() {
        let target = json!({"conditions": [{"type": "A", "status": "True", "x": 1}, {"type": "B"}]});
        let patch = json!({"conditions": [{"type": "A", "status": "False"}, {"type": "C"}]});
        let wanted =
            json!({"conditions": [{"type": "A", "status": "False", "x": 1}, {"type": "B"}, {"type": "C"}]});
        assert_eq!(merged(target, patch), wanted);
    }

    #[test]
    fn items_are_deleted_and_lists_replaced_on_demand() {
        let target = json!({"volumes": [{"name": "a"}, {"name": "b"}]});
        let patch = json!({"volumes": [{"name": "a", "$patch": "delete"}]});
        assert_eq!(merged(target.clone(), patch), json!({"volumes": [{"name": "b"}]}));
        let patch = json!({"volumes": [{"name": "c"}, {"$patch": "replace"}]});
        assert_eq!(merged(target, patch), json!({"volumes": [{"name": "c"}]}));
    }

    #[test]
    fn other_lists_are_replaced_and_sets_are_joined() {
        assert_eq!(merged(json!({"taints": [{"key": "a"}]}), json!({"taints": []})), json!({"taints": []}));
        assert_eq!(
            merged(json!({"finalizers": ["a"]}), json!({"finalizers": ["b"]})),
            json!({"finalizers": ["a", "b"]})
        );
        let patch = json!({"$deleteFromPrimitiveList/finalizers": ["a"]});
        assert_eq!(merged(json!({"finalizers": ["a", "b"]}), patch), json!({"finalizers": ["b"]}));
        assert_eq!(merged(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}})), json!({"a": {"c": 2}}));
    }
}
