"""The work of a day through python-gitlab. Arguments: URL, token, and the number of projects to expect."""

import base64
import sys
import time

import gitlab

URL, TOKEN, PROJECTS = sys.argv[1], sys.argv[2], int(sys.argv[3])


def refused(error, call, status):
    try:
        call()
    except error as caught:
        assert caught.response_code == status, caught
        return str(caught.error_message)
    raise AssertionError(f"expected {status}")


def until(what, ask):
    deadline = time.monotonic() + 30
    while not ask():
        assert time.monotonic() < deadline, what


# Who, and where.
gl = gitlab.Gitlab(URL, private_token=TOKEN, retry_transient_errors=False)
gl.auth()
assert gl.user.bot
assert gl.version()[0].startswith("17."), gl.version()
me = gl.personal_access_tokens.get("self")
assert me.scopes == ["api"] and me.active and me.user_id == gl.user.id
refused(gitlab.GitlabAuthenticationError, gitlab.Gitlab(URL, private_token="wrong").auth, 401)

# Projects, by key and by page.
keyset = gl.projects.list(
    iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=100, membership=True
)
assert len(list(keyset)) == PROJECTS
assert len(gl.projects.list(get_all=True, per_page=100, membership=True)) == PROJECTS
assert [p.path_with_namespace for p in gl.projects.list(search="worker")] == ["demo/worker"]
assert "demo/platform" in [group.full_path for group in gl.groups.get("demo").subgroups.list(get_all=True)]
project = gl.projects.get("demo/worker")
assert gl.projects.get(project.id).path_with_namespace == "demo/worker"
assert project.permissions["project_access"]["access_level"] == 40
assert project.members_all.get(gl.user.id).access_level == 40
refused(gitlab.GitlabGetError, lambda: gl.projects.get("demo/nowhere"), 404)

# Contents.
paths = [entry["path"] for entry in project.repository_tree(recursive=True, get_all=True)]
assert paths == ["worker", "README.md", "requirements.txt", "worker/mail.py"], paths
file = project.files.get("requirements.txt", ref="main")
assert project.files.raw("requirements.txt", ref="main") == file.decode()
assert b"jinja2==2.11.2  # templates" in file.decode()
assert project.repository_raw_blob(file.blob_id) == file.decode()
assert project.files.head("worker/mail.py", ref="main")["x-gitlab-file-name"] == "mail.py"
assert project.repository_archive(format="tar.gz")[:2] == b"\x1f\x8b"
refused(gitlab.GitlabGetError, lambda: project.files.get("not/there.txt", ref="main"), 404)

# Branches and tags.
branch = project.branches.create({"branch": "fix/jinja", "ref": "main"})
assert project.branches.get("fix/jinja").commit["id"] == branch.commit["id"]
refused(gitlab.GitlabCreateError, lambda: project.branches.create({"branch": "fix/jinja", "ref": "main"}), 400)
project.branches.create({"branch": "fix/other", "ref": "main"})
assert [b.name for b in project.branches.list(search="^fix/", get_all=True)] == ["fix/jinja", "fix/other"]
project.branches.delete("fix/other")
refused(gitlab.GitlabGetError, lambda: project.branches.get("fix/other"), 404)
assert {b.name: (b.default, b.protected) for b in project.branches.list(iterator=True)} == {
    "main": (True, True),
    "fix/jinja": (False, False),
}
assert project.protectedbranches.get("main").merge_access_levels[0]["access_level"] == 30
project.tags.create({"tag_name": "v1", "ref": "main", "message": "The first"})
assert project.tags.get("v1").commit["id"] == branch.commit["id"]

# One commit of every kind of change.
new = file.decode().replace(b"jinja2==2.11.2", b"jinja2==3.1.6").decode()
commit = project.commits.create(
    {
        "branch": "fix/jinja",
        "commit_message": "Update jinja2\n\nOperation-Id: 7\n",
        "actions": [
            {
                "action": "update",
                "file_path": "requirements.txt",
                "content": new,
                "last_commit_id": file.last_commit_id,
            },
            {
                "action": "create",
                "file_path": "data.bin",
                "content": base64.b64encode(bytes(range(256))).decode(),
                "encoding": "base64",
            },
            {"action": "move", "file_path": "worker/mails.py", "previous_path": "worker/mail.py"},
            {"action": "chmod", "file_path": "README.md", "execute_filemode": True},
        ],
    }
)
assert commit.trailers == {}
changed = {"README.md", "data.bin", "requirements.txt", "worker/mails.py"}
assert {entry["new_path"] for entry in commit.diff(get_all=True)} == changed
assert project.files.raw("data.bin", ref="fix/jinja") == bytes(range(256))
modes = {entry["path"]: entry["mode"] for entry in project.repository_tree(ref="fix/jinja", get_all=True)}
assert modes["README.md"] == "100755" and modes["data.bin"] == "100644"
stale = {
    "branch": "fix/jinja",
    "commit_message": "stale",
    "actions": [
        {
            "action": "update",
            "file_path": "requirements.txt",
            "content": "x",
            "last_commit_id": file.last_commit_id,
        }
    ],
}
assert "has changed" in refused(gitlab.GitlabCreateError, lambda: project.commits.create(stale), 400)
compared = project.repository_compare("main", "fix/jinja")
assert [entry["id"] for entry in compared["commits"]] == [commit.id]
assert {entry["new_path"] for entry in compared["diffs"]} == changed
assert project.repository_merge_base(["main", "fix/jinja"])["id"] == branch.commit["id"]
log = project.commits.list(query_parameters={"ref_name": "fix/jinja", "path": "requirements.txt"}, get_all=True)
assert [entry.id for entry in log] == [commit.id, file.last_commit_id]
parsed = project.commits.list(ref_name="fix/jinja", trailers=True, get_all=True)[0]
assert parsed.trailers == {"Operation-Id": "7"} and parsed.extended_trailers == {"Operation-Id": ["7"]}

