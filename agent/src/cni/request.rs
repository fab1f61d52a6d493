//! One call from a plugin: parse it, do it, make the answer.

use std::os::fd::OwnedFd;

use std::sync::Arc;

use caracal_cni::config::{NetworkConfig, Role};
use caracal_cni::environment::Target;
use caracal_cni::frame::{Answer, Call};
use caracal_cni::request::{Operation, Request};
use caracal_cni::{Code, Error};
use caracal_linux::namespace::Namespace;
use serde_json::Value;
use tracing::{info, warn};

use super::{CniContext, add, check, del, delegated, gc, status};
use crate::attachments::AttachmentKey;

/// Carries out a call. The descriptor is the pod's namespace, if the plugin could open it.
pub(super) async fn serve(context: &Arc<CniContext>, call: Call, netns: Option<OwnedFd>) -> Answer {
    let version = NetworkConfig::version_of(call.stdin.as_bytes());
    match perform(context, &call, netns).await {
        Ok(Some(result)) => Answer { exit: 0, stdout: result.to_string() },
        Ok(None) => Answer { exit: 0, stdout: String::new() },
        Err(error) => {
            let get = |name| call.environment.get(name).unwrap_or_default();
            let (command, container) = (get("CNI_COMMAND"), get("CNI_CONTAINERID"));
            warn!(command, container, args = get("CNI_ARGS"), %error, "a call of the container runtime failed");
            Answer { exit: 1, stdout: error.to_json(version).to_string() }
        }
    }
}

async fn perform(
    context: &Arc<CniContext>,
    call: &Call,
    netns: Option<OwnedFd>,
) -> Result<Option<Value>, Error> {
    let missing = || Error::new(Code::InvalidEnvironment, "the variable CNI_COMMAND is not set");
    let command = call.environment.command()?.ok_or_else(missing)?;
    let request = Request::parse(command, &call.environment, call.stdin.as_bytes())?;
    let config = &request.config;
    match &request.operation {
        Operation::Add(target) if config.role == Role::Ipam => {
            let result = delegated::add(context, config, target).await?;
            info!(container = target.container, pod = pod(target), "gave addresses to another plugin");
            Ok(Some(result.to_json(config.version)))
        }
        Operation::Check(target) if config.role == Role::Ipam => {
            delegated::check(context, config, target).await.map(|()| None)
        }
        Operation::Add(target) => {
            let result =
                add::add(context, config, target, namespace(target, netns)?, call.ipam.clone()).await?;
            info!(container = target.container, pod = pod(target), "attached");
            Ok(Some(result.to_json(config.version)))
        }
        Operation::Del(target) => {
            del::del(context, config, target).await?;
            info!(container = target.container, pod = pod(target), "detached");
            Ok(None)
        }
        Operation::Check(target) => {
            check::check(context, config, target, namespace(target, netns)?).await.map(|()| None)
        }
        Operation::Gc => gc::gc(context, config).await.map(|()| None),
        Operation::Status => status::status(context).map(|()| None),
    }
}

/// The key under which a target is kept.
pub(super) fn key(config: &NetworkConfig, target: &Target) -> AttachmentKey {
    AttachmentKey {
        network: config.name.clone(),
        container: target.container.clone(),
        interface: target.interface.to_string(),
    }
}

fn namespace(target: &Target, passed: Option<OwnedFd>) -> Result<Namespace, Error> {
    let invalid = |why: String| {
        let path = target.netns.as_deref().unwrap_or(std::path::Path::new("")).display();
        let msg =
            format!("the network namespace {path} of container {} cannot be used: {why}", target.container);
        Error::new(Code::InvalidNamespace, msg)
    };
    let passed = passed.ok_or_else(|| invalid("the plugin passed no descriptor of it".to_owned()))?;
    Namespace::from_fd(passed).map_err(|error| invalid(error.to_string()))
}

fn pod(target: &Target) -> Option<String> {
    target.args.pod.as_ref().map(ToString::to_string)
}
