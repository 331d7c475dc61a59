//! Cases for [`scm_core::Contents`].

use futures_util::StreamExt as _;
use scm_core::{
    Archive, ArchiveFormat, BranchName, ContentsExt as _, EntryKind, ErrorKind, FileMode, FilePath, ListTree,
    RepoId, Revision, Sha,
};
use sha1::{Digest as _, Sha1};

use super::case::{Ctx, Result, Stop};
use super::fixture::{Repo, RepoSpec};
use super::support::{
    cases, ensure, ensure_eq, every_page, everything, foreign_cursor, missing_sha, pages_hold,
};

cases! {
    "contents";
    a_file_comes_with_all_that_is_known [Contents::file];
    bytes_stay_as_they_are [Contents::file, Contents::raw_file];
    names_may_hold_anything [Contents::file, Contents::raw_file, Contents::file_exists, Contents::list_tree_page];
    every_kind_of_revision_works [Contents::file, Contents::raw_file, Contents::file_exists];
    what_is_missing_is_not_found [Contents::file, Contents::raw_file, Contents::list_tree_page];
    text_is_utf8_or_an_error [ContentsExt::text];
    an_lfs_pointer_is_flagged [Contents::file];
    a_large_file_streams [Contents::raw_file];
    a_directory_is_not_a_file [Contents::file_exists, Contents::file];
    a_tree_lists_one_level_or_all [Contents::list_tree_page, ContentsExt::list_tree];
    a_large_tree_comes_page_by_page [Contents::list_tree_page];
    an_empty_repository_has_an_empty_tree [Contents::list_tree_page];
    a_foreign_cursor_is_refused [Contents::list_tree_page];
    an_archive_holds_the_files [Contents::archive] needs archive, else an_archive_is_refused;
    an_archive_of_something_missing_is_not_found [Contents::archive] needs archive, else an_archive_is_refused;
}

/// The object id that git gives these bytes.
fn blob_id(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that look like nothing and compress badly.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn head(repo: &Repo) -> Revision {
    repo.default_branch.clone().into()
}

/// Bytes, blob, last commit and mode; each as it is, or not told.
pub async fn a_file_comes_with_all_that_is_known(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("src/a.txt", "first\n")).await?;
    let first = repo.head()?;
    let second =
        ctx.fixture.push_as_other(&repo, &repo.default_branch, &[("src/b.txt", b"second\n")]).await?;
    for (path, content, last) in [("src/a.txt", "first\n", &first), ("src/b.txt", "second\n", &second)] {
        let file = ctx.scm.contents().file(&repo.id, &head(&repo), &path.parse()?).await?;
        ensure_eq!(file.path.as_str(), path, "path");
        ensure_eq!(file.content, content.as_bytes(), "content of {path}");
        ensure!(
            file.blob_id.as_ref().is_none_or(|id| id.as_str() == blob_id(content.as_bytes())),
            "{file:?}"
        );
        ensure!(file.last_commit.as_ref().is_none_or(|sha| sha == last), "{path}: {file:?}, not {last}");
        ensure!(matches!(file.mode, None | Some(FileMode::Regular)), "{file:?}");
        ensure_eq!(file.lfs, None, "an ordinary file");
    }
    Ok(())
}

/// No byte is added, lost or changed.
pub async fn bytes_stay_as_they_are(ctx: &Ctx) -> Result<()> {
    let all: Vec<u8> = (0..=255).collect();
    let files: [(&str, &[u8]); 7] = [
        ("empty", b""),
        ("no-newline", b"no newline at the end"),
        ("crlf", b"one\r\ntwo\r\n"),
        ("nul", b"a\0b\0"),
        ("all-bytes", &all),
        ("utf8", "ünïcödé 日本語 🦀\n".as_bytes()),
        ("bom", b"\xef\xbb\xbfwith a mark\n"),
    ];
    let spec =
        files.iter().fold(RepoSpec::new(), |spec, (path, bytes)| spec.with_file(*path, bytes.to_vec()));
    let repo = ctx.repository_with(spec).await?;
    for (path, bytes) in files {
        let path = path.parse()?;
        let file = ctx.scm.contents().file(&repo.id, &head(&repo), &path).await?;
        ensure_eq!(file.content, bytes, "{path} as a file");
        let raw = ctx.scm.contents().raw_file(&repo.id, &head(&repo), &path).await?.collect(1 << 20).await?;
        ensure_eq!(raw, bytes, "{path} as a stream");
    }
    Ok(())
}

