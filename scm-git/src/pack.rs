//! Packs: the objects of one answer, and the objects of one push.

use std::collections::HashSet;
use std::path::PathBuf;

use gix_hash::ObjectId;
use gix_object::Kind;
use gix_pack::data::entry::Header;
use gix_pack::data::input::{BytesToEntriesIter, EntryDataMode, Mode};
use gix_pack::data::{File, Version, header};
use gix_zlib::stream::deflate::{Compress, FlushCompress};
use gix_zlib::{Compression, Status};
use scm_core::{Error, ErrorKind, Result};

use crate::objects::{HASH, Objects};
use crate::pkt::broken;

/// Most bytes that the commits and trees of one answer may unpack to: some millions of entries. What comes over the
/// network is bounded elsewhere, but a small pack can hold very much of the same.
const MOST: usize = 256 * 1024 * 1024;

/// Reads the commits and trees of a pack, and checks its sum. Contents of files are skipped.
///
/// # Errors
/// `Decode` for a broken pack, or for trees that are larger than any.
pub(crate) fn read(pack: Vec<u8>) -> Result<Objects> {
    read_up_to(pack, MOST)
}

fn read_up_to(pack: Vec<u8>, most: usize) -> Result<Objects> {
    let wrong = |_| broken("the server sent a broken pack");
    let entries = BytesToEntriesIter::new_from_header(&*pack, Mode::Verify, EntryDataMode::Ignore, HASH)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| (entry.pack_offset, entry.header))).collect()
        })
        .map_err(wrong);
    let entries: Vec<(u64, Header)> = entries?;
    let file = File::from_data(pack, PathBuf::new(), HASH).map_err(wrong)?.with_alloc_limit_bytes(Some(most));
    let mut inflate = gix_zlib::Inflate::default();
    let mut objects = Objects::default();
    let mut data = Vec::new();
    let mut left = most;
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
        left = left
            .checked_sub(data.len())
            .ok_or_else(|| broken("the server sent more trees than there can be"))?;
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
pub(crate) struct Writer {
    out: Vec<u8>,
    count: u32,
    known: HashSet<ObjectId>,
    /// One for all: each takes hundreds of kilobytes, and most objects are small.
    deflate: Compress,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            out: header::encode(Version::V2, 0).to_vec(),
            count: 0,
            known: HashSet::new(),
            deflate: Compress::new(Compression::DEFAULT),
        }
    }

    /// Adds an object, compressed, and returns its id.
    pub(crate) fn add(&mut self, kind: Kind, data: &[u8]) -> Result<ObjectId> {
        let id = id_of(kind, data)?;
        if !self.known.insert(id) {
            return Ok(id);
        }
        self.count =
            self.count.checked_add(1).ok_or_else(|| Error::invalid("a commit of too many objects"))?;
        let header = match kind {
            Kind::Blob => Header::Blob,
            Kind::Tree => Header::Tree,
            Kind::Commit => Header::Commit,
            Kind::Tag => Header::Tag,
        };
        header.write_to(data.len() as u64, &mut self.out).map_err(|_| internal())?;
        self.compress(data)?;
        Ok(id)
    }

    fn compress(&mut self, data: &[u8]) -> Result<()> {
        self.deflate.reset();
        let mut chunk = [0; 16 * 1024];
        let mut left = data;
        loop {
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            let status =
                self.deflate.compress(left, &mut chunk, FlushCompress::Finish).map_err(|_| internal())?;
            left = &left[(self.deflate.total_in() - read) as usize..];
            self.out.extend_from_slice(&chunk[..(self.deflate.total_out() - written) as usize]);
            if status == Status::StreamEnd {
                return Ok(());
            }
        }
    }

    /// The whole pack.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.out[..header::SIZE].copy_from_slice(&header::encode(Version::V2, self.count));
        let mut hasher = gix_hash::hasher(HASH);
        hasher.update(&self.out);
        let sum = hasher.try_finalize().map_err(|_| internal())?;
        self.out.extend_from_slice(sum.as_slice());
        Ok(self.out)
    }
}

fn internal() -> Error {
    Error::new(ErrorKind::Internal, "the pack could not be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut pack = Writer::new();
        // Larger than what is compressed at once, and not compressible: an entry for each of many files.
        let mut seed = 1_u64;
        let mut tree = Vec::new();
        for n in 0..5_000 {
            tree.extend_from_slice(format!("100644 file-{n:04}\0").as_bytes());
            tree.extend((0..20).map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            }));
        }
        let id = pack.add(Kind::Tree, &tree).unwrap();
        assert_eq!(pack.add(Kind::Tree, &tree).unwrap(), id);
        let other = &tree[..tree.len() / 2];
        let half = pack.add(Kind::Tree, other).unwrap();
        pack.add(Kind::Blob, b"text").unwrap();
        let pack = pack.finish().unwrap();
        assert_eq!(pack[..12], *b"PACK\0\0\0\x02\0\0\0\x03");
        // Each of the trees would fit.
        assert_eq!(read_up_to(pack.clone(), tree.len()).err().unwrap().kind(), ErrorKind::Decode);
        let objects = read_up_to(pack, tree.len() + other.len()).unwrap();
        assert!(objects.contains(&id) && objects.contains(&half));
        let found = objects.entry(&id, "file-4999").unwrap().unwrap();
        assert_eq!(found.1.as_slice(), &tree[tree.len() - 20..]);
    }
}
