//! `caracalctl ipam configure`: how the nodes of the cluster claim and share blocks.

use caracal_api::{DEFAULT_NAME, IpamConfig, IpamConfigSpec};
use serde::Serialize;

use crate::arguments::ConfigureArgs;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table};

/// The settings, as they are now.
#[derive(Debug, Serialize)]
pub(crate) struct Configuration {
    /// Whether there is an `IPAMConfig`; without one the defaults hold.
    configured: bool,
    #[serde(flatten)]
    spec: IpamConfigSpec,
    #[serde(skip)]
    before: Option<IpamConfigSpec>,
}

/// Changes what is asked, and tells how it is then.
pub(crate) async fn ask(args: &ConfigureArgs) -> Result<Configuration, Failure> {
    let cluster = Cluster::open(args.cluster.kubeconfig.as_deref()).await?;
    let found = cluster.ipam_config().await?;
    let before = found.as_ref().map(|config| config.spec.clone()).unwrap_or_default();
    let wanted = wanted(&before, args);
    if wanted == before {
        return Ok(Configuration { configured: found.is_some(), spec: before, before: None });
    }
    let written = cluster.set_ipam_config(&IpamConfig::new(DEFAULT_NAME, wanted)).await?;
    Ok(Configuration { configured: true, spec: written.spec, before: Some(before) })
}

fn wanted(before: &IpamConfigSpec, args: &ConfigureArgs) -> IpamConfigSpec {
    IpamConfigSpec {
        strict_affinity: args.strictaffinity.unwrap_or(before.strict_affinity),
        max_blocks_per_host: args.max_blocks_per_host.unwrap_or(before.max_blocks_per_host),
        auto_allocate_blocks: args.auto_allocate_blocks.unwrap_or(before.auto_allocate_blocks),
        ip_cooldown_seconds: args.ip_cooldown_seconds.unwrap_or(before.ip_cooldown_seconds),
    }
}

impl Answer for Configuration {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let mut table = Table::new(["PROPERTY", "VALUE", "BEFORE"]);
        let rows = |spec: &IpamConfigSpec| {
            let limit = match spec.max_blocks_per_host {
                0 => "no limit".to_owned(),
                most => most.to_string(),
            };
            [
                ("StrictAffinity", spec.strict_affinity.to_string()),
                ("MaxBlocksPerHost", limit),
                ("AutoAllocateBlocks", spec.auto_allocate_blocks.to_string()),
                ("IPCooldownSeconds", spec.ip_cooldown_seconds.to_string()),
            ]
        };
        let before = self.before.as_ref().map_or_else(|| rows(&self.spec), rows);
        for ((name, value), (_, old)) in rows(&self.spec).into_iter().zip(before) {
            let old = if old == value { String::new() } else { old };
            table.row([Cell::from(name), value.into(), old.into()]);
        }
        let mut parts = vec![Section::Table(table)];
        if !self.configured {
            parts.push(Section::Text("There is no IPAMConfig: these are the defaults.".to_owned()));
        }
        parts
    }

    fn names(&self) -> Vec<String> {
        vec![format!("ipamconfig.caracal.dev/{DEFAULT_NAME}")]
    }
}