/// Spaces, signs that mean something in a URL, other scripts, depth.
pub async fn names_may_hold_anything(ctx: &Ctx) -> Result<()> {
    const NAMES: [&str; 12] = [
        "with space.txt",
        "plus+sign.txt",
        "per%cent%20.txt",
        "hash#sign.txt",
        "question?mark=1&b.txt",
        "semi;colon,comma.txt",
        "brackets[1]{2}.txt",
        "ünïcode/日本語.txt",
        "very/deep/er/and/deeper/file.txt",
        ".hidden",
        "two..dots.txt",
        "a%2Fb.txt",
    ];
    let spec = NAMES.iter().fold(RepoSpec::new(), |spec, name| spec.with_file(*name, name.as_bytes()));
    let repo = ctx.repository_with(spec).await?;
    let contents = ctx.scm.contents();
    let mut wanted = vec![FilePath::new("README.md")?];
    for name in NAMES {
        let path = FilePath::new(name)?;
        let file = contents.file(&repo.id, &head(&repo), &path).await?;
        ensure_eq!(file.content, name.as_bytes(), "{name} as a file");
        let raw = contents.raw_file(&repo.id, &head(&repo), &path).await?.collect(1 << 20).await?;
        ensure_eq!(raw, name.as_bytes(), "{name} as a stream");
        ensure!(contents.file_exists(&repo.id, &head(&repo), &path).await?, "{name} does not exist");
        wanted.push(path);
    }
    let tree =
        everything(contents.list_tree(&repo.id, &head(&repo), ListTree::default().with_recursive(true)))
            .await?;
    let mut seen: Vec<_> =
        tree.into_iter().filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.path).collect();
    seen.sort();
    wanted.sort();
    ensure_eq!(seen, wanted, "the files of the tree");
    let inside = ListTree::default().with_path("ünïcode".parse()?);
    let tree = everything(contents.list_tree(&repo.id, &head(&repo), inside)).await?;
    ensure_eq!(
        tree.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(),
        ["ünïcode/日本語.txt"],
        "directory"
    );
    Ok(())
}

/// Default branch, branch with a slash and signs, commit.
pub async fn every_kind_of_revision_works(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("which", "old")).await?;
    let branch: BranchName = "feature/x#1+2".parse()?;
    let tip = ctx.fixture.push_as_other(&repo, &branch, &[("which", b"new"), ("added", b"1")]).await?;
    let (path, added) = (FilePath::new("which")?, FilePath::new("added")?);
    for (at, wanted) in [
        (Revision::Head, "old"),
        (Revision::Commit(repo.head()?), "old"),
        (Revision::Branch(branch), "new"),
        (Revision::Commit(tip), "new"),
    ] {
        let contents = ctx.scm.contents();
        ensure_eq!(contents.file(&repo.id, &at, &path).await?.content, wanted.as_bytes(), "file at {at}");
        let raw = contents.raw_file(&repo.id, &at, &path).await?.collect(100).await?;
        ensure_eq!(raw, wanted.as_bytes(), "stream at {at}");
        ensure_eq!(contents.file_exists(&repo.id, &at, &added).await?, wanted == "new", "added at {at}");
        let tree = everything(contents.list_tree(&repo.id, &at, ListTree::default())).await?;
        ensure_eq!(
            tree.iter().any(|entry| entry.path == added),
            wanted == "new",
            "added in the tree at {at}"
        );
    }
    Ok(())
}

