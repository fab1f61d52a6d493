//! Prefixes by their numbers, in both families: /24s from 20.0.0.0/24 on, /48s from 2a10::/48 on, which is what the
//! tables of the Internet are mostly made of.

/// An address family with unicast (RFC 4760).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Prefix lengths.
const BITS: [u8; 2] = [24, 48];
/// What all IPv6 prefixes begin with.
const FIRST_V6: [u8; 3] = [0x2a, 0x10, 0];
/// 20.0.0.0/24, as a number.
const FIRST_V4: u32 = 20 << 16;

impl Family {
    /// Its number among address families.
    pub(crate) fn afi(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// Appends the prefix of a number as NLRI.
    pub(crate) fn put(self, out: &mut Vec<u8>, number: u32) {
        match self {
            Family::V4 => {
                out.push(BITS[0]);
                out.extend(v4(number));
            }
            Family::V6 => {
                let [_, rest @ ..] = number.to_be_bytes();
                out.push(BITS[1]);
                out.extend(FIRST_V6);
                out.extend(rest);
            }
        }
    }

    /// Tells the number of each prefix in NLRI; others than such as peers announce are passed over.
    pub(crate) fn each(self, mut nlri: &[u8], mut each: impl FnMut(u32)) {
        while let Some((bits, rest)) = nlri.split_first() {
            let Some((prefix, rest)) = rest.split_at_checked(usize::from(bits.div_ceil(8))) else { return };
            if let Some(number) = self.number(*bits, prefix) {
                each(number);
            }
            nlri = rest;
        }
    }

    fn number(self, bits: u8, prefix: &[u8]) -> Option<u32> {
        match self {
            Family::V4 if bits == BITS[0] => number_of_v4(prefix.try_into().ok()?),
            Family::V6 if bits == BITS[1] => {
                let [first, second, third] = prefix.strip_prefix(&FIRST_V6)?.try_into().ok()?;
                Some(u32::from_be_bytes([0, first, second, third]))
            }
            Family::V4 | Family::V6 => None,
        }
    }
}

/// An IPv4 prefix by its number.
pub(crate) fn v4(number: u32) -> [u8; 3] {
    let [_, rest @ ..] = (FIRST_V4 + number).to_be_bytes();
    rest
}

/// The number of an IPv4 prefix; `None` for what no peer announces.
pub(crate) fn number_of_v4([first, second, third]: [u8; 3]) -> Option<u32> {
    u32::from_be_bytes([0, first, second, third]).checked_sub(FIRST_V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_and_its_number_belong_together() {
        for family in [Family::V4, Family::V6] {
            let numbers = [0, 1, 255, 256, 999_999];
            let mut nlri = Vec::new();
            numbers.iter().for_each(|number| family.put(&mut nlri, *number));
            let mut found = Vec::new();
            family.each(&nlri, |number| found.push(number));
            assert_eq!(found, numbers);
        }
    }

    #[test]
    fn octets_are_as_the_family_has_them_and_others_are_passed_over() {
        let put = |family: Family| {
            let mut nlri = Vec::new();
            family.put(&mut nlri, 256);
            nlri
        };
        assert_eq!(put(Family::V4), [24, 20, 1, 0]);
        assert_eq!(put(Family::V6), [48, 0x2a, 0x10, 0, 0, 1, 0]);
        Family::V4.each(&[24, 10, 0, 0, 16, 20, 1], |number| panic!("{number}"));
        Family::V6.each(&[48, 0x2a, 0x11, 0, 0, 0, 0], |number| panic!("{number}"));
    }
}
