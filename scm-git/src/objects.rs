//! Commits and trees in memory.

use std::collections::HashMap;

use gix_hash::{ObjectId, oid};
use gix_object::tree::EntryMode;
use gix_object::{CommitRefIter, Data, Kind, TreeRefIter};
use scm_core::Result;

use crate::pkt::broken;

/// Hash of every object here; other repositories are refused before.
pub(crate) const HASH: gix_hash::Kind = gix_hash::Kind::Sha1;

/// Objects by id. Contents of files are never among them.
#[derive(Default)]
pub(crate) struct Objects(HashMap<ObjectId, (Kind, Vec<u8>)>);

impl Objects {
    /// What an empty repository has: the empty tree.
    pub(crate) fn empty() -> Self {
        let mut out = Self::default();
        out.insert(ObjectId::empty_tree(HASH), Kind::Tree, Vec::new());
        out
    }

    pub(crate) fn insert(&mut self, id: ObjectId, kind: Kind, data: Vec<u8>) {
        self.0.insert(id, (kind, data));
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn contains(&self, id: &oid) -> bool {
        self.0.contains_key(id)
    }

    /// The root tree of a commit.
    pub(crate) fn tree_of(&self, commit: &oid) -> Result<ObjectId> {
        match self.0.get(commit) {
            Some((Kind::Commit, data)) => CommitRefIter::from_bytes(data, HASH)
                .tree_id()
                .map_err(|_| broken("the server sent a commit that names no tree")),
            _ => Err(broken("the server did not send the commit that was asked for")),
        }
    }

    /// What a tree holds under a name.
    pub(crate) fn entry(&self, tree: &oid, name: &str) -> Result<Option<(EntryMode, ObjectId)>> {
        let Some((Kind::Tree, data)) = self.0.get(tree) else {
            return Err(broken("the server did not send a tree that was asked for"));
        };
        for entry in TreeRefIter::from_bytes(data, HASH) {
            let entry = entry.map_err(|_| broken("the server sent a broken tree"))?;
            if entry.filename == name {
                return Ok(Some((entry.mode, entry.oid.to_owned())));
            }
        }
        Ok(None)
    }
}

impl gix_object::Find for Objects {
    fn try_find<'a>(&self, id: &oid, buffer: &'a mut Vec<u8>) -> gix_error::Result<Option<Data<'a>>> {
        let Some((kind, data)) = self.0.get(id) else { return Ok(None) };
        buffer.clear();
        buffer.extend_from_slice(data);
        Ok(Some(Data::new(buffer, *kind, HASH)))
    }
}
