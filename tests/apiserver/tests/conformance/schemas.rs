//! CRDs: schemas, defaults, pruning, rules.

use serde_json::{Value, json};

use super::world::{World, config_map};

fn rich() -> Value {
    json!({
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 128},
            "big": {"type": "integer", "format": "int64"},
            "mode": {"type": "string", "enum": ["Always", "Never"], "default": "Never"},
            "cidr": {"type": "string", "format": "cidr", "maxLength": 43},
            "address": {"type": "string", "format": "ipv4"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 8},
            "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 8}},
            "map": {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "integer"}},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "maybe": {"type": "string", "nullable": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "nested": {"type": "object", "default": {}, "properties": {
                "on": {"type": "boolean", "default": true},
            }},
        },
    })
}

#[tokio::test]
async fn each_violation_is_a_cause_that_names_its_field() {
    let world = World::open().await;
    let kind = world.kind(rich()).await;
    for (spec, field, reason) in [
        (json!({}), "spec.size", "FieldValueRequired"),
        (json!({"size": 0}), "spec.size", "FieldValueInvalid"),
        (json!({"size": 129}), "spec.size", "FieldValueInvalid"),
        (json!({"size": "x"}), "spec.size", "FieldValueTypeInvalid"),
        (json!({"size": 1.5}), "spec.size", "FieldValueTypeInvalid"),
        (json!({"size": 1, "mode": "Maybe"}), "spec.mode", "FieldValueNotSupported"),
        (json!({"size": 1, "cidr": "10.0.0.0"}), "spec.cidr", "FieldValueInvalid"),
        (json!({"size": 1, "address": "fd00::1"}), "spec.address", "FieldValueInvalid"),
        (json!({"size": 1, "name": "A1"}), "spec.name", "FieldValueInvalid"),
        (json!({"size": 1, "name": "toolongname"}), "spec.name", "FieldValueTooLong"),
        (json!({"size": 1, "tags": ["a", "b", "c", "d"]}), "spec.tags", "FieldValueTooMany"),
        (json!({"size": 1, "tags": ["a", "a"]}), "spec.tags[1]", "FieldValueDuplicate"),
        (json!({"size": 1, "tags": ["a", 1]}), "spec.tags[1]", "FieldValueTypeInvalid"),
        (json!({"size": 1, "map": {"a": 1, "b": 2, "c": 3}}), "spec.map", "FieldValueTooMany"),
        (json!({"size": 1, "map": {"a": "x"}}), "spec.map.a", "FieldValueTypeInvalid"),
        (json!({"size": 1, "port": true}), "spec.port", "FieldValueTypeInvalid"),
    ] {
        eprintln!("{spec}");
        world.post(&kind.collection, &kind.object("a", spec)).await.blames(field, reason);
    }
    let spec = json!({
        "size": 128, "mode": "Always", "cidr": "fd00::/48", "address": "10.0.0.1", "name": "abc", "tags": ["a"],
        "map": {"a": 1}, "port": "http", "maybe": null, "free": {"a": {"b": null}}, "nested": {"on": false},
    });
    let object = world.post(&kind.collection, &kind.object("a", spec.clone())).await.expect(201);
    assert_eq!(object["spec"], spec);
}

#[tokio::test]
async fn integers_beyond_64_bits_are_refused() {
    let world = World::open().await;
    let kind = world.kind(rich()).await;
    let body = |number: &str| {
        let object = kind.object("a", json!({"size": 1, "big": "NUMBER"}));
        object.to_string().replace("\"NUMBER\"", number)
    };
    let answer = world.ask("POST", &kind.collection).text(body("92233720368547758080")).send().await;
    assert_eq!(answer.code, 422, "{:#}", answer.body);
    let answer = world.ask("POST", &kind.collection).text(body("9223372036854775807")).send().await;
    assert_eq!(answer.expect(201)["spec"]["big"], json!(i64::MAX));
}

