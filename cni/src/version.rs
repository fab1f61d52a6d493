//! The versions of the specification, and what each of them has.
//!
//! A result must be written in the version that the configuration asks for; an operation that its version does not know is
//! refused with code 1. The shapes before 0.3.0 differ too much to be worth carrying: no runtime in use asks for them.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::error::{Code, Error};

/// A version of the CNI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3.0
    V0_3_0,
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: brought CHECK, and `prevResult` at DEL.
    V0_4_0,
    /// 1.0.0: dropped `version` from the addresses of a result.
    V1_0_0,
    /// 1.1.0: brought GC and STATUS, and more fields in a result.
    V1_1_0,
}

impl Version {
    /// All that are spoken, oldest first.
    pub const ALL: [Version; 5] = [Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The one that is spoken where nothing else was asked for.
    pub const NEWEST: Version = Self::V1_1_0;

    /// As it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// Whether `ips[]` of a result say their family.
    pub fn names_families(self) -> bool {
        self < Self::V1_0_0
    }

    /// Whether CHECK exists.
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether GC and STATUS exist, and the newer fields of a result (MTU, priority, table, scope).
    pub fn has_gc_and_status(self) -> bool {
        self >= Self::V1_1_0
    }

    /// The answer to VERSION.
    pub fn report() -> Value {
        json!({
            "cniVersion": Self::NEWEST.as_str(),
            "supportedVersions": Self::ALL.map(Self::as_str),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            let asked =
                if text.is_empty() { "no cniVersion".to_owned() } else { format!("cniVersion {text}") };
            Error::new(
                Code::IncompatibleVersion,
                format!("the network configuration asks for {asked}; caracal speaks {known}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_what_it_writes_and_others_are_refused_by_name() {
        for version in Version::ALL {
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
        for bad in ["", "0.1.0", "0.2.0", "1.2.0", "1.1", "v1.1.0", "latest"] {
            let error = bad.parse::<Version>().unwrap_err();
            assert_eq!(error.code, Code::IncompatibleVersion, "{bad}");
            assert!(error.msg.contains(bad) && error.msg.contains("0.3.0"), "{}", error.msg);
        }
    }

    #[test]
    fn operations_appear_in_the_versions_that_brought_them() {
        let table = [
            (Version::V0_3_0, true, false, false),
            (Version::V0_3_1, true, false, false),
            (Version::V0_4_0, true, true, false),
            (Version::V1_0_0, false, true, false),
            (Version::V1_1_0, false, true, true),
        ];
        for (version, families, check, status) in table {
            let found = (version.names_families(), version.has_check(), version.has_gc_and_status());
            assert_eq!(found, (families, check, status), "{version}");
        }
    }
}
