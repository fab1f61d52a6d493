//! Which of two connections between the same speakers stays (RFC 4271 §6.8, RFC 6286 §2.3).

use super::event::Side;
use super::negotiation::Negotiated;

/// The connection that the dominant speaker dialled: the one with the greater BGP identifier, and with equal ones
/// (possible only between two AS) the one with the greater AS number. Both ends get the same answer.
pub(super) fn winner(terms: &Negotiated) -> Side {
    let here = (terms.local_id, terms.local_as);
    let there = (terms.peer_id, terms.peer_as);
    if here > there { Side::Active } else { Side::Passive }
}

#[cfg(test)]
mod tests {
    use super::super::negotiation::tests::terms;
    use super::*;
    use crate::config::Asn;

    #[test]
    fn the_greater_identifier_keeps_what_it_dialled() {
        assert_eq!(winner(&terms((1, "10.0.0.2"), (1, "10.0.0.1"))), Side::Active);
        assert_eq!(winner(&terms((1, "10.0.0.1"), (1, "10.0.0.2"))), Side::Passive);
        // The numbers are compared as numbers, not as text.
        assert_eq!(winner(&terms((1, "10.0.0.9"), (1, "10.0.0.10"))), Side::Passive);
    }

    #[test]
    fn with_equal_identifiers_the_greater_as_keeps_what_it_dialled() {
        let here = terms((65002, "10.0.0.1"), (65001, "10.0.0.1"));
        assert_eq!(here.local_as, Asn(65002));
        assert_eq!(winner(&here), Side::Active);
        assert_eq!(winner(&terms((65001, "10.0.0.1"), (65002, "10.0.0.1"))), Side::Passive);
    }
}
