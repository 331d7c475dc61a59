//! The same trees as git makes, for generated changes.

use std::collections::BTreeMap;
use std::path::Path;

use scm_core::{FileChange, FilePath, NewCommit};
use scm_testkit::sim::gitlab::ProjectSpec;

use crate::world::{World, branch, git};

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides as u64) as usize
    }
}

/// Mode and content by path: what the branch must hold.
type Files = BTreeMap<String, (&'static str, Vec<u8>)>;

/// Names that sort in surprising ways around directories, and few enough to collide.
const NAMES: &[&str] = &["a", "a.b", "a-b", "a0", "b", "ä ö", "x+y#z", "Makefile"];

fn path(dice: &mut Dice) -> String {
    let depth = 1 + dice.roll(4);
    (0..depth).map(|_| NAMES[dice.roll(NAMES.len())]).collect::<Vec<_>>().join("/")
}

fn content(dice: &mut Dice) -> Vec<u8> {
    match dice.roll(3) {
        0 => Vec::new(),
        1 => format!("text {}\n", dice.roll(1_000)).into_bytes(),
        _ => (0..dice.roll(2_000)).map(|_| dice.roll(256) as u8).collect(),
    }
}

/// Could a file be at this path beside the others?
fn fits(files: &Files, path: &str) -> bool {
    let below = format!("{path}/");
    !files.contains_key(path)
        && !files.keys().any(|other| other.starts_with(&below))
        && !path.match_indices('/').any(|(end, _)| files.contains_key(&path[..end]))
}

fn mode(executable: bool) -> &'static str {
    if executable { "100755" } else { "100644" }
}

/// One to seven changes that can be made together; `files` becomes what they lead to.
fn changes(dice: &mut Dice, files: &mut Files) -> Vec<FileChange> {
    let file = |path: &str| FilePath::new(path).unwrap();
    let before = files.clone();
    let mut out = Vec::new();
    let mut touched: Vec<String> = Vec::new();
    for _ in 0..=dice.roll(6) {
        let known: Vec<String> = files.keys().filter(|path| !touched.contains(path)).cloned().collect();
        let (new, bytes, flag) = (path(dice), content(dice), dice.roll(2) == 1);
        let is_free = fits(files, &new) && fits(&before, &new) && !touched.contains(&new);
        let kind = dice.roll(5);
        if known.is_empty() || kind == 0 {
            if is_free {
                out.push(FileChange::Create {
                    path: file(&new),
                    content: bytes.clone().into(),
                    executable: flag,
                });
                files.insert(new.clone(), (mode(flag), bytes));
                touched.push(new);
            }
            continue;
        }
        let old = known[dice.roll(known.len())].clone();
        let (old_mode, old_bytes) = files[&old].clone();
        match kind {
            1 => {
                out.push(FileChange::update(file(&old), bytes.clone()));
                files.insert(old.clone(), (old_mode, bytes));
            }
            2 => {
                out.push(FileChange::delete(file(&old)));
                files.remove(&old);
            }
            3 if is_free => {
                let content = flag.then(|| bytes.clone().into());
                out.push(FileChange::Rename { from: file(&old), to: file(&new), content, last_commit: None });
                files.remove(&old);
                files.insert(new.clone(), (old_mode, if flag { bytes } else { old_bytes }));
                touched.push(new);
            }
            _ => {
                out.push(FileChange::chmod(file(&old), flag));
                files.insert(old.clone(), (mode(flag), old_bytes));
            }
        }
        touched.push(old);
    }
    out
}

/// The tree that git itself makes of these files.
fn tree_by_git(dir: &Path, files: &Files) -> String {
    let mut import = b"commit refs/heads/expected\ncommitter A <a@b> 0 +0000\ndata 0\ndeleteall\n".to_vec();
    for (path, (mode, bytes)) in files {
        import.extend_from_slice(format!("M {mode} inline \"{path}\"\ndata {}\n", bytes.len()).as_bytes());
        import.extend_from_slice(bytes);
        import.push(b'\n');
    }
    git(dir, &["fast-import", "--quiet", "--force"], &import);
    git(dir, &["rev-parse", "expected^{tree}"], b"")
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_commits_have_the_trees_that_git_makes() {
    let world = World::new(ProjectSpec::new().file("README.md", "# Read me\n")).await;
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--bare"], b"");
    let mut files = Files::from([("README.md".to_owned(), ("100644", b"# Read me\n".to_vec()))]);
    let mut dice = Dice(20_261_121);
    let mut expected = vec![tree_by_git(dir.path(), &files)];
    while expected.len() <= 200 {
        let mut after = files.clone();
        let wanted = changes(&mut dice, &mut after);
        let tree = tree_by_git(dir.path(), &after);
        if expected.last() == Some(&tree) {
            continue;
        }
        let shown = format!("{wanted:?}");
        let new = NewCommit::on_branch(branch("main"), "Change").with_changes(wanted);
        let made = world.commit(&new).await.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(world.tip("main"), Some(made.sha), "{shown}");
        files = after;
        expected.push(tree);
    }
    git(dir.path(), &["fetch", "--quiet", &world.url, "main"], b"");
    let trees = git(dir.path(), &["log", "--reverse", "--format=%T", "FETCH_HEAD"], b"");
    assert_eq!(trees.lines().collect::<Vec<_>>(), expected);
    git(dir.path(), &["fsck", "--strict", "--no-dangling"], b"");
}
