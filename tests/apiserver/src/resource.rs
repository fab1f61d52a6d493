//! What is served: one [`Resource`] a kind and version, built in or defined by a CRD, and the [`Registry`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::names::NameRule;
use crate::schema::Schema;

/// A column of `kubectl get`.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) path: String,
}

/// In which a resource differs from others in how it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    /// A PUT without resourceVersion overwrites.
    pub(crate) unconditional_update: bool,
    /// A PUT of what does not exist creates it.
    pub(crate) create_on_update: bool,
    /// DELETE answers with the object instead of a Status.
    pub(crate) returns_deleted: bool,
    /// `metadata.generation` counts changes of the spec.
    pub(crate) counts_generations: bool,
    pub(crate) name_rule: NameRule,
}

impl Traits {
    /// Those of custom resources.
    pub(crate) const CUSTOM: Traits = Traits {
        unconditional_update: false,
        create_on_update: false,
        returns_deleted: false,
        counts_generations: true,
        name_rule: NameRule::Subdomain,
    };
}

/// How a stored object is turned into the version it is read at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// Only `apiVersion` differs.
    None,
    /// Core `Event` <-> `events.k8s.io/v1`.
    Event,
}

/// One kind at one version.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Has a status subresource.
    pub(crate) status: bool,
    pub(crate) custom: bool,
    pub(crate) traits: Traits,
    pub(crate) conversion: Conversion,
    /// Its bucket in the store, shared by all versions.
    pub(crate) bucket: String,
    /// `apiVersion` of what is in the store.
    pub(crate) storage_version: String,
    /// Changes with each definition.
    pub(crate) shape: u64,
    pub(crate) schema: Schema,
    /// The schema as JSON, for the OpenAPI documents.
    pub(crate) openapi: Value,
    /// The schema of `metadata`, likewise.
    pub(crate) metadata: Value,
    pub(crate) has_defaults: bool,
    /// Fields that field selectors may name besides `metadata.name` and `metadata.namespace`.
    pub(crate) selectable: Vec<String>,
    pub(crate) columns: Vec<Column>,
}

impl Resource {
    /// `v1`, `caracal.dev/v1`.
    pub(crate) fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// `pods`, `ippools.caracal.dev`: how messages name it.
    pub(crate) fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Whether this is the resource `plural` of `group`.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }
}

/// `version`, or `group/version`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// A new value for [`Resource::shape`].
pub(crate) fn next_shape() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Everything that is served, by (group, version, plural).
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry {
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Registry {
    pub(crate) fn add(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.resources.insert(key, Arc::new(resource));
    }

    /// Takes out all versions of a resource.
    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        self.resources.retain(|_, resource| !resource.is(group, plural));
    }

    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned())).cloned()
    }

    pub(crate) fn find_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        self.all().find(|resource| resource.kind == kind && resource.api_version() == api_version).cloned()
    }

    /// A resource by what it is stored in, at the version it is stored as.
    pub(crate) fn stored_in(&self, bucket: &str) -> Option<Arc<Resource>> {
        let mut candidates = self.all().filter(|resource| resource.bucket == bucket);
        let stored = candidates.clone().find(|resource| resource.api_version() == resource.storage_version);
        stored.or_else(|| candidates.next()).cloned()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> + Clone {
        self.resources.values()
    }

    /// The resources of one group and version.
    pub(crate) fn of_version(&self, group: &str, version: &str) -> Vec<&Arc<Resource>> {
        self.all().filter(|resource| resource.group == group && resource.version == version).collect()
    }

    /// Named groups with their versions, the preferred one first.
    pub(crate) fn groups(&self) -> BTreeMap<String, Vec<String>> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for resource in self.all().filter(|resource| !resource.group.is_empty()) {
            let versions = groups.entry(resource.group.clone()).or_default();
            if !versions.contains(&resource.version) {
                versions.push(resource.version.clone());
            }
        }
        groups.values_mut().for_each(|versions| versions.sort_by_key(|version| Reverse(priority(version))));
        groups
    }
}

/// The order of versions: `v2` before `v1` before `v2beta1` before `v1alpha3`; anything else last.
fn priority(version: &str) -> (u8, u64, u64) {
    let parse = || -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, stage) = rest.split_at(end);
        let major = major.parse().ok()?;
        let number = |text: &str| text.parse().ok();
        match (stage, stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            ("", ..) => Some((3, major, 0)),
            (_, Some(minor), _) => Some((2, major, number(minor)?)),
            (_, _, Some(minor)) => Some((1, major, number(minor)?)),
            _ => None,
        }
    };
    parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_before_beta_and_alpha() {
        let mut versions = ["v1alpha1", "v1", "foo", "v2beta1", "v10", "v2", "v2beta3"];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta3", "v2beta1", "v1alpha1", "foo"]);
    }
}
