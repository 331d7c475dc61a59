//! Reading objects: a commit and single trees, as few bytes as the server's filters allow.

use gix_hash::ObjectId;
use scm_core::pipeline::Operation;
use scm_core::{Error, ErrorKind, Result};

use crate::objects::Objects;
use crate::pack;
use crate::pkt::{FLUSH, Packet, Packets, broken, line};
use crate::refs::{Capabilities, command, upload_pack};
use crate::repository::aside;

/// What the server is asked to leave out. Ordered by how much that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All but the objects asked for.
    #[default]
    Trees,
    /// All file contents.
    Blobs,
    /// Nothing.
    None,
}

impl Filter {
    /// The next best, for a server that refuses this one.
    pub(crate) fn weaker(self) -> Option<Self> {
        match self {
            Self::Trees => Some(Self::Blobs),
            Self::Blobs => Some(Self::None),
            Self::None => None,
        }
    }
}

/// What came of a request.
pub(crate) enum Fetched {
    Objects(Objects),
    /// The filter is known to the server's git and switched off.
    FilterRefused,
    /// The server has no such object.
    NotThere,
}

/// One request. `depth` counts the levels of trees that come with each object asked for.
pub(crate) async fn fetch(
    operation: &Operation,
    capabilities: Capabilities,
    wanted: &[ObjectId],
    filter: Filter,
    depth: u8,
) -> Result<Fetched> {
    let mut body = command("fetch", capabilities);
    line(&mut body, "no-progress\n");
    line(&mut body, "ofs-delta\n");
    if capabilities.shallow {
        line(&mut body, "deepen 1\n");
    }
    match filter {
        Filter::Trees => line(&mut body, &format!("filter tree:{depth}\n")),
        Filter::Blobs => line(&mut body, "filter blob:none\n"),
        Filter::None => {}
    }
    for id in wanted {
        line(&mut body, &format!("want {id}\n"));
    }
    line(&mut body, "done\n");
    body.extend_from_slice(FLUSH);
    let answer = operation.send(upload_pack(body)).await;
    let answer = answer.map_err(|error| operation.own(too_large(error, filter)))?;
    let answer = answer.into_bytes();
    aside(move || read(&answer)).await.map_err(|error| operation.own(error))
}

/// Says what to do where a repository must be read whole and is too large for that.
fn too_large(error: Error, filter: Filter) -> Error {
    if error.kind() != ErrorKind::Decode || !error.message().contains("larger than the limit") {
        return error;
    }
    let why = match filter {
        Filter::None => "the server's git offers no filters, so that the whole tree must be read",
        _ => "the server's git offers no filter for trees, so that all of them must be read",
    };
    let what = "raise the limit, or have the server's administrator allow filters (uploadpack.allowFilter)";
    Error::new(ErrorKind::Unsupported, format!("{why}, and {}: {what}", error.message()))
        .with_delivery(error.delivery())
        .with_source(error)
}

fn read(answer: &[u8]) -> Result<Fetched> {
    let mut packets = Packets::new(answer);
    let mut data = Vec::new();
    let mut in_pack = false;
    for packet in packets.by_ref() {
        let packet = packet?;
        if !in_pack {
            match packet.text() {
                Some("packfile") => in_pack = true,
                Some(text) => {
                    if let Some(said) = text.strip_prefix("ERR ") {
                        return refused(said);
                    }
                }
                None => {}
            }
            continue;
        }
        match packet {
            Packet::Data([1, part @ ..]) => data.extend_from_slice(part),
            Packet::Data([3, said @ ..]) => return refused(&String::from_utf8_lossy(said)),
            // Progress.
            Packet::Data(_) => {}
            Packet::Flush | Packet::Delimiter => return Ok(Fetched::Objects(pack::read(data)?)),
        }
    }
    Err(broken("the server's answer ends before its pack does"))
}

fn refused(said: &str) -> Result<Fetched> {
    if said.contains("filter") && said.contains("not supported") {
        Ok(Fetched::FilterRefused)
    } else if said.contains("not our ref") {
        Ok(Fetched::NotThere)
    } else {
        Err(broken(&format!("the server's git says: {said}")))
    }
}
