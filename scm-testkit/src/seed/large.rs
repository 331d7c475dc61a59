//! A project of very many files, and changes of it. Places and contents are the same in every run.

use std::path::Path;

use scm_core::{FileChange, FilePath};

use crate::sim::SimError;
use crate::sim::repo::{Git, GitError, Repo};

/// Files of one directory at the bottom.
const LEAF: usize = 40;
const PARTS: &[&str] = &["src", "api", "tests", "docs", "assets"];
/// Files that [`Large::many`] changes one by one, evenly spread.
const PICKS: usize = 400;

/// A project of so many files, 40 in each directory and three directories deep, as projects of several modules have
/// them. Every tenth file is binary, every sixteenth executable.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    files: usize,
}

impl Large {
    /// With so many files.
    #[must_use]
    pub fn new(files: usize) -> Self {
        Self { files }
    }

    /// Makes it as a bare repository at `path`, with one commit on `main`, for a simulator to take over.
    ///
    /// # Errors
    /// When git is missing or refuses.
    pub fn make(self, path: &Path) -> Result<(), SimError> {
        let git_error = |error: GitError| SimError::Git(error.to_string());
        let mut import =
            b"commit refs/heads/main\ncommitter Ada <ada@example.com> 1767348245 +0100\ndata 5\nFirst\n"
                .to_vec();
        for n in 0..self.files {
            modify(&mut import, mode(is_executable(n)), &place(n), &content(n));
        }
        let git = Git::new(&path.join("home"), &[]).map_err(git_error)?;
        let repo = Repo::create(&git, path, "main").map_err(git_error)?;
        let mut command = repo.command();
        // Else it gives memory back to the system after each file and asks for it again: five times as slow.
        command.env("MALLOC_TRIM_THRESHOLD_", "100000000");
        command.args(["fast-import", "--quiet", "--depth=0"]);
        git.run_with(&mut command, Some(&import)).map_err(git_error)?;
        Ok(())
    }

    /// One file changed.
    #[must_use]
    pub fn one(self) -> Vec<FileChange> {
        vec![FileChange::update(path(&place(self.files / 2)), content(self.files))]
    }

    /// A commit of 1,000 files created, 200 updated, 100 deleted, 50 renamed (10 of them with other contents) and the
    /// modes of 20 changed; binary files and executable ones among them. It takes at least 32,000 files.
    #[must_use]
    pub fn many(self) -> Vec<FileChange> {
        let pick = |n: usize| n % PICKS * (self.files / PICKS);
        let new = |n: usize| content(self.files + n);
        let mut out = Vec::new();
        for n in 0..1_000 {
            let (dir, _) = split(&place(pick(n)));
            // A quarter of them in directories that are not there yet.
            let dir = if n % 4 == 0 { format!("{dir}/more/{}", n / 100) } else { dir };
            out.push(FileChange::Create {
                path: path(&format!("{dir}/new-{n:04}.txt")),
                content: new(n).into(),
                executable: n % 20 == 5,
            });
        }
        out.extend((0..200).map(|n| FileChange::update(path(&place(pick(n))), new(1_000 + n))));
        // Some here and there, and all of one directory, so that it goes too.
        out.extend((200..260).map(|n| FileChange::delete(path(&place(pick(n))))));
        out.extend((LEAF..LEAF + 40).map(|n| FileChange::delete(path(&place(n)))));
        for n in 300..350 {
            let (from, (dir, name)) = (place(pick(n)), split(&place(pick(n - 100))));
            let mut longer = content(pick(n));
            longer.extend_from_slice(b"one more line\n");
            out.push(FileChange::Rename {
                from: path(&from),
                to: path(&format!("{dir}/moved-{name}")),
                content: (n % 5 == 0).then(|| longer.into()),
                last_commit: None,
            });
        }
        out.extend((350..370).map(|n| FileChange::chmod(path(&place(pick(n))), !is_executable(pick(n)))));
        out
    }

    /// A commit of these changes as `git fast-import` reads it: what a git program would make of them. Its message names
    /// the branch, so that no two are the same.
    #[must_use]
    pub fn import(self, branch: &str, from: &str, changes: &[FileChange]) -> Vec<u8> {
        let message = format!("Change {branch}");
        let mut out = format!(
            "commit refs/heads/{branch}\ncommitter A Bot <bot@example.com> 1767348245 +0000\ndata {}\n{message}\nfrom {from}\n",
            message.len()
        )
        .into_bytes();
        for change in changes {
            match change {
                FileChange::Create { path, content, executable } => {
                    modify(&mut out, mode(*executable), path.as_str(), content);
                }
                FileChange::Update { path, content, .. } => {
                    modify(&mut out, mode(is_executable(number(path))), path.as_str(), content);
                }
                FileChange::Delete { path, .. } => out.extend(format!("D {path}\n").into_bytes()),
                FileChange::Rename { from, to, content, .. } => {
                    out.extend(format!("R {from} {to}\n").into_bytes());
                    if let Some(content) = content {
                        modify(&mut out, mode(is_executable(number(from))), to.as_str(), content);
                    }
                }
                FileChange::Chmod { path, executable } => {
                    modify(&mut out, mode(*executable), path.as_str(), &content(number(path)));
                }
                _ => {}
            }
        }
        out
    }
}

fn modify(out: &mut Vec<u8>, mode: &str, path: &str, content: &[u8]) {
    out.extend_from_slice(format!("M {mode} inline {path}\ndata {}\n", content.len()).as_bytes());
    out.extend_from_slice(content);
    out.push(b'\n');
}

/// Where a file is.
fn place(n: usize) -> String {
    let leaf = n / LEAF;
    let module = leaf / PARTS.len();
    format!("area-{:02}/module-{module:03}/{}/file-{n:05}.txt", module / 16, PARTS[leaf % PARTS.len()])
}

/// The number of a file by its path.
fn number(path: &FilePath) -> usize {
    let digits = path.as_str().rsplit("file-").next().and_then(|name| name.strip_suffix(".txt"));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

fn is_executable(n: usize) -> bool {
    n % 16 == 3
}

fn mode(executable: bool) -> &'static str {
    if executable { "100755" } else { "100644" }
}

/// About 300 bytes that look like no other file's.
fn content(n: usize) -> Vec<u8> {
    let mut seed = n as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut roll = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    if n.is_multiple_of(10) {
        return (0..80).flat_map(|_| [0, roll() as u8, roll() as u8, 0xff]).collect();
    }
    (0..12).flat_map(|_| format!("let a{:08x} = {};\n", roll(), roll()).into_bytes()).collect()
}

fn split(place: &str) -> (String, String) {
    place.rsplit_once('/').map(|(dir, name)| (dir.to_owned(), name.to_owned())).unwrap_or_default()
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).expect("a path that is made here")
}
