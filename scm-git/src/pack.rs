//! Packs: the objects of one answer, and the objects of one push.

use std::collections::HashSet;
use std::path::PathBuf;

use gix_hash::ObjectId;
use gix_object::{Data, Kind};
use gix_pack::data::entry::Header;
use gix_pack::data::input::{BytesToEntriesIter, EntryDataMode, Mode};
use gix_pack::data::output::{Count, Entry, bytes::FromEntriesIter};
use gix_pack::data::{File, Version};
use scm_core::{Error, ErrorKind, Result};

use crate::objects::{HASH, Objects};
use crate::pkt::broken;

/// Most bytes that one commit or tree may unpack to: some millions of entries.
const LARGEST_TREE: usize = 256 * 1024 * 1024;

/// Reads the commits and trees of a pack, and checks its sum. Contents of files are skipped.
///
/// # Errors
/// `Decode` for a broken pack, or for a tree that is larger than any.
pub(crate) fn read(pack: Vec<u8>) -> Result<Objects> {
    let wrong = |_| broken("the server sent a broken pack");
    let entries = BytesToEntriesIter::new_from_header(&*pack, Mode::Verify, EntryDataMode::Ignore, HASH)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| (entry.pack_offset, entry.header))).collect()
        })
        .map_err(wrong);
    let entries: Vec<(u64, Header)> = entries?;
    let file = File::from_data(pack, PathBuf::new(), HASH)
        .map_err(wrong)?
        .with_alloc_limit_bytes(Some(LARGEST_TREE));
    let mut inflate = gix_zlib::Inflate::default();
    let mut objects = Objects::default();
    let mut data = Vec::new();
    for (offset, header) in entries {
        if matches!(header, Header::Blob) {
            continue;
        }
        let entry = file.entry(offset).map_err(wrong)?;
        // Only a whole pack is asked for: the base of a change is in it.
        let kind = file.decode_header(entry.clone(), &mut inflate, &|_| Ok(None)).map_err(wrong)?.kind;
        if !matches!(kind, Kind::Commit | Kind::Tree) {
            continue;
        }
        file.decode_entry(entry, &mut data, &mut inflate, &|_, _| Ok(None), &mut gix_pack::cache::Never)
            .map_err(wrong)?;
        let id = id_of(kind, &data)?;
        objects.insert(id, kind, data.clone());
    }
    Ok(objects)
}

/// The id that git gives an object.
pub(crate) fn id_of(kind: Kind, data: &[u8]) -> Result<ObjectId> {
    // Fails only for contents made to break SHA-1.
    gix_object::compute_hash(HASH, kind, data)
        .map_err(|_| Error::invalid("the content is made to break git's SHA-1; it cannot be committed"))
}

/// Writes a pack, object by object; git refuses a pack that holds one twice.
#[derive(Default)]
pub(crate) struct Writer {
    entries: Vec<Entry>,
    known: HashSet<ObjectId>,
}

impl Writer {
    /// Adds an object, compressed, and returns its id.
    pub(crate) fn add(&mut self, kind: Kind, data: &[u8]) -> Result<ObjectId> {
        let id = id_of(kind, data)?;
        if !self.known.insert(id) {
            return Ok(id);
        }
        let object = Data::new(data, kind, HASH);
        let entry = Entry::from_data(&Count::from_data(id, None), &object, gix_zlib::Compression::DEFAULT)
            .map_err(|_| internal())?;
        self.entries.push(entry);
        Ok(id)
    }

    /// The whole pack.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        let count =
            u32::try_from(self.entries.len()).map_err(|_| Error::invalid("a commit of too many objects"))?;
        let size = self.entries.iter().map(|entry| entry.compressed_data.len() + 16).sum::<usize>() + 64;
        let entries = std::iter::once(Ok(self.entries));
        let mut writer = FromEntriesIter::new(entries, Vec::with_capacity(size), count, Version::V2, HASH);
        for written in writer.by_ref() {
            written.map_err(|_| internal())?;
        }
        Ok(writer.into_write())
    }
}

fn internal() -> Error {
    Error::new(ErrorKind::Internal, "the pack could not be written")
}
