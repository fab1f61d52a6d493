//! The agent: builds the owners in an order that lets each start from what is on disk and in the kernel, and runs them.
//!
//! Journal, kernel, last good snapshots, CNI socket, speaker, watches: pods are served before the API server has
//! answered, and routes stand from the first moment because those of the run before are adopted.
//!
//! The agent is crash-only. SIGTERM, SIGKILL and a panic all mean a restart: sockets close without a Cease and the
//! kernel keeps its routes, so that nobody notices. A task that ends ends the process.

use std::fs;
use std::future::Future;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use caracal_bgp::speaker::Handle;
use caracal_bgp::{Config, RouterId};
use caracal_linux::kernel::{self, Kernel};
use kube::Api;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admin::{self, AdminContext};
use crate::attachments::Journal;
use crate::cluster::{Cluster, publish};
use crate::cni::{self, CniContext};
use crate::desired::speaker::{SpeakerSettings, router_id};
use crate::ipam::Ipam;
use crate::kernel::routes::{NotInstalledRoutes, RouteWriter};
use crate::kernel::{blackholes, sweep};
use crate::node::{NodeAddresses, forwarding, network_node};
use crate::peering::Peering;
use crate::settings::AgentSettings;
use crate::status::StatusSources;
use crate::telemetry::{self, health, http};
use crate::{derived, ipam};

/// Ends of RIBs that may wait to be counted.
const ENDS: usize = 256;
