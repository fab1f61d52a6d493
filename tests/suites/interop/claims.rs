//! What is claimed: which feature with which daemon, and the case that shows it. `docs/interop.md` is made of this list.

use caracal_suites::Case;

use crate::bird::Bird;
use crate::exabgp::ExaBgp;
use crate::frr::Frr;
use crate::gobgp::GoBgp;
use crate::openbgpd::OpenBgpd;
use crate::peer::Peer;
use crate::{
    bfd, bmp, daemon, link_local, long_lived, malformed, many, options, page, passwords, ranges, restart,
    scenario, unnumbered,
};

/// One cell of the table.
pub(crate) struct Claim {
    /// The row.
    pub(crate) feature: &'static str,
    /// The column.
    pub(crate) daemon: &'static str,
    /// What shows it.
    pub(crate) case: Case,
}

/// The column of what needs no other daemon, or a speaker of the test's own.
pub(crate) const OWN: &str = "own speaker";

/// What is claimed of the daemon itself, whoever its peers are: no column, a list.
pub(crate) const ITSELF: &str = "itself";

/// The columns, with the Debian package of each.
pub(crate) const DAEMONS: [(&str, &str); 5] = [
    (Bird::NAME, "bird2"),
    (Frr::NAME, "frr"),
    (GoBgp::NAME, "gobgpd"),
    (ExaBgp::NAME, "exabgp"),
    (OpenBgpd::NAME, "openbgpd"),
];

/// A case of each named daemon for one scenario.
macro_rules! claims {
    ($all:ident, $feature:literal, $name:literal, $scenario:path: $($kind:ident $prefix:literal),+) => {
        $($all.push(Claim {
            feature: $feature,
            daemon: <$kind as Peer>::NAME,
            case: Case { name: concat!($prefix, "_", $name), run: |inside| Box::pin($scenario(std::marker::PhantomData::<$kind>, inside)) },
        });)+
    };
}

/// A case that needs none of them.
macro_rules! claim {
    ($all:ident, $feature:literal, $daemon:expr, $name:literal, $case:path) => {
        $all.push(Claim {
            feature: $feature,
            daemon: $daemon,
            case: Case { name: $name, run: |inside| Box::pin($case(inside)) },
        });
    };
}

/// Everything.
pub(crate) fn all() -> Vec<Claim> {
    let mut all = Vec::new();
    with_daemons(&mut all);
    watched_by_ourselves(&mut all);
    with_ourselves(&mut all);
    itself(&mut all);
    claim!(all, "this page", "", "the_page_is_what_the_cases_claim", page::is_true);
    all
}

