//! The manifests in `deploy/` ask programs for what they know, and leave nothing out.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use caracal_agent::settings::{AgentSettings, ControllerSettings};
use clap::CommandFactory;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// An object of a kind that is known whole: a field that the kind does not have would be lost on the way.
fn manifest<T: DeserializeOwned + Serialize>(file: &str) -> T {
    let text = std::fs::read_to_string(deploy().join(file)).unwrap();
    let written: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let object: T = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), written, "{file}");
    object
}

fn pod_of_agents() -> PodSpec {
    manifest::<DaemonSet>("agent.yaml").spec.unwrap().template.spec.unwrap()
}

fn pod_of_controllers() -> PodSpec {
    manifest::<Deployment>("controller.yaml").spec.unwrap().template.spec.unwrap()
}

/// The variables that a program reads.
fn variables(program: &clap::Command) -> BTreeSet<String> {
    let read = program.get_arguments().filter_map(clap::Arg::get_env);
    read.map(|name| name.to_str().unwrap().to_owned()).collect()
}

fn set(container: &Container) -> BTreeSet<String> {
    container.env.iter().flatten().map(|one| one.name.clone()).collect()
}

#[test]
fn programs_read_the_variables_that_are_set_and_get_those_they_need() {
    for (pod, program, needed) in [
        (pod_of_agents(), AgentSettings::command(), ["CARACAL_NODE_NAME", "CARACAL_CNI_CONF_DIR"].as_slice()),
        (pod_of_controllers(), ControllerSettings::command(), &["CARACAL_IDENTITY"]),
    ] {
        let [container] = pod.containers.as_slice() else { panic!("{} containers", pod.containers.len()) };
        assert_eq!(container.command.as_deref(), Some([program.get_name().to_owned()].as_slice()));
        let (set, known) = (set(container), variables(&program));
        let unknown: Vec<_> = set.difference(&known).collect();
        assert!(unknown.is_empty(), "{} does not read {unknown:?}", program.get_name());
        for name in needed {
            assert!(set.contains(*name), "{} needs {name}", program.get_name());
        }
    }
}

#[test]
fn the_folders_of_the_agent_are_the_hosts() {
    let pod = pod_of_agents();
    let [container] = pod.containers.as_slice() else { panic!("one container") };
    let paths: BTreeSet<&str> =
        container.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    let program = AgentSettings::command();
    let default = |name: &str| {
        let argument = program.get_arguments().find(|one| one.get_id() == name).unwrap();
        argument.get_default_values()[0].to_str().unwrap().to_owned()
    };
    let value = |name: &str| {
        let found = container.env.iter().flatten().find(|one| one.name == name).unwrap();
        found.value.clone().unwrap()
    };
    for folder in [
        default("run_dir"),
        default("state_dir"),
        value("CARACAL_CNI_CONF_DIR"),
        value("CARACAL_CNI_BIN_DIR"),
    ] {
        assert!(paths.contains(folder.as_str()), "{folder} is lost with its container: {paths:?}");
    }
    for mount in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
        for mount in mount.volume_mounts.iter().flatten() {
            let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name);
            assert!(volume.and_then(|volume| volume.host_path.as_ref()).is_some(), "{}", mount.name);
        }
    }
}

#[test]
fn probes_ask_where_the_agent_answers() {
    let listen = AgentSettings::command();
    let listen = listen.get_arguments().find(|one| one.get_id() == "metrics_listen").unwrap();
    let listen = listen.get_default_values()[0].to_str().unwrap().to_owned();
    let pod = pod_of_agents();
    let [container] = pod.containers.as_slice() else { panic!("one container") };
    for probe in [&container.startup_probe, &container.liveness_probe, &container.readiness_probe] {
        let asked = probe.as_ref().and_then(|probe| probe.http_get.as_ref()).unwrap();
        let port = serde_json::to_value(&asked.port).unwrap();
        assert_eq!(format!("{}:{port}", asked.host.as_deref().unwrap()), listen);
    }
}

#[test]
fn every_definition_and_manifest_is_in_the_kustomization() {
    let text = std::fs::read_to_string(deploy().join("kustomization.yaml")).unwrap();
    let kustomization: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let listed = kustomization["resources"].as_array().unwrap();
    let listed: BTreeSet<String> = listed.iter().map(|one| one.as_str().unwrap().to_owned()).collect();
    let mut there = BTreeSet::new();
    for (folder, prefix) in [("crds", "crds/"), (".", "")] {
        for entry in std::fs::read_dir(deploy().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // What is each cluster's own is applied by hand.
            if name.ends_with(".yaml") && !["kustomization.yaml", "pools.yaml"].contains(&name.as_str()) {
                there.insert(format!("{prefix}{name}"));
            }
        }
    }
    assert_eq!(listed, there);
    let tag = kustomization["images"][0]["newTag"].as_str().unwrap();
    assert_eq!(tag, env!("CARGO_PKG_VERSION"));
}
