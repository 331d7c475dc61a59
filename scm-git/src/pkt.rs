//! Packet lines: the frames of git's protocol.

use gix_packetline::PacketLineRef;
use gix_packetline::decode::{Stream, streaming};
use scm_core::{Delivery, Error, ErrorKind, Result};

pub(crate) const FLUSH: &[u8] = b"0000";
pub(crate) const DELIMITER: &[u8] = b"0001";

/// Adds one line to a request. What is sent is short: ids, names of refs, words of the protocol.
pub(crate) fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(format!("{:04x}", text.len() + 4).as_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// One frame of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Data(&'a [u8]),
    /// The end of a list or of the answer.
    Flush,
    /// The end of a section.
    Delimiter,
}

impl<'a> Packet<'a> {
    /// A line of text, without its line break.
    pub(crate) fn text(self) -> Option<&'a str> {
        let Self::Data(data) = self else { return None };
        Some(std::str::from_utf8(data).ok()?.trim_end_matches('\n'))
    }
}

/// The frames of an answer, one after the other.
#[derive(Debug)]
pub(crate) struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    pub(crate) fn new(answer: &'a [u8]) -> Self {
        Self { rest: answer }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, used) = match streaming(self.rest) {
            Ok(Stream::Complete { line, bytes_consumed }) => (line, bytes_consumed),
            Ok(Stream::Incomplete { .. }) => {
                self.rest = &[];
                return Some(Err(broken("the server's answer breaks off inside a packet line")));
            }
            Err(_) => {
                self.rest = &[];
                return Some(Err(broken("the server's answer is not made of packet lines")));
            }
        };
        self.rest = self.rest.get(used..).unwrap_or_default();
        Some(Ok(match line {
            PacketLineRef::Data(data) => Packet::Data(data),
            PacketLineRef::Flush | PacketLineRef::ResponseEnd => Packet::Flush,
            PacketLineRef::Delimiter => Packet::Delimiter,
        }))
    }
}

/// Something that is not as the protocol says.
pub(crate) fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Decode, what).with_delivery(Delivery::Answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_framed_and_read_back() {
        let mut out = Vec::new();
        line(&mut out, "command=ls-refs\n");
        out.extend_from_slice(DELIMITER);
        line(&mut out, "peel");
        out.extend_from_slice(FLUSH);
        assert_eq!(out, b"0014command=ls-refs\n00010008peel0000");
        let packets: Vec<_> = Packets::new(&out).collect::<Result<_>>().unwrap();
        assert_eq!(packets[0].text(), Some("command=ls-refs"));
        assert_eq!(packets[1..], [Packet::Delimiter, Packet::Data(b"peel"), Packet::Flush]);
    }

    #[test]
    fn what_breaks_off_or_is_no_frame_is_an_error_and_ends() {
        for answer in [&b"0010abc"[..], b"zzzzabc", b"00"] {
            let mut packets = Packets::new(answer);
            assert_eq!(packets.next().unwrap().unwrap_err().kind(), ErrorKind::Decode);
            assert!(packets.next().is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_read(answer: Vec<u8>) {
            let _ = Packets::new(&answer).count();
        }
    }
}