/// Repository, revision, path, directory.
pub async fn what_is_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    let (readme, nothing) = (FilePath::new("README.md")?, FilePath::new("not/there.txt")?);
    let contents = ctx.scm.contents();
    let no_branch = Revision::Branch("not/there".parse()?);
    let no_commit = Revision::Commit(missing_sha()?);
    for (repo, at, path) in [
        (&repo.id, &Revision::Head, &nothing),
        (&repo.id, &no_branch, &readme),
        (&repo.id, &no_commit, &readme),
        (&gone, &Revision::Head, &readme),
    ] {
        ctx.refused(contents.file(repo, at, path).await, &[ErrorKind::NotFound])?;
        ctx.refused(contents.raw_file(repo, at, path).await, &[ErrorKind::NotFound])?;
        let tree = ListTree::default().with_path(path.clone());
        ctx.refused(contents.list_tree_page(repo, at, &tree, None).await, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// Text of a file, or `Decode` for bytes that are none.
pub async fn text_is_utf8_or_an_error(ctx: &Ctx) -> Result<()> {
    let spec = RepoSpec::new().with_file("text", "ä\n").with_file("binary", vec![0xff, 0xfe, 0x00]);
    let repo = ctx.repository_with(spec).await?;
    let contents = ctx.scm.contents();
    ensure_eq!(contents.text(&repo.id, &Revision::Head, &"text".parse()?).await?, "ä\n", "text");
    let binary = contents.text(&repo.id, &Revision::Head, &"binary".parse()?).await;
    let Err(error) = binary else { return Err(Stop::failed("bytes that are not UTF-8 became a text")) };
    ensure_eq!(error.kind(), ErrorKind::Decode, "bytes that are not UTF-8");
    Ok(())
}

/// The pointer itself, and what it says.
pub async fn an_lfs_pointer_is_flagged(ctx: &Ctx) -> Result<()> {
    let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
    let repo = ctx.repository_with(RepoSpec::new().with_file("big.bin", pointer.as_str())).await?;
    let file = ctx.scm.contents().file(&repo.id, &head(&repo), &"big.bin".parse()?).await?;
    ensure_eq!(file.content, pointer.as_bytes(), "the pointer's text");
    let Some(lfs) = file.lfs else { return Err(Stop::failed("a pointer is not flagged")) };
    ensure_eq!((lfs.oid.as_str(), lfs.size), (format!("sha256:{oid}").as_str(), 12_345), "what it points to");
    Ok(())
}

/// Some megabytes, as they arrive.
pub async fn a_large_file_streams(ctx: &Ctx) -> Result<()> {
    let content = noise(5_000_000);
    let repo = ctx.repository_with(RepoSpec::new().with_file("large.bin", content.clone())).await?;
    let mut stream = ctx.scm.contents().raw_file(&repo.id, &head(&repo), &"large.bin".parse()?).await?;
    ensure!(stream.length().is_none_or(|length| length == 5_000_000), "length: {:?}", stream.length());
    let (mut read, mut chunks) = (0, 0);
    while let Some(chunk) = stream.next().await.transpose()? {
        ensure!(content[read..].starts_with(&chunk), "other bytes from {read} on");
        read += chunk.len();
        chunks += 1;
    }
    ensure_eq!(read, content.len(), "bytes read");
    ensure!(chunks > 1, "the whole file came as one piece, so it was held in memory");
    let stream = ctx.scm.contents().raw_file(&repo.id, &head(&repo), &"large.bin".parse()?).await?;
    let Err(error) = stream.collect(1_000_000).await else {
        return Err(Stop::failed("more was collected than the limit"));
    };
    ensure_eq!(error.kind(), ErrorKind::Decode, "past the limit");
    Ok(())
}

/// Existence is about files.
pub async fn a_directory_is_not_a_file(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_file("dir/file", "1")).await?;
    for (path, wanted) in
        [("dir/file", true), ("dir", false), ("dir/other", false), ("dir/file/below", false)]
    {
        let seen = ctx.scm.contents().file_exists(&repo.id, &head(&repo), &path.parse()?).await?;
        ensure_eq!(seen, wanted, "{path}");
    }
    ctx.refused(
        ctx.scm.contents().file(&repo.id, &head(&repo), &"dir".parse()?).await,
        &[ErrorKind::NotFound, ErrorKind::InvalidInput],
    )?;
    Ok(())
}

/// Entries with their kinds, modes and ids.
pub async fn a_tree_lists_one_level_or_all(ctx: &Ctx) -> Result<()> {
    let spec = RepoSpec::new().with_file("dir/one", "1").with_file("dir/sub/two", "2").with_file("dirt", "3");
    let repo = ctx.repository_with(spec).await?;
    let directory = FilePath::new("dir")?;
    let one = ListTree::default();
    for (opts, wanted) in [
        (one.clone(), vec!["README.md", "dir", "dirt"]),
        (one.clone().with_path(directory.clone()), vec!["dir/one", "dir/sub"]),
        (one.clone().with_recursive(true), vec!["README.md", "dir/one", "dir/sub/two", "dirt"]),
        (one.with_path(directory).with_recursive(true), vec!["dir/one", "dir/sub/two"]),
    ] {
        let (shown, recursive) = (format!("{opts:?}"), opts.recursive == Some(true));
        let tree = everything(ctx.scm.contents().list_tree(&repo.id, &head(&repo), opts)).await?;
        // Some servers list directories in a recursive tree, some leave them out.
        let counts = |kind: &EntryKind| !recursive || *kind == EntryKind::File;
        let mut seen: Vec<_> =
            tree.iter().filter(|entry| counts(&entry.kind)).map(|entry| entry.path.as_str()).collect();
        seen.sort_unstable();
        ensure_eq!(seen, wanted, "{shown}");
        for entry in &tree {
            let (kind, mode) = match entry.path.as_str() {
                "dir" | "dir/sub" => (EntryKind::Directory, FileMode::Directory),
                _ => (EntryKind::File, FileMode::Regular),
            };
            ensure_eq!(entry.kind, kind, "kind of {}", entry.path);
            ensure!(entry.mode.is_none_or(|seen| seen == mode), "{entry:?}, not {mode:?}");
            if let (Some(id), "dir/one") = (&entry.id, entry.path.as_str()) {
                ensure_eq!(*id, blob_id(b"1"), "id of {}", entry.path);
            }
        }
    }
    Ok(())
}

/// More entries than a page holds, in one directory and over many.
pub async fn a_large_tree_comes_page_by_page(ctx: &Ctx) -> Result<()> {
    let names: Vec<String> = (0..230).map(|n| format!("d{}/file-{n:03}", n % 7)).collect();
    let spec = names.iter().fold(RepoSpec::new(), |spec, name| spec.with_file(name, name.as_bytes()));
    let repo = ctx.repository_with(spec).await?;
    let at = head(&repo);
    let opts = ListTree::default().with_recursive(true).with_page_size(50);
    let pages = every_page(|cursor| {
        let (scm, repo, at, opts) = (ctx.scm.as_ref(), &repo.id, &at, &opts);
        async move { scm.contents().list_tree_page(repo, at, opts, cursor.as_ref()).await }
    })
    .await?;
    let files = |page: Vec<scm_core::TreeEntry>| {
        page.into_iter()
            .filter(|entry| entry.kind == EntryKind::File)
            .map(|entry| entry.path.to_string())
            .collect()
    };
    let mut wanted = names.clone();
    wanted.push("README.md".to_owned());
    pages_hold(pages.into_iter().map(files).collect(), 50, &wanted)?;
    let default = ListTree::default().with_recursive(true);
    let all = everything(ctx.scm.contents().list_tree(&repo.id, &at, default)).await?;
    ensure_eq!(
        all.iter().filter(|entry| entry.kind == EntryKind::File).count(),
        231,
        "files without a page size"
    );
    Ok(())
}

/// Nothing in it, and no error.
pub async fn an_empty_repository_has_an_empty_tree(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().empty()).await?;
    let page =
        ctx.scm.contents().list_tree_page(&repo.id, &Revision::Head, &ListTree::default(), None).await?;
    ensure!(page.items.is_empty() && page.next.is_none(), "an empty repository has {page:?}");
    let file = ctx.scm.contents().file(&repo.id, &Revision::Head, &"README.md".parse()?).await;
    ctx.refused(file, &[ErrorKind::NotFound])?;
    Ok(())
}

