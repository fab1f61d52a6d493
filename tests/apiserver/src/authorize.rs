//! Who may do what: role-based access control, from the Roles and bindings in the store.
//!
//! A bearer token is its user's name, `system:serviceaccount:NAMESPACE:NAME`: nobody is kept out of a lab, but a program that
//! asks for more than its Role allows is refused as a cluster would refuse it. Without a token, a request is an
//! administrator's, who may also ask as somebody else (`Impersonate-User`, `kubectl --as`).

use std::sync::PoisonError;

use hyper::StatusCode;
use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::builtin::RBAC;
use crate::path::Target;
use crate::query::Query;
use crate::status::ApiError;
use crate::store::Key;

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Attributes<'a> {
    verb: &'a str,
    group: &'a str,
    plural: &'a str,
    subresource: Option<&'a str>,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

/// Refuses a request that its user may not make; without a user, it is an administrator's.
pub(crate) fn authorize(
    app: &App,
    user: &str,
    method: &str,
    target: &Target,
    query: &Query,
) -> Result<(), ApiError> {
    let Some(account) = account(user)? else { return Ok(()) };
    if read::<serde_json::Value>(app, "", "serviceaccounts", Some(account.namespace), account.name).is_none()
    {
        return Err(unauthorized(&format!(
            "there is no service account {}/{}",
            account.namespace, account.name
        )));
    }
    // A list or watch of one name is about that name.
    let chosen = query.get("fieldSelector").and_then(|fields| fields.strip_prefix("metadata.name="));
    let attributes = Attributes {
        verb: verb(method, target.name.is_some(), query.flag("watch")),
        group: &target.group,
        plural: &target.plural,
        subresource: target.subresource.as_deref(),
        namespace: target.namespace.as_deref(),
        name: target.name.as_deref().or(chosen),
    };
    if rules(app, &account, attributes.namespace).iter().any(|rule| allows(rule, &attributes)) {
        return Ok(());
    }
    let refusal = forbidden(&account, &attributes);
    app.refusals.lock().unwrap_or_else(PoisonError::into_inner).insert(refusal.message.clone());
    Err(refusal)
}

/// The account that a user is; none for an administrator.
fn account(user: &str) -> Result<Option<Account<'_>>, ApiError> {
    if user.is_empty() {
        return Ok(None);
    }
    let named = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match named {
        Some((namespace, name)) => Ok(Some(Account { namespace, name })),
        None => Err(unauthorized("a user here is `system:serviceaccount:NAMESPACE:NAME`")),
    }
}

fn verb(method: &str, named: bool, watches: bool) -> &'static str {
    match method {
        "GET" if watches => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        _ => "",
    }
}

/// All rules that an account has in a namespace, or in the whole cluster.
fn rules(app: &App, account: &Account<'_>, namespace: Option<&str>) -> Vec<PolicyRule> {
    let mut rules = Vec::new();
    for binding in all::<ClusterRoleBinding>(app, "clusterrolebindings", None) {
        if names(binding.subjects.as_deref(), account) {
            rules.extend(of_role(app, &binding.role_ref, None));
        }
    }
    let Some(namespace) = namespace else { return rules };
    for binding in all::<RoleBinding>(app, "rolebindings", Some(namespace)) {
        if names(binding.subjects.as_deref(), account) {
            rules.extend(of_role(app, &binding.role_ref, Some(namespace)));
        }
    }
    rules
}

fn of_role(app: &App, role: &RoleRef, namespace: Option<&str>) -> Vec<PolicyRule> {
    let rules = match role.kind.as_str() {
        "ClusterRole" => {
            read::<ClusterRole>(app, RBAC, "clusterroles", None, &role.name).and_then(|role| role.rules)
        }
        "Role" => read::<Role>(app, RBAC, "roles", namespace, &role.name).and_then(|role| role.rules),
        _ => None,
    };
    rules.unwrap_or_default()
}

fn names(subjects: Option<&[Subject]>, account: &Account<'_>) -> bool {
    subjects.unwrap_or_default().iter().any(|subject| {
        subject.kind == "ServiceAccount"
            && subject.name == account.name
            && subject.namespace.as_deref() == Some(account.namespace)
    })
}

