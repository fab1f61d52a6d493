//! Peers with link-local addresses: routes of both families go through the kernels of both ends by nothing but these.

use anyhow::ensure;
use caracal_lab::Sandbox;
use caracal_lab::command::ip_batch;
use caracal_lab::wait::{self, NotYet};

use crate::bfd;
use crate::bird::Bird;
use crate::frr::Frr;
use crate::peer::{BFD, SOON};
use crate::segment::{Host, Segment};
use crate::us::{self, Session, Us};

const ASES: [u32; 3] = [64601, 64602, 64603];
const PASSWORD: &str = "between-us";

/// The prefixes of a host, one a family.
pub(crate) fn prefixes(number: u8) -> [String; 2] {
    [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")]
}

/// The address in each of them.
fn addresses(number: u8) -> [String; 2] {
    [format!("10.{number}.0.1"), format!("fd00:{number}::1")]
}

/// A host with an address in each of its prefixes, and no address but link-local ones towards others.
pub(crate) async fn host(segment: &Segment, number: u8) -> anyhow::Result<Host> {
    let host = segment.host(number).await?;
    let [v4, v6] = addresses(number);
    let lines = format!("link del e0\naddress add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad\n");
    ip_batch(Some(host.netns().name()), &lines).await?;
    Ok(host)
}

/// Our file on a host, with these peers.
pub(crate) fn tables(number: u8, peers: &str) -> String {
    let own: String = prefixes(number).iter().map(|prefix| us::originate(prefix, &[])).collect();
    format!("[fib]\n{own}{peers}")
}

/// A `[[peer]]` with a link-local address, from which nothing that is not of the link is taken, and the path to which is watched.
fn peer(address: &str, asn: u32) -> String {
    let near = "ttl-security = 1\nextended-next-hop = [\"ipv4-unicast\"]\n";
    us::peer(address, asn, &format!("password = \"{PASSWORD}\"\n{near}{}", bfd::table()))
}

/// Waits until a host's kernel reaches the prefixes of another by this gateway, and the other answers.
pub(crate) async fn reaches(
    from: &Host,
    number: u8,
    to: u8,
    gateway: &str,
    device: &str,
) -> anyhow::Result<()> {
    for (place, prefix) in prefixes(to).iter().enumerate() {
        let (family, kind) = if place == 0 { ("-4", "inet6 ") } else { ("-6", "") };
        let wanted = format!("via {kind}{gateway} dev {device}");
        wait::until(SOON, &format!("the kernel has {prefix} {wanted}"), || async {
            let text = from.run(&["ip", family, "route", "show", prefix]).await?;
            if text.contains(&wanted) { Ok(()) } else { Err(NotYet::because(text)) }
        })
        .await?;
    }
    for (own, far) in addresses(number).iter().zip(addresses(to)) {
        wait::until(SOON, &format!("{far} answers {own}"), || async {
            from.run(&["ping", "-c", "1", "-W", "2", "-I", own, &far]).await.map_err(NotYet::from)
        })
        .await?;
    }
    Ok(())
}

pub(crate) fn is_up(session: &Session) -> bool {
    session.state == "Established"
}

/// Two peers with the same link-local address on two links are two peers; one whose device is gone waits for it in words,
/// and is back with another device of that name.
pub(crate) async fn on_two_links(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, second, third) =
        (host(&segment, 1).await?, host(&segment, 2).await?, host(&segment, 3).await?);
    let cable = [(&here, "e1", "fe80::1"), (&second, "e1", "fe80::2")];
    segment.cable(cable).await?;
    segment.cable([(&here, "e2", "fe80::1"), (&third, "e1", "fe80::2")]).await?;
    let near = [peer("fe80::2%e1", ASES[1]), peer("fe80::2%e2", ASES[2])].concat();
    let us = Us::start(&here, ASES[0], &tables(1, &near)).await?;
    let two = Us::start(&second, ASES[1], &tables(2, &peer("fe80::1%e1", ASES[0]))).await?;
    let _three = Us::start(&third, ASES[2], &tables(3, &peer("fe80::1%e1", ASES[0]))).await?;
    let sessions = bfd::all(&us, &here, bfd::is_watched).await?;
    let keys: Vec<&str> = sessions.iter().map(|session| session.key.as_str()).collect();
    ensure!(keys == ["fe80::2%e1", "fe80::2%e2"], "{keys:?}");
    let by_one = |path: &us::Path| path.best && path.next_hop.as_deref() == Some("fe80::2%e1");
    us.learns(&here, &prefixes(2)[1], by_one).await?;
    reaches(&here, 1, 2, "fe80::2", "e1").await?;
    reaches(&here, 1, 3, "fe80::2", "e2").await?;
    let said = us.reset(&here, "fe80::2").await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains("fe80::2%e1, fe80::2%e2"), "the address alone is that of both: {said}");

    ip_batch(Some(here.netns().name()), "link del e1\n").await?;
    for (host, one, key) in [(&here, &us, "fe80::2%e1"), (&second, &two, "fe80::1%e1")] {
        let waits = |session: &Session| {
            let said = session.last_error.as_deref().unwrap_or_default();
            session.key != key || !is_up(session) && said.contains("waiting for device e1")
        };
        one.peers_when(host, |peers| peers.iter().all(waits)).await?;
    }
    us.loses(&here, &prefixes(2)[0]).await?;
    segment.cable(cable).await?;
    bfd::all(&us, &here, bfd::is_watched).await?;
    reaches(&here, 1, 2, "fe80::2", "e1").await?;
    reaches(&second, 2, 1, "fe80::1", "e1").await?;
    let other = us.peer(&here, "fe80::2%e2").await?;
    let downs = other.bfd.as_ref().map(|bfd| bfd.downs);
    ensure!(
        other.transitions == 1 && downs == Some(0),
        "the other link has nothing to do with it: {other:?}"
    );
    Ok(())
}

