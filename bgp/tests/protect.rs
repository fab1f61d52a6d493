//! What keeps strangers out of a session, on the loopback device: passwords (TCP-MD5), TTLs (GTSM), devices.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use caracal_bgp::net::session::spawn;
use caracal_bgp::net::{Directory, Keys, Listeners, Report, SessionHandle, SessionStatus};
use caracal_bgp::peer::{Loss, Reason, SessionState};
use caracal_bgp::speaker::Handle;
use caracal_bgp::{Asn, Config, HoldTime, Password, PeerConfig, PeerKey, RouterId};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing here may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// One end, which listens at an address of its own.
struct End {
    address: IpAddr,
    listeners: Listeners,
    directory: Arc<Directory>,
}

/// A session, and its reports, which are taken and forgotten.
struct Speaker {
    session: SessionHandle,
    config: PeerConfig,
    id: RouterId,
}

impl End {
    fn new(address: IpAddr, keys: &Keys) -> End {
        let directory = Arc::new(Directory::default());
        let listeners = Listeners::bind(&[SocketAddr::new(address, 0)], &directory, keys).unwrap();
        End { address, listeners, directory }
    }

    fn config(&self, other: &End) -> PeerConfig {
        PeerConfig {
            local_address: Some(self.address),
            hold_time: HoldTime::try_from(9).unwrap(),
            connect_retry: Duration::from_millis(200),
            ..PeerConfig::new(other.listeners.addresses()[0], Asn(64512), Asn(64512))
        }
    }

    fn open(&self, id: u8, config: PeerConfig) -> Speaker {
        let key = PeerKey::Address(config.remote.ip());
        self.listeners.set_key((key.address(), None), config.password.as_ref()).unwrap();
        let (to_rib, mut reports) = mpsc::channel::<Report>(4);
        tokio::spawn(async move { while reports.recv().await.is_some() {} });
        let id = RouterId::try_from(Ipv4Addr::new(10, 0, 0, id)).unwrap();
        let session = spawn(key, Arc::new(config.clone()), id, to_rib);
        self.directory.insert(key.address(), session.incoming());
        Speaker { session, config, id }
    }
}

impl Speaker {
    async fn until(&self, wanted: impl Fn(&SessionStatus) -> bool) {
        let mut watch = self.session.watch();
        let reached = timeout(LIMIT, watch.wait_for(|status| wanted(status))).await.map(drop);
        assert!(reached.is_ok(), "it stayed at {:?}", self.session.status());
    }

    async fn established(&self) {
        self.until(|status| status.state == SessionState::Established).await;
    }

    /// A dial of this end, at least, got no answer at all, and nothing was ever read.
    async fn unanswered(&self) {
        self.until(|status| status.last_error == Some(Reason::DialTimedOut)).await;
        assert_eq!(self.session.statistics().received.read().total(), 0);
    }
}

fn v4(round: u8, last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 72, round, last))
}

fn password(text: &str) -> Option<Password> {
    Some(Password::try_from(text).unwrap())
}

/// Two ends; the first waits, the second dials.
fn pair(addresses: [IpAddr; 2], edit: [&dyn Fn(&mut PeerConfig); 2]) -> ((End, Speaker), (End, Speaker)) {
    let (a, b) = (End::new(addresses[0], &Keys::default()), End::new(addresses[1], &Keys::default()));
    let (mut waits, mut dials) = (a.config(&b), b.config(&a));
    waits.passive = true;
    edit[0](&mut waits);
    edit[1](&mut dials);
    let (left, right) = (a.open(1, waits), b.open(2, dials));
    ((a, left), (b, right))
}

#[tokio::test]
async fn equal_passwords_let_in_over_both_families() {
    let secret = |config: &mut PeerConfig| config.password = password("correct horse");
    for addresses in [[v4(1, 1), v4(1, 2)], [IpAddr::V6(Ipv6Addr::LOCALHOST); 2]] {
        let ((_a, left), (_b, right)) = pair(addresses, [&secret, &secret]);
        left.established().await;
        right.established().await;
    }
}

#[tokio::test]
async fn a_wrong_or_missing_password_lets_nobody_in_whichever_end_has_it() {
    let none = |_: &mut PeerConfig| {};
    let right = |config: &mut PeerConfig| config.password = password("correct horse");
    let wrong = |config: &mut PeerConfig| config.password = password("battery staple");
    let (_e1, d1) = pair([v4(2, 1), v4(2, 2)], [&right, &wrong]);
    let (_e2, d2) = pair([v4(2, 3), v4(2, 4)], [&right, &none]);
    let (_e3, d3) = pair([v4(2, 5), v4(2, 6)], [&none, &right]);
    tokio::join!(d1.1.unanswered(), d2.1.unanswered(), d3.1.unanswered());
}

