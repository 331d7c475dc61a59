//! One commit of very many files, in a repository of very many: whole and exact, or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{
    Body, Delivery, ErrorKind, HttpTransport, NewCommit, Route, RungReport, Transport, TransportError,
};
use scm_testkit::seed::Large;
use tokio::sync::Notify;
use url::Url;

use crate::world::{PROJECT, World, bot, branch, direct, git};

const FILES: usize = 50_000;

/// Holds the first push until it is let go.
#[derive(Clone, Debug)]
struct Gate {
    inner: Transport,
    reached: Arc<Notify>,
    open: Arc<Notify>,
}

#[async_trait]
impl HttpTransport for Gate {
    async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        if request.uri().path().ends_with("/git-receive-pack") {
            self.reached.notify_one();
            self.open.notified().await;
        }
        self.inner.send(request).await
    }

    async fn probe(&self, target: &Url) -> Vec<RungReport> {
        self.inner.probe(target).await
    }

    fn route(&self) -> Route {
        self.inner.route()
    }
}

/// How often each kind of change is in a commit: mode before and after, and git's letter.
fn kinds(dir: &Path, range: &str) -> BTreeMap<String, usize> {
    let raw = git(dir, &["diff", "--raw", "-M", range], b"");
    let mut out = BTreeMap::new();
    for line in raw.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        *out.entry(format!("{} {} {}", words[0], words[1], &words[4][..1])).or_default() += 1;
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_commit_lands_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let project = Large::new(FILES);
    project.make(dir.path()).unwrap();
    let world = World::like(dir.path()).await;
    let start = world.tip("main").unwrap();
    let commit = |head| {
        NewCommit::on_branch(branch("main"), "Many").with_expected_head(head).with_changes(project.many())
    };

    // Someone else's push lands between what was read and the push.
    let gate = Gate { inner: direct(), reached: Arc::default(), open: Arc::default() };
    let held = world.over(Transport::new(gate.clone()));
    let (new, by) = (commit(start.clone()), bot());
    let (refused, other) = tokio::join!(held.create_commit(&new, &by), async {
        gate.reached.notified().await;
        let other = world.sim.push_commit(PROJECT, "main", "Other", &[("other.txt", Some(b"1\n"))]);
        gate.open.notify_one();
        other.unwrap()
    });
    let error = refused.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Conflict, Delivery::Answered), "{error}");
    assert_eq!(error.message(), format!("the branch 'main' has moved from {start} to {other}"));
    let clone = tempfile::tempdir().unwrap();
    let clone = clone.path();
    git(clone, &["clone", "--quiet", "--mirror", &world.url, "."], b"");
    assert_eq!(git(clone, &["rev-list", "--all"], b""), format!("{other}\n{start}"));
    let objects =
        |range: &[&str]| git(clone, &[&["rev-list", "--objects"], range].concat(), b"").lines().count();
    // The other's commit, its root tree and its file: nothing of ours can be reached.
    assert_eq!(objects(&["--all", &format!("^{start}")]), 3);

    let head = world.tip("main").unwrap();
    let made = world.commit(&commit(head.clone())).await.unwrap();
    assert_eq!((world.tip("main"), made.parents), (Some(made.sha.clone()), vec![head.clone()]));
    git(clone, &["fetch", "--quiet"], b"");
    let parents = git(clone, &["rev-list", "--parents", &format!("{head}..main")], b"");
    assert_eq!(parents, format!("{} {head}", made.sha));
    let range = format!("{head}..main");
    let expected = [
        (":000000 100644 A", 950),
        (":000000 100755 A", 50),
        (":100644 000000 D", 94),
        (":100644 100644 M", 188),
        (":100644 100644 R", 47),
        (":100644 100755 M", 18),
        (":100755 000000 D", 6),
        (":100755 100644 M", 2),
        (":100755 100755 M", 12),
        (":100755 100755 R", 3),
    ];
    assert_eq!(kinds(clone, &range), expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    assert_eq!(
        git(clone, &["diff", "--shortstat", "-M", &range], b""),
        " 1370 files changed, 12005 insertions(+), 1992 deletions(-)"
    );
    let numbers = git(clone, &["diff", "--numstat", "-M", &range], b"");
    let binary = numbers.lines().filter(|line| line.starts_with("-\t-\t")).count();
    // Created, updated, deleted, renamed, and of another mode.
    assert_eq!(binary, 100 + 100 + 34 + 25 + 10);

    // Every byte and mode as git itself makes them of the same changes.
    let import = project.import("expected", head.as_str(), &project.many());
    git(clone, &["fast-import", "--quiet"], &import);
    assert_eq!(
        git(clone, &["rev-parse", "main^{tree}"], b""),
        git(clone, &["rev-parse", "expected^{tree}"], b"")
    );
    git(clone, &["fsck", "--strict", "--no-dangling"], b"");
}
