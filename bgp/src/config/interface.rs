//! The name of a network device: the zone of a link-local address (RFC 4007 §11.2).

use std::fmt;
use std::str::FromStr;

/// IFNAMSIZ without the zero at its end.
const LONGEST: usize = 15;

/// The name of a network device. It is kept inline and `Copy`, since what names a peer has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    octets: [u8; LONGEST],
    length: u8,
}

/// A text is no name of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no name of a device: use 1 to 15 octets without / and spaces")]
pub struct IllegalInterface {
    /// The text.
    pub text: String,
}

impl Interface {
    /// Takes a name.
    ///
    /// # Errors
    /// [`IllegalInterface`], if no device can have it.
    pub fn new(text: &str) -> Result<Self, IllegalInterface> {
        let sound = !text.contains(|c: char| c == '/' || c == '\0' || c.is_whitespace());
        let mut octets = [0; LONGEST];
        match octets.get_mut(..text.len()) {
            Some(place) if sound && !text.is_empty() => place.copy_from_slice(text.as_bytes()),
            Some(_) | None => return Err(IllegalInterface { text: text.to_owned() }),
        }
        Ok(Interface { octets, length: text.len() as u8 })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // The octets came from a text, so they are always one.
        let octets = self.octets.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(octets).unwrap_or_default()
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Interface {
    type Err = IllegalInterface;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Interface::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_kernel_takes() {
        for good in ["lo", "eth0.100", "abcdefghijklmno"] {
            assert_eq!(Interface::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "abcdefghijklmnop"] {
            assert!(Interface::new(bad).is_err(), "{bad}");
        }
    }
}
