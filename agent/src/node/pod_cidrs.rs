//! The ranges that Kubernetes has given to this node (`spec.podCIDRs`), in a file beside the CNI socket: for networks whose
//! addresses another IPAM plugin gives from them (`usePodCidr`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use caracal_cni::plugin::POD_CIDRS;
use k8s_openapi::api::core::v1::Node;
use tracing::warn;

use crate::cluster::SnapshotReceiver;

/// Writes the file whenever the ranges change. Runs until the agent ends.
pub async fn keep(folder: PathBuf, mut nodes: SnapshotReceiver<Node>) {
    let mut written = None;
    loop {
        let ranges = nodes.borrow_and_update().values().next().map(|node| ranges(node));
        if ranges.is_some() && ranges != written {
            match write(&folder, ranges.as_deref().unwrap_or_default()) {
                Ok(()) => written = ranges,
                Err(error) => warn!(folder = %folder.display(), %error, "writing the node's ranges for pods"),
            }
        }
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

fn ranges(node: &Node) -> Vec<String> {
    let spec = node.spec.clone().unwrap_or_default();
    match spec.pod_cidrs {
        Some(ranges) if !ranges.is_empty() => ranges,
        Some(_) | None => spec.pod_cidr.into_iter().collect(),
    }
}

fn write(folder: &Path, ranges: &[String]) -> io::Result<()> {
    let unfinished = folder.join(format!(".{POD_CIDRS}"));
    fs::write(&unfinished, ranges.iter().map(|range| format!("{range}\n")).collect::<String>())?;
    fs::rename(unfinished, folder.join(POD_CIDRS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_families_are_written_one_a_line() {
        let node = |spec| -> Node {
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node", "metadata": {}, "spec": spec}))
                .unwrap()
        };
        let both =
            ranges(&node(json!({"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64"]})));
        assert_eq!(both, ["10.1.0.0/24", "fd00:1::/64"]);
        assert_eq!(ranges(&node(json!({"podCIDR": "10.1.0.0/24"}))), ["10.1.0.0/24"]);
        assert_eq!(ranges(&node(json!({}))), Vec::<String>::new());
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &both).unwrap();
        let text = fs::read_to_string(folder.path().join(POD_CIDRS)).unwrap();
        assert_eq!(text, "10.1.0.0/24\nfd00:1::/64\n");
    }
}
