//! The kernel's own words on why it refused: extended acknowledgements.
//!
//! After an error's code and the header of the request come attributes (`NLMSGERR_ATTR_*` of linux/netlink.h), if the socket
//! asked for them. `netlink-packet-core` leaves them unread in [`ErrorMessage::header`].

use netlink_packet_core::{ErrorMessage, NLM_F_ACK_TLVS, NLM_F_CAPPED, NlasIterator};

/// The length of a netlink message's header.
const HEADER: usize = 16;
/// NLMSGERR_ATTR_MSG: a text for people.
const MESSAGE: u16 = 1;

/// The text that came with an error or a warning, if there is one. `flags` are those of the message that carries it.
pub(crate) fn text(flags: u16, error: &ErrorMessage) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // The request is given back whole, unless the socket asked for its header alone.
    let request = if flags & NLM_F_CAPPED == 0 {
        let length = error.header.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)?;
        usize::try_from(length).ok()?.next_multiple_of(4)
    } else {
        HEADER
    };
    let attributes = error.header.get(request..)?;
    NlasIterator::new(attributes).filter_map(Result::ok).find(|attribute| attribute.kind() == MESSAGE).map(
        |attribute| {
            let bytes = attribute.value();
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(request: &[u8], attributes: &[u8]) -> ErrorMessage {
        let mut error = ErrorMessage::default();
        error.header = [request, attributes].concat();
        error
    }

    /// An offset (kind 2) before the text (kind 1), as the kernel sends them.
    const ATTRIBUTES: &[u8] = b"\x08\0\x02\0\x2c\0\0\0\x0a\0\x01\0nope!\0\0\0";

    #[test]
    fn the_text_is_found_behind_the_header_or_behind_the_whole_request() {
        assert_eq!(
            text(NLM_F_ACK_TLVS | NLM_F_CAPPED, &error(&[0; 16], ATTRIBUTES)).as_deref(),
            Some("nope!")
        );
        let mut request = vec![0; 32];
        request[0] = 30; // not a multiple of four: what follows is aligned
        assert_eq!(text(NLM_F_ACK_TLVS, &error(&request, ATTRIBUTES)).as_deref(), Some("nope!"));
    }

    #[test]
    fn without_attributes_or_with_broken_ones_there_is_no_text() {
        assert_eq!(text(0, &error(&[0; 16], ATTRIBUTES)), None);
        assert_eq!(text(NLM_F_ACK_TLVS, &error(&[], &[])), None);
        assert_eq!(text(NLM_F_ACK_TLVS | NLM_F_CAPPED, &error(&[0; 16], &ATTRIBUTES[..9])), None);
        assert_eq!(text(NLM_F_ACK_TLVS, &error(&[0xff; 16], ATTRIBUTES)), None);
    }
}
