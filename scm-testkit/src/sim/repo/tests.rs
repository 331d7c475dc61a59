use super::{write::Refused, *};

fn who() -> Identity {
    Identity { name: "Ada".into(), email: "ada@example.com".into(), date: "1767323045 +0100".into() }
}

fn commit(repo: &Repo, parent: Option<&str>, changes: &[Change], message: &str) -> String {
    let tree = repo.write_tree(parent, changes).unwrap();
    let parents: Vec<String> = parent.map(str::to_owned).into_iter().collect();
    repo.write_commit(&NewCommit {
        tree: &tree,
        parents: &parents,
        message,
        author: &who(),
        committer: &who(),
    })
    .unwrap()
}

fn write(path: &str, content: &str) -> Change {
    Change::Write { path: path.into(), content: content.into(), executable: false }
}

fn repo() -> (tempfile::TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    let git = Git::new(&dir.path().join("home"), &["refs/hidden"]).unwrap();
    let repo = Repo::create(&git, &dir.path().join("one.git"), "main").unwrap();
    (dir, repo)
}

#[test]
fn a_commit_is_read_back_as_it_was_made() {
    let (_dir, repo) = repo();
    let first =
        commit(&repo, None, &[write("a b/ü.txt", "1\n"), write("z", "2\n")], "Title\n\nBody\n\nKey: value\n");
    assert!(repo.update_ref("refs/heads/main", &first, ZERO).unwrap());
    assert!(!repo.update_ref("refs/heads/main", &first, ZERO).unwrap(), "the ref is no longer absent");
    let info = repo.commit(&first).unwrap();
    assert_eq!(info.title(), "Title");
    assert_eq!(info.authored, "2026-01-02T04:04:05+01:00");
    assert_eq!(info.trailers, [("Key".to_owned(), "value".to_owned())]);
    let tree = repo.tree("main", "", true).unwrap().unwrap();
    assert_eq!(tree.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a b", "a b/ü.txt", "z"]);
    assert_eq!(repo.blob(&repo.entry("main", "z").unwrap().unwrap().id).unwrap(), b"2\n");
    assert_eq!(repo.commit_id("-z").unwrap(), None);
}

#[test]
fn diffs_name_renames_and_carry_hunks_only() {
    let (_dir, repo) = repo();
    let text: String = (1..=20).map(|n| format!("line {n}\n")).collect();
    let first = commit(&repo, None, &[write("a", &text), write("b", "x\n")], "one");
    let changed = text.replace("line 10\n", "line ten\nline ten and a half\n");
    let second = commit(
        &repo,
        Some(&first),
        &[Change::Remove { path: "a".into() }, write("c", &changed), write("b", "y\n")],
        "two",
    );
    let files = repo.diff(&first, &second).unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!((files[1].old_path.as_str(), files[1].new_path.as_str(), files[1].status), ("a", "c", 'R'));
    assert!(files[0].hunks.starts_with("@@ -1 +1 @@"));
    let lines = DiffLines::of(&files[1].hunks);
    assert!(lines.accepts(None, Some(10)) && lines.accepts(Some(10), None));
    assert!(lines.accepts(Some(9), Some(9)) && lines.accepts(Some(20), Some(21)));
    assert!(!lines.accepts(Some(20), Some(20)) && !lines.accepts(None, Some(1)));
    let stats = repo.stats(&second).unwrap();
    assert_eq!((stats.additions, stats.deletions), (3, 2));
}

#[test]
fn rebase_moves_commits_and_reports_conflicts() {
    let (_dir, repo) = repo();
    let root = commit(&repo, None, &[write("a", "1\n"), write("b", "1\n")], "root");
    let target = commit(&repo, Some(&root), &[write("a", "2\n")], "target");
    let clean = commit(&repo, Some(&root), &[write("b", "2\n")], "clean");
    let clash = commit(&repo, Some(&root), &[write("a", "3\n")], "clash");
    let moved = repo.rebase(&clean, &target, &who()).unwrap().unwrap();
    assert!(repo.is_ancestor(&target, &moved).unwrap());
    assert_eq!(repo.commit(&moved).unwrap().message, "clean");
    assert_eq!(repo.rebase(&clash, &target, &who()).unwrap(), Err(Refused::Conflict));
}

#[test]
fn a_copy_by_template_shares_objects() {
    let (dir, template) = repo();
    let first = commit(&template, None, &[write("a", "1\n")], "one");
    template.set_ref("refs/heads/main", &first).unwrap();
    let copy = Repo::create_like(&template.git, &dir.path().join("two.git"), "main", &template).unwrap();
    assert_eq!(copy.branch_id("main").unwrap(), Some(first));
}