# A merge request: a draft at first, one only.
wanted = {"source_branch": "fix/jinja", "target_branch": "main", "title": "Draft: Update jinja2"}
mr = project.mergerequests.create(wanted)
assert mr.draft and mr.detailed_merge_status == "draft_status"
assert "!1" in refused(gitlab.GitlabCreateError, lambda: project.mergerequests.create(wanted), 409)
mr.title = "Update jinja2"
mr.labels = ["dependencies", "security"]
mr.save()
assert not mr.draft and mr.labels == ["dependencies", "security"]
found = project.mergerequests.list(state="opened", source_branch="fix/jinja", target_branch="main", get_all=True)
assert [entry.iid for entry in found] == [mr.iid]
assert {entry["new_path"] for entry in mr.changes()["changes"]} == changed
assert [entry.id for entry in mr.commits()] == [commit.id]
diff = mr.diffs.list(get_all=True)[0]
assert diff.head_commit_sha == commit.id and len(mr.diffs.get(diff.id).diffs) == 4

# Comments: plain, a thread, on a line.
note = mr.notes.create({"body": "Guidance"})
note.body = "Better guidance"
note.save()
assert [n.body for n in mr.notes.list(get_all=True) if not n.system] == ["Better guidance"]
mr.notes.create({"body": "Gone soon"}).delete()
thread = mr.discussions.create({"body": "Why?"})
assert not thread.attributes["individual_note"]
thread.notes.create({"body": "Because."})
position = {
    **mr.diff_refs,
    "position_type": "text",
    "old_path": "requirements.txt",
    "new_path": "requirements.txt",
    "new_line": 3,
}
inline = mr.discussions.create({"body": "this line", "position": position})
inline.notes.create({"body": "indeed"})
inline.resolved = True
inline.save()
inline = mr.discussions.get(inline.id)
notes = inline.attributes["notes"]
assert [(n["body"], n["type"], n["resolved"]) for n in notes] == [
    ("this line", "DiffNote", True),
    ("indeed", "DiffNote", True),
]
assert notes[0]["position"]["new_line"] == 3
bad = {**position, "new_line": 999}
refused(gitlab.GitlabCreateError, lambda: mr.discussions.create({"body": "x", "position": bad}), 400)

# CI: the pipeline of the push, its log, and a status from elsewhere.
pipeline = next(p for p in project.pipelines.list(ref="fix/jinja", iterator=True) if p.sha == commit.id)
pipeline = project.pipelines.get(pipeline.id)
until("the pipeline ends", lambda: pipeline.refresh() or pipeline.status not in ("created", "pending", "running"))
assert pipeline.status == "failed"
job = next(job for job in pipeline.jobs.list(get_all=True) if job.status == "failed")
assert b"1 failed, 13 passed" in project.jobs.get(job.id).trace()
state = {"state": "success", "name": "scan", "ref": "fix/jinja", "target_url": "https://ci.example.com/1"}
project.commits.get(commit.id).statuses.create(state)
statuses = project.commits.get(commit.id).statuses.list(get_all=True)
assert [(s.name, s.status, s.target_url) for s in statuses if s.name == "scan"] == [
    ("scan", "success", "https://ci.example.com/1")
]

# The target moves on: rebase, then merge exactly that head.
project.files.create(
    {"file_path": "NEWS.md", "branch": "main", "content": "# News\n", "commit_message": "Add the news"}
)
before = mr.sha
assert mr.rebase()["rebase_in_progress"]
rebased = lambda: project.mergerequests.get(mr.iid, include_rebase_in_progress=True)
until("the rebase ends", lambda: not rebased().rebase_in_progress)
mr = rebased()
assert mr.merge_error is None and mr.sha != before
assert project.repository_compare("fix/jinja", "main")["commits"] == []
assert mr.approvals.get().approvals_left == 0
assert "does not match" in refused(gitlab.GitlabMRClosedError, lambda: mr.merge(sha=before), 409)
mr.merge(sha=mr.sha, should_remove_source_branch=True)
assert mr.state == "merged"
assert "404" in refused(gitlab.GitlabGetError, lambda: project.branches.get("fix/jinja"), 404)
assert b"jinja2==3.1.6  # templates" in project.files.raw("requirements.txt", ref="main")

# A webhook.
hook = project.hooks.create({"url": "https://ci.example.com/hook", "token": "s3cret", "merge_requests_events": True})
assert hook.merge_requests_events and not hasattr(hook, "token")
assert [h.url for h in project.hooks.list(get_all=True)] == ["https://ci.example.com/hook"]
hook.delete()

# The token is changed; the old one is dead.
in_nine_days = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400 * 9))
rotated = me.rotate(expires_at=in_nine_days)
assert rotated["expires_at"] == in_nine_days
refused(gitlab.GitlabAuthenticationError, gl.auth, 401)
again = gitlab.Gitlab(URL, private_token=rotated["token"])
again.auth()
print("ok")
