//! What caracal-bgpd itself promises: its file, its signals, its socket, its routes in the kernel.

use std::collections::BTreeSet;

use anyhow::ensure;
use caracal_lab::Sandbox;
use caracal_lab::command::ip_batch;
use caracal_lab::wait::{self, NotYet};

use crate::bird::Bird;
use crate::peer::{Neighbor, Peer, Plan, SOON};
use crate::segment::{Host, Segment, v4};
use crate::us::{self, Path, Us};

const HERE: u32 = 64601;
const THERE: u32 = 64602;

fn own(prefixes: &[&str]) -> String {
    prefixes.iter().map(|prefix| us::originate(prefix, &[])).collect()
}

fn used(path: &Path) -> bool {
    path.best && path.peer.is_some()
}

/// SIGHUP carries out the difference: policies and own prefixes change on the session that stands, and only what is
/// in the OPEN message makes another.
pub(crate) async fn reloads_by_difference(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let they = Us::start(
        &there,
        THERE,
        &format!("{}{}", own(&["10.2.0.0/24", "10.2.1.0/24"]), us::peer(&v4(1), HERE, "")),
    )
    .await?;
    let us =
        Us::start(&here, HERE, &format!("{}{}", own(&["10.1.0.0/24"]), us::peer(&v4(2), THERE, ""))).await?;
    us.learns(&here, "10.2.1.0/24", used).await?;
    they.learns(&there, "10.1.0.0/24", used).await?;

    let policy = "[[policy]]\nname = \"less\"\ndefault = \"accept\"\n\
                  [[policy.rule]]\nname = \"unwanted\"\nprefixes = [\"10.2.1.0/24\"]\naction = \"reject\"\n";
    let peer = us::peer(&v4(2), THERE, "import = \"less\"");
    us.reload(&here, HERE, &format!("{}{peer}{policy}", own(&["10.1.1.0/24"]))).await?;
    us.learns(&here, "10.2.1.0/24", |path| !path.best).await?;
    us.learns(&here, "10.2.0.0/24", used).await?;
    they.learns(&there, "10.1.1.0/24", used).await?;
    they.loses(&there, "10.1.0.0/24").await?;
    let session = us.peer(&here, &v4(2)).await?;
    ensure!(session.state == "Established" && session.transitions == 1, "{session:?}");

    // Back: what was rejected had been kept, so nothing has to be asked for again.
    let peer = us::peer(&v4(2), THERE, "");
    us.reload(&here, HERE, &format!("{}{peer}", own(&["10.1.0.0/24"]))).await?;
    us.learns(&here, "10.2.1.0/24", used).await?;
    let session = us.peer(&here, &v4(2)).await?;
    ensure!(session.transitions == 1, "{session:?}");

    let peer = us::peer(&v4(2), THERE, "hold-time = 30");
    us.reload(&here, HERE, &format!("{}{peer}", own(&["10.1.0.0/24"]))).await?;
    let new = |peer: &us::Session| peer.state == "Established" && peer.hold_time_seconds == 30;
    us.peers_when(&here, |peers| peers.iter().all(new)).await?;
    they.learns(&there, "10.1.0.0/24", used).await.map(drop)
}

/// A file with a mistake is refused whole, by line and field, and what was in force goes on.
pub(crate) async fn refuses_a_bad_file(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let they = Us::start(&there, THERE, &us::peer(&v4(1), HERE, "")).await?;
    let good = format!("{}{}", own(&["10.1.0.0/24"]), us::peer(&v4(2), THERE, ""));
    let us = Us::start(&here, HERE, &good).await?;
    they.learns(&there, "10.1.0.0/24", used).await?;
    let bad = format!("{}{good}hold-tiem = 9\n", own(&["10.1.1.0/24"]));
    us.write(&here, HERE, &bad)?;
    us.hang_up().await?;
    let words = "peer[1].hold-tiem: there is no key `hold-tiem`: did you mean `hold-time`?";
    us.says(words).await?;
    let needs_a_start = format!("{good}[fib]\n");
    us.write(&here, HERE, &needs_a_start)?;
    us.hang_up().await?;
    us.says("`fib` differs from what this process was started with: start it anew for that").await?;
    // The next good one is taken, and none of the bad ones was, not even in part.
    us.reload(&here, HERE, &format!("{}{good}", own(&["10.1.2.0/24"]))).await?;
    they.learns(&there, "10.1.2.0/24", used).await?;
    let paths = they.paths(&there).await?;
    ensure!(paths.iter().all(|path| path.prefix != "10.1.1.0/24"), "a refused file was taken in part");
    let session = us.peer(&here, &v4(2)).await?;
    ensure!(session.transitions == 1, "{session:?}");
    Ok(())
}

