//! What the file says, as the speaker and the kernel's writer understand it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use caracal_bgp::config::{AttributeCodes, ConfigError, LimitAction, PrefixLimit, PrefixLimits};
use caracal_bgp::policy::{Policy, PrefixMatch, Rule, Then, Verdict};
use caracal_bgp::wire::attribute::Community;
use caracal_bgp::{
    Config, Families, Family, HoldTime, LocalNextHops, NextHopMode, PeerConfig, PeerKey, SessionOptions,
};
use ipnetwork::IpNetwork;

use crate::file::{self, FileError, LimitKind, Mistake, Source, Text, nearest};

/// The port BGP is spoken on.
const BGP_PORT: u16 = 179;
/// The longest wait between two dials where the file says nothing.
const CONNECT_RETRY: Duration = Duration::from_secs(30);

/// Everything the file decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The speaker. Own addresses the file does not give are not filled in yet: see [`crate::next_hops`].
    pub config: Config,
    /// What is announced.
    pub originate: BTreeMap<IpNetwork, Vec<Community>>,
    /// Whether and how best routes become kernel routes.
    pub fib: Option<Fib>,
    /// Where `caracalctl` is answered.
    pub socket: Option<PathBuf>,
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
    let policies = policies(&file.policy)?;
    let speaker = file.speaker.get_ref();
    let mut peers = BTreeMap::new();
    let mut places: BTreeMap<PeerKey, Range<usize>> = BTreeMap::new();
    for table in &file.peer {
        let address = &table.get_ref().address;
        let key = PeerKey::from(address.get_ref().0);
        if peers.insert(key, peer(table.get_ref(), speaker, &policies)?).is_some() {
            return Err(Mistake::new(
                address.span(),
                format!("there is another peer at {key}: keep one of them"),
            ));
        }
        places.insert(key, table.span());
    }
    let listen = match &speaker.listen {
        Some(addresses) => addresses.iter().map(|address| address.0).collect(),
        None => vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, BGP_PORT)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, BGP_PORT)),
        ],
    };
    let config = Config {
        cluster_id: speaker.cluster_id.map(|id| id.0),
        listen,
        peers,
        require_policies: speaker.require_policy,
        ..Config::new(speaker.local_as.0, speaker.router_id.0)
    };
    config.validate().map_err(|error| {
        let place = peer_of(&error).and_then(|key| places.get(&key).cloned());
        Mistake::new(place.unwrap_or_else(|| file.speaker.span()), error.to_string())
    })?;
    Ok(Settings { config, originate, fib, socket: speaker.socket.clone() })
}

