//! The path space of the Kubernetes API.
//!
//! It is dynamic (a CRD adds paths), so it is split here into what the segments mean; whether such a
//! resource is served is the registry's word.

use crate::query::decode;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/{group}`
    Group(String),
    /// `/api/v1`, `/apis/{group}/{version}`
    Resources { group: String, version: String },
    /// A collection, an object or a subresource of one.
    Resource(Target),
    /// Everything that is not of the API proper: `/version`, `/healthz`, `/openapi/…`, `/lab/…`
    Other,
}

/// A resource path, split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) plural: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// Splits a path.
pub(crate) fn parse(path: &str) -> Path {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty()).map(|segment| decode(segment, false)).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["api"] => Path::CoreVersions,
        ["apis"] => Path::Groups,
        ["apis", group] => Path::Group((*group).to_owned()),
        ["api", version] => Path::Resources { group: String::new(), version: (*version).to_owned() },
        ["apis", group, version] => {
            Path::Resources { group: (*group).to_owned(), version: (*version).to_owned() }
        }
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        _ => Path::Other,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Path {
    let (namespace, rest) = match rest {
        // `namespaces/{name}` and its subresources are the Namespace itself; anything else lies inside it.
        ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
        _ => return Path::Other,
    };
    Path::Resource(Target {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace,
        plural: (*plural).to_owned(),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        match parse(path) {
            Path::Resource(target) => target,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_namespace_is_an_object_and_a_container() {
        let itself = target("/api/v1/namespaces/a");
        assert_eq!((itself.plural.as_str(), itself.name.as_deref()), ("namespaces", Some("a")));
        let status = target("/api/v1/namespaces/a/status");
        assert_eq!((status.namespace, status.subresource.as_deref()), (None, Some("status")));
        let inside = target("/api/v1/namespaces/a/pods/p/status");
        assert_eq!(inside.namespace.as_deref(), Some("a"));
        assert_eq!((inside.plural.as_str(), inside.name.as_deref()), ("pods", Some("p")));
    }

    #[test]
    fn cluster_resources_and_groups_are_told_apart() {
        assert_eq!(
            parse("/apis/caracal.dev/v1/"),
            Path::Resources { group: "caracal.dev".into(), version: "v1".into() }
        );
        let pool = target("/apis/caracal.dev/v1/ippools/default%2Dv4");
        assert_eq!((pool.namespace, pool.name.as_deref()), (None, Some("default-v4")));
        assert_eq!(parse("/version"), Path::Other);
        assert_eq!(parse("/api/v1/namespaces/a/pods/p/status/x"), Path::Other);
    }
}
