//! `caracalctl ipam release`: frees addresses that nobody uses.
//!
//! What may be released is what `ipam check` finds now: an address is never taken from somebody because of an old report
//! or a slip of the hand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::ipam_check::{Report, Sources};
use super::ipam_fix::{self, Done};
use crate::arguments::ReleaseArgs;
use crate::audit::{Evidence, Finding, Fix, Problem};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::Table;

/// What became of each address.
#[derive(Debug, Serialize)]
pub(crate) struct Released {
    addresses: Vec<One>,
}

#[derive(Debug, Serialize)]
struct One {
    address: IpAddr,
    outcome: Done,
}

/// Releases them.
pub(crate) async fn ask(socket: &Path, args: &ReleaseArgs) -> Result<Released, Failure> {
    let wanted = wanted(args)?;
    let sources = Sources::open(socket, &args.cluster, &args.nodes).await?;
    let (evidence, found) = sources.look(Duration::from_secs(args.again)).await?;
    let mut addresses = Vec::with_capacity(wanted.len());
    for address in wanted {
        let fix = found.iter().filter(|f| f.address == Some(address)).find_map(release_of);
        let outcome = match fix {
            Some(fix) => ipam_fix::fix(&sources, fix).await?,
            None => Done::Left(why_not(&evidence, address)),
        };
        addresses.push(One { address, outcome });
    }
    Ok(Released { addresses })
}

/// The addresses that are meant: those named, or those that every report holds.
fn wanted(args: &ReleaseArgs) -> Result<BTreeSet<IpAddr>, Failure> {
    let mut wanted: Option<BTreeSet<IpAddr>> = None;
    for path in &args.from_report {
        let report = Report::read(path)?;
        let leaked = report.problems.iter().map(|told| &told.finding).filter(|f| release_of(f).is_some());
        let leaked: BTreeSet<IpAddr> = leaked.filter_map(|finding| finding.address).collect();
        wanted = Some(match wanted {
            Some(before) => before.intersection(&leaked).copied().collect(),
            None => leaked,
        });
    }
    let mut wanted = wanted.unwrap_or_default();
    wanted.extend(&args.ip);
    Ok(wanted)
}

/// How the address of a finding is freed, if that is what the finding is about.
fn release_of(finding: &Finding) -> Option<&Fix> {
    let leaked =
        matches!(finding.problem, Problem::LeakedAddress | Problem::StaleHandle | Problem::AbsentBorrower);
    finding.fix.as_ref().filter(|_| leaked)
}

fn why_not(evidence: &Evidence, address: IpAddr) -> String {
    match evidence.holder(address) {
        Some(pod) => format!("pod {} on {} has it: delete the pod", pod.label(), pod.node),
        None => "nobody holds it without a reason: nothing to release (`caracalctl ipam check` tells all)"
            .to_owned(),
    }
}

impl Released {
    /// What was not released, as the exit code tells it.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        match self.addresses.iter().filter(|one| !one.outcome.is_done()).count() {
            0 => Ok(()),
            count => Err(Failure::NotReleased { count }),
        }
    }
}

impl Answer for Released {
    fn text(&self, _wide: bool) -> Vec<Section> {
        if self.addresses.is_empty() {
            return vec![Section::Text("No address is in every report: nothing to release.".to_owned())];
        }
        let mut table = Table::new(["ADDRESS", "OUTCOME"]);
        for one in &self.addresses {
            table.row([one.address.into(), one.outcome.cell()]);
        }
        vec![Section::Table(table)]
    }

    fn names(&self) -> Vec<String> {
        self.addresses.iter().filter(|one| one.outcome.is_done()).map(|one| one.address.to_string()).collect()
    }
}
