//! The configuration file: TOML, read into tables of plain values.
//!
//! Reading has two steps. Here each value is understood by itself, and an unknown key is refused, since a misspelt one
//! would else be a setting that silently does nothing. What needs more than one value to judge (a policy that is not
//! there, a peer named twice) is [`crate::settings`]' work; both report where in the file the mistake is.

mod collector;
mod error;
mod tables;
mod value;

use std::path::Path;

pub(crate) use error::nearest;
pub use error::{FileError, Mistake};
pub(crate) use tables::{Bfd, Bmp, File, MaxPrefixes, Originate, Peer, Policy, Rule, Speaker};
pub(crate) use value::{AsNumber, LimitKind, Text};

/// The text of a file with what it says.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        Source { path, text }
    }

    /// Reads the tables.
    pub(crate) fn parse(&self) -> Result<File, FileError> {
        toml::from_str(self.text).map_err(|error| self.located(Mistake::from_toml(&error)))
    }

    /// A mistake with its place in words.
    pub(crate) fn located(&self, mistake: Mistake) -> FileError {
        FileError::new(self.path, self.text, mistake)
    }
}