#[tokio::test]
async fn a_password_is_changed_at_both_ends_without_a_reset() {
    let old = |config: &mut PeerConfig| config.password = password("old");
    let ((a, left), (b, right)) = pair([v4(3, 1), v4(3, 2)], [&old, &old]);
    left.established().await;
    right.established().await;
    for (end, speaker) in [(&a, &left), (&b, &right)] {
        let mut config = speaker.config.clone();
        config.password = password("new");
        end.listeners.set_key((config.remote.ip(), None), config.password.as_ref()).unwrap();
        speaker.session.configure(Arc::new(config), speaker.id).await;
    }
    // A KEEPALIVE of each that was sent under the new password, for each end hears more than before.
    let heard = |speaker: &Speaker| speaker.session.statistics().received.read().keepalive;
    let before = [heard(&left), heard(&right)];
    let more = async {
        while heard(&left) < before[0] + 2 || heard(&right) < before[1] + 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, more).await.expect("the ends hear each other");
    assert_eq!(left.session.status().transitions, 1);
    assert_eq!(right.session.status().transitions, 1);
}

#[tokio::test]
async fn one_key_holds_for_a_whole_network() {
    let network = v4(4, 0);
    let keys: Keys = BTreeMap::from([((network, Some(24)), password("all of you").unwrap())]);
    let (a, b) = (End::new(v4(4, 1), &keys), End::new(v4(4, 2), &Keys::default()));
    let directory = &a.directory;
    let mut waits = a.config(&b);
    waits.passive = true;
    // No key of its own: that of the network is asked for.
    let (to_rib, _reports) = mpsc::channel::<Report>(4);
    let id = RouterId::try_from(Ipv4Addr::new(10, 0, 0, 1)).unwrap();
    let left = spawn(PeerKey::Address(b.address), Arc::new(waits), id, to_rib);
    directory.insert(b.address, left.incoming());
    let stranger = b.open(2, b.config(&a));
    stranger.unanswered().await;
    let mut known = b.config(&a);
    known.password = password("all of you");
    stranger.session.configure(Arc::new(known), stranger.id).await;
    stranger.established().await;
}

#[tokio::test]
async fn ttl_security_takes_a_peer_that_is_as_near_as_it_says_and_none_that_is_farther() {
    let near = |config: &mut PeerConfig| config.ttl_security = NonZeroU8::new(1);
    let two_hops = |config: &mut PeerConfig| config.ttl_security = NonZeroU8::new(2);
    let one_less = |config: &mut PeerConfig| config.multihop = Some(254);
    for addresses in [[v4(5, 1), v4(5, 2)], [IpAddr::V6(Ipv6Addr::LOCALHOST); 2]] {
        let ((_a, left), (_b, right)) = pair(addresses, [&near, &near]);
        left.established().await;
        right.established().await;
    }
    let ((_a, left), (_b, right)) = pair([v4(5, 3), v4(5, 4)], [&two_hops, &one_less]);
    left.established().await;
    right.established().await;
    // The connection is made, for the listener is everybody's; what comes on it is not taken.
    let ((_c, far), (_d, dials)) = pair([v4(5, 5), v4(5, 6)], [&near, &one_less]);
    dials.until(|status| status.last_error.is_some()).await;
    assert_eq!(far.session.statistics().received.read().total(), 0);
    assert_eq!(far.session.status().transitions, 0);
}

#[tokio::test]
async fn a_device_is_dialled_through_and_one_that_is_not_there_is_told() {
    let lo = |config: &mut PeerConfig| config.device = Some("lo".into());
    let gone = |config: &mut PeerConfig| config.device = Some("no-such-dev".into());
    let none = |_: &mut PeerConfig| {};
    let ((_a, left), (_b, right)) = pair([v4(6, 1), v4(6, 2)], [&none, &lo]);
    left.established().await;
    right.established().await;
    let (_c, (_d, lost)) = pair([v4(6, 3), v4(6, 4)], [&none, &gone]);
    lost.until(|status| matches!(status.last_error, Some(Reason::Lost(Loss::Unprepared(..))))).await;
    let words = lost.session.status().last_error.unwrap().to_string();
    assert!(words.contains("the device cannot be dialled through"), "{words}");
}

#[tokio::test]
async fn a_peer_whose_key_finds_no_room_is_not_let_in_and_the_words_say_what_to_raise() {
    let peer = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 73, high, low));
        PeerConfig {
            passive: true,
            password: password("secret"),
            ..PeerConfig::new(SocketAddr::new(address, 179), Asn(64512), Asn(64512))
        }
    };
    let peers: BTreeMap<PeerKey, PeerConfig> =
        (1..=3000).map(peer).map(|peer| (PeerKey::Address(peer.remote.ip()), peer)).collect();
    let config = Config {
        listen: vec![SocketAddr::new(v4(7, 1), 0)],
        peers,
        ..Config::new(Asn(64512), RouterId::try_from(Ipv4Addr::new(10, 0, 0, 1)).unwrap())
    };
    let speaker = Handle::start(config).unwrap();
    let peers = speaker.peers().await.unwrap();
    let told: Vec<&String> = peers.iter().filter_map(|peer| peer.last_error.as_ref()).collect();
    assert!(!told.is_empty() && told.len() < 3000, "{} of 3000 peers have no key", told.len());
    assert!(told.iter().all(|words| words.contains("optmem_max")), "{:?}", told[0]);
}
