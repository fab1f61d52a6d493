//! `caracalctl bgp routes`.

use caracal_proto::v1::bgp_service_client::BgpServiceClient;
use caracal_proto::v1::{self, ListRoutesRequest};
use serde::Serialize;
use tonic::transport::Channel;

use crate::arguments::{FamilyArg, RoutesArgs};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table, Tone};

/// Paths, in the order of their prefixes.
#[derive(Debug, Serialize)]
pub(crate) struct Routes {
    routes: Vec<Route>,
}

/// One path of one prefix, as `-o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    prefix: String,
    next_hop: Option<String>,
    peer: Option<String>,
    source: &'static str,
    as_path: String,
    origin: String,
    local_pref: Option<u32>,
    med: Option<u32>,
    communities: Vec<String>,
    best: bool,
    standing: String,
    why_not: Option<String>,
    age_seconds: i64,
    stale: bool,
}

/// Asks for them, piece by piece.
pub(crate) async fn ask(channel: Channel, args: RoutesArgs) -> Result<Routes, Failure> {
    let family = match args.family {
        None => v1::Family::Unspecified,
        Some(FamilyArg::Ipv4) => v1::Family::Ipv4Unicast,
        Some(FamilyArg::Ipv6) => v1::Family::Ipv6Unicast,
    };
    let request = ListRoutesRequest { prefix: args.prefix, family: family.into(), peer: args.peer };
    let mut client = BgpServiceClient::new(channel);
    let mut pieces =
        client.list_routes(request).await.map_err(Failure::agent("listing the routes"))?.into_inner();
    let mut routes = Vec::new();
    while let Some(piece) = pieces.message().await.map_err(Failure::agent("listing the routes"))? {
        routes.extend(piece.routes.into_iter().map(Route::from));
    }
    Ok(Routes { routes })
}

impl From<v1::Route> for Route {
    fn from(route: v1::Route) -> Self {
        Self {
            source: match route.source() {
                v1::RouteSource::Unspecified => "Unknown",
                v1::RouteSource::Local => "Local",
                v1::RouteSource::Ebgp => "EBGP",
                v1::RouteSource::Ibgp => "IBGP",
            },
            prefix: route.prefix,
            next_hop: route.next_hop,
            peer: route.peer,
            as_path: route.as_path,
            origin: route.origin,
            local_pref: route.local_pref,
            med: route.med,
            communities: route.communities,
            best: route.best,
            standing: route.standing,
            why_not: route.why_not,
            age_seconds: route.age.map_or(0, |age| age.seconds),
            stale: route.stale,
        }
    }
}

/// Why it is not used; of one that is used for want of a fresh one, that.
fn reason(route: &Route) -> &str {
    match &route.why_not {
        Some(why) => why,
        None if route.stale => "its peer is away: kept for its return",
        None => "",
    }
}

fn number(value: Option<u32>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

impl Answer for Routes {
    fn text(&self, wide: bool) -> Vec<Section> {
        if self.routes.is_empty() {
            return vec![Section::Text("No routes.".to_owned())];
        }
        let narrow = ["", "PREFIX", "NEXT HOP", "PEER", "AS PATH", "LOCAL PREF", "REASON"];
        let more = ["SOURCE", "ORIGIN", "MED", "COMMUNITIES", "AGE", "STANDING"];
        let mut table = Table::new(narrow.into_iter().chain(more.into_iter().filter(|_| wide)));
        for route in &self.routes {
            let mut cells: Vec<Cell> = vec![
                Cell::toned(if route.best { "*" } else { "" }, Tone::Good),
                (&route.prefix).into(),
                route.next_hop.as_deref().unwrap_or("-").into(),
                route.peer.as_deref().unwrap_or("(local)").into(),
                (&route.as_path).into(),
                number(route.local_pref).into(),
                reason(route).into(),
            ];
            if wide {
                cells.extend([
                    route.source.into(),
                    (&route.origin).into(),
                    number(route.med).into(),
                    route.communities.join(" ").into(),
                    format!("{}s", route.age_seconds).into(),
                    (&route.standing).into(),
                ]);
            }
            table.row(cells);
        }
        vec![Section::Table(table)]
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.routes.iter().map(|route| route.prefix.clone()).collect();
        names.dedup();
        names
    }
}
