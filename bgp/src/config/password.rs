//! The key that the segments of a session are signed with.

use std::fmt;
use std::sync::Arc;

/// A key for TCP-MD5 (RFC 2385): 1 to 80 octets, which is what the kernel takes. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<[u8]>);

/// A key that the kernel would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password for TCP-MD5 has 1 to {max} octets, this one has {found}: choose another at both ends", max = Password::LONGEST)]
pub struct IllegalPassword {
    /// How many octets it has.
    pub found: usize,
}

impl Password {
    /// The octets of the longest key.
    pub const LONGEST: usize = 80;

    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Password {
    type Error = IllegalPassword;

    fn try_from(octets: &[u8]) -> Result<Self, IllegalPassword> {
        match octets.len() {
            1..=Password::LONGEST => Ok(Password(octets.into())),
            found => Err(IllegalPassword { found }),
        }
    }
}

impl TryFrom<&str> for Password {
    type Error = IllegalPassword;

    fn try_from(text: &str) -> Result<Self, IllegalPassword> {
        Password::try_from(text.as_bytes())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_one_to_eighty_octets_and_is_never_shown() {
        assert!(Password::try_from("").is_err() && Password::try_from(&[0; 81][..]).is_err());
        let password = Password::try_from(&[b'x'; 80][..]).unwrap();
        assert!(!format!("{password:?}").contains('x'));
    }
}
