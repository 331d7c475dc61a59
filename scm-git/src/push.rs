//! Pushing: refs that move only from where they were seen to be, and what the server says of it.

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{Delivery, Error, ErrorKind, Result};

use crate::pkt::{FLUSH, Packet, Packets, broken, line};

/// The id that stands for "not there".
pub(crate) const NOTHING: &str = "0000000000000000000000000000000000000000";

const UNPACK: &str = "the server could not unpack the objects";

/// How one ref shall move.
pub(crate) struct Move<'a> {
    pub(crate) name: &'a str,
    /// Where it must be; [`NOTHING`] for a ref that must not be there.
    pub(crate) from: &'a str,
    /// Where it goes; [`NOTHING`] to delete it.
    pub(crate) to: &'a str,
}

/// What is sent to move one ref, with the objects it needs.
pub(crate) fn body(wanted: &Move<'_>, mut pack: Vec<u8>) -> Bytes {
    let command = format!(
        "{} {} {}\0 report-status side-band-64k object-format=sha1",
        wanted.from, wanted.to, wanted.name
    );
    let mut front = Vec::new();
    line(&mut front, &command);
    front.extend_from_slice(FLUSH);
    // In front of the pack rather than with a copy of it.
    pack.splice(0..0, front);
    pack.into()
}

/// Sends the move of the ref `name`, and reads the server's report to its end.
///
/// # Errors
/// `Refused` inside [`Pushed`] is no error yet: why a ref did not move is for the caller to find out.
pub(crate) async fn push(operation: &Operation, name: &str, body: Bytes) -> Result<Pushed> {
    let request = ApiRequest::new(Method::POST, "git-receive-pack", &[])
        .header(ACCEPT, HeaderValue::from_static("application/x-git-receive-pack-result"))
        .body(body.into(), HeaderValue::from_static("application/x-git-receive-pack-request"));
    let answer = operation.send(request).await?;
    report(answer.bytes(), name).map_err(|error| operation.own(error))
}

/// What the server reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Done,
    Refused(Refusal),
}

/// Why a ref did not move.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The server's word, such as `pre-receive hook declined`.
    pub(crate) reason: String,
    /// What hooks wrote for people.
    pub(crate) hooks: String,
}

impl Refusal {
    /// The refusal as an error, for a ref that still is where it was seen.
    pub(crate) fn into_error(self) -> Error {
        let denied =
            ["declined", "prohibited", "denied", "protected", "not allowed", "hidden ref", "read-only"];
        let text = format!("{} {}", self.reason, self.hooks).to_lowercase();
        let error = if self.reason.starts_with(UNPACK) {
            Error::new(ErrorKind::Unavailable, self.shown())
        } else if denied.iter().any(|word| text.contains(word)) {
            Error::new(ErrorKind::PermissionDenied, self.shown())
        } else {
            // Someone else holds the ref for a moment, or has just moved it.
            Error::new(ErrorKind::Conflict, self.shown()).with_retryable(true)
        };
        error.with_delivery(Delivery::Answered)
    }

    fn shown(&self) -> String {
        let hooks = self.hooks.split_whitespace().collect::<Vec<_>>().join(" ");
        if hooks.is_empty() { self.reason.clone() } else { format!("{}: {hooks}", self.reason) }
    }
}

fn report(answer: &[u8], name: &str) -> Result<Pushed> {
    let mut status = Vec::new();
    let mut hooks = String::new();
    for packet in Packets::new(answer) {
        match packet? {
            Packet::Data([1, part @ ..]) => status.extend_from_slice(part),
            Packet::Data([2, part @ ..]) => hooks.push_str(&String::from_utf8_lossy(part)),
            Packet::Data([3, part @ ..]) => {
                let said = String::from_utf8_lossy(part);
                return Err(broken(&format!("the server's git broke off: {}", said.trim())));
            }
            Packet::Data(other) => {
                let said = String::from_utf8_lossy(other);
                return Err(match said.strip_prefix("ERR ") {
                    Some(said) => {
                        Error::new(ErrorKind::PermissionDenied, said.trim()).with_delivery(Delivery::Answered)
                    }
                    None => broken("the server's report of the push is not in the form that was asked for"),
                });
            }
            Packet::Flush | Packet::Delimiter => {}
        }
    }
    let refused =
        |reason: &str| Ok(Pushed::Refused(Refusal { reason: reason.to_owned(), hooks: hooks.clone() }));
    for packet in Packets::new(&status) {
        let packet = packet?;
        let Some(text) = packet.text() else { continue };
        if let Some(said) = text.strip_prefix("unpack ") {
            if said != "ok" {
                return refused(&format!("{UNPACK}: {said}"));
            }
        } else if text.strip_prefix("ok ") == Some(name) {
            return Ok(Pushed::Done);
        } else if let Some((of, reason)) = text.strip_prefix("ng ").and_then(|rest| rest.split_once(' '))
            && of == name
        {
            return refused(reason);
        }
    }
    Err(broken("the server's report of the push ends before it says what came of it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &[&str], hooks: &str) -> Vec<u8> {
        let mut inner = Vec::new();
        for text in status {
            line(&mut inner, text);
        }
        inner.extend_from_slice(FLUSH);
        let mut out = Vec::new();
        if !hooks.is_empty() {
            line(&mut out, &format!("\u{2}{hooks}"));
        }
        line(&mut out, &format!("\u{1}{}", String::from_utf8(inner).unwrap()));
        out.extend_from_slice(FLUSH);
        out
    }

    #[test]
    fn reports_are_read_to_the_end() {
        let name = "refs/heads/x";
        assert_eq!(report(&answer(&["unpack ok\n", "ok refs/heads/x\n"], ""), name).unwrap(), Pushed::Done);
        let refusal = answer(
            &["unpack ok\n", "ng refs/heads/x pre-receive hook declined\n"],
            "GitLab: You are not allowed to push code\nto this branch.\n",
        );
        let Pushed::Refused(refusal) = report(&refusal, name).unwrap() else { panic!("taken") };
        let error = refusal.into_error();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(
            error.message(),
            "pre-receive hook declined: GitLab: You are not allowed to push code to this branch."
        );
        let moved = answer(&["unpack ok\n", "ng refs/heads/x failed to update ref\n"], "");
        let Pushed::Refused(refusal) = report(&moved, name).unwrap() else { panic!("taken") };
        assert_eq!(refusal.into_error().kind(), ErrorKind::Conflict);
        for cut in [&b""[..], b"0000", &answer(&["unpack ok\n"], "")] {
            assert_eq!(report(cut, name).unwrap_err().kind(), ErrorKind::Decode);
        }
    }
}
