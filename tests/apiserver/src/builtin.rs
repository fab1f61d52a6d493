//! The built-in kinds: the few of Kubernetes' own that a network agent and its lab need.
//!
//! Their schemas come from the Kubernetes types of `k8s-openapi`, so that unknown fields are pruned and types
//! are checked as the typed decoding of a real server does.

mod access;
mod workloads;

pub(crate) use access::RBAC;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::names::NameRule;
use crate::resource::{Column, Conversion, Registry, Resource, Traits, api_version, next_shape};
use crate::schema::Schema;

/// Group of CustomResourceDefinition.
pub(crate) const EXTENSIONS: &str = "apiextensions.k8s.io";
/// Plural of CustomResourceDefinition.
pub(crate) const CRDS: &str = "customresourcedefinitions";

const EVENTS: &str = "events.k8s.io";

/// What the table below says of a kind; the rest follows.
struct Kind {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    traits: Traits,
    selectable: &'static [&'static str],
    /// Name, type, path (or `@` and the name of a worked-out cell); those from `wide` on are for `-o wide`.
    columns: &'static [(&'static str, &'static str, &'static str)],
    wide: &'static [(&'static str, &'static str, &'static str)],
}

/// Most built-in kinds.
const COMMON: Traits = Traits {
    unconditional_update: true,
    create_on_update: false,
    returns_deleted: false,
    counts_generations: false,
    name_rule: NameRule::Subdomain,
};

const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");

const PLAIN: Kind = Kind {
    group: "",
    kind: "",
    plural: "",
    short: &[],
    namespaced: true,
    status: false,
    traits: COMMON,
    selectable: &[],
    columns: &[],
    wide: &[],
};

/// All built-in kinds, registered.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let mut add = |kind: &Kind, schema: Value| registry.add(resource(kind, schema));
    add(&namespaces(), schema_of::<Namespace>());
    add(&nodes(), schema_of::<Node>());
    add(&pods(), schema_of::<Pod>());
    add(&services(), schema_of::<Service>());
    let maps = Kind {
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        columns: &[("Data", "integer", "@data")],
        ..PLAIN
    };
    add(&maps, schema_of::<ConfigMap>());
    let secrets = Kind {
        kind: "Secret",
        plural: "secrets",
        selectable: &["type"],
        columns: &[("Type", "string", ".type"), ("Data", "integer", "@data")],
        ..PLAIN
    };
    add(&secrets, schema_of::<Secret>());
    let accounts = Traits { unconditional_update: false, returns_deleted: true, ..COMMON };
    let accounts = Kind {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        traits: accounts,
        columns: &[("Secrets", "integer", "@secrets")],
        ..PLAIN
    };
    add(&accounts, schema_of::<ServiceAccount>());
    add(&leases(), schema_of::<Lease>());
    let slices = Traits { counts_generations: true, ..COMMON };
    let slices = Kind {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        traits: slices,
        ..PLAIN
    };
    add(&slices, schema_of::<EndpointSlice>());
    add(&events(""), schema_of::<Event>());
    add(&events(EVENTS), schema_of::<k8s_openapi::api::events::v1::Event>());
    access::add(&mut add);
    workloads::add(&mut add);
    add(&crds(), json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    registry
}

fn namespaces() -> Kind {
    Kind {
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        namespaced: false,
        status: true,
        traits: Traits { returns_deleted: true, name_rule: NameRule::Label, ..COMMON },
        selectable: &["status.phase"],
        columns: &[("Status", "string", ".status.phase")],
        ..PLAIN
    }
}

fn nodes() -> Kind {
    Kind {
        kind: "Node",
        plural: "nodes",
        short: &["no"],
        namespaced: false,
        status: true,
        selectable: &["spec.unschedulable"],
        columns: &[
            ("Status", "string", "@node-status"),
            ("Roles", "string", "@node-roles"),
            AGE,
            ("Version", "string", ".status.nodeInfo.kubeletVersion"),
        ],
        wide: &[
            ("Internal-IP", "string", "@node-internal"),
            ("External-IP", "string", "@node-external"),
            ("OS-Image", "string", ".status.nodeInfo.osImage"),
            ("Kernel-Version", "string", ".status.nodeInfo.kernelVersion"),
            ("Container-Runtime", "string", ".status.nodeInfo.containerRuntimeVersion"),
        ],
        ..PLAIN
    }
}

