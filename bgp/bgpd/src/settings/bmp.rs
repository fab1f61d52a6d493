//! `[[bmp]]`: collectors of what peers say.

use std::collections::BTreeMap;
use std::time::Duration;

use caracal_bgp::RouterId;
use caracal_bgp::bmp::message::View;
use caracal_bgp::bmp::{StationConfig, Views};

use crate::file::{self, Mistake};

/// Understands every table. Stations are told apart by their names.
pub(super) fn stations(
    tables: &[file::Bmp],
    router_id: RouterId,
) -> Result<BTreeMap<String, StationConfig>, Mistake> {
    let mut all = BTreeMap::new();
    for table in tables {
        let name = table.name.get_ref();
        let station = station(table, router_id)?;
        if all.insert(name.clone(), station).is_some() {
            let what = format!("there is another collector `{name}`: rename one");
            return Err(Mistake::new(table.name.span(), what));
        }
    }
    Ok(all)
}

fn station(table: &file::Bmp, router_id: RouterId) -> Result<StationConfig, Mistake> {
    let views = match &table.monitoring {
        None => Views { pre_policy: true, post_policy: false },
        Some(list) => {
            let has = |view| list.get_ref().iter().any(|one| one.0 == view);
            let views = Views { pre_policy: has(View::PrePolicy), post_policy: has(View::PostPolicy) };
            if !views.pre_policy && !views.post_policy {
                let what =
                    "a collector that is told no routes: write \"pre-policy\", \"post-policy\" or both";
                return Err(Mistake::new(list.span(), what));
            }
            views
        }
    };
    let statistics = table.statistics_interval.as_ref().map(|every| every.get_ref().0);
    if let (Some(at), Some(every)) = (&table.statistics_interval, statistics)
        && every < Duration::from_secs(1)
    {
        let what = "counts are told once a second at most: write 1 or more, or leave it out for none";
        return Err(Mistake::new(at.span(), what));
    }
    Ok(StationConfig {
        name: table.name.get_ref().clone(),
        address: table.address.0.clone(),
        views,
        statistics,
        sys_name: router_id.to_string(),
    })
}
