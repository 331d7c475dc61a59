// The work of a day through GitLab's own client for Go. Arguments: URL, token, and the number of projects to expect.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go"
)

func fail(format string, values ...any) {
	_, _, line, _ := runtime.Caller(2)
	fmt.Printf("main.go:%d: %s\n", line, fmt.Sprintf(format, values...))
	os.Exit(1)
}

func same(what string, seen, wanted any) {
	if !reflect.DeepEqual(seen, wanted) {
		fail("%s: expected %v, saw %v", what, wanted, seen)
	}
}

func must[T any](value T, _ *gitlab.Response, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func done(_ *gitlab.Response, err error) {
	if err != nil {
		fail("%v", err)
	}
}

// refused wants an error of the server with this status, which says `words`.
func refused(status int, words string, response *gitlab.Response, err error) {
	if err == nil || response == nil || response.StatusCode != status || !strings.Contains(err.Error(), words) {
		fail("expected %d with %q, got %v", status, words, err)
	}
}

func until[T any](what string, ask func() (T, bool)) T {
	for deadline := time.Now().Add(30 * time.Second); ; {
		if seen, ended := ask(); ended {
			return seen
		} else if time.Now().After(deadline) {
			fail("%s: still %v", what, seen)
		}
	}
}

func each[T, U any](list []T, take func(T) U) []U {
	var out []U
	for _, item := range list {
		out = append(out, take(item))
	}
	return out
}

func connect(url, token string) *gitlab.Client {
	client, err := gitlab.NewClient(token, gitlab.WithBaseURL(url), gitlab.WithoutRetries())
	return must(client, nil, err)
}

func main() {
	url, token := os.Args[1], os.Args[2]
	projects, err := strconv.Atoi(os.Args[3])
	must(projects, nil, err)

	// Who, and where.
	gl := connect(url, token)
	user := must(gl.Users.CurrentUser())
	same("bot", user.Bot, true)
	same("version", must(gl.Version.GetVersion()).Version[:3], "17.")
	same("enterprise", must(gl.Metadata.GetMetadata()).Enterprise, true)
	me := must(gl.PersonalAccessTokens.GetSinglePersonalAccessToken())
	same("scopes", me.Scopes, []string{"api"})
	same("active", me.Active, true)
	same("token's user", me.UserID, user.ID)
	_, response, err := connect(url, "wrong").Users.CurrentUser()
	refused(401, "401 Unauthorized", response, err)

	// Projects, by key and by page.
	count := func(opt gitlab.ListOptions) int {
		list, err := gitlab.ScanAndCollect(func(page gitlab.PaginationOptionFunc) ([]*gitlab.Project, *gitlab.Response, error) {
			return gl.Projects.ListProjects(&gitlab.ListProjectsOptions{ListOptions: opt, Membership: gitlab.Ptr(true)}, page)
		})
		return len(must(list, nil, err))
	}
	same("by key", count(gitlab.ListOptions{Pagination: "keyset", OrderBy: "id", Sort: "asc", PerPage: 100}), projects)
	same("by page", count(gitlab.ListOptions{PerPage: 100}), projects)
	project := must(gl.Projects.GetProject("demo/worker", nil))
	same("path", project.PathWithNamespace, "demo/worker")
	same("role", project.Permissions.ProjectAccess.AccessLevel, gitlab.MaintainerPermissions)
	id := project.ID
	_, response, err = gl.Projects.GetProject("demo/nowhere", nil)
	refused(404, "404", response, err)
	groups := must(gl.Groups.ListSubGroups("demo", nil))
	same("subgroup", slices.Contains(each(groups, func(g *gitlab.Group) string { return g.FullPath }), "demo/platform"), true)

	// Contents.
	main, fix := gitlab.Ptr("main"), gitlab.Ptr("fix/jinja")
	tree := must(gl.Repositories.ListTree(id, &gitlab.ListTreeOptions{Recursive: gitlab.Ptr(true)}))
	wanted := []string{"worker", "README.md", "requirements.txt", "worker/mail.py"}
	same("tree", each(tree, func(n *gitlab.TreeNode) string { return n.Path }), wanted)
	file := must(gl.RepositoryFiles.GetFile(id, "requirements.txt", &gitlab.GetFileOptions{Ref: main}))
	text := must(gl.RepositoryFiles.GetRawFile(id, "requirements.txt", &gitlab.GetRawFileOptions{Ref: main}))
	same("content", file.Content, base64.StdEncoding.EncodeToString(text))
	same("text", strings.Contains(string(text), "jinja2==2.11.2  # templates"), true)
	same("blob", must(gl.Repositories.RawBlobContent(id, file.BlobID)), text)
	archive := must(gl.Repositories.Archive(id, &gitlab.ArchiveOptions{Format: gitlab.Ptr("tar.gz")}))
	same("archive", archive[:2], []byte{0x1f, 0x8b})
	_, response, err = gl.RepositoryFiles.GetFile(id, "not/there.txt", &gitlab.GetFileOptions{Ref: main})
	refused(404, "404", response, err)

	// Branches.
	newBranch := func(name string) (*gitlab.Branch, *gitlab.Response, error) {
		return gl.Branches.CreateBranch(id, &gitlab.CreateBranchOptions{Branch: &name, Ref: main})
	}
	base := must(newBranch(*fix)).Commit.ID
	same("tip", must(gl.Branches.GetBranch(id, *fix)).Commit.ID, base)
	_, response, err = newBranch(*fix)
	refused(400, "", response, err)
	must(newBranch("fix/other"))
	branches := must(gl.Branches.ListBranches(id, &gitlab.ListBranchesOptions{Search: gitlab.Ptr("^fix/")}))
	same("branches", each(branches, func(b *gitlab.Branch) string { return b.Name }), []string{"fix/jinja", "fix/other"})
	done(gl.Branches.DeleteBranch(id, "fix/other"))
	_, response, err = gl.Branches.GetBranch(id, "fix/other")
	refused(404, "404", response, err)

	// One commit of every kind of change.
	var binary []byte
	for value := range 256 {
		binary = append(binary, byte(value))
	}
	update := &gitlab.CommitActionOptions{
		Action:       gitlab.Ptr(gitlab.FileUpdate),
		FilePath:     gitlab.Ptr("requirements.txt"),
		Content:      gitlab.Ptr(strings.ReplaceAll(string(text), "jinja2==2.11.2", "jinja2==3.1.6")),
		LastCommitID: &file.LastCommitID,
	}
	newCommit := func(message string, actions ...*gitlab.CommitActionOptions) (*gitlab.Commit, *gitlab.Response, error) {
		return gl.Commits.CreateCommit(id, &gitlab.CreateCommitOptions{Branch: fix, CommitMessage: &message, Actions: actions})
	}
	commit := must(newCommit("Update jinja2\n\nOperation-Id: 7\n", update,
		&gitlab.CommitActionOptions{Action: gitlab.Ptr(gitlab.FileCreate), FilePath: gitlab.Ptr("data.bin"),
			Content: gitlab.Ptr(base64.StdEncoding.EncodeToString(binary)), Encoding: gitlab.Ptr("base64")},
		&gitlab.CommitActionOptions{Action: gitlab.Ptr(gitlab.FileMove), FilePath: gitlab.Ptr("worker/mails.py"),
			PreviousPath: gitlab.Ptr("worker/mail.py")},
		&gitlab.CommitActionOptions{Action: gitlab.Ptr(gitlab.FileChmod), FilePath: gitlab.Ptr("README.md"),
			ExecuteFilemode: gitlab.Ptr(true)},
	))
	changed := []string{"README.md", "data.bin", "requirements.txt", "worker/mails.py"}
	paths := func(diffs []*gitlab.Diff) []string {
		return slices.Sorted(slices.Values(each(diffs, func(d *gitlab.Diff) string { return d.NewPath })))
	}
	same("diff of the commit", paths(must(gl.Commits.GetCommitDiff(id, commit.ID, nil))), changed)
	same("bytes", must(gl.RepositoryFiles.GetRawFile(id, "data.bin", &gitlab.GetRawFileOptions{Ref: fix})), binary)
	_, response, err = newCommit("stale", update)
	refused(400, "has changed", response, err)
	compared := must(gl.Repositories.Compare(id, &gitlab.CompareOptions{From: main, To: fix}))
	ids := func(commits []*gitlab.Commit) []string {
		return each(commits, func(c *gitlab.Commit) string { return c.ID })
	}
	same("compared commits", ids(compared.Commits), []string{commit.ID})
	same("compared diffs", paths(compared.Diffs), changed)
	refs := &gitlab.MergeBaseOptions{Ref: &[]string{"main", "fix/jinja"}}
	same("merge base", must(gl.Repositories.MergeBase(id, refs)).ID, base)
	log := must(gl.Commits.ListCommits(id, &gitlab.ListCommitsOptions{RefName: fix, Path: gitlab.Ptr("requirements.txt")}))
	same("log", ids(log), []string{commit.ID, file.LastCommitID})

	// A merge request: a draft at first, one only.
	open := func() (*gitlab.MergeRequest, *gitlab.Response, error) {
		return gl.MergeRequests.CreateMergeRequest(id, &gitlab.CreateMergeRequestOptions{
			SourceBranch: fix, TargetBranch: main, Title: gitlab.Ptr("Draft: Update jinja2")})
	}
	mr := must(open())
	same("draft", []any{mr.Draft, mr.DetailedMergeStatus}, []any{true, "draft_status"})
	_, response, err = open()
	refused(409, "!1", response, err)
	iid := mr.IID
	mr = must(gl.MergeRequests.UpdateMergeRequest(id, iid, &gitlab.UpdateMergeRequestOptions{
		Title: gitlab.Ptr("Update jinja2"), Labels: &gitlab.LabelOptions{"dependencies", "security"}}))
	same("labels", []any{mr.Draft, mr.Labels}, []any{false, gitlab.Labels{"dependencies", "security"}})
	opened := must(gl.MergeRequests.ListProjectMergeRequests(id, &gitlab.ListProjectMergeRequestsOptions{
		State: gitlab.Ptr("opened"), SourceBranch: fix, TargetBranch: main}))
	same("opened", each(opened, func(m *gitlab.BasicMergeRequest) int64 { return m.IID }), []int64{iid})
	same("diffs", len(must(gl.MergeRequests.ListMergeRequestDiffs(id, iid, nil))), 4)
	version := must(gl.MergeRequests.GetMergeRequestDiffVersions(id, iid, nil))[0]
	same("version", version.HeadCommitSHA, commit.ID)
	same("diffs of the version", len(must(gl.MergeRequests.GetSingleMergeRequestDiffVersion(id, iid, version.ID, nil)).Diffs), 4)

	// Comments: plain, a thread, on a line.
	note := must(gl.Notes.CreateMergeRequestNote(id, iid, &gitlab.CreateMergeRequestNoteOptions{Body: gitlab.Ptr("Guidance")}))
	better := &gitlab.UpdateMergeRequestNoteOptions{Body: gitlab.Ptr("Better guidance")}
	same("note", must(gl.Notes.UpdateMergeRequestNote(id, iid, note.ID, better)).Body, "Better guidance")
	discuss := func(body string, position *gitlab.PositionOptions) (*gitlab.Discussion, *gitlab.Response, error) {
		return gl.Discussions.CreateMergeRequestDiscussion(id, iid,
			&gitlab.CreateMergeRequestDiscussionOptions{Body: &body, Position: position})
	}
	reply := func(to *gitlab.Discussion, body string) {
		must(gl.Discussions.AddMergeRequestDiscussionNote(id, iid, to.ID, &gitlab.AddMergeRequestDiscussionNoteOptions{Body: &body}))
	}
	reply(must(discuss("Why?", nil)), "Because.")
	mr = must(gl.MergeRequests.GetMergeRequest(id, iid, nil))
	position := gitlab.PositionOptions{
		BaseSHA: &mr.DiffRefs.BaseSha, StartSHA: &mr.DiffRefs.StartSha, HeadSHA: &mr.DiffRefs.HeadSha,
		PositionType: gitlab.Ptr("text"), OldPath: gitlab.Ptr("requirements.txt"), NewPath: gitlab.Ptr("requirements.txt"),
		NewLine: gitlab.Ptr(int64(3)),
	}
	inline := must(discuss("this line", &position))
	reply(inline, "indeed")
	must(gl.Discussions.ResolveMergeRequestDiscussion(id, iid, inline.ID,
		&gitlab.ResolveMergeRequestDiscussionOptions{Resolved: gitlab.Ptr(true)}))
	inline = must(gl.Discussions.GetMergeRequestDiscussion(id, iid, inline.ID))
	for at, body := range []string{"this line", "indeed"} {
		seen := inline.Notes[at]
		same("inline", []any{seen.Body, seen.Type, seen.Resolved, seen.Position.NewLine},
			[]any{body, gitlab.DiffNote, true, int64(3)})
	}
	position.NewLine = gitlab.Ptr(int64(999))
	_, response, err = discuss("x", &position)
	refused(400, "", response, err)

	// CI: the pipeline of the push, its log, and a status from elsewhere.
	run := must(gl.Pipelines.ListProjectPipelines(id, &gitlab.ListProjectPipelinesOptions{Ref: fix, SHA: &commit.ID}))[0].ID
	ended := until("the pipeline ends", func() (*gitlab.Pipeline, bool) {
		pipeline := must(gl.Pipelines.GetPipeline(id, run))
		return pipeline, !slices.Contains([]string{"created", "pending", "running"}, pipeline.Status)
	})
	same("pipeline", ended.Status, "failed")
	jobs := must(gl.Jobs.ListPipelineJobs(id, run, nil))
	failed := jobs[slices.IndexFunc(jobs, func(job *gitlab.Job) bool { return job.Status == "failed" })]
	trace, err := io.ReadAll(must(gl.Jobs.GetTraceFile(id, failed.ID)))
	must(trace, nil, err)
	same("trace", bytes.Contains(trace, []byte("1 failed, 13 passed")), true)
	must(gl.Commits.SetCommitStatus(id, commit.ID,
		&gitlab.SetCommitStatusOptions{State: gitlab.Success, Name: gitlab.Ptr("scan"), Ref: fix}))
	statuses := must(gl.Commits.GetCommitStatuses(id, commit.ID, nil))
	scan := slices.IndexFunc(statuses, func(status *gitlab.CommitStatus) bool { return status.Name == "scan" })
	same("status", statuses[scan].Status, "success")

	// The target moves on: rebase, then merge exactly that head.
	must(gl.RepositoryFiles.CreateFile(id, "NEWS.md", &gitlab.CreateFileOptions{
		Branch: main, Content: gitlab.Ptr("# News\n"), CommitMessage: gitlab.Ptr("Add the news")}))
	done(gl.MergeRequests.RebaseMergeRequest(id, iid, nil))
	mr = until("the rebase ends", func() (*gitlab.MergeRequest, bool) {
		now := must(gl.MergeRequests.GetMergeRequest(id, iid,
			&gitlab.GetMergeRequestsOptions{IncludeRebaseInProgress: gitlab.Ptr(true)}))
		return now, !now.RebaseInProgress
	})
	same("rebased", []any{mr.MergeError, mr.SHA != commit.ID}, []any{"", true})
	behind := must(gl.Repositories.Compare(id, &gitlab.CompareOptions{From: fix, To: main}))
	same("behind", len(behind.Commits), 0)
	merge := func(sha string) (*gitlab.MergeRequest, *gitlab.Response, error) {
		return gl.MergeRequests.AcceptMergeRequest(id, iid,
			&gitlab.AcceptMergeRequestOptions{SHA: &sha, ShouldRemoveSourceBranch: gitlab.Ptr(true)})
	}
	_, response, err = merge(commit.ID)
	refused(409, "does not match", response, err)
	same("state", must(merge(mr.SHA)).State, "merged")
	_, response, err = gl.Branches.GetBranch(id, *fix)
	refused(404, "404", response, err)
	text = must(gl.RepositoryFiles.GetRawFile(id, "requirements.txt", &gitlab.GetRawFileOptions{Ref: main}))
	same("merged", strings.Contains(string(text), "jinja2==3.1.6  # templates"), true)

	// The token is changed; the old one is dead.
	expires := gitlab.ISOTime(time.Now().AddDate(0, 0, 9))
	rotated := must(gl.PersonalAccessTokens.RotatePersonalAccessTokenSelf(&gitlab.RotatePersonalAccessTokenOptions{ExpiresAt: &expires}))
	same("expiry", rotated.ExpiresAt.String(), expires.String())
	_, response, err = gl.Users.CurrentUser()
	refused(401, "", response, err)
	same("again", must(connect(url, rotated.Token).Users.CurrentUser()).ID, user.ID)
	fmt.Println("ok")
}