/// The peer that a refusal is about.
fn peer_of(error: &ConfigError) -> Option<PeerKey> {
    match error {
        ConfigError::ZeroAs { peer } => peer.parse().ok().map(|address: IpAddr| PeerKey::from(address)),
        ConfigError::NoFamily { peer }
        | ConfigError::KeyMismatch { peer, .. }
        | ConfigError::LocalAddressFamily { peer, .. }
        | ConfigError::NotUnicast { peer }
        | ConfigError::ConnectRetry { peer, .. }
        | ConfigError::Keepalive { peer, .. }
        | ConfigError::ZeroTtl { peer } => Some(*peer),
    }
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

type Policies = BTreeMap<String, Arc<Policy>>;

fn policies(tables: &[file::Policy]) -> Result<Policies, Mistake> {
    let mut all = Policies::new();
    for table in tables {
        let name = table.name.get_ref();
        let rules = table.rule.iter().enumerate().map(|(place, rule)| {
            let name = rule.name.clone().unwrap_or_else(|| format!("{name}[{}]", place + 1));
            let prefixes: Vec<_> = rule.prefixes.iter().map(|prefix| prefix.0).collect();
            let then = match rule.action.0 {
                Verdict::Accept => Then::Accept,
                Verdict::Reject => Then::Reject,
            };
            Rule::new(name, prefixes, then)
        });
        let policy = Arc::new(Policy::new(rules.collect(), table.default.0));
        if all.insert(name.clone(), policy).is_some() {
            return Err(Mistake::new(
                table.name.span(),
                format!("there is another policy `{name}`: rename one"),
            ));
        }
    }
    Ok(all)
}

fn named(policies: &Policies, name: &toml::Spanned<String>) -> Result<Arc<Policy>, Mistake> {
    let wanted = name.get_ref();
    policies.get(wanted).cloned().ok_or_else(|| {
        let meant = match nearest(wanted, policies.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write a [[policy]] of that name".to_owned(),
        };
        Mistake::new(name.span(), format!("there is no policy `{wanted}`: {meant}"))
    })
}

fn peer(table: &file::Peer, speaker: &file::Speaker, policies: &Policies) -> Result<PeerConfig, Mistake> {
    let address = table.address.get_ref().0;
    let local_as = table.local_as.map_or(speaker.local_as.0, |number| number.0);
    let remote_as = table.remote_as.0;
    let external = local_as != remote_as;
    let import = match &table.import {
        Some(name) => named(policies, name)?,
        None => Arc::new(usual_import(external, speaker.require_policy)),
    };
    let export = match &table.export {
        Some(name) => named(policies, name)?,
        None => Arc::new(Policy::absent()),
    };
    Ok(PeerConfig {
        name: table.name.clone().unwrap_or_else(|| address.to_string()),
        local_address: table.local_address.map(|address| address.0),
        passive: table.passive,
        hold_time: table.hold_time.map_or(HoldTime::DEFAULT, |hold| hold.0),
        keepalive: table.keepalive.map(|time| time.0),
        connect_retry: table.connect_retry.map_or(CONNECT_RETRY, |time| time.0),
        families: table.families.as_ref().map_or_else(Families::dual, |list| families(list)),
        reflector_client: table.reflector_client,
        next_hop: table.next_hop.map_or(NextHopMode::Auto, |mode| mode.0),
        local_next_hops: LocalNextHops {
            v4: table.next_hop_v4.map(|address| address.0),
            v6: table.next_hop_v6.map(|address| address.0),
        },
        multihop: table.multihop,
        session: session(table)?,
        import,
        export,
        ..PeerConfig::new(SocketAddr::new(address, table.port.unwrap_or(BGP_PORT)), local_as, remote_as)
    })
}

fn families(list: &[Text<Family>]) -> Families {
    list.iter().map(|family| family.0).collect()
}

/// What the session may use beyond the base protocol.
fn session(table: &file::Peer) -> Result<SessionOptions, Mistake> {
    let usual = SessionOptions::default();
    let refused = table.refused_attributes.as_ref();
    Ok(SessionOptions {
        add_path_receive: families(&table.add_path_receive),
        add_path_send: families(&table.add_path_send),
        extended_next_hop: families(&table.extended_next_hop),
        extended_messages: table.extended_messages.unwrap_or(usual.extended_messages),
        enhanced_refresh: table.enhanced_refresh.unwrap_or(usual.enhanced_refresh),
        delay_open: table.delay_open.map(|time| time.0),
        enforce_first_as: table.enforce_first_as.unwrap_or(usual.enforce_first_as),
        refused_attributes: refused
            .map_or(usual.refused_attributes, |codes| codes.iter().copied().collect::<AttributeCodes>()),
        limits: table.max_prefixes.as_ref().map_or(Ok(usual.limits), limits)?,
    })
}

fn limits(table: &file::MaxPrefixes) -> Result<PrefixLimits, Mistake> {
    let action = match (table.action.get_ref().0, table.after) {
        (LimitKind::Warn, None) => LimitAction::Warn,
        (LimitKind::Stop, None) => LimitAction::Stop,
        (LimitKind::Restart, Some(after)) => LimitAction::Restart(after.0),
        (LimitKind::Restart, None) => {
            let what = "`restart` needs `after`: the seconds until the session may come back";
            return Err(Mistake::new(table.action.span(), what));
        }
        (LimitKind::Warn | LimitKind::Stop, Some(_)) => {
            let what = "`after` goes with the action `restart` alone: take it out, or write `restart`";
            return Err(Mistake::new(table.action.span(), what));
        }
    };
    let limit = |prefixes: Option<u32>| prefixes.map(|prefixes| PrefixLimit { prefixes, action });
    Ok(PrefixLimits { ipv4: limit(table.ipv4_unicast), ipv6: limit(table.ipv6_unicast) })
}

/// Without a policy everything is accepted, except that nobody of another AS becomes the way to everywhere by
/// accident. With `require-policy` nothing is accepted from other ASes (RFC 8212).
fn usual_import(external: bool, require_policy: bool) -> Policy {
    if !external || require_policy {
        return Policy::absent();
    }
    let everywhere: Vec<_> = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        .into_iter()
        .filter_map(|address| IpNetwork::new(address, 0).ok())
        .map(PrefixMatch::exact)
        .collect();
    Policy::new(vec![Rule::reject("DefaultRoute", everywhere)], Verdict::Accept)
}

#[cfg(test)]
mod tests {
    use caracal_bgp::policy::{PeerType, Subject};
    use caracal_bgp::rib::Source;
    use caracal_bgp::wire::attribute::AttributeSet;
    use caracal_bgp::wire::nlri::{Ipv4Prefix, Prefix};

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
        let said = read("[fib]\nprotocol = 2\n").unwrap_err();
        assert!(said.starts_with("f:5: fib.protocol: protocol 2 is the kernel's"), "{said}");
    }
}
