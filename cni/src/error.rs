//! Failures as a runtime sees them: a code from the specification, and a message that ends up in the pod's events.

use std::fmt;

use serde_json::{Map, Value};

use crate::version::Version;

/// The codes of the specification, and caracal's own from 100 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1: the version asked for is not spoken, or lacks the operation.
    IncompatibleVersion,
    /// 2: a field of the configuration holds something not supported.
    UnsupportedField,
    /// 3: the container is not known; the runtime need not call DEL.
    UnknownContainer,
    /// 4: a variable of the environment is missing or invalid.
    InvalidEnvironment,
    /// 5: reading or writing failed.
    Io,
    /// 6: something could not be decoded.
    Decoding,
    /// 7: the network configuration is invalid.
    InvalidConfiguration,
    /// 8: the network namespace cannot be used.
    InvalidNamespace,
    /// 11: it may work when tried again.
    TryAgainLater,
    /// 50: no pod can be added now.
    NotAvailable,
    /// 51: no pod can be added now, and those that run have limited connectivity.
    LimitedConnectivity,
    /// 100: no address can be given.
    NoAddress,
    /// 101: the pod's network could not be made.
    Wiring,
    /// 102: CHECK found something missing.
    CheckFailed,
    /// 103: the attachment exists already.
    Exists,
    /// 999: anything else that went wrong inside.
    Internal,
}

impl Code {
    const ALL: [Code; 16] = [
        Self::IncompatibleVersion,
        Self::UnsupportedField,
        Self::UnknownContainer,
        Self::InvalidEnvironment,
        Self::Io,
        Self::Decoding,
        Self::InvalidConfiguration,
        Self::InvalidNamespace,
        Self::TryAgainLater,
        Self::NotAvailable,
        Self::LimitedConnectivity,
        Self::NoAddress,
        Self::Wiring,
        Self::CheckFailed,
        Self::Exists,
        Self::Internal,
    ];

    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::UnknownContainer => 3,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decoding => 6,
            Self::InvalidConfiguration => 7,
            Self::InvalidNamespace => 8,
            Self::TryAgainLater => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::NoAddress => 100,
            Self::Wiring => 101,
            Self::CheckFailed => 102,
            Self::Exists => 103,
            Self::Internal => 999,
        }
    }

    /// The code with this number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

/// A failure to be told to the runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// What kind.
    pub code: Code,
    /// What was being done, to what, what was found, what to do: kubelet shows this in the pod's events.
    pub msg: String,
    /// More for the log of the runtime; may be empty.
    pub details: String,
}

impl Error {
    /// A failure without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// Adds what is worth a log line but no event.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The JSON to print, in the version that the configuration asked for.
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), version.as_str().into());
        object.insert("code".to_owned(), self.code.number().into());
        object.insert("msg".to_owned(), self.msg.as_str().into());
        if !self.details.is_empty() {
            object.insert("details".to_owned(), self.details.as_str().into());
        }
        Value::Object(object)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (CNI error {})", self.msg, self.code.number())?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn codes_read_what_they_write_and_are_all_different() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(code));
        }
        assert_eq!(Code::from_number(77), None);
    }

    #[test]
    fn an_error_is_written_in_the_version_asked_for() {
        let error = Error::new(Code::TryAgainLater, "no agent").with_details("connect: refused");
        let wanted =
            json!({"cniVersion": "0.4.0", "code": 11, "msg": "no agent", "details": "connect: refused"});
        assert_eq!(error.to_json(Version::V0_4_0), wanted);
        let plain = Error::new(Code::NotAvailable, "starting").to_json(Version::V1_1_0);
        assert_eq!(plain, json!({"cniVersion": "1.1.0", "code": 50, "msg": "starting"}));
    }
}
