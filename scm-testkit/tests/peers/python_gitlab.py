"""The main job through python-gitlab: arguments are the URL, a token, and the number of projects to expect."""

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


gl = gitlab.Gitlab(URL, private_token=TOKEN, retry_transient_errors=False)
gl.auth()
assert gl.user.bot
assert gl.version()[0].startswith("17."), gl.version()

keyset = gl.projects.list(
    iterator=True, pagination="keyset", order_by="id", sort="asc", per_page=100, membership=True
)
assert len(list(keyset)) == PROJECTS
assert len(gl.projects.list(get_all=True, per_page=100, membership=True)) == PROJECTS

project = gl.projects.get("demo/worker")
assert project.permissions["project_access"]["access_level"] == 40
paths = [entry["path"] for entry in project.repository_tree(recursive=True, get_all=True)]
assert paths == ["worker", "README.md", "requirements.txt", "worker/mail.py"], paths

file = project.files.get("requirements.txt", ref="main")
assert project.files.raw("requirements.txt", ref="main") == file.decode()
assert b"jinja2==2.11.2  # templates" in file.decode()

branch = project.branches.create({"branch": "fix/jinja", "ref": "main"})
assert project.branches.get("fix/jinja").commit["id"] == branch.commit["id"]

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
assert commit.trailers == {"Operation-Id": "7"}
assert {entry["new_path"] for entry in commit.diff()} == {
    "README.md",
    "data.bin",
    "requirements.txt",
    "worker/mails.py",
}
assert project.files.raw("data.bin", ref="fix/jinja") == bytes(range(256))
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

wanted = {"source_branch": "fix/jinja", "target_branch": "main", "title": "Draft: Update jinja2"}
mr = project.mergerequests.create(wanted)
assert mr.draft and mr.detailed_merge_status == "draft_status"
assert "!1" in refused(gitlab.GitlabCreateError, lambda: project.mergerequests.create(wanted), 409)
mr.title = "Update jinja2"
mr.labels = ["dependencies"]
mr.save()
assert not mr.draft

note = mr.notes.create({"body": "Guidance"})
note.body = "Better guidance"
note.save()
assert [n.body for n in mr.notes.list(get_all=True) if not n.system] == ["Better guidance"]
position = {
    **mr.diff_refs,
    "position_type": "text",
    "old_path": "requirements.txt",
    "new_path": "requirements.txt",
    "new_line": 3,
}
thread = mr.discussions.create({"body": "this line", "position": position})
thread.notes.create({"body": "indeed"})
thread.resolved = True
thread.save()

pipeline = next(p for p in project.pipelines.list(ref="fix/jinja", iterator=True) if p.sha == commit.id)
pipeline = project.pipelines.get(pipeline.id)
deadline = time.monotonic() + 20
while pipeline.status in ("created", "pending", "running"):
    assert time.monotonic() < deadline
    pipeline.refresh()
assert pipeline.status == "failed"
job = next(job for job in pipeline.jobs.list(get_all=True) if job.status == "failed")
assert b"1 failed, 13 passed" in project.jobs.get(job.id).trace()

project.commits.get(commit.id).statuses.create({"state": "success", "name": "scan", "ref": "fix/jinja"})
assert mr.approvals.get().approvals_left == 0
mr.merge(sha=mr.sha, should_remove_source_branch=True)
assert mr.state == "merged"
assert "404" in refused(gitlab.GitlabGetError, lambda: project.branches.get("fix/jinja"), 404)
assert b"jinja2==3.1.6  # templates" in project.files.raw("requirements.txt", ref="main")

assert "demo/platform" in [group.full_path for group in gl.groups.get("demo").subgroups.list(get_all=True)]
rotated = gl.personal_access_tokens.get("self").rotate(expires_at=time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400 * 9)))
refused(gitlab.GitlabAuthenticationError, gl.auth, 401)
again = gitlab.Gitlab(URL, private_token=rotated["token"])
again.auth()
print("ok")
