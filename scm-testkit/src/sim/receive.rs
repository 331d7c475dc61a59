//! The front of a push: what it wants to move, read before git sees it, and the refusal of all of it.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::Response;

use crate::sim::repo::Repo;

/// Commands of a push come before its pack; more of them than this is not a push.
const COMMANDS_LIMIT: usize = 4 * 1024 * 1024;

/// One ref that a push wants to move.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) name: String,
}

/// Reads the commands from the front of a push and gives the body back whole.
pub(crate) async fn read_commands(body: Body) -> Result<(Vec<Command>, String, Body), String> {
    let mut chunks = body.into_data_stream();
    let mut held = BytesMut::new();
    let parsed = loop {
        if let Some(parsed) = parse_commands(&held)? {
            break parsed;
        }
        match chunks.next().await {
            Some(Ok(chunk)) if held.len() + chunk.len() <= COMMANDS_LIMIT => held.extend_from_slice(&chunk),
            Some(Ok(_)) => return Err("too many commands".to_owned()),
            // A probe may end before its flush; git itself will complain about anything worse.
            _ => break (Vec::new(), String::new()),
        }
    };
    let front = stream::iter([Ok::<Bytes, axum::Error>(held.freeze())]);
    Ok((parsed.0, parsed.1, Body::from_stream(front.chain(chunks))))
}

fn parse_commands(mut rest: &[u8]) -> Result<Option<(Vec<Command>, String)>, String> {
    let (mut commands, mut capabilities) = (Vec::new(), String::new());
    loop {
        let Some((head, _)) = rest.split_at_checked(4) else { return Ok(None) };
        let length = std::str::from_utf8(head).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let length = length.ok_or_else(|| "not a push".to_owned())?;
        if length < 4 {
            return Ok(Some((commands, capabilities)));
        }
        let Some((packet, after)) = rest.split_at_checked(length) else { return Ok(None) };
        rest = after;
        let text = String::from_utf8_lossy(&packet[4..]);
        let (command, caps) = text.split_once('\0').unwrap_or((&text, ""));
        if !caps.is_empty() {
            capabilities = caps.trim().to_owned();
        }
        let mut words = command.trim_end().splitn(3, ' ');
        if let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next())
            && old.len() == 40
        {
            commands.push(Command { old: old.to_owned(), new: new.to_owned(), name: name.to_owned() });
        }
    }
}

pub(crate) async fn drain(body: Body) {
    let mut chunks = body.into_data_stream();
    while let Some(Ok(_)) = chunks.next().await {}
}

/// The report of a push whose every command was declined; `text` is what the user reads.
pub(crate) fn declined(commands: &[Command], capabilities: &str, text: &str) -> Response<Body> {
    let mut report = packet(b"unpack ok\n");
    for command in commands {
        report.extend(packet(format!("ng {} pre-receive hook declined\n", command.name).as_bytes()));
    }
    report.extend_from_slice(b"0000");
    let body = if capabilities.contains("side-band-64k") {
        let band = |number: u8, bytes: &[u8]| packet(&[&[number], bytes].concat());
        let mut all = band(2, format!("{text}\n").as_bytes());
        for piece in report.chunks(60_000) {
            all.extend(band(1, piece));
        }
        all.extend_from_slice(b"0000");
        all
    } else {
        report
    };
    let mut response = Response::new(Body::from(body));
    let content_type = http::HeaderValue::from_static("application/x-git-receive-pack-result");
    response.headers_mut().insert("content-type", content_type);
    response.headers_mut().insert("cache-control", http::HeaderValue::from_static("no-cache"));
    response
}

fn packet(bytes: &[u8]) -> Vec<u8> {
    let mut packet = format!("{:04x}", bytes.len() + 4).into_bytes();
    packet.extend_from_slice(bytes);
    packet
}

/// Every branch with its tip.
pub(crate) async fn branches(repo: &Arc<Repo>) -> BTreeMap<String, String> {
    let repo = Arc::clone(repo);
    let listed = tokio::task::spawn_blocking(move || repo.refs("refs/heads/")).await;
    listed.ok().and_then(Result::ok).unwrap_or_default().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use crate::sim::repo::ZERO;

    use super::*;

    #[test]
    fn commands_are_read_when_they_are_complete() {
        let (old, new) = (ZERO, "1".repeat(40));
        let mut bytes = packet(format!("{old} {new} refs/heads/x\0 report-status side-band-64k").as_bytes());
        assert!(parse_commands(&bytes).unwrap().is_none());
        bytes.extend_from_slice(b"0000PACK");
        let (commands, capabilities) = parse_commands(&bytes).unwrap().unwrap();
        assert_eq!(commands[0].name, "refs/heads/x");
        assert_eq!(capabilities, "report-status side-band-64k");
    }
}
