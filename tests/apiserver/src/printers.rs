//! Cells of `kubectl get` that are worked out rather than read: the columns of Kubernetes' own kinds.

use serde_json::{Value, json};

use crate::object;
use crate::table::age;

/// A cell by its name; columns ask for it with a path `@name`.
pub(crate) fn cell(name: &str, object: &Value) -> Value {
    let at = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match name {
        "node-status" => node_status(object).into(),
        "node-roles" => node_roles(object).into(),
        "node-internal" => or_none(node_address(object, "InternalIP")).into(),
        "node-external" => or_none(node_address(object, "ExternalIP")).into(),
        "pod-ready" => pod_ready(object).into(),
        "pod-status" => pod_status(object).into(),
        "pod-restarts" => each(object, "/status/containerStatuses", "restartCount").sum::<i64>().into(),
        "pod-ip" => or_none(at("/status/podIP")).into(),
        "pod-node" => or_none(at("/spec/nodeName")).into(),
        "role" => format!("{}/{}", at("/roleRef/kind"), at("/roleRef/name")).into(),
        "data" => json!(count(object, "/data") + count(object, "/binaryData")),
        "secrets" => json!(object.get("secrets").and_then(Value::as_array).map_or(0, Vec::len)),
        "service-type" => match at("/spec/type") {
            "" => "ClusterIP".into(),
            kind => kind.into(),
        },
        "service-ip" => or_none(at("/spec/clusterIP")).into(),
        "service-external" => or_none(&service_external(object)).into(),
        "service-ports" => or_none(&service_ports(object)).into(),
        "event-last" => event_last(object).into(),
        "event-object" => event_object(object).into(),
        "event-message" => first(object, &["message", "note"]).trim().into(),
        _ => Value::Null,
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

fn first<'a>(object: &'a Value, fields: &[&str]) -> &'a str {
    fields.iter().find_map(|field| object.get(field)?.as_str()).unwrap_or_default()
}

fn count(object: &Value, pointer: &str) -> usize {
    object.pointer(pointer).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

fn items<'a>(object: &'a Value, pointer: &'a str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn each<'a>(object: &'a Value, pointer: &'a str, field: &'a str) -> impl Iterator<Item = i64> + 'a {
    items(object, pointer).filter_map(move |item| item.get(field)?.as_i64())
}

fn node_status(node: &Value) -> String {
    let ready = items(node, "/status/conditions").find(|condition| condition["type"] == "Ready");
    let ready = match ready.and_then(|condition| condition["status"].as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn node_roles(node: &Value) -> String {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let roles: Vec<&str> =
        labels.into_iter().flatten().filter_map(|(name, _)| name.strip_prefix(PREFIX)).collect();
    or_none(&roles.join(",")).to_owned()
}

fn node_address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = items(node, "/status/addresses").find(|address| address["type"] == kind);
    found.and_then(|address| address["address"].as_str()).unwrap_or_default()
}

fn pod_ready(pod: &Value) -> String {
    let ready = items(pod, "/status/containerStatuses").filter(|status| status["ready"] == true).count();
    format!("{ready}/{}", items(pod, "/spec/containers").count())
}

fn pod_status(pod: &Value) -> String {
    if object::is_terminating(pod) {
        return "Terminating".into();
    }
    let waiting = items(pod, "/status/containerStatuses")
        .find_map(|status| status.pointer("/state/waiting/reason")?.as_str());
    let reason = pod.pointer("/status/reason").and_then(Value::as_str);
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    waiting.or(reason).or(phase).unwrap_or_default().to_owned()
}

fn service_external(service: &Value) -> String {
    let given = items(service, "/spec/externalIPs").filter_map(Value::as_str);
    let balanced = items(service, "/status/loadBalancer/ingress")
        .filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()));
    given.chain(balanced).collect::<Vec<_>>().join(",")
}

fn service_ports(service: &Value) -> String {
    let ports = items(service, "/spec/ports").map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_i64() {
            Some(node) => format!("{}:{node}/{protocol}", port["port"]),
            None => format!("{}/{protocol}", port["port"]),
        }
    });
    ports.collect::<Vec<_>>().join(",")
}

fn event_last(event: &Value) -> String {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
    let found = times.iter().find_map(|pointer| event.pointer(pointer)?.as_str());
    found
        .or_else(|| event.pointer("/metadata/creationTimestamp")?.as_str())
        .map_or_else(|| "<unknown>".to_owned(), age)
}

fn event_object(event: &Value) -> String {
    let about = event.get("involvedObject").or_else(|| event.get("regarding"));
    let field = |name: &str| about.and_then(|about| about[name].as_str()).unwrap_or_default();
    format!("{}/{}", field("kind").to_lowercase(), field("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_as_kubectl_users_know_it() {
        let mut node = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "172.30.0.11"}],
            },
        });
        assert_eq!(cell("node-status", &node), "Ready,SchedulingDisabled");
        assert_eq!(cell("node-roles", &node), "control-plane");
        assert_eq!(cell("node-internal", &node), "172.30.0.11");
        assert_eq!(cell("node-external", &node), "<none>");
        node["status"]["conditions"] = json!([]);
        assert_eq!(cell("node-status", &node), "Unknown,SchedulingDisabled");
    }

    #[test]
    fn a_pods_containers_are_counted() {
        let pod = json!({
            "metadata": {},
            "spec": {"containers": [{}, {}]},
            "status": {"phase": "Running", "containerStatuses": [{"ready": true, "restartCount": 2}]},
        });
        assert_eq!(cell("pod-ready", &pod), "1/2");
        assert_eq!(cell("pod-restarts", &pod), 2);
        assert_eq!(cell("pod-status", &pod), "Running");
        assert_eq!(cell("pod-ip", &pod), "<none>");
    }

    #[test]
    fn ports_and_data_are_summed_up() {
        let service =
            json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}});
        assert_eq!(cell("service-ports", &service), "80:30080/TCP,53/UDP");
        assert_eq!(cell("data", &json!({"data": {"a": "1"}, "binaryData": {"b": ""}})), 2);
    }
}
