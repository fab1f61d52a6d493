//! caracal's kernel thread as a process of its own, told by lines on its standard input what all routes are to be.

use std::io::BufRead;

use anyhow::{Context, ensure};
use caracal_linux::kernel::{Kernel, Settings, Wanted};
use caracal_linux::object::link::IfName;
use caracal_linux::object::route::{Route, RouteKey};
use ipnetwork::IpNetwork;

use super::GATEWAYS;
use crate::generator::family;

/// What is wanted at once, as the agent pulls it from its speaker.
const BATCH: u32 = 1024;

/// Serves lines until there are no more: `install`, `change`, `remove`.
pub(crate) fn install(routes: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let kernel = Kernel::start(Settings::default()).context("starting the kernel's writer")?;
        kernel.release_sweep().await?;
        println!("up");
        for line in std::io::stdin().lock().lines() {
            let gateway = match line.context("reading what to do")?.as_str() {
                "install" => Some(GATEWAYS[0]),
                "change" => Some(GATEWAYS[1]),
                _ => None,
            };
            let device = IfName::new("bgp").context("naming the device")?;
            let route = gateway.map(|gateway| Route::via(gateway.into(), device));
            for first in (0..routes).step_by(usize::try_from(BATCH)?) {
                let batch = first..routes.min(first + BATCH);
                let changes = batch.map(|number| Wanted::Route(key(number), route.clone())).collect();
                let refused = kernel.want(changes).await?;
                ensure!(
                    refused.is_empty(),
                    "{} routes were refused, such as {:?}",
                    refused.len(),
                    refused.first()
                );
            }
        }
        Ok(())
    })
}

fn key(number: u32) -> RouteKey {
    let [first, second, third] = family::v4(number);
    let network = IpNetwork::new([first, second, third, 0].into(), 24);
    RouteKey::main(network.unwrap_or_else(|_| IpNetwork::from(std::net::IpAddr::from([0, 0, 0, 0]))))
}
