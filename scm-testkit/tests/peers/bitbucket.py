"""The main job through atlassian-python-api and stashy: arguments are the URL, a token, and the number of repositories."""

import sys

import stashy
from atlassian import Bitbucket
from requests.exceptions import HTTPError

URL, TOKEN, REPOSITORIES = sys.argv[1], sys.argv[2], int(sys.argv[3])


def refused(call, status):
    try:
        call()
    except HTTPError as caught:
        assert caught.response.status_code == status, caught
    else:
        raise AssertionError(f"expected {status}")


def atlassian():
    bb = Bitbucket(url=URL, token=TOKEN)
    keys = [project["key"] for project in bb.project_list()]
    assert keys == ["DEMO", "LOAD", "OTHERS"], keys
    slugs = [repo["slug"] for key in keys for repo in bb.repo_list(key, limit=100)]
    assert len(slugs) == REPOSITORIES, len(slugs)
    assert bb.get_repo("DEMO", "web")["name"] == "web"
    refused(lambda: bb.get_repo("DEMO", "nothing"), 404)

    assert [branch["displayId"] for branch in bb.get_branches("DEMO", "web")] == ["main"]
    assert bb.create_branch("DEMO", "web", "peer", "main")["id"] == "refs/heads/peer"
    assert "package.json" in list(bb.get_file_list("DEMO", "web"))
    assert bb.get_content_of_file("DEMO", "web", "README.md").startswith(b"# web")
    bb.upload_file("DEMO", "web", b"hello\n", "Say hello", "peer", "hello.txt")
    assert bb.get_content_of_file("DEMO", "web", "hello.txt", at="peer") == b"hello\n"

    pull = bb.open_pull_request("DEMO", "web", "DEMO", "web", "peer", "main", "Hello", "Why")
    number = pull["id"]
    assert [one["id"] for one in bb.get_pull_requests("DEMO", "web")] == [number]
    changed = [change["path"]["toString"] for change in bb.get_pull_requests_changes("DEMO", "web", number)]
    assert changed == ["hello.txt"], changed
    comment = bb.add_pull_request_comment("DEMO", "web", number, "Nice")
    bb.update_pull_request_comment("DEMO", "web", number, comment["id"], "Nicer", comment["version"])
    actions = [one["action"] for one in bb.get_pull_requests_activities("DEMO", "web", number)]
    assert actions == ["COMMENTED", "OPENED"], actions
    assert bb.is_pull_request_can_be_merged("DEMO", "web", number)["canMerge"]
    refused(lambda: bb.merge_pull_request("DEMO", "web", number, "Go", pr_version=7), 409)
    merged = bb.merge_pull_request("DEMO", "web", number, "Go", pr_version=pull["version"])
    assert merged["state"] == "MERGED", merged
    bb.delete_branch("DEMO", "web", "peer")
    assert bb.get_content_of_file("DEMO", "web", "hello.txt") == b"hello\n"


def old_stashy():
    # The password of a user is its name.
    bb = stashy.connect(URL, "scm", "scm")
    assert [project["key"] for project in bb.projects.list()] == ["DEMO", "LOAD", "OTHERS"]
    repo = bb.projects["DEMO"].repos["api"]
    assert repo.get()["slug"] == "api"
    repo.create_branch("old", "main")
    assert sorted(branch["displayId"] for branch in repo.branches()) == ["main", "old"]
    assert "Cargo.toml" in list(repo.files())
    # It writes no files itself.
    Bitbucket(url=URL, token=TOKEN).upload_file("DEMO", "api", b"hello\n", "Say hello", "old", "hello.txt")
    assert [commit["message"] for commit in repo.commits("old", since="main")] == ["Say hello"]

    pull = repo.pull_requests.create("Hello", "refs/heads/old", "refs/heads/main", description="Why")
    assert [one["title"] for one in repo.pull_requests.all()] == ["Hello"]
    one = repo.pull_requests[str(pull["id"])]
    assert one.can_merge()
    one.comment("Nice")
    assert [change["path"]["toString"] for change in one.changes()] == ["hello.txt"]
    assert one.decline(version=pull["version"])
    assert one.get()["state"] == "DECLINED"
    assert one.reopen(version=one.get()["version"])
    one.merge(version=one.get()["version"])
    assert one.get()["state"] == "MERGED"
    assert [one["title"] for one in repo.pull_requests.all(state="MERGED")] == ["Hello"]
    repo.delete_branch("old")
    assert [branch["displayId"] for branch in repo.branches()] == ["main"]


atlassian()
old_stashy()
print("ok")
