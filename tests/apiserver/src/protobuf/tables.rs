//! The messages that are read: field numbers and names, from the `generated.proto` of the Kubernetes API.

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// Zero means that it was not set.
    Number,
    /// Zero means zero.
    SetNumber,
    Flag,
    Texts,
    TextMap,
    BytesMap,
    Time {
        micro: bool,
    },
    IntOrText,
    One(&'static [Field]),
    Many(&'static [Field]),
    Ignored,
}

use Shape::{BytesMap, Flag, Ignored, IntOrText, Many, Number, One, SetNumber, Text, TextMap, Texts};

const TIME: Shape = Shape::Time { micro: false };
const MICRO_TIME: Shape = Shape::Time { micro: true };

const fn field(number: u64, name: &'static str, shape: Shape) -> Field {
    Field { number, name, shape }
}

/// The fields of a kind that is read.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (api_version, kind) {
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "Secret") => SECRET,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "Service") => SERVICE,
        ("v1", "Event") => EVENT,
        ("coordination.k8s.io/v1", "Lease") => LEASE,
        (_, "DeleteOptions") => DELETE_OPTIONS,
        _ => return None,
    })
}

const META: &[Field] = &[
    field(1, "name", Text),
    field(2, "generateName", Text),
    field(3, "namespace", Text),
    field(4, "selfLink", Text),
    field(5, "uid", Text),
    field(6, "resourceVersion", Text),
    field(7, "generation", Number),
    field(8, "creationTimestamp", TIME),
    field(9, "deletionTimestamp", TIME),
    field(10, "deletionGracePeriodSeconds", SetNumber),
    field(11, "labels", TextMap),
    field(12, "annotations", TextMap),
    field(13, "ownerReferences", Many(OWNER)),
    field(14, "finalizers", Texts),
    field(17, "managedFields", Ignored),
];

const OWNER: &[Field] = &[
    field(1, "kind", Text),
    field(3, "name", Text),
    field(4, "uid", Text),
    field(5, "apiVersion", Text),
    field(6, "controller", Flag),
    field(7, "blockOwnerDeletion", Flag),
];

const CONFIG_MAP: &[Field] = &[
    field(1, "metadata", One(META)),
    field(2, "data", TextMap),
    field(3, "binaryData", BytesMap),
    field(4, "immutable", Flag),
];

const NAMESPACE: &[Field] = &[
    field(1, "metadata", One(META)),
    field(2, "spec", One(&[field(1, "finalizers", Texts)])),
    field(3, "status", One(&[field(1, "phase", Text), field(2, "conditions", Ignored)])),
];

const SECRET: &[Field] = &[
    field(1, "metadata", One(META)),
    field(2, "data", BytesMap),
    field(3, "type", Text),
    field(4, "stringData", TextMap),
    field(5, "immutable", Flag),
];

const SERVICE_ACCOUNT: &[Field] = &[
    field(1, "metadata", One(META)),
    field(2, "secrets", Many(REFERENCE)),
    field(3, "imagePullSecrets", Many(&[field(1, "name", Text)])),
    field(4, "automountServiceAccountToken", Flag),
];

const REFERENCE: &[Field] = &[
    field(1, "kind", Text),
    field(2, "namespace", Text),
    field(3, "name", Text),
    field(4, "uid", Text),
    field(5, "apiVersion", Text),
    field(6, "resourceVersion", Text),
    field(7, "fieldPath", Text),
];

const SERVICE: &[Field] = &[
    field(1, "metadata", One(META)),
    field(2, "spec", One(SERVICE_SPEC)),
    field(3, "status", Ignored), // of a new Service, nothing
];

const SERVICE_SPEC: &[Field] = &[
    field(1, "ports", Many(SERVICE_PORT)),
    field(2, "selector", TextMap),
    field(3, "clusterIP", Text),
    field(4, "type", Text),
    field(5, "externalIPs", Texts),
    field(7, "sessionAffinity", Text),
    field(8, "loadBalancerIP", Text),
    field(9, "loadBalancerSourceRanges", Texts),
    field(10, "externalName", Text),
    field(11, "externalTrafficPolicy", Text),
    field(12, "healthCheckNodePort", Number),
    field(13, "publishNotReadyAddresses", Flag),
    field(17, "ipFamilyPolicy", Text),
    field(18, "clusterIPs", Texts),
    field(19, "ipFamilies", Texts),
    field(20, "allocateLoadBalancerNodePorts", Flag),
    field(21, "loadBalancerClass", Text),
    field(22, "internalTrafficPolicy", Text),
    field(23, "trafficDistribution", Text),
];

const SERVICE_PORT: &[Field] = &[
    field(1, "name", Text),
    field(2, "protocol", Text),
    field(3, "port", Number),
    field(4, "targetPort", IntOrText),
    field(5, "nodePort", Number),
    field(6, "appProtocol", Text),
];

const EVENT: &[Field] = &[
    field(1, "metadata", One(META)),
    field(2, "involvedObject", One(REFERENCE)),
    field(3, "reason", Text),
    field(4, "message", Text),
    field(5, "source", One(&[field(1, "component", Text), field(2, "host", Text)])),
    field(6, "firstTimestamp", TIME),
    field(7, "lastTimestamp", TIME),
    field(8, "count", Number),
    field(9, "type", Text),
    field(10, "eventTime", MICRO_TIME),
    field(11, "series", One(&[field(1, "count", Number), field(2, "lastObservedTime", MICRO_TIME)])),
    field(12, "action", Text),
    field(13, "related", One(REFERENCE)),
    field(14, "reportingComponent", Text),
    field(15, "reportingInstance", Text),
];

const LEASE: &[Field] = &[field(1, "metadata", One(META)), field(2, "spec", One(LEASE_SPEC))];

const LEASE_SPEC: &[Field] = &[
    field(1, "holderIdentity", Text),
    field(2, "leaseDurationSeconds", SetNumber),
    field(3, "acquireTime", MICRO_TIME),
    field(4, "renewTime", MICRO_TIME),
    field(5, "leaseTransitions", SetNumber),
    field(6, "strategy", Text),
    field(7, "preferredHolder", Text),
];

const DELETE_OPTIONS: &[Field] = &[
    field(1, "gracePeriodSeconds", SetNumber),
    field(2, "preconditions", One(&[field(1, "uid", Text), field(2, "resourceVersion", Text)])),
    field(3, "orphanDependents", Flag),
    field(4, "propagationPolicy", Text),
    field(5, "dryRun", Texts),
];
