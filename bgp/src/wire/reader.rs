//! A place in received bytes: nom parsers run on it, and their failure becomes an [`Error`] that knows the place.

use std::net::{Ipv4Addr, Ipv6Addr};

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};

use super::error::{Error, Fault, Section};

#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    section: Section,
    /// The offset in the message's body of the first octet of `rest`.
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(section: Section, offset: usize, bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, section, offset }
    }

    /// Runs a parser; the place moves only if it succeeds.
    pub(super) fn parse<O>(
        &mut self,
        mut parser: impl Parser<&'a [u8], Output = O, Error = ()>,
    ) -> Result<O, Error> {
        let (rest, value) = parser.parse(self.rest).map_err(|_| self.error(Fault::Truncated))?;
        self.offset += self.rest.len() - rest.len();
        self.rest = rest;
        Ok(value)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.parse(be_u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.parse(be_u16)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.parse(be_u32)
    }

    pub(super) fn ipv4(&mut self) -> Result<Ipv4Addr, Error> {
        self.parse(be_u32.map(Ipv4Addr::from_bits))
    }

    pub(super) fn ipv6(&mut self) -> Result<Ipv6Addr, Error> {
        self.parse(be_u128.map(Ipv6Addr::from_bits))
    }

    /// The next `count` octets as a place of their own.
    pub(super) fn section(&mut self, section: Section, count: usize) -> Result<Reader<'a>, Error> {
        let offset = self.offset;
        let bytes = self.parse(take(count))?;
        Ok(Reader::new(section, offset, bytes))
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn error(&self, fault: Fault) -> Error {
        Error { section: self.section, offset: self.offset, fault }
    }

    /// What is left must have this many octets.
    pub(super) fn exactly(&self, count: usize) -> Result<(), Error> {
        if self.len() == count { Ok(()) } else { Err(self.error(Fault::AttributeLength(self.len()))) }
    }

    /// What is left must be one or more elements of `size` octets (RFC 7606 §7.8 and others).
    pub(super) fn elements_of(&self, size: usize) -> Result<(), Error> {
        if self.is_empty() || !self.len().is_multiple_of(size) {
            return Err(self.error(Fault::AttributeLength(self.len())));
        }
        Ok(())
    }
}