/// We and another, with a cable between.
async fn two(sandbox: &Sandbox) -> anyhow::Result<(Segment, Host, Host, Us)> {
    let segment = Segment::make(sandbox).await?;
    let (here, there) = (host(&segment, 1).await?, host(&segment, 2).await?);
    segment.cable([(&here, "e1", "fe80::1"), (&there, "e1", "fe80::2")]).await?;
    let us = Us::start(&here, ASES[0], &tables(1, &peer("fe80::2%e1", ASES[1]))).await?;
    Ok((segment, here, there, us))
}

/// With BIRD, which has an IPv6 address that is not of the link as next hop beside the link-local one.
pub(crate) async fn with_bird(sandbox: Sandbox) -> anyhow::Result<()> {
    let (_segment, here, there, us) = two(&sandbox).await?;
    let [v4, v6] = prefixes(2);
    let kernel = |family: &str| {
        format!("protocol kernel {{ {family} {{ import none; export where source = RTS_BGP; }}; }}\n")
    };
    let (interval, multiplier) = BFD;
    let text = format!(
        "log stderr all;\nrouter id 10.2.0.1;\nprotocol device {{ scan time 3600; }}\n{}{}\
         protocol bfd {{ interface \"*\" {{ interval {interval} ms; multiplier {multiplier}; }}; }}\n\
         protocol static {{ ipv4; route {v4} blackhole; }}\nprotocol static {{ ipv6; route {v6} blackhole; }}\n\
         protocol bgp p0 {{ local fe80::2 as {}; neighbor fe80::1 as {}; interface \"e1\"; password \"{PASSWORD}\";\n\
         ttl security on; bfd on; connect delay time 0; connect retry time 1; error wait time 1,2;\n\
         ipv4 {{ import all; export all; extended next hop on; }};\nipv6 {{ import all; export all; }};\n}}\n",
        kernel("ipv4"),
        kernel("ipv6"),
        ASES[1],
        ASES[0]
    );
    let _they = Bird::with(&there, &text).await?;
    bfd::all(&us, &here, bfd::is_watched).await?;
    reaches(&here, 1, 2, "fe80::2", "e1").await
}

/// With FRR, which is told address and device, too. Its BFD does not answer at such an address: it has it by interface.
pub(crate) async fn with_frr(sandbox: Sandbox) -> anyhow::Result<()> {
    let (_segment, here, there, us) = two(&sandbox).await?;
    let neighbor = format!(
        " neighbor fe80::1 remote-as {}\n neighbor fe80::1 interface e1\n neighbor fe80::1 ttl-security hops 1\n \
         neighbor fe80::1 capability extended-nexthop\n",
        ASES[0]
    );
    let _they = Frr::with(&there, &frr("fe80::1", &neighbor)).await?;
    us.established(&here).await?;
    reaches(&here, 1, 2, "fe80::2", "e1").await
}

/// A configuration of FRR's with one neighbour, which `lines` introduce.
pub(crate) fn frr(neighbor: &str, lines: &str) -> String {
    let [v4, v6] = prefixes(2);
    let family = |name: &str, own: &str| {
        format!(
            " address-family {name} unicast\n  network {own}\n  neighbor {neighbor} activate\n exit-address-family\n"
        )
    };
    let (theirs, v4, v6) = (ASES[1], family("ipv4", &v4), family("ipv6", &v6));
    format!(
        "hostname frr\nlog stdout\nrouter bgp {theirs}\n bgp router-id 10.2.0.1\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n no bgp network import-check\n coalesce-time 0\n{lines} \
         neighbor {neighbor} timers connect 1\n neighbor {neighbor} advertisement-interval 0\n \
         neighbor {neighbor} password {PASSWORD}\n{v4}{v6}exit\n"
    )
}