/// What each daemon is tried with.
fn with_daemons(all: &mut Vec<Claim>) {
    claims!(all, "eBGP, both families", "ebgp", scenario::ebgp:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "iBGP, both families", "ibgp", scenario::ibgp:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "communities, extended and large ones unchanged", "communities_pass", scenario::communities:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "reflection by caracal, client and non-client", "reflected_to", scenario::we_reflect:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "reflection between two of caracal", "reflects", scenario::they_reflect:
        Bird "bird", Frr "frr", GoBgp "gobgp", OpenBgpd "openbgpd");
    claims!(all, "route refresh, asked by either side", "refresh", scenario::refresh:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "refreshes with a beginning and an end (RFC 7313)", "enhanced_refresh", options::enhanced_refresh:
        Bird "bird", Frr "frr", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "hold time 0", "hold_zero", scenario::hold_zero:
        Bird "bird", Frr "frr", ExaBgp "exabgp");
    claims!(all, "IPv4 routes with IPv6 next hops (RFC 8950)", "ipv4_by_ipv6", scenario::extended_next_hop:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp");
    claims!(all, "extended messages (RFC 8654)", "extended_messages", options::extended_messages:
        Bird "bird", Frr "frr", ExaBgp "exabgp");
    claims!(all, "what is too long for the peer is withheld, the session stands", "too_long_is_withheld",
        options::too_long_is_withheld: GoBgp "gobgp", OpenBgpd "openbgpd");
    claims!(all, "several paths of a prefix, both ways (RFC 7911)", "add_path", options::add_path:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "who announces too many prefixes loses the session", "max_prefix", scenario::max_prefix:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "the path fails: BFD ends the session (RFC 5880, RFC 5881)", "bfd", bfd::path_failure:
        Bird "bird", Frr "frr");
    claims!(all, "the same over many hops (RFC 5883)", "bfd_over_many_hops", bfd::path_failure_over_many_hops:
        Bird "bird", Frr "frr");
    claims!(all, "either side is killed, or told to restart: no packet is lost (RFC 4724)", "restarts",
        restart::restarts: Bird "bird", Frr "frr", GoBgp "gobgp");
    claims!(all, "nor where BFD watches the path at both ends (RFC 5882)", "restarts_with_bfd",
        restart::restarts_with_bfd: Bird "bird", Frr "frr");
    claims!(all, "BFD outlives our restart: by the same names, and never down at the other end (RFC 5882)",
        "bfd_outlives_a_restart", restart::path_outlives_restarts: Bird "bird", Frr "frr");
    claims!(all, "our restarts, with a peer that cannot restart so: it keeps our routes, no packet is lost (RFC 4724)",
        "our_restarts", restart::our_restarts: OpenBgpd "openbgpd");
    claims!(all, "a dead node: the hold time ends the session and not its only routes (RFC 8538)", "a_dead_node",
        restart::a_dead_node: Frr "frr", GoBgp "gobgp");
    claims!(all, "away for longer than it asked for: kept as a last resort (RFC 9494)", "long_away",
        long_lived::a_peer_long_away: Bird "bird", Frr "frr", GoBgp "gobgp");
    claims!(all, "passwords: missing, wrong, right, changed (RFC 2385)", "passwords", passwords::are_asked_for:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "peers that nobody has named: from a range, so many, and gone with their session", "newcomers",
        ranges::newcomers: Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claims!(all, "a range asks everybody for its password (RFC 2385)", "password_of_a_range", ranges::passwords:
        Bird "bird", Frr "frr", GoBgp "gobgp", ExaBgp "exabgp", OpenBgpd "openbgpd");
    claim!(
        all,
        "link-local peers, by address and device: routes of both families go by nothing else",
        Bird::NAME,
        "bird_link_local",
        link_local::with_bird
    );
    claim!(
        all,
        "link-local peers, by address and device: routes of both families go by nothing else",
        Frr::NAME,
        "frr_link_local",
        link_local::with_frr
    );
    claim!(
        all,
        "peers by interface, watched by BFD: nobody configures an address (RFC 4861, RFC 8950)",
        Frr::NAME,
        "frr_unnumbered",
        unnumbered::with_frr
    );
    claim!(
        all,
        "200 simultaneous opens, of each collision one session is left",
        Bird::NAME,
        "bird_200_simultaneous_opens",
        many::simultaneous_opens_with_bird
    );
}

/// What BFD is shown to do with another of us.
fn watched_by_ourselves(all: &mut Vec<Claim>) {
    claim!(
        all,
        "the path fails: BFD ends the session (RFC 5880, RFC 5881)",
        OWN,
        "caracal_bfd",
        bfd::with_ourselves
    );
    claim!(
        all,
        "the path to a peer by interface, or of a range, fails: BFD ends the session (RFC 5082, RFC 5881)",
        OWN,
        "caracal_bfd_of_the_unnamed",
        bfd::with_peers_that_nobody_named
    );
}

/// What is shown with another of us, or with a speaker of the suite's own.
fn with_ourselves(all: &mut Vec<Claim>) {
    claim!(
        all,
        "200 simultaneous opens, of each collision one session is left",
        OWN,
        "caracal_200_simultaneous_opens",
        many::simultaneous_opens_with_ourselves
    );
    claim!(
        all,
        "link-local peers, by address and device: routes of both families go by nothing else",
        OWN,
        "caracal_link_local",
        link_local::on_two_links
    );
    claim!(
        all,
        "peers by interface, watched by BFD: nobody configures an address (RFC 4861, RFC 8950)",
        OWN,
        "caracal_unnumbered",
        unnumbered::with_ourselves
    );
    claim!(
        all,
        "a peer that stops reading delays no other",
        OWN,
        "a_peer_that_does_not_read_delays_nobody",
        many::a_peer_that_does_not_read
    );
    claim!(
        all,
        "connections that say nothing",
        OWN,
        "silent_connections_hold_up_nobody",
        many::silent_connections
    );
    claim!(
        all,
        "malformed attributes of every kind, the session stands",
        OWN,
        "malformed_attributes_cost_their_route_alone",
        malformed::every_mistake
    );
    claim!(
        all,
        "what cannot be read past ends the session in words",
        OWN,
        "what_cannot_be_read_past_ends_the_session",
        malformed::beyond_repair
    );
    claim!(
        all,
        "what an enhanced refresh does not repeat is gone at its end",
        OWN,
        "refreshes_have_an_end",
        options::refreshes_have_an_end
    );
    claim!(
        all,
        "limits of prefixes that warn and restart",
        OWN,
        "limits_warn_and_restart",
        options::limits_warn_and_restart
    );
    claim!(all, "AS, originator and cluster loops", OWN, "loops_are_seen_and_told", malformed::loops);
    claim!(
        all,
        "unknown transitive attributes pass",
        OWN,
        "unknown_transitive_attributes_pass",
        malformed::unknown_attribute_passes
    );
}

/// What caracal-bgpd promises by itself.
fn itself(all: &mut Vec<Claim>) {
    claim!(
        all,
        "SIGHUP changes what differs, alone",
        ITSELF,
        "bgpd_reloads_by_difference",
        daemon::reloads_by_difference
    );
    claim!(
        all,
        "a bad file is refused whole, by line and field",
        ITSELF,
        "bgpd_refuses_a_bad_file",
        daemon::refuses_a_bad_file
    );
    claim!(
        all,
        "best routes become kernel routes",
        ITSELF,
        "bgpd_writes_the_kernel",
        daemon::writes_the_kernel
    );
    claim!(
        all,
        "the socket answers `caracalctl bgp`",
        ITSELF,
        "bgpd_answers_caracalctl",
        daemon::answers_caracalctl
    );
    claim!(
        all,
        "policies do what they say",
        ITSELF,
        "bgpd_policies_do_what_they_say",
        daemon::policies_do_what_they_say
    );
    claim!(
        all,
        "BMP (RFC 7854), as Wireshark reads it: a collector that comes late, goes and comes again is told everything",
        ITSELF,
        "bgpd_tells_a_bmp_collector",
        bmp::a_collector_is_told
    );
    claim!(
        all,
        "of two routers on the link of a peer by interface neither is taken",
        ITSELF,
        "bgpd_refuses_two_neighbours",
        unnumbered::two_are_refused
    );
    claim!(
        all,
        "router advertisements, as Wireshark reads them, and the answer to a solicitation",
        ITSELF,
        "bgpd_advertises_itself",
        unnumbered::as_others_read_it
    );
    claim!(all, "graceful shutdown (RFC 8326)", ITSELF, "bgpd_leaves_gracefully", daemon::leaves_gracefully);
}
