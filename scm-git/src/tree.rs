//! Changes of files → new trees.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use gix_hash::ObjectId;
use gix_object::tree::{Editor, EntryKind};
use gix_object::{Find as _, Kind, Tree, TreeRef, WriteTo as _};
use scm_core::{Error, FileChange, Result};

use crate::objects::{HASH, Objects};
use crate::pack::Writer;
use crate::pkt::broken;

/// The directories on the way to the changed files, by depth. The root is not among them.
pub(crate) fn directories(changes: &[FileChange]) -> Vec<BTreeSet<&str>> {
    let mut by_depth: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for path in changes.iter().flat_map(FileChange::paths) {
        for (depth, (end, _)) in path.as_str().match_indices('/').enumerate() {
            by_depth.entry(depth).or_default().insert(&path.as_str()[..end]);
        }
    }
    by_depth.into_values().collect()
}

/// The tree of a directory, where it is one and its parents are known.
pub(crate) fn directory(objects: &Objects, root: ObjectId, path: &str) -> Result<Option<ObjectId>> {
    match find(objects, root, path)? {
        Found::Directory(id) => Ok(Some(id)),
        _ => Ok(None),
    }
}

/// What stands at a path.
enum Found<'a> {
    Nothing,
    File(EntryKind, ObjectId),
    Directory(ObjectId),
    Submodule,
    /// Nothing can, since a part of the path is a file.
    Below(&'a str),
}

fn find<'a>(objects: &Objects, root: ObjectId, path: &'a str) -> Result<Found<'a>> {
    let mut tree = root;
    let mut start = 0;
    loop {
        let end = path[start..].find('/').map_or(path.len(), |at| start + at);
        let Some((mode, id)) = objects.entry(&tree, &path[start..end])? else { return Ok(Found::Nothing) };
        let is_last = end == path.len();
        match mode.kind() {
            EntryKind::Tree if is_last => return Ok(Found::Directory(id)),
            EntryKind::Tree => tree = id,
            EntryKind::Commit if is_last => return Ok(Found::Submodule),
            kind if is_last => return Ok(Found::File(kind, id)),
            _ => return Ok(Found::Below(&path[..end])),
        }
        start = end + 1;
    }
}

/// Carries the changes out on the tree `root`, puts what is new into the pack, and returns the new root.
///
/// # Errors
/// `InvalidInput` for a change that cannot be, and for changes that change nothing.
pub(crate) fn apply(
    objects: &Objects,
    root: ObjectId,
    changes: &[FileChange],
    pack: &mut Writer,
) -> Result<ObjectId> {
    let leaving: HashSet<&str> = changes.iter().filter_map(leaves).collect();
    let mut removed = Vec::new();
    let mut put = Vec::new();
    for change in changes {
        match change {
            FileChange::Create { path, content, executable } => {
                free(objects, root, path.as_str(), &leaving)?;
                let kind = if *executable { EntryKind::BlobExecutable } else { EntryKind::Blob };
                put.push((path.as_str(), kind, pack.add(Kind::Blob, content)?));
            }
            FileChange::Update { path, content, .. } => {
                let (kind, _) = file(objects, root, path.as_str())?;
                put.push((path.as_str(), kind, pack.add(Kind::Blob, content)?));
            }
            FileChange::Delete { path, .. } => {
                file(objects, root, path.as_str())?;
                removed.push(path.as_str());
            }
            FileChange::Rename { from, to, content, .. } => {
                let (kind, id) = file(objects, root, from.as_str())?;
                free(objects, root, to.as_str(), &leaving)?;
                let id = match content {
                    Some(content) => pack.add(Kind::Blob, content)?,
                    None => id,
                };
                removed.push(from.as_str());
                put.push((to.as_str(), kind, id));
            }
            FileChange::Chmod { path, executable } => {
                let (kind, id) = file(objects, root, path.as_str())?;
                if kind == EntryKind::Link {
                    return Err(Error::invalid(format!(
                        "'{path}' is a symbolic link: it has no mode to change"
                    )));
                }
                let kind = if *executable { EntryKind::BlobExecutable } else { EntryKind::Blob };
                put.push((path.as_str(), kind, id));
            }
            other => return Err(Error::unsupported("create_commit", format!("git has no {other:?}"))),
        }
    }
    write(objects, root, &removed, &put, pack)
}

fn write(
    objects: &Objects,
    root: ObjectId,
    removed: &[&str],
    put: &[(&str, EntryKind, ObjectId)],
    pack: &mut Writer,
) -> Result<ObjectId> {
    let wrong = |_| broken("the server's trees cannot be edited");
    let mut buffer = Vec::new();
    let data = objects.try_find(&root, &mut buffer).map_err(wrong)?;
    let tree: Tree = match &data {
        Some(data) => TreeRef::from_bytes(data.data, HASH).map_err(wrong)?.into_owned(),
        None => Tree::empty(),
    };
    let mut editor = Editor::new(tree, objects, HASH);
    for path in removed {
        editor.remove(path.split('/')).map_err(wrong)?;
    }
    for (path, kind, id) in put {
        editor.upsert(path.split('/'), *kind, *id).map_err(wrong)?;
    }
    let mut data = Vec::new();
    let new = editor.write(|tree| {
        data.clear();
        tree.write_to(&mut data).map_err(|_| Error::invalid("a tree with these names cannot be written"))?;
        pack.add(Kind::Tree, &data)
    })?;
    if new == root {
        return Err(Error::invalid("the commit changes nothing: every file is already as it would be"));
    }
    Ok(new)
}

/// The path that a change leaves free.
fn leaves(change: &FileChange) -> Option<&str> {
    match change {
        FileChange::Delete { path, .. } => Some(path.as_str()),
        FileChange::Rename { from, .. } => Some(from.as_str()),
        _ => None,
    }
}

/// A file that must be there.
fn file(objects: &Objects, root: ObjectId, path: &str) -> Result<(EntryKind, ObjectId)> {
    match find(objects, root, path)? {
        Found::File(kind, id) => Ok((kind, id)),
        Found::Directory(_) => Err(Error::invalid(format!("'{path}' is a directory; name its files"))),
        Found::Submodule => {
            Err(Error::invalid(format!("'{path}' is a submodule, which has no content here")))
        }
        Found::Nothing | Found::Below(_) => {
            Err(Error::invalid(format!("A file with this name doesn't exist: {path}")))
        }
    }
}

/// A path at which nothing may be.
fn free(objects: &Objects, root: ObjectId, path: &str, leaving: &HashSet<&str>) -> Result<()> {
    match find(objects, root, path)? {
        Found::Nothing => Ok(()),
        Found::Below(file) if leaving.contains(file) => Ok(()),
        Found::Below(file) => {
            Err(Error::invalid(format!("'{file}' is a file, so that there can be no '{path}'")))
        }
        Found::Directory(_) => {
            Err(Error::invalid(format!("A directory with this name already exists: {path}")))
        }
        Found::File(..) | Found::Submodule => {
            Err(Error::invalid(format!("A file with this name already exists: {path}")))
        }
    }
}
