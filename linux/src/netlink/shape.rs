//! Limits on what leaves by a device: a token bucket (`tc-tbf(8)`) as its queue.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use crate::object::link::IfName;

/// TCA_TBF_PARMS, _RATE64 and _BURST of linux/pkt_sched.h.
const PARAMETERS: u16 = 1;
const RATE: u16 = 4;
const BURST: u16 = 6;
/// TC_LINKLAYER_ETHERNET.
const ETHERNET: u8 = 1;
/// How long packets may wait for their turn, in milliseconds, beyond what a burst takes; as the stock plugin has it.
const LATENCY: u64 = 25;

/// How much may leave by a device. It takes the place of any limit that the device had, and goes with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Bytes a second; more than 0.
    pub rate: u64,
    /// Bytes that may go at once after a silence; at least the device's MTU, or nothing passes.
    pub burst: u32,
}

impl Shape {
    /// The message that sets it as a device's root queue.
    pub(crate) fn message(&self, index: u32) -> TcMessage {
        let mut message = TcMessage::default();
        message.header.index = i32::try_from(index).unwrap_or_default();
        message.header.parent = TcHandle::ROOT;
        message.header.handle = TcHandle { major: 1, minor: 0 };
        let option = |kind, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
        message.attributes.push(TcAttribute::Kind("tbf".to_owned()));
        message.attributes.push(TcAttribute::Options(vec![
            option(PARAMETERS, parameters(*self)),
            option(RATE, self.rate.to_ne_bytes().to_vec()),
            option(BURST, self.burst.to_ne_bytes().to_vec()),
        ]));
        message
    }

    pub(crate) fn doing(&self, device: &IfName) -> String {
        format!("limiting what leaves by {device} to {} bytes a second (tc tbf)", self.rate)
    }
}

/// `struct tc_tbf_qopt`: two `struct tc_ratespec` (rate, and a peak rate that is not used), then what may wait, and two fields
/// that are told in bytes by an attribute of their own.
fn parameters(shape: Shape) -> Vec<u8> {
    let mut bytes = vec![0, ETHERNET];
    bytes.extend([0; 6]); // overhead, alignment, smallest packet
    bytes.extend(u32::try_from(shape.rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend([0; 12]);
    let limit = (shape.rate.saturating_mul(LATENCY) / 1000).saturating_add(u64::from(shape.burst));
    bytes.extend(u32::try_from(limit).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}
