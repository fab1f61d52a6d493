//! What the file says, as the speaker and the kernel's writer understand it.

mod bmp;
mod graceful_shutdown;
mod peer;
mod policies;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use caracal_bgp::Config;
use caracal_bgp::bmp::StationConfig;
use caracal_bgp::config::{Multipath, Subject};
use caracal_bgp::wire::attribute::Community;
use ipnetwork::IpNetwork;

use crate::file::{self, FileError, Mistake, Source};
use peer::Whom;

/// The port BGP is spoken on.
const BGP_PORT: u16 = 179;

/// Everything the file decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The speaker. Own addresses the file does not give are not filled in yet: see [`caracal_bgp_underlay::next_hops`].
    pub config: Config,
    /// What is announced.
    pub originate: BTreeMap<IpNetwork, Vec<Community>>,
    /// Whether and how best routes become kernel routes.
    pub fib: Option<Fib>,
    /// Where `caracalctl` is answered.
    pub socket: Option<PathBuf>,
    /// Where what outlives the process is kept, but not the machine's boot.
    pub run_directory: Option<PathBuf>,
    /// Who is told what peers say, by their names.
    pub stations: BTreeMap<String, StationConfig>,
}

/// How best routes become kernel routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fib {
    /// The number by which rtnetlink tells routing daemons apart.
    pub protocol: u8,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FileError`], for the first mistake in it.
    pub fn read(path: &Path) -> Result<Settings, FileError> {
        let text = fs::read_to_string(path)
            .map_err(|error| FileError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        Settings::parse(path, &text)
    }

    /// Understands the text of a file; `path` is for the words of errors.
    ///
    /// # Errors
    /// [`FileError`], for the first mistake in it.
    pub fn parse(path: &Path, text: &str) -> Result<Settings, FileError> {
        let source = Source::new(path, text);
        settings(source.parse()?).map_err(|mistake| source.located(mistake))
    }
}

fn settings(file: file::File) -> Result<Settings, Mistake> {
    let fib = match file.fib {
        Some(fib) => Some(Fib { protocol: protocol(fib.protocol.as_ref())? }),
        None => None,
    };
    let originate = originations(&file.originate)?;
    let policies = policies::policies(&file.policy)?;
    let speaker = file.speaker.get_ref();
    let (mut peers, mut ranges) = (BTreeMap::new(), BTreeMap::new());
    let mut places: BTreeMap<Subject, Range<usize>> = BTreeMap::new();
    for table in &file.peer {
        let whom = peer::whom(table)?;
        let (place, twice) = match whom {
            Whom::At(key) => {
                let peer = peer::peer(table.get_ref(), key, speaker, &policies)?;
                (Subject::Peer(key), peers.insert(key, peer).map(|_| format!("peer at {key}")))
            }
            Whom::Within(range) => {
                let of = peer::range(table.get_ref(), range, speaker, &policies)?;
                (Subject::Range(range), ranges.insert(range, of).map(|_| format!("range {range} of peers")))
            }
        };
        if let Some(what) = twice {
            let address = table.get_ref().address.as_ref().map(toml::Spanned::span);
            let range = table.get_ref().range.as_ref().map(toml::Spanned::span);
            let span = address.or(range).unwrap_or_else(|| table.span());
            return Err(Mistake::new(span, format!("there is another {what}: keep one of them")));
        }
        places.insert(place, table.span());
    }
    let listen = match &speaker.listen {
        Some(addresses) => addresses.iter().map(|address| address.0).collect(),
        None => vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, BGP_PORT)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, BGP_PORT)),
        ],
    };
    let usual = Multipath::default();
    let multipath = Multipath {
        max: speaker.multipath.unwrap_or(usual.max),
        relax: speaker.multipath_relax.unwrap_or(usual.relax),
    };
    let config = Config {
        multipath,
        cluster_id: speaker.cluster_id.map(|id| id.0),
        listen,
        peers,
        ranges,
        require_policies: speaker.require_policy,
        ..Config::new(speaker.local_as.0, speaker.router_id.0)
    };
    config.validate().map_err(|error| {
        let place = error.subject().and_then(|about| places.get(&about).cloned());
        Mistake::new(place.unwrap_or_else(|| file.speaker.span()), error.to_string())
    })?;
    let stations = bmp::stations(&file.bmp, speaker.router_id.0)?;
    let (socket, run_directory) = (speaker.socket.clone(), speaker.run_directory.clone());
    Ok(Settings { config, originate, fib, socket, run_directory, stations })
}

/// Numbers up to 4 are the kernel's own and those of routes made by hand: such routes must never count as ours.
fn protocol(given: Option<&toml::Spanned<u8>>) -> Result<u8, Mistake> {
    match given {
        None => Ok(caracal_linux::kernel::DEFAULT_PROTOCOL),
        Some(number) if *number.get_ref() <= 4 => Err(Mistake::new(
            number.span(),
            format!(
                "protocol {} is the kernel's or that of routes made by hand: use 5 to 255",
                number.get_ref()
            ),
        )),
        Some(number) => Ok(*number.get_ref()),
    }
}

fn originations(tables: &[file::Originate]) -> Result<BTreeMap<IpNetwork, Vec<Community>>, Mistake> {
    let mut all = BTreeMap::new();
    for table in tables {
        let prefix = table.prefix.get_ref().0;
        let communities = table.communities.iter().map(|community| community.0).collect();
        if all.insert(prefix, communities).is_some() {
            let what = format!("{prefix} is originated twice: keep one of them");
            return Err(Mistake::new(table.prefix.span(), what));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use caracal_bgp::config::{LimitAction, PrefixLimit, PrefixLimits};
    use caracal_bgp::policy::{Condition, Operation, PeerType, Policy, Subject, Verdict};
    use caracal_bgp::rib::Source;
    use caracal_bgp::wire::attribute::AttributeSet;
    use caracal_bgp::wire::nlri::{Ipv4Prefix, Prefix};
    use caracal_bgp::{Asn, Families, PeerConfig, RemoteAs};

    use super::*;

    const HEAD: &str = "[speaker]\nas = 64601\nrouter-id = \"172.29.0.1\"\n";

    fn read(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("f"), &format!("{HEAD}{text}")).map_err(|error| error.to_string())
    }

    fn only(settings: &Settings) -> &PeerConfig {
        settings.config.peers.values().next().unwrap()
    }

    fn accepts(policy: &Policy, text: &str) -> bool {
        let network: IpNetwork = text.parse().unwrap();
        let IpNetwork::V4(network) = network else { panic!("IPv4 only: {text}") };
        let prefix = Ipv4Prefix::from_network(&network.into()).unwrap();
        let subject = Subject {
            attributes: &AttributeSet::default(),
            next_hop: None,
            interface: None,
            source: Source::Ebgp,
            peer: PeerType::External,
        };
        policy.decide(prefix, &subject).verdict == Verdict::Accept
    }

    #[test]
    fn a_short_file_has_sensible_defaults() {
        let settings = read("[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\n").unwrap();
        let peer = only(&settings);
        assert_eq!(
            settings.config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["0.0.0.0:179", "[::]:179"]
        );
        assert_eq!((peer.name.as_str(), peer.remote.to_string().as_str()), ("172.29.0.2", "172.29.0.2:179"));
        assert_eq!((peer.local_as.0, peer.families), (64601, Families::dual()));
        assert!(settings.fib.is_none() && settings.socket.is_none());
        assert!(accepts(&peer.import, "10.0.0.0/8") && !accepts(&peer.import, "0.0.0.0/0"));
        assert!(accepts(&peer.export, "0.0.0.0/0"));
    }

    #[test]
    fn the_as_of_a_peer_is_a_number_a_list_or_a_side() {
        let peer = |asn: &str| read(&format!("[[peer]]\naddress = \"172.29.0.2\"\nas = {asn}\n"));
        for (text, remote_as, refuses_default) in [
            ("64602", RemoteAs::Exactly(Asn(64602)), true),
            ("[64602, 64603]", RemoteAs::AnyOf([Asn(64602), Asn(64603)].into()), true),
            ("\"external\"", RemoteAs::External, true),
            ("\"internal\"", RemoteAs::Internal, false),
        ] {
            let settings = peer(text).unwrap();
            assert_eq!(only(&settings).remote_as, remote_as);
            assert_eq!(accepts(&only(&settings).import, "0.0.0.0/0"), !refuses_default, "{text}");
        }
        for (text, wanted) in [
            ("0", "f:6: peer[1].as: 0 is not allowed: an AS number is 1 to 4294967295"),
            ("[]", "f:6: peer[1].as: a list of no AS numbers lets nobody in"),
            ("[64602, 0]", "f:6: peer[1].as[2]: 0 is not allowed"),
            ("\"any\"", "f:6: peer[1].as: `any` is not known here: write \"external\" or \"internal\""),
            (
                "[64601, 64602]",
                "f:4: peer[1]: configuring peer 172.29.0.2: our own AS 64601 is listed with others",
            ),
        ] {
            let said = peer(text).unwrap_err();
            assert!(said.starts_with(wanted), "{said}");
        }
    }

    #[test]
    fn a_range_has_the_keys_of_a_peer_but_for_those_of_dialling() {
        let range =
            |more: &str| read(&format!("[[peer]]\nrange = \"172.29.0.0/24\"\nas = \"external\"\n{more}"));
        let settings =
            range("name = \"racks\"\nmax-peers = 7\npassword = \"secret\"\nhold-time = 9\n").unwrap();
        assert!(settings.config.peers.is_empty());
        let (prefix, range_read) = settings.config.ranges.iter().next().unwrap();
        assert_eq!((prefix.to_string().as_str(), range_read.max_peers.get()), ("172.29.0.0/24", 7));
        let terms = &range_read.terms;
        assert_eq!((terms.name.as_str(), terms.hold_time.seconds()), ("racks", 9));
        assert!(terms.password.is_some() && !accepts(&terms.import, "0.0.0.0/0"));
        for (more, wanted) in [
            ("port = 180\n", "f:7: peer[1].port: peers of a range are never dialled"),
            ("max-peers = 0\n", "f:7: peer[1].max-peers: "),
            ("address = \"172.29.0.2\"\n", "f:5: peer[1].range: a peer has an `address`, or it is whoever"),
            ("families = []\n", "f:4: peer[1]: configuring the range 172.29.0.0/24 of peers: "),
        ] {
            let said = range(more).unwrap_err();
            assert!(said.starts_with(wanted), "{said}");
        }
        let said = read("[[peer]]\nas = 1\n").unwrap_err();
        assert!(said.starts_with("f:4: peer[1]: who is it?"), "{said}");
        let said = read("[[peer]]\naddress = \"172.29.0.2\"\nas = 1\nmax-peers = 3\n").unwrap_err();
        assert!(said.starts_with("f:7: peer[1].max-peers: `max-peers` goes with `range` alone"), "{said}");
        let twice = "[[peer]]\nrange = \"172.29.0.0/24\"\nas = 1\n".repeat(2);
        let said = read(&twice).unwrap_err();
        assert_eq!(
            said,
            "f:8: peer[2].range: there is another range 172.29.0.0/24 of peers: keep one of them"
        );
        let inner = "[[peer]]\naddress = \"172.29.0.2\"\nas = 1\n";
        let said = range(&format!("password = \"secret\"\n{inner}")).unwrap_err();
        assert!(
            said.starts_with("f:4: peer[1]: configuring peer 172.29.0.2, which has no password"),
            "{said}"
        );
    }

    #[test]
    fn with_require_policy_other_ases_get_and_give_nothing_without_one() {
        let peers = "require-policy = true\n[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\n";
        let settings = read(peers).unwrap();
        assert!(settings.config.require_policies, "the speaker passes nothing where nobody gave a policy");
        assert!(!only(&settings).import.is_given() && !only(&settings).export.is_given());
        let settings = read(&peers.replace("64602", "64601")).unwrap();
        assert!(accepts(&only(&settings).import, "10.0.0.0/8"), "inside the AS nothing changes");
    }

    #[test]
    fn policies_are_found_by_name_or_the_nearest_is_told() {
        let policy = "[[policy]]\nname = \"racks\"\ndefault = \"reject\"\n[[policy.rule]]\nprefixes = [\"172.30.0.0/16 le 24\"]\naction = \"accept\"\n";
        let peer = |import: &str| {
            format!("[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\nimport = \"{import}\"\n{policy}")
        };
        let settings = read(&peer("racks")).unwrap();
        assert!(
            accepts(&only(&settings).import, "172.30.7.0/24")
                && !accepts(&only(&settings).import, "172.30.7.0/25")
        );
        assert_eq!(
            read(&peer("rack")).unwrap_err(),
            "f:7: peer[1].import: there is no policy `rack`: did you mean `racks`?"
        );
    }

    #[test]
    fn rules_have_conditions_and_operations() {
        let text = "[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\nimport = \"p\"\n[[policy]]\nname = \"p\"\ndefault = \"reject\"\n\
            [[policy.rule]]\norigin-as = [64700]\nset-local-pref = 200\nadd-communities = [\"64601:0:1\"]\naction = \"accept\"\n";
        let settings = read(text).unwrap();
        let [rule] = only(&settings).import.rules() else { panic!("one rule is written") };
        assert_eq!(rule.conditions, [Condition::OriginAs(vec![Asn(64700)])]);
        let community = "64601:0:1".parse().unwrap();
        assert_eq!(rule.operations, [Operation::AddCommunity(community), Operation::LocalPref(200)]);
        let said = read(&text.replace("64601:0:1", "64601")).unwrap_err();
        assert!(said.starts_with("f:14: policy[1].rule[1].add-communities[1]: "), "{said}");
    }

    #[test]
    fn a_peer_in_graceful_shutdown_has_other_policies_and_the_same_session() {
        let peer = "[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\n";
        let before = read(peer).unwrap();
        let after = read(&format!("{peer}graceful-shutdown = true\n")).unwrap();
        let steps = caracal_bgp::config::diff::diff(&before.config, &after.config);
        let steps: Vec<String> = steps.iter().map(|(_, step)| format!("{step:?}")).collect();
        assert_eq!(steps, ["Refresh", "Reexport"]);
        assert!(!accepts(&only(&after).import, "0.0.0.0/0"), "what was refused still is");
        let said = read(&format!("require-policy = true\n{peer}graceful-shutdown = true\n")).unwrap();
        assert!(!only(&said).export.is_given(), "it is no policy that somebody gave");
    }

    #[test]
    fn what_is_there_twice_is_refused_at_the_second() {
        let peer = "[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\n";
        assert_eq!(
            read(&peer.repeat(2)).unwrap_err(),
            "f:8: peer[2].address: there is another peer at 172.29.0.2: keep one of them"
        );
        let prefix = "[[originate]]\nprefix = \"10.0.0.0/8\"\n";
        assert_eq!(
            read(&prefix.repeat(2)).unwrap_err(),
            "f:7: originate[2].prefix: 10.0.0.0/8 is originated twice: keep one of them"
        );
    }

    #[test]
    fn a_link_local_peer_needs_its_device_and_may_have_it_in_either_place() {
        let peer =
            |address: &str, more: &str| read(&format!("[[peer]]\naddress = \"{address}\"\nas = 2\n{more}"));
        let keys =
            |settings: Settings| settings.config.peers.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(keys(peer("fe80::1%eth0", "").unwrap()), ["fe80::1%eth0"]);
        assert_eq!(keys(peer("fe80::1", "device = \"eth0\"\n").unwrap()), ["fe80::1%eth0"]);
        for (address, more, why) in [
            ("fe80::1", "", "peer[1].address: `fe80::1` says nothing without its device"),
            ("fe80::1%eth0", "device = \"eth1\"\n", "the address is on eth0, and `device` says eth1"),
            ("fd00::1%eth0", "", "peer[1].address: `fd00::1%eth0`: only a link-local address"),
            (
                "fe80::1%eth0",
                "bfd = { multihop = true }\n",
                "it is on this link, and its BFD is told to go over many",
            ),
        ] {
            let said = peer(address, more).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_peer_by_interface_is_named_by_it_and_says_nowhere_else_where_it_is() {
        let peer = |more: &str| read(&format!("[[peer]]\ninterface = \"eth0\"\nas = \"external\"\n{more}"));
        let settings = peer("").unwrap();
        let (key, config) = settings.config.peers.iter().next().unwrap();
        assert_eq!((key.to_string().as_str(), config.name.as_str()), ("eth0", "eth0"));
        let extended = |settings: Settings| only(&settings).session.extended_next_hop;
        assert_eq!(extended(peer("").unwrap()), [caracal_bgp::Family::Ipv4Unicast].into_iter().collect());
        assert_eq!(extended(peer("extended-next-hop = []\n").unwrap()), Families::NONE);
        for (more, why) in [
            ("address = \"fe80::1%eth0\"\n", "f:7: peer[1].address: `interface` says where the peer is"),
            ("range = \"10.0.0.0/8\"\n", "f:7: peer[1].range: `interface` says where the peer is"),
            ("device = \"eth1\"\n", "f:7: peer[1].device: `interface` says where the peer is"),
            ("bfd = { multihop = true }\n", "it is on this link, and its BFD is told to go over many hops"),
        ] {
            let said = peer(more).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        let with = |device: &str, password: &str| {
            format!("[[peer]]\ninterface = \"{device}\"\nas = \"external\"\npassword = \"{password}\"\n")
        };
        let two = read(&[with("eth0", "a"), with("eth1", "b")].concat()).unwrap();
        assert_eq!(two.config.peers.len(), 2, "nobody knows yet whether they have the same address");
        let said = read("[[peer]]\ninterface = \"a b\"\nas = 2\n").unwrap_err();
        assert!(said.starts_with("f:5: peer[1].interface: 'a b' is no name of a device"), "{said}");
    }

    #[test]
    fn two_link_local_peers_of_one_address_have_one_password() {
        let peer = |device: &str, password: &str| {
            format!("[[peer]]\naddress = \"fe80::1%{device}\"\nas = 2\npassword = \"{password}\"\n")
        };
        assert!(read(&[peer("eth0", "a"), peer("eth1", "a")].concat()).is_ok());
        let said = read(&[peer("eth0", "a"), peer("eth1", "b")].concat()).unwrap_err();
        assert!(
            said.starts_with("f:8: peer[2]: configuring peer fe80::1%eth1: fe80::1%eth0 has the same"),
            "{said}"
        );
    }

    #[test]
    fn tcp_ao_is_refused_in_words_and_at_its_place() {
        let peer =
            "[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\ntcp-ao = [{ id = 1, key = \"secret\" }]\n";
        let said = read(peer).unwrap_err();
        assert!(said.starts_with("f:7: peer[1].tcp-ao: TCP-AO (RFC 5925) is not offered"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn limits_of_prefixes_say_what_is_done() {
        let peer = |limit: &str| {
            read(&format!("[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\nmax-prefixes = {limit}\n"))
        };
        let settings = peer("{ ipv4-unicast = 100, action = \"restart\", after = 60 }").unwrap();
        let limits = only(&settings).session.limits;
        let action = LimitAction::Restart(Duration::from_secs(60));
        assert_eq!(limits, PrefixLimits { ipv4: Some(PrefixLimit { prefixes: 100, action }), ipv6: None });
        let said = peer("{ ipv4-unicast = 100, action = \"restart\" }").unwrap_err();
        assert!(said.starts_with("f:7: peer[1].max-prefixes.action: `restart` needs `after`"), "{said}");
    }

    #[test]
    fn what_the_speaker_refuses_is_told_at_the_peer() {
        let said = read("[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\nlocal-address = \"2001:db8::1\"\n")
            .unwrap_err();
        assert!(
            said.starts_with("f:4: peer[1]: configuring peer 172.29.0.2: local address 2001:db8::1"),
            "{said}"
        );
        let said = read("[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\nhold-time = 2\n").unwrap_err();
        assert!(said.starts_with("f:7: peer[1].hold-time: 2 is not allowed: a hold time of 2 s"), "{said}");
        let peer = "[[peer]]\naddress = \"172.29.0.2\"\nas = 64602\n";
        let said = read(&format!("{peer}password = \"\"\n")).unwrap_err();
        assert!(
            said.starts_with("f:7: peer[1].password: a password for TCP-MD5 has 1 to 80 octets"),
            "{said}"
        );
        let said = read(&format!("{peer}graceful-restart = 5000\n")).unwrap_err();
        assert!(said.contains("use 1 to 4095 s"), "{said}");
        let said = read(&format!("{peer}long-lived-stale-time = 60\n")).unwrap_err();
        assert!(
            said.starts_with("f:7: peer[1].long-lived-stale-time: `long-lived-stale-time` begins"),
            "{said}"
        );
        let long = format!("{peer}graceful-restart = 60\nlong-lived-stale-time = ");
        let said = read(&format!("{long}16777216\n")).unwrap_err();
        assert!(said.contains("use 1 to 16777215 s"), "{said}");
        let restart = only(&read(&format!("{long}3600\n")).unwrap()).session.graceful_restart.unwrap();
        assert_eq!(restart.long_lived, Some(Duration::from_secs(3600)));
        let said = read(&format!("{peer}multihop = 3\nttl-security = 1\n")).unwrap_err();
        assert!(said.starts_with("f:4: peer[1]: configuring peer 172.29.0.2: TTL security and"), "{said}");
        let said = read("[fib]\nprotocol = 2\n").unwrap_err();
        assert!(said.starts_with("f:5: fib.protocol: protocol 2 is the kernel's"), "{said}");
    }
}