/// The routes of our protocol number in a host's kernel: prefixes with their gateways.
async fn installed(host: &Host) -> anyhow::Result<BTreeSet<(String, Vec<String>)>> {
    let ours = |route: &&caracal_lab::route::Route| route.protocol.as_deref() == Some("67");
    let routes = host.netns().routes().await?;
    let shown = routes.iter().filter(ours).map(|route| {
        let of_hop = |hop: &std::collections::BTreeMap<String, serde_json::Value>| {
            hop.get("gateway").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let mut hops: Vec<String> = route.nexthops.iter().map(of_hop).collect();
        hops.extend(route.gateway.map(|gateway| gateway.to_string()));
        hops.sort();
        (route.dst.clone(), hops)
    });
    Ok(shown.collect())
}

async fn kernel_has(host: &Host, wanted: &[(&str, &[&str])]) -> anyhow::Result<()> {
    let owned = |(prefix, hops): &(&str, &[&str])| {
        ((*prefix).to_owned(), hops.iter().map(|hop| (*hop).to_owned()).collect::<Vec<_>>())
    };
    let wanted: BTreeSet<_> = wanted.iter().map(owned).collect();
    wait::until(SOON, "the kernel has the routes that it should have", || async {
        let found = installed(host).await?;
        if found == wanted { Ok(()) } else { Err(NotYet::because(format!("{found:?}"))) }
    })
    .await
}

/// Best routes of both families become kernel routes, equal ones one route of several hops; they outlive a SIGKILL and
/// are adopted, they go with a stop, and foreign routes are never touched.
pub(crate) async fn writes_the_kernel(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let both = own(&["10.7.0.0/24", "fd00:7::/64"]);
    let at = |prefixes: &[&str]| format!("{both}{}{}", own(prefixes), us::peer(&v4(1), HERE, ""));
    let foreign = "route add 10.9.0.0/24 dev e0 proto 177\nroute add 10.2.9.0/24 via 10.99.0.3 proto 177\n";
    ip_batch(Some(here.netns().name()), foreign).await?;
    let they = Us::start(&there, THERE, &at(&["10.2.0.0/24", "10.2.9.0/24"])).await?;
    let third = Us::start(&beyond, 64603, &at(&["10.3.0.0/24"])).await?;
    let tables = [us::peer(&v4(2), THERE, ""), us::peer(&v4(3), 64603, "")].concat();
    let text = format!("{}[fib]\n{tables}", own(&["10.1.0.0/24"]));
    let us = Us::start(&here, HERE, &text).await?;
    let all: &[(&str, &[&str])] = &[
        ("10.2.0.0/24", &["10.99.0.2"]),
        ("10.3.0.0/24", &["10.99.0.3"]),
        ("10.7.0.0/24", &["10.99.0.2", "10.99.0.3"]),
        ("fd00:7::/64", &["fd00:99::2", "fd00:99::3"]),
    ];
    kernel_has(&here, all).await?;
    us.says("10.2.9.0/24").await?;

    // Killed, it leaves its routes to the next run, which keeps them and takes away what is announced no more.
    us.kill().await?;
    kernel_has(&here, all).await?;
    they.reload(&there, THERE, &at(&[])).await?;
    let us = Us::start(&here, HERE, &text).await?;
    kernel_has(&here, &all[1..]).await?;
    third.stop().await?;
    kernel_has(&here, &[("10.7.0.0/24", &["10.99.0.2"]), ("fd00:7::/64", &["fd00:99::2"])]).await?;
    us.stop().await?;
    kernel_has(&here, &[]).await?;
    let left = here.netns().routes().await?;
    let foreign = left.iter().filter(|route| route.protocol.as_deref() == Some("177")).count();
    ensure!(foreign == 2, "foreign routes were touched: {left:?}");
    Ok(())
}

/// The socket answers `caracalctl bgp`: peers, routes, a refresh on the session that stands, a reset that ends it in words.
pub(crate) async fn answers_caracalctl(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let they = Us::start(
        &there,
        THERE,
        &format!("{}{}", own(&["10.2.0.0/24"]), us::peer(&v4(1), HERE, "name = \"upstream\"")),
    )
    .await?;
    let us = Us::start(&here, HERE, &us::peer(&v4(2), THERE, "name = \"far\"")).await?;
    us.learns(&here, "10.2.0.0/24", |path| used(path) && path.peer == Some(v4(2))).await?;
    us.refresh(&here, "far").await?;
    ensure!(us.peer(&here, &v4(2)).await?.transitions == 1, "a refresh ended the session");
    us.reset(&here, "far").await?;
    they.says("administrative reset").await?;
    they.peers_when(&there, |peers| peers.iter().all(|peer| peer.transitions == 3)).await?;
    us.learns(&here, "10.2.0.0/24", used).await?;
    let refused = us.ask(&here, &["reset", "nobody"]).await;
    ensure!(refused.is_err_and(|error| format!("{error:#}").contains("nobody")), "an unknown peer was reset");
    let mode = here.run(&["stat", "-c", "%a", us.socket()]).await?;
    ensure!(mode.trim() == "600", "the socket is open to others: {mode}");
    Ok(())
}

/// Import and export policies change what is used and what is told, as BIRD sees it.
pub(crate) async fn policies_do_what_they_say(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there, beyond) = (segment.host(1).await?, segment.host(2).await?, segment.host(3).await?);
    let source = Plan {
        asn: THERE,
        neighbors: vec![Neighbor::new(1, HERE)],
        v4: vec!["10.2.0.0/24", "10.2.1.0/24", "10.3.0.0/24"],
        ..Plan::default()
    };
    let _source = Bird::start(&there, &source).await?;
    let sink = Plan { asn: 64603, neighbors: vec![Neighbor::new(1, HERE)], ..Plan::default() };
    let sink = Bird::start(&beyond, &sink).await?;
    let text = [
        us::peer(&v4(2), THERE, "import = \"in\""),
        us::peer(&v4(3), 64603, "export = \"out\""),
        "[[policy]]\nname = \"in\"\ndefault = \"reject\"\n\
         [[policy.rule]]\nprefixes = [\"10.2.0.0/16 le 24\"]\ncommunities = [\"64700:8\"]\nas-path-begins = [64602]\n\
         source = \"ebgp\"\nremove-communities = [\"64700:1:2\"]\nadd-communities = [\"64601:5\", \"64601:1:1\"]\n\
         set-local-pref = 333\naction = \"accept\"\n"
            .to_owned(),
        "[[policy]]\nname = \"out\"\ndefault = \"accept\"\n\
         [[policy.rule]]\nprefixes = [\"10.2.1.0/24\"]\naction = \"reject\"\n\
         [[policy.rule]]\ncommunities = [\"64601:5\"]\nprepend = [64601, 64601]\nset-med = 7\naction = \"continue\"\n\
         [[policy.rule]]\norigin-as = [64602]\nadd-communities = [\"no-export\"]\naction = \"accept\"\n"
            .to_owned(),
    ];
    let us = Us::start(&here, HERE, &text.concat()).await?;
    us.learns(&here, "10.2.1.0/24", |path| used(path) && path.local_pref == Some(333)).await?;
    us.learns(&here, "10.3.0.0/24", |path| !path.best).await?;
    let wanted: BTreeSet<String> =
        ["64700:8", "rt:64700:9", "64601:5", "64601:1:1", "65535:65281"].map(str::to_owned).into();
    sink.learns(&beyond, "10.2.0.0/24", |route| {
        route.as_path == "64601 64601 64601 64602" && route.communities == wanted
    })
    .await?;
    let told = sink.routes(&beyond).await?;
    ensure!(told.iter().all(|route| route.prefix == "10.2.0.0/24"), "{told:?}");
    Ok(())
}

/// A session about to end is told of before: the peer sees GRACEFUL_SHUTDOWN, we prefer any other way, nothing is lost.
pub(crate) async fn leaves_gracefully(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let they =
        Us::start(&there, THERE, &format!("{}{}", own(&["10.2.0.0/24"]), us::peer(&v4(1), HERE, ""))).await?;
    let text = |more: &str| format!("{}{}", own(&["10.1.0.0/24"]), us::peer(&v4(2), THERE, more));
    let us = Us::start(&here, HERE, &text("")).await?;
    they.learns(&there, "10.1.0.0/24", |path| used(path) && path.communities.is_empty()).await?;
    us.reload(&here, HERE, &text("graceful-shutdown = true")).await?;
    let marked = |path: &Path| {
        used(path)
            && path.communities.iter().any(|one| one == "graceful-shutdown")
            && path.local_pref == Some(0)
    };
    they.learns(&there, "10.1.0.0/24", marked).await?;
    us.learns(&here, "10.2.0.0/24", |path| used(path) && path.local_pref == Some(0)).await?;
    let session = us.peer(&here, &v4(2)).await?;
    ensure!(session.transitions == 1, "{session:?}");
    Ok(())
}
