//! Pull requests on a server that keeps state: reviewers, forks, what stands against a merge, and what each call costs.

use futures_util::TryStreamExt as _;
use scm_core::{
    Align, Alignment, Approve, Change, CommitsExt as _, Compare, ErrorKind, ListCommits, ListPullRequests,
    MergePullRequest, MergeReason, MergeStrategy, MergeWhen, NewComment, NewPullRequest, PullRequest,
    PullRequestState, PullRequestsExt as _, Readiness, RepoId, Revision, Scm as _, UpdatePullRequest,
    UserName,
};
use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, MergeChecks, RestrictionKind, Role, TokenKind, TokenSpec,
};

use crate::world::{BOT, REPO, World, is, main, route};

fn names(users: &[UserName]) -> Vec<&str> {
    users.iter().map(UserName::as_str).collect()
}

fn titled(title: &str) -> UpdatePullRequest {
    UpdatePullRequest::default().with_title(title.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_keeps_what_it_does_not_name() {
    let world = World::new().await;
    for user in ["ann", "ben"] {
        world.sim.add_member(REPO, user, Role::Read).unwrap();
    }
    let pulls = world.scm.pull_requests();
    let new = NewPullRequest::new(world.push("topic"), main(), "Old")
        .with_description("Long text")
        .with_reviewers(["ann".parse().unwrap(), "ben".parse().unwrap()]);
    let pull = pulls.create_pull_request(&world.repo, &new).await.unwrap().value;
    world.sim.review(REPO, pull.id.get(), "ann", "APPROVED").unwrap();
    let pull = pulls.update_pull_request(&world.repo, pull.id, &titled("New")).await.unwrap();
    assert_eq!((pull.title.as_str(), pull.description.as_str()), ("New", "Long text"));
    assert_eq!((names(&pull.reviewers), &pull.target_branch), (vec!["ann", "ben"], &main()));
    let approvals = pulls.approvals(&world.repo, pull.id).await.unwrap();
    assert_eq!(names(&approvals.approved_by), ["ann"]);
    let only_ben = UpdatePullRequest::default().with_reviewers(vec!["ben".parse().unwrap()]);
    let pull = pulls.update_pull_request(&world.repo, pull.id, &only_ben).await.unwrap();
    assert_eq!((names(&pull.reviewers), pull.title.as_str()), (vec!["ben"], "New"));
    // Who has left the company must not keep everybody else from changing the title.
    world.sim.deactivate_user("ben").unwrap();
    let pull = pulls.update_pull_request(&world.repo, pull.id, &titled("Newer")).await.unwrap();
    assert_eq!(pull.title, "Newer");
    let ben = UpdatePullRequest::default().with_reviewers(vec!["ben".parse().unwrap()]);
    is(
        pulls.update_pull_request(&world.repo, pull.id, &ben).await,
        ErrorKind::InvalidInput,
        "ben is not a user",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_reviewers_are_added_but_for_the_author_and_those_who_are_gone() {
    let world = World::new().await;
    for user in ["ann", "ben", "gone"] {
        world.sim.add_member(REPO, user, Role::Read).unwrap();
    }
    world.sim.set_default_reviewers(REPO, Some("main"), &["ann", "gone", BOT]).unwrap();
    world.sim.deactivate_user("gone").unwrap();
    let pulls = world.scm.pull_requests();
    let create = async |branch: &str, target: &str, edit: fn(NewPullRequest) -> NewPullRequest| {
        let new = NewPullRequest::new(world.push(branch), target.parse().unwrap(), "Change");
        let made = pulls.create_pull_request(&world.repo, &edit(new)).await.unwrap().value;
        made.reviewers.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(create("one", "main", |new| new).await, ["ann"]);
    let both = |new: NewPullRequest| new.with_reviewers(["ben".parse().unwrap(), "ann".parse().unwrap()]);
    assert_eq!(create("two", "main", both).await, ["ben", "ann"]);
    let without = NewPullRequest::without_default_reviewers;
    assert_eq!(create("three", "main", without).await, Vec::<String>::new());
    world.write("release", "b.txt", "1\n");
    assert_eq!(create("four", "release", |new| new).await, Vec::<String>::new(), "of another target");
    let asked = world.sent("GET", route::REVIEWERS);
    assert_eq!(asked.len(), 3);
    let number = world.sim.repository_id(REPO).unwrap().to_string();
    let query: Vec<_> = asked[0].query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        query,
        [
            ("sourceRepoId", number.as_str()),
            ("targetRepoId", number.as_str()),
            ("sourceRefId", "refs/heads/one"),
            ("targetRefId", "refs/heads/main"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_pull_request_is_the_first_one() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let again = NewPullRequest::new("topic".parse().unwrap(), main(), "Other title");
    let pulls = world.scm.pull_requests();
    let found = pulls.create_pull_request(&world.repo, &again).await.unwrap();
    assert_eq!(
        (found.change, found.value.id, found.value.title.as_str()),
        (Change::Unchanged, pull.id, "Change")
    );
    let ensured = pulls.ensure_pull_request(&world.repo, &again).await.unwrap();
    assert_eq!((ensured.change, ensured.value.title.as_str()), (Change::Updated, "Other title"));
    let ensured = pulls.ensure_pull_request(&world.repo, &again).await.unwrap();
    assert_eq!((ensured.change, ensured.value.id), (Change::Unchanged, pull.id));
    // To another target it is another one.
    world.write("release", "b.txt", "1\n");
    let other = NewPullRequest::new("topic".parse().unwrap(), "release".parse().unwrap(), "Other");
    let other = pulls.create_pull_request(&world.repo, &other).await.unwrap();
    assert!(other.is_created() && other.value.id != pull.id);
}

async fn sources(world: &World, repo: &RepoId, opts: ListPullRequests) -> Vec<String> {
    let all = world.scm.pull_requests().list_pull_requests(repo, opts);
    let all: Vec<PullRequest> = all.try_collect().await.unwrap();
    all.into_iter()
        .map(|pull| format!("{}:{}", pull.source_repository.unwrap(), pull.source_branch))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_of_a_fork_is_never_mistaken_for_our_own() {
    let world = World::new().await;
    let fork: RepoId = format!("~{BOT}/repo").parse().unwrap();
    world.sim.fork_repository(REPO, fork.as_str()).unwrap();
    world.sim.add_member(fork.as_str(), BOT, Role::Write).unwrap();
    world.sim.push_commit(fork.as_str(), "topic", "Theirs", &[("c.txt", Some(b"c\n"))]).unwrap();
    let own = world.open("topic").await;
    let pulls = world.scm.pull_requests();
    let topic = own.source_branch.clone();
    let find = async |from: Option<&RepoId>| {
        let found = pulls.find_pull_request(&world.repo, &topic, &main(), from).await.unwrap();
        found.map(|pull| pull.id)
    };
    assert_eq!((find(None).await, find(Some(&fork)).await), (Some(own.id), None));
    let new = NewPullRequest::new(topic.clone(), main(), "Theirs").with_source_repository(fork.clone());
    let made = pulls.create_pull_request(&world.repo, &new).await.unwrap();
    assert_eq!((made.change, made.value.source_repository.as_ref()), (Change::Created, Some(&fork)));
    let again = pulls.create_pull_request(&world.repo, &new).await.unwrap();
    assert_eq!((again.change, again.value.id), (Change::Unchanged, made.value.id));
    assert_eq!((find(None).await, find(Some(&fork)).await), (Some(own.id), Some(made.value.id)));
    // A list by the name of a branch is of all that come in, and of none that leave.
    let both = [format!("{fork}:topic"), format!("{REPO}:topic")];
    let by_source = ListPullRequests::default().with_source_branch(topic.clone());
    let by_both = by_source.clone().with_target_branch(main());
    for opts in [by_source.clone(), by_both, ListPullRequests::default()] {
        assert_eq!(sources(&world, &world.repo, opts).await, both);
    }
    assert_eq!(sources(&world, &fork, by_source).await, [""; 0]);
    // What the fork has that we lack, and the other way round.
    let compare = async |repo: &RepoId, from_in: &RepoId, from: &str, to: &str| {
        let opts = Compare::default().with_from_repository(from_in.clone());
        let branch = |name: &str| Revision::Branch(name.parse().unwrap());
        let out = world.scm.commits().compare(repo, &branch(from), &branch(to), &opts).await.unwrap();
        let titles: Vec<_> = out.commits.into_iter().map(|commit| commit.title).collect();
        let files: Vec<_> = out.files.into_iter().map(|file| file.path.to_string()).collect();
        (titles, files)
    };
    let theirs = (vec!["Theirs".to_owned()], vec!["c.txt".to_owned()]);
    let ours = (vec!["Change".to_owned()], vec!["a.txt".to_owned()]);
    assert_eq!(compare(&fork, &world.repo, "main", "topic").await, theirs);
    assert_eq!(compare(&world.repo, &fork, "main", "topic").await, ours);
    let now = MergePullRequest::default();
    let merged = pulls.merge_pull_request(&world.repo, made.value.id, &now).await.unwrap();
    assert_eq!(merged.state, PullRequestState::Merged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_name_of_a_repository_finds_its_pull_requests() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    world.sim.move_repository(REPO, "PROJ/renamed").unwrap();
    let pulls = world.scm.pull_requests();
    let topic = &pull.source_branch;
    let found = pulls.find_pull_request(&world.repo, topic, &main(), None).await.unwrap();
    assert_eq!(found.map(|found| found.id), Some(pull.id));
    let opts = ListPullRequests::default().with_source_branch(topic.clone());
    assert_eq!(sources(&world, &world.repo, opts).await, ["PROJ/renamed:topic"]);
    let again = NewPullRequest::new(topic.clone(), main(), "Change");
    let again = pulls.create_pull_request(&world.repo, &again).await.unwrap();
    assert_eq!((again.change, again.value.id), (Change::Unchanged, pull.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_against_a_merge_is_told_in_the_servers_words() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let pulls = world.scm.pull_requests();
    let mergeability = async || {
        let told = pulls.mergeability(&world.repo, pull.id).await.unwrap();
        let blockers = told.blockers.into_iter().map(|one| (one.reason, one.message)).collect::<Vec<_>>();
        (told.readiness, blockers)
    };
    assert_eq!(mergeability().await, (Readiness::Ready, vec![]));
    let checks = MergeChecks::new().approvals(1).all_tasks().builds(1).veto("Licence missing", "Ask legal");
    world.sim.set_merge_checks(REPO, checks).unwrap();
    let task = NewComment::new("Do it").as_task();
    world.scm.comments().create_comment(&world.repo, pull.id, &task).await.unwrap();
    let told = [
        (MergeReason::Policy, "Licence missing: Ask legal"),
        (
            MergeReason::NotApproved,
            "Requires approvals: You need 1 more approvals before this pull request can be merged.",
        ),
        (
            MergeReason::UnresolvedThreads,
            "Requires all tasks to be resolved: This pull request has unresolved tasks.",
        ),
        (
            MergeReason::ChecksFailed,
            "Not all required builds are successful yet: You need a minimum of 1 successful builds before this pull request can be merged.",
        ),
    ];
    let told: Vec<_> = told.map(|(reason, text)| (reason, text.to_owned())).into();
    assert_eq!(mergeability().await, (Readiness::Blocked, told));
    let merged = pulls.merge_pull_request(&world.repo, pull.id, &MergePullRequest::default()).await;
    is(merged, ErrorKind::Conflict, "Licence missing: Ask legal; Requires approvals: You need 1 more");
    assert_eq!(world.look(&pull).await.state, PullRequestState::Open);
    world.sim.set_merge_checks(REPO, MergeChecks::new()).unwrap();
    world.write("main", "a.txt", "1\n2\ndrei\n");
    let conflict = vec![(MergeReason::Conflict, "the pull request has conflicts".to_owned())];
    assert_eq!(mergeability().await, (Readiness::Blocked, conflict));
    pulls.close_pull_request(&world.repo, pull.id).await.unwrap();
    let (readiness, blockers) = mergeability().await;
    assert_eq!((readiness, &blockers[0].0), (Readiness::Blocked, &MergeReason::NotOpen));
    assert!(blockers[0].1.contains("declined"), "{blockers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_strategies_that_the_repository_allows_are_used() {
    let merged = async |strategies: &[&str], wanted: Option<MergeStrategy>| {
        let world = World::new().await;
        let pull = world.open("topic").await;
        world.write("main", "other.txt", "1\n");
        let checks = MergeChecks::new().strategies(strategies.iter().copied());
        world.sim.set_merge_checks(REPO, checks).unwrap();
        let opts = MergePullRequest::default().with_message("Own words".to_owned());
        let opts = match wanted {
            Some(wanted) => opts.with_strategy(wanted),
            None => opts,
        };
        world.scm.pull_requests().merge_pull_request(&world.repo, pull.id, &opts).await?;
        let tip = world.scm.commits().commit(&world.repo, &Revision::Branch(main())).await?;
        assert_eq!(tip.message.trim_end(), "Own words");
        Ok::<_, scm_core::Error>(tip.parents.len())
    };
    use MergeStrategy::{Merge, Squash};
    for (strategies, wanted, parents) in [
        (&["no-ff", "squash"][..], None, 2),
        (&["no-ff", "squash"], Some(Merge), 2),
        (&["no-ff", "squash"], Some(Squash), 1),
        (&["squash", "no-ff"], None, 1),
        (&["squash", "no-ff"], Some(Merge), 2),
        (&["squash"], Some(Squash), 1),
    ] {
        assert_eq!(merged(strategies, wanted).await.unwrap(), parents, "{strategies:?} {wanted:?}");
    }
    for (strategies, wanted) in [(&["no-ff"], Squash), (&["squash"], Merge)] {
        is(merged(strategies, Some(wanted)).await, ErrorKind::Unsupported, "allows no strategy of the kind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_may_take_its_source_branch_along() {
    let world = World::new().await;
    let pulls = world.scm.pull_requests();
    let opts = MergePullRequest::default().with_delete_source_branch(true);
    let pull = world.open("topic").await;
    let merged = pulls.merge_pull_request(&world.repo, pull.id, &opts).await.unwrap();
    assert_eq!((merged.state, world.tip("topic")), (PullRequestState::Merged, None));
    // Merged it is, also when the branch has to stay: the error must not sound as if it were not.
    world.write("kept", "c.txt", "c\n");
    world.sim.restrict_branch(REPO, "kept", RestrictionKind::NoDeletes, &[]).unwrap();
    let new = NewPullRequest::new("kept".parse().unwrap(), main(), "Keep it");
    let pull = pulls.create_pull_request(&world.repo, &new).await.unwrap().value;
    let merged = pulls.merge_pull_request(&world.repo, pull.id, &opts).await;
    is(merged, ErrorKind::PermissionDenied, "is merged, but its source branch could not be deleted");
    assert_eq!(world.look(&pull).await.state, PullRequestState::Merged);
    let later = opts.with_when(MergeWhen::ChecksPass);
    let pull = world.open("late").await;
    is(
        pulls.merge_pull_request(&world.repo, pull.id, &later).await,
        ErrorKind::Unsupported,
        "does not delete",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_waits_for_its_checks_where_the_server_can() {
    let world = World::of(BitbucketDcSim::builder().version("8.15.0")).await;
    let pulls = world.scm.pull_requests();
    world.sim.set_merge_checks(REPO, MergeChecks::new().builds(1).auto_merge()).unwrap();
    let pull = world.open("topic").await;
    let later = MergePullRequest::default().with_when(MergeWhen::ChecksPass);
    let waiting = pulls.merge_pull_request(&world.repo, pull.id, &later).await.unwrap();
    assert_eq!((waiting.state, waiting.auto_merge), (PullRequestState::Open, Some(true)));
    let taken_back = pulls.cancel_auto_merge(&world.repo, pull.id).await.unwrap();
    assert_eq!((taken_back.state, taken_back.auto_merge), (PullRequestState::Open, Some(false)));
    let none = pulls.cancel_auto_merge(&world.repo, pull.id).await;
    is(none, ErrorKind::Conflict, "does not wait to be merged");
    pulls.merge_pull_request(&world.repo, pull.id, &later).await.unwrap();
    world.sim.set_build(REPO, "topic", "ci", "SUCCESSFUL").unwrap();
    assert_eq!(world.look(&pull).await.state, PullRequestState::Merged);
    // Nothing stands against it: merged at once.
    let pull = world.write("second", "c.txt", "c\n");
    world.sim.set_build(REPO, pull.as_str(), "ci", "SUCCESSFUL").unwrap();
    let new = NewPullRequest::new("second".parse().unwrap(), main(), "Second");
    let pull = pulls.create_pull_request(&world.repo, &new).await.unwrap().value;
    let merged = pulls.merge_pull_request(&world.repo, pull.id, &later).await.unwrap();
    assert_eq!((merged.state, merged.auto_merge), (PullRequestState::Merged, Some(false)));
    world.sim.set_merge_checks(REPO, MergeChecks::new()).unwrap();
    let pull = world.write("third", "d.txt", "d\n");
    assert_eq!(world.tip("third").as_deref(), Some(pull.as_str()));
    let new = NewPullRequest::new("third".parse().unwrap(), main(), "Third");
    let pull = pulls.create_pull_request(&world.repo, &new).await.unwrap().value;
    let off = pulls.merge_pull_request(&world.repo, pull.id, &later).await;
    is(off, ErrorKind::PermissionDenied, "Auto-merge is not enabled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebase_brings_the_source_up_to_date() {
    let world = World::new().await;
    let pulls = world.scm.pull_requests();
    let pull = world.open("topic").await;
    let align = async || pulls.align_pull_request(&world.repo, pull.id, &Align::default()).await.unwrap();
    assert_eq!(align().await, Alignment::UpToDate);
    let target = world.write("main", "other.txt", "1\n");
    let Alignment::Aligned { head } = align().await else { panic!("nothing was rebased") };
    assert_eq!(world.tip("topic").as_deref(), Some(head.as_str()));
    assert_eq!(world.log("topic").await, [head.clone(), target, world.head.clone()]);
    assert_eq!(align().await, Alignment::UpToDate);
    let quiet = Align::default().with_skip_ci(true);
    let refused = pulls.align_pull_request(&world.repo, pull.id, &quiet).await;
    is(refused, ErrorKind::Unsupported, "starts no CI");
    assert_eq!(world.look(&pull).await.head, Some(head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authors_do_not_approve_and_others_only_what_they_have_seen() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let pulls = world.scm.pull_requests();
    let own = pulls.approve_pull_request(&world.repo, pull.id, &Approve::default()).await;
    is(own, ErrorKind::PermissionDenied, "Authors may not review their own");
    let ann = world.with_token(&TokenSpec::new(TokenKind::User, "ann").on(REPO).role(Role::Read));
    let ann = ann.pull_requests();
    let stale = Approve::default().with_expected_head(world.head.clone());
    let refused = ann.approve_pull_request(&world.repo, pull.id, &stale).await;
    is(refused, ErrorKind::PreconditionFailed, "the source branch is at");
    assert_eq!(pulls.approvals(&world.repo, pull.id).await.unwrap().approved_by, []);
    let seen = Approve::default().with_expected_head(pull.head.clone().unwrap());
    ann.approve_pull_request(&world.repo, pull.id, &seen).await.unwrap();
    ann.approve_pull_request(&world.repo, pull.id, &seen).await.unwrap();
    let approvals = pulls.approvals(&world.repo, pull.id).await.unwrap();
    assert_eq!(names(&approvals.approved_by), ["ann"]);
    ann.unapprove_pull_request(&world.repo, pull.id).await.unwrap();
    assert_eq!(pulls.approvals(&world.repo, pull.id).await.unwrap().approved_by, []);
    // To read is enough for that, and not for a merge.
    let merged = ann.merge_pull_request(&world.repo, pull.id, &MergePullRequest::default()).await;
    is(merged, ErrorKind::PermissionDenied, "not permitted");
}

/// No call asks for what it does not need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_makes_so_many_requests() {
    let world = World::new().await;
    let (pulls, repo) = (world.scm.pull_requests(), &world.repo);
    let topic = world.push("topic");
    world.write("more", "c.txt", "c\n");
    let new = NewPullRequest::new(topic.clone(), main(), "Change");
    world.sim.clear_requests();
    let pull = pulls.create_pull_request(repo, &new).await.unwrap().value;
    assert_eq!(world.asked(), ["GET ", "GET /default-reviewers/reviewers", "POST /pull-requests"]);
    let plain = NewPullRequest::new("more".parse().unwrap(), main(), "More").without_default_reviewers();
    pulls.create_pull_request(repo, &plain).await.unwrap();
    assert_eq!(world.asked(), ["POST /pull-requests"]);
    pulls.find_pull_request(repo, &topic, &main(), None).await.unwrap().unwrap();
    let find = world.sent("GET", route::PULLS);
    assert_eq!(world.asked(), ["GET /pull-requests"]);
    // By the source: to a main branch there may be hundreds.
    let asked: Vec<_> = find[0].query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(
        asked.contains(&("direction", "OUTGOING")) && asked.contains(&("at", "refs/heads/topic")),
        "{asked:?}"
    );
    pulls.update_pull_request(repo, pull.id, &titled("New")).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id", "PUT /pull-requests/:id"]);
    pulls.close_pull_request(repo, pull.id).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id", "POST /pull-requests/:id/decline"]);
    pulls.close_pull_request(repo, pull.id).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id"]);
    pulls.reopen_pull_request(repo, pull.id).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id", "POST /pull-requests/:id/reopen"]);
    pulls.mergeability(repo, pull.id).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id/merge"]);
    pulls.align_pull_request(repo, pull.id, &Align::default()).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id", "POST /git/pull-requests/:id/rebase"]);
    let ann = world.with_token(&TokenSpec::new(TokenKind::User, "ann").on(REPO).role(Role::Read));
    ann.pull_requests().approve_pull_request(repo, pull.id, &Approve::default()).await.unwrap();
    assert_eq!(world.asked(), ["POST /pull-requests/:id/approve"]);
    let seen = MergePullRequest::default().with_expected_head(pull.head.clone().unwrap());
    pulls.merge_pull_request(repo, pull.id, &seen).await.unwrap();
    assert_eq!(world.asked(), ["GET /pull-requests/:id", "POST /pull-requests/:id/merge"]);
    let log = world.scm.commits().list_commits(repo, ListCommits::default());
    assert_eq!(log.try_collect::<Vec<_>>().await.unwrap().len(), 3);
    assert_eq!(world.asked(), ["GET /commits"]);
}
