//! The kinds by which a network is installed. Nobody here makes pods of them.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use serde_json::Value;

use super::{COMMON, Kind, PLAIN, schema_of};
use crate::resource::Traits;

pub(super) fn add(add: &mut impl FnMut(&Kind, Value)) {
    let traits = Traits { counts_generations: true, ..COMMON };
    let kind = |kind, plural, short, columns| Kind {
        group: "apps",
        kind,
        plural,
        short,
        status: true,
        traits,
        columns,
        ..PLAIN
    };
    let daemon_sets = kind(
        "DaemonSet",
        "daemonsets",
        &["ds"],
        &[
            ("Desired", "integer", ".status.desiredNumberScheduled"),
            ("Current", "integer", ".status.currentNumberScheduled"),
            ("Ready", "integer", ".status.numberReady"),
        ],
    );
    add(&daemon_sets, schema_of::<DaemonSet>());
    let deployments = kind(
        "Deployment",
        "deployments",
        &["deploy"],
        &[
            ("Up-to-date", "integer", ".status.updatedReplicas"),
            ("Available", "integer", ".status.availableReplicas"),
        ],
    );
    add(&deployments, schema_of::<Deployment>());
}