/// A cursor of another provider.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (opts, cursor) = (ListTree::default(), foreign_cursor());
    let page = ctx.scm.contents().list_tree_page(&repo.id, &Revision::Head, &opts, Some(&cursor)).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// Every format, all files or one directory. Looked at without unpacking: names in tar are plain text.
pub async fn an_archive_holds_the_files(ctx: &Ctx) -> Result<()> {
    let content = noise(300_000);
    let spec = RepoSpec::new().with_file("dir/inside.bin", content.clone()).with_file("outside.txt", "2");
    let repo = ctx.repository_with(spec).await?;
    let holds = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    let read = async |at: &Revision, opts: Archive| -> Result<_> {
        Ok(ctx.scm.contents().archive(&repo.id, at, &opts).await?.collect(10_000_000).await?)
    };
    for (format, magic) in [(ArchiveFormat::TarGz, &b"\x1f\x8b"[..]), (ArchiveFormat::Zip, b"PK\x03\x04")] {
        let bytes = read(&head(&repo), Archive::default().with_format(format)).await?;
        ensure!(bytes.starts_with(magic), "{format:?} starts with {:?}", bytes.get(..4));
    }
    ensure!(
        read(&Revision::Head, Archive::default()).await?.starts_with(b"\x1f\x8b"),
        "the default is not tar.gz"
    );
    let tar = Archive::default().with_format(ArchiveFormat::Tar);
    let whole = read(&Revision::Commit(repo.head()?), tar.clone()).await?;
    ensure!(holds(&whole, b"inside.bin") && holds(&whole, b"outside.txt"), "a file is missing");
    ensure!(holds(&whole, &content[..1_000]), "the content is missing");
    let part = read(&head(&repo), tar.with_path("dir".parse()?)).await?;
    ensure!(
        holds(&part, b"inside.bin") && !holds(&part, b"outside.txt"),
        "the directory alone was asked for"
    );
    Ok(())
}

/// Repository and revision.
pub async fn an_archive_of_something_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    let missing: Sha = missing_sha()?;
    for (repo, at) in [(&gone, Revision::Head), (&repo.id, missing.into())] {
        let archive = ctx.scm.contents().archive(repo, &at, &Archive::default()).await;
        ctx.refused(archive, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// The other half of the cases about archives.
pub async fn an_archive_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    ctx.unsupported(ctx.scm.contents().archive(&repo.id, &Revision::Head, &Archive::default()).await)
}