#[tokio::test]
async fn unknown_fields_are_pruned_and_told_on_demand() {
    let world = World::open().await;
    let kind = world.kind(rich()).await;
    let spec = json!({"size": 1, "unknown": 1, "free": {"x": 1}, "nested": {"unknown": 1}});
    let answer = world.post(&kind.collection, &kind.object("a", spec.clone())).await;
    assert!(answer.headers.contains_key("warning"), "{:?}", answer.headers);
    let object = answer.expect(201);
    assert_eq!(
        (&object["spec"]["unknown"], &object["spec"]["nested"]["unknown"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(object["spec"]["free"], json!({"x": 1}));
    let strict = format!("{}?fieldValidation=Strict", kind.collection);
    let answer = world.post(strict, &kind.object("b", spec)).await;
    answer.refused(400, "BadRequest");
    assert!(answer.body["message"].as_str().unwrap().contains("spec.unknown"), "{:#}", answer.body);
    let maps = format!("/api/v1/namespaces/{}/configmaps", world.namespace().await);
    let mut map = config_map("a", "1");
    map["unknown"] = json!(1);
    assert_eq!(world.post(&maps, &map).await.expect(201)["unknown"], Value::Null, "of built-in kinds too");
}

#[tokio::test]
async fn defaults_are_filled_on_writing_and_on_reading() {
    let world = World::open().await;
    let kind = world.kind(rich()).await;
    let object = world.post(&kind.collection, &kind.object("a", json!({"size": 1}))).await.expect(201);
    assert_eq!(object["spec"], json!({"size": 1, "mode": "Never", "nested": {"on": true}}));
    // Nulls that the schema does not allow count as absent.
    let spec = json!({"size": 1, "mode": null, "name": null, "maybe": null});
    let other = world.post(&kind.collection, &kind.object("b", spec)).await.expect(201);
    assert_eq!(other["spec"], json!({"size": 1, "mode": "Never", "nested": {"on": true}, "maybe": null}));
    // A default that is new is seen in objects that were stored before it.
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/added";
    let patch = json!([{"op": "add", "path": schema, "value": {"type": "string", "default": "new"}}]);
    let ask = world.ask("PATCH", &kind.crd).json(&patch).content_type("application/json-patch+json");
    ask.send().await.expect(200);
    world
        .until("the new default is read", async || {
            world.get(kind.at("a")).await.body["spec"]["added"] == "new"
        })
        .await;
}

#[tokio::test]
async fn rules_are_evaluated_and_transitions_only_on_update() {
    let world = World::open().await;
    let kind = world
        .kind(json!({
            "type": "object",
            "properties": {
                "low": {"type": "integer"},
                "high": {"type": "integer"},
                "fixed": {"type": "string", "maxLength": 16, "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "fixed is immutable"},
                ]},
            },
            "x-kubernetes-validations": [
                {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low above high"},
            ],
        }))
        .await;
    let answer = world.post(&kind.collection, &kind.object("a", json!({"low": 2, "high": 1}))).await;
    answer.blames("spec", "FieldValueInvalid");
    assert!(answer.body["message"].as_str().unwrap().contains("low above high"));
    world
        .post(&kind.collection, &kind.object("a", json!({"low": 1, "high": 1, "fixed": "x"})))
        .await
        .expect(201);
    let answer = world.merge(kind.at("a"), &json!({"spec": {"fixed": "y"}})).await;
    answer.blames("spec.fixed", "FieldValueInvalid");
    assert!(answer.body["message"].as_str().unwrap().contains("fixed is immutable"));
    world.merge(kind.at("a"), &json!({"spec": {"high": 5}})).await.expect(200);
}

#[tokio::test]
async fn values_that_an_update_leaves_alone_are_not_held_against_it() {
    let world = World::open().await;
    let kind = world
        .kind(json!({"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 20},
            "mode": {"type": "string", "maxLength": 20},
        }}))
        .await;
    world
        .post(&kind.collection, &kind.object("a", json!({"name": "muchtoolong", "mode": "odd"})))
        .await
        .expect(201);
    // The CRD becomes stricter, by a limit and by a rule.
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch = json!([
        {"op": "replace", "path": format!("{properties}/name/maxLength"), "value": 3},
        {"op": "add", "path": format!("{properties}/mode/x-kubernetes-validations"),
         "value": [{"rule": "self != 'odd'", "message": "no longer allowed"}]},
    ]);
    let ask = world.ask("PATCH", &kind.crd).json(&patch).content_type("application/json-patch+json");
    ask.send().await.expect(200);
    let strict = kind.object("b", json!({"name": "muchtoolong"}));
    world
        .until("the stricter schema holds", async || {
            world.post(format!("{}?dryRun=All", kind.collection), &strict).await.code == 422
        })
        .await;
    world.merge(kind.at("a"), &json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    world.merge(kind.at("a"), &json!({"spec": {"name": "abc"}})).await.expect(200);
    world
        .merge(kind.at("a"), &json!({"spec": {"name": "abcd"}}))
        .await
        .blames("spec.name", "FieldValueTooLong");
    world.merge(kind.at("a"), &json!({"spec": {"mode": "new"}})).await.expect(200);
    world
        .merge(kind.at("a"), &json!({"spec": {"mode": "odd"}}))
        .await
        .blames("spec.mode", "FieldValueInvalid");
}

#[tokio::test]
async fn a_definition_is_established_and_served_and_bad_ones_are_refused() {
    let world = World::open().await;
    let kind = world.kind(rich()).await;
    let crd = world.get(&kind.crd).await.expect(200);
    let established = |crd: &Value| {
        let conditions = crd["status"]["conditions"].as_array().unwrap();
        ["NamesAccepted", "Established"].iter().all(|wanted| {
            conditions.iter().any(|condition| condition["type"] == *wanted && condition["status"] == "True")
        })
    };
    assert!(established(&crd), "{:#}", crd["status"]);
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));

    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut bad = crd.clone();
    bad["metadata"] = json!({"name": "things.other.example"});
    world.post(crds, &bad).await.blames("metadata.name", "FieldValueInvalid");
    let definition = |spec: Value| {
        let mut definition = crd.clone();
        definition["metadata"] = json!({"name": "things.bad.conformance.caracal.dev"});
        definition["spec"]["group"] = json!("bad.conformance.caracal.dev");
        definition["spec"]["names"] = json!({"plural": "things", "kind": "Thing"});
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = spec;
        definition["status"] = Value::Null;
        definition
    };
    for spec in [
        json!({"properties": {"a": {"type": "string"}}}),
        json!({"type": "object", "properties": {"a": {"type": "text"}}}),
        json!({"type": "object", "properties": {"a": {"type": "array"}}}),
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
        json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.x =="}]}),
        json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.undeclared == 1"}]}),
    ] {
        eprintln!("{spec}");
        world.post(crds, &definition(spec)).await.refused(422, "Invalid");
    }
}
