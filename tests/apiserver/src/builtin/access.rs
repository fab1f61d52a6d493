//! The kinds of role-based access control.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde_json::Value;

use super::{COMMON, Kind, PLAIN, schema_of};
use crate::names::NameRule;
use crate::resource::Traits;

/// Their group.
pub(crate) const RBAC: &str = "rbac.authorization.k8s.io";

const ROLE: (&str, &str, &str) = ("Role", "string", "@role");

pub(super) fn add(add: &mut impl FnMut(&Kind, Value)) {
    let traits = Traits { create_on_update: true, name_rule: NameRule::Segment, ..COMMON };
    let kind = |kind, plural, namespaced| Kind { group: RBAC, kind, plural, namespaced, traits, ..PLAIN };
    add(&kind("ClusterRole", "clusterroles", false), schema_of::<ClusterRole>());
    add(&kind("Role", "roles", true), schema_of::<Role>());
    let binding = |name, plural, namespaced| Kind { columns: &[ROLE], ..kind(name, plural, namespaced) };
    let schema = schema_of::<ClusterRoleBinding>();
    add(&binding("ClusterRoleBinding", "clusterrolebindings", false), schema);
    add(&binding("RoleBinding", "rolebindings", true), schema_of::<RoleBinding>());
}