fn pods() -> Kind {
    Kind {
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        status: true,
        traits: Traits { returns_deleted: true, ..COMMON },
        selectable: &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        columns: &[
            ("Ready", "string", "@pod-ready"),
            ("Status", "string", "@pod-status"),
            ("Restarts", "integer", "@pod-restarts"),
            AGE,
        ],
        wide: &[("IP", "string", "@pod-ip"), ("Node", "string", "@pod-node")],
        ..PLAIN
    }
}

fn services() -> Kind {
    Kind {
        kind: "Service",
        plural: "services",
        short: &["svc"],
        status: true,
        traits: Traits {
            create_on_update: true,
            returns_deleted: true,
            name_rule: NameRule::Label1035,
            ..COMMON
        },
        selectable: &["spec.clusterIP", "spec.type"],
        columns: &[
            ("Type", "string", "@service-type"),
            ("Cluster-IP", "string", "@service-ip"),
            ("External-IP", "string", "@service-external"),
            ("Port(s)", "string", "@service-ports"),
        ],
        ..PLAIN
    }
}

fn leases() -> Kind {
    Kind {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        traits: Traits { unconditional_update: false, create_on_update: true, ..COMMON },
        columns: &[("Holder", "string", ".spec.holderIdentity")],
        ..PLAIN
    }
}

fn events(group: &'static str) -> Kind {
    Kind {
        group,
        kind: "Event",
        plural: "events",
        short: &["ev"],
        traits: Traits { create_on_update: true, ..COMMON },
        selectable: if group.is_empty() {
            &[
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "reason",
                "type",
            ]
        } else {
            &["regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "reason", "type"]
        },
        columns: &[
            ("Last Seen", "string", "@event-last"),
            ("Type", "string", ".type"),
            ("Reason", "string", ".reason"),
            ("Object", "string", "@event-object"),
            ("Message", "string", "@event-message"),
        ],
        ..PLAIN
    }
}

fn crds() -> Kind {
    Kind {
        group: EXTENSIONS,
        kind: "CustomResourceDefinition",
        plural: CRDS,
        short: &["crd", "crds"],
        namespaced: false,
        status: true,
        traits: Traits {
            unconditional_update: false,
            counts_generations: true,
            returns_deleted: true,
            ..COMMON
        },
        columns: &[("Created At", "string", ".metadata.creationTimestamp")],
        ..PLAIN
    }
}

fn resource(kind: &Kind, openapi: Value) -> Resource {
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let event = kind.plural == "events";
    let mut columns: Vec<Column> =
        kind.columns.iter().map(|(name, kind, path)| column(name, kind, path, 0)).collect();
    // An Event's age is when it was last seen.
    if !event && !kind.columns.contains(&AGE) {
        columns.push(column(AGE.0, AGE.1, AGE.2, 0));
    }
    columns.extend(kind.wide.iter().map(|(name, kind, path)| column(name, kind, path, 1)));
    let bucket = match kind.group {
        "" | EVENTS => kind.plural.to_owned(),
        group => format!("{}.{group}", kind.plural),
    };
    Resource {
        group: kind.group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.kind.to_owned(),
        list_kind: format!("{}List", kind.kind),
        plural: kind.plural.to_owned(),
        singular: kind.kind.to_lowercase(),
        short_names: strings(kind.short),
        categories: if matches!(kind.plural, "pods" | "services") { strings(&["all"]) } else { Vec::new() },
        namespaced: kind.namespaced,
        status: kind.status,
        custom: false,
        traits: kind.traits,
        conversion: if event { Conversion::Event } else { Conversion::None },
        bucket,
        storage_version: if event { "v1".to_owned() } else { api_version(kind.group, "v1") },
        shape: next_shape(),
        schema: Schema::parse_lenient(&openapi),
        openapi,
        metadata: metadata_schema(),
        has_defaults: false,
        selectable: strings(kind.selectable),
        columns,
    }
}

fn column(name: &str, kind: &str, path: &str, priority: i64) -> Column {
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: String::new(),
        description: String::new(),
        priority,
        path: path.to_owned(),
    }
}

/// The schema of `metadata`, which every kind has.
pub(crate) fn metadata_schema() -> Value {
    static MADE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(schema_of::<ObjectMeta>);
    MADE.clone()
}

/// The schema of a Kubernetes type, whole, without references.
fn schema_of<T: JsonSchema>() -> Value {
    let generator =
        SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.retain(|name, _| matches!(name.as_str(), "type" | "properties" | "description"));
    }
    if let Some(status) = schema.pointer_mut("/properties/status") {
        // A real server does not ask for fields of a status: what is missing is zero there.
        drop_required(status);
    }
    schema
}

fn drop_required(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("required").is_some_and(Value::is_array) {
                map.remove("required");
            }
            map.values_mut().for_each(drop_required);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_required),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