fn allows(rule: &PolicyRule, asked: &Attributes<'_>) -> bool {
    let has = |list: Option<&[String]>, wanted: &str| {
        list.unwrap_or_default().iter().any(|one| one == "*" || one == wanted)
    };
    let resources = rule.resources.as_deref();
    let resource = match asked.subresource {
        None => has(resources, asked.plural),
        Some(part) => {
            has(resources, &format!("{}/{part}", asked.plural)) || has(resources, &format!("*/{part}"))
        }
    };
    let some = rule.resource_names.as_deref().unwrap_or_default();
    let named = some.is_empty() || asked.name.is_some_and(|name| some.iter().any(|one| one == name));
    resource && named && has(Some(&rule.verbs), asked.verb) && has(rule.api_groups.as_deref(), asked.group)
}

/// All objects of one of the kinds of access control.
fn all<T: DeserializeOwned>(app: &App, plural: &str, namespace: Option<&str>) -> Vec<T> {
    let Some(resource) = app.registry().find(RBAC, "v1", plural) else { return Vec::new() };
    let Ok(found) = app.store.list(&resource.bucket, namespace, None) else { return Vec::new() };
    // What cannot be read gives nobody anything.
    found.objects.iter().filter_map(|object| serde_json::from_value(object.value.clone()).ok()).collect()
}

fn read<T: DeserializeOwned>(
    app: &App,
    group: &str,
    plural: &str,
    namespace: Option<&str>,
    name: &str,
) -> Option<T> {
    let resource = app.registry().find(group, "v1", plural)?;
    let object = app.store.get(&resource.bucket, &Key::new(namespace.unwrap_or_default(), name))?;
    serde_json::from_value(object.value.clone()).ok()
}

fn unauthorized(why: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized", format!("Unauthorized: {why}"))
}

fn forbidden(account: &Account<'_>, asked: &Attributes<'_>) -> ApiError {
    let Attributes { verb, group, plural, subresource, namespace, name } = asked;
    let qualified = if group.is_empty() { (*plural).to_owned() } else { format!("{plural}.{group}") };
    let object = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
    let resource = subresource.map_or_else(|| (*plural).to_owned(), |part| format!("{plural}/{part}"));
    let scope = match namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let message = format!(
        "{qualified}{object} is forbidden: User \"system:serviceaccount:{}:{}\" cannot {verb} resource \"{resource}\" in API \
         group \"{group}\" {scope}",
        account.namespace, account.name
    );
    ApiError::new(StatusCode::FORBIDDEN, "Forbidden", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
        PolicyRule {
            api_groups: Some(strings(groups)),
            resources: Some(strings(resources)),
            resource_names: Some(strings(names)),
            verbs: strings(verbs),
            ..PolicyRule::default()
        }
    }

    const GET_NODE: Attributes<'_> = Attributes {
        verb: "get",
        group: "",
        plural: "nodes",
        subresource: None,
        namespace: None,
        name: Some("n1"),
    };

    #[test]
    fn a_rule_allows_what_it_names_and_nothing_beside() {
        let own = rule(&[""], &["nodes"], &["n1"], &["get", "patch"]);
        for (asked, allowed) in [
            (GET_NODE, true),
            (Attributes { verb: "patch", ..GET_NODE }, true),
            (Attributes { verb: "delete", ..GET_NODE }, false),
            (Attributes { name: Some("n2"), ..GET_NODE }, false),
            (Attributes { name: None, verb: "get", ..GET_NODE }, false),
            (Attributes { group: "caracal.dev", ..GET_NODE }, false),
            (Attributes { plural: "pods", ..GET_NODE }, false),
            (Attributes { subresource: Some("status"), ..GET_NODE }, false),
        ] {
            assert_eq!(allows(&own, &asked), allowed, "{asked:?}");
        }
    }

    #[test]
    fn a_subresource_is_named_with_its_resource_or_with_all() {
        let status = Attributes { subresource: Some("status"), ..GET_NODE };
        for (resources, allowed) in
            [(["nodes/status"], true), (["*/status"], true), (["*"], true), (["pods/status"], false)]
        {
            assert_eq!(allows(&rule(&["*"], &resources, &[], &["*"]), &status), allowed, "{resources:?}");
        }
    }

    #[test]
    fn a_token_is_a_name() {
        assert_eq!(account("").unwrap(), None);
        let named = account("system:serviceaccount:caracal-system:agent").unwrap();
        assert_eq!(named, Some(Account { namespace: "caracal-system", name: "agent" }));
        for wrong in ["secret", "system:serviceaccount:alone"] {
            assert_eq!(account(wrong).unwrap_err().code, StatusCode::UNAUTHORIZED, "{wrong}");
        }
    }
}
