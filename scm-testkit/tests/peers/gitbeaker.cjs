// The work of a day through @gitbeaker/rest. Arguments: URL, token, and the number of projects to expect.

const assert = require('node:assert/strict')
const { Gitlab } = require('@gitbeaker/rest')

const [host, token, projects] = process.argv.slice(2)

async function refused(call, status) {
  const error = await call.then(() => assert.fail(`expected ${status}`), (error) => error)
  assert.equal(error.cause?.response?.status, status, String(error))
  return String(error.cause.description)
}

async function until(what, ask) {
  for (const deadline = Date.now() + 30_000; ; ) {
    const seen = await ask()
    if (seen) return seen
    assert.ok(Date.now() < deadline, what)
  }
}

const paths = (entries) => entries.map((entry) => entry.new_path).sort()

async function work() {
  // Who, and where.
  const gl = new Gitlab({ host, token })
  const user = await gl.Users.showCurrentUser()
  assert.ok(user.bot)
  assert.match((await gl.Metadata.show()).version, /^17\./)
  const me = await gl.PersonalAccessTokens.show()
  assert.deepEqual([me.scopes, me.active, me.user_id], [['api'], true, user.id])
  await refused(new Gitlab({ host, token: 'wrong' }).Users.showCurrentUser(), 401)

  // Projects, by key and by page.
  const keyset = { pagination: 'keyset', orderBy: 'id', sort: 'asc' }
  assert.equal((await gl.Projects.all({ membership: true, perPage: 100, ...keyset })).length, Number(projects))
  assert.equal((await gl.Projects.all({ membership: true, perPage: 100 })).length, Number(projects))
  const counted = await gl.Projects.all({ membership: true, perPage: 100, page: 2, showExpanded: true })
  assert.deepEqual(
    [counted.data.length, counted.paginationInfo.total, counted.paginationInfo.totalPages, counted.paginationInfo.next],
    [100, Number(projects), 3, 3],
  )
  const project = await gl.Projects.show('demo/worker')
  assert.equal(project.path_with_namespace, 'demo/worker')
  assert.equal(project.permissions.project_access.access_level, 40)
  const { id } = project
  await refused(gl.Projects.show('demo/nowhere'), 404)
  const groups = await gl.Groups.allSubgroups('demo')
  assert.ok(groups.some((group) => group.full_path === 'demo/platform'))

  // Contents.
  const tree = await gl.Repositories.allRepositoryTrees(id, { recursive: true, pagination: 'keyset', perPage: 2 })
  assert.deepEqual(tree.map((entry) => entry.path), ['worker', 'README.md', 'requirements.txt', 'worker/mail.py'])
  const file = await gl.RepositoryFiles.show(id, 'requirements.txt', 'main')
  const text = Buffer.from(file.content, 'base64').toString()
  assert.ok(text.includes('jinja2==2.11.2  # templates'))
  assert.equal(await gl.RepositoryFiles.showRaw(id, 'requirements.txt', 'main'), text)
  assert.equal(Buffer.from((await gl.Repositories.showBlob(id, file.blob_id)).content, 'base64').toString(), text)
  const archive = await gl.Repositories.showArchive(id, { fileType: 'zip' })
  assert.equal(Buffer.from(await archive.arrayBuffer()).subarray(0, 2).toString(), 'PK')
  await refused(gl.RepositoryFiles.show(id, 'not/there.txt', 'main'), 404)

  // Branches.
  const branch = await gl.Branches.create(id, 'fix/jinja', 'main')
  assert.equal((await gl.Branches.show(id, 'fix/jinja')).commit.id, branch.commit.id)
  await refused(gl.Branches.create(id, 'fix/jinja', 'main'), 400)
  await gl.Branches.create(id, 'fix/other', 'main')
  const found = await gl.Branches.all(id, { search: '^fix/', perPage: 1 })
  assert.deepEqual(found.map((branch) => branch.name), ['fix/jinja', 'fix/other'])
  await gl.Branches.remove(id, 'fix/other')
  await refused(gl.Branches.show(id, 'fix/other'), 404)

  // One commit of every kind of change.
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const actions = [
    {
      action: 'update',
      filePath: 'requirements.txt',
      content: text.replace('jinja2==2.11.2', 'jinja2==3.1.6'),
      lastCommitId: file.last_commit_id,
    },
    { action: 'create', filePath: 'data.bin', content: bytes.toString('base64'), encoding: 'base64' },
    { action: 'move', filePath: 'worker/mails.py', previousPath: 'worker/mail.py' },
    { action: 'chmod', filePath: 'README.md', execute_filemode: true },
  ]
  const commit = await gl.Commits.create(id, 'fix/jinja', 'Update jinja2\n\nOperation-Id: 7\n', actions)
  assert.deepEqual(commit.trailers, {})
  const changed = ['README.md', 'data.bin', 'requirements.txt', 'worker/mails.py']
  assert.deepEqual(paths(await gl.Commits.showDiff(id, commit.id)), changed)
  const raw = await gl.RepositoryFiles.showRaw(id, 'data.bin', 'fix/jinja')
  assert.deepEqual(Buffer.from(await raw.arrayBuffer()), bytes)
  const stale = gl.Commits.create(id, 'fix/jinja', 'stale', [{ ...actions[0], content: 'x' }])
  assert.match(await refused(stale, 400), /has changed/)
  const compared = await gl.Repositories.compare(id, 'main', 'fix/jinja')
  assert.deepEqual(compared.commits.map((entry) => entry.id), [commit.id])
  assert.deepEqual(paths(compared.diffs), changed)
  assert.equal((await gl.Repositories.mergeBase(id, ['main', 'fix/jinja'])).id, branch.commit.id)
  const log = await gl.Commits.all(id, { refName: 'fix/jinja', path: 'requirements.txt' })
  assert.deepEqual(log.map((entry) => entry.id), [commit.id, file.last_commit_id])
  const [parsed] = await gl.Commits.all(id, { refName: 'fix/jinja', trailers: true })
  assert.deepEqual(parsed.trailers, { 'Operation-Id': '7' })

  // A merge request: a draft at first, one only.
  const open = () => gl.MergeRequests.create(id, 'fix/jinja', 'main', 'Draft: Update jinja2')
  const { iid, draft, detailed_merge_status: why } = await open()
  assert.deepEqual([draft, why], [true, 'draft_status'])
  assert.match(await refused(open(), 409), /!1/)
  const edited = await gl.MergeRequests.edit(id, iid, { title: 'Update jinja2', labels: 'dependencies,security' })
  assert.deepEqual([edited.draft, edited.labels], [false, ['dependencies', 'security']])
  const opened = await gl.MergeRequests.all({ projectId: id, state: 'opened', sourceBranch: 'fix/jinja' })
  assert.deepEqual(opened.map((entry) => entry.iid), [iid])
  assert.deepEqual(paths(await gl.MergeRequests.allDiffs(id, iid)), changed)
  assert.deepEqual((await gl.MergeRequests.allCommits(id, iid)).map((entry) => entry.id), [commit.id])
  const [version] = await gl.MergeRequests.allDiffVersions(id, iid)
  assert.equal((await gl.MergeRequests.showDiffVersion(id, iid, version.id)).diffs.length, 4)

  // Comments: plain, a thread, on a line (which this client sends as a form of many parts).
  const note = await gl.MergeRequestNotes.create(id, iid, 'Guidance')
  await gl.MergeRequestNotes.edit(id, iid, note.id, { body: 'Better guidance' })
  const gone = await gl.MergeRequestNotes.create(id, iid, 'Gone soon')
  await gl.MergeRequestNotes.remove(id, iid, gone.id)
  const notes = (await gl.MergeRequestNotes.all(id, iid)).filter((note) => !note.system)
  assert.deepEqual(notes.map((note) => note.body), ['Better guidance'])
  const thread = await gl.MergeRequestDiscussions.create(id, iid, 'Why?')
  await gl.MergeRequestDiscussions.addNote(id, iid, thread.id, 'Because.')
  const refs = (await gl.MergeRequests.show(id, iid)).diff_refs
  const position = {
    baseSha: refs.base_sha,
    startSha: refs.start_sha,
    headSha: refs.head_sha,
    positionType: 'text',
    oldPath: 'requirements.txt',
    newPath: 'requirements.txt',
    newLine: '3',
  }
  const inline = await gl.MergeRequestDiscussions.create(id, iid, 'this line — äöü', { position })
  await gl.MergeRequestDiscussions.addNote(id, iid, inline.id, 'indeed')
  await gl.MergeRequestDiscussions.resolve(id, iid, inline.id, true)
  const resolved = await gl.MergeRequestDiscussions.show(id, iid, inline.id)
  assert.deepEqual(
    resolved.notes.map((note) => [note.body, note.type, note.resolved, note.position.new_line]),
    [['this line — äöü', 'DiffNote', true, 3], ['indeed', 'DiffNote', true, 3]],
  )
  const wrong = { position: { ...position, newLine: '999' } }
  await refused(gl.MergeRequestDiscussions.create(id, iid, 'x', wrong), 400)

  // CI: the pipeline of the push, its log, and a status from elsewhere.
  const [{ id: run }] = await gl.Pipelines.all(id, { ref: 'fix/jinja', sha: commit.id })
  const ended = await until('the pipeline ends', async () => {
    const pipeline = await gl.Pipelines.show(id, run)
    return ['created', 'pending', 'running'].includes(pipeline.status) ? null : pipeline
  })
  assert.equal(ended.status, 'failed')
  const jobs = await gl.Jobs.all(id, { pipelineId: run })
  const failed = jobs.find((job) => job.status === 'failed')
  assert.match(await gl.Jobs.showLog(id, failed.id), /1 failed, 13 passed/)
  await gl.Commits.editStatus(id, commit.id, 'success', { name: 'scan', ref: 'fix/jinja' })
  const statuses = await gl.Commits.allStatuses(id, commit.id)
  assert.equal(statuses.find((status) => status.name === 'scan').status, 'success')

  // The target moves on: rebase, then merge exactly that head.
  await gl.RepositoryFiles.create(id, 'NEWS.md', 'main', '# News\n', 'Add the news')
  assert.ok((await gl.MergeRequests.rebase(id, iid)).rebase_in_progress)
  const rebased = await until('the rebase ends', async () => {
    const now = await gl.MergeRequests.show(id, iid, { includeRebaseInProgress: true })
    return now.rebase_in_progress ? null : now
  })
  assert.equal(rebased.merge_error, null)
  assert.notEqual(rebased.sha, commit.id)
  assert.deepEqual((await gl.Repositories.compare(id, 'fix/jinja', 'main')).commits, [])
  assert.match(await refused(gl.MergeRequests.merge(id, iid, { sha: commit.id }), 409), /does not match/)
  const merged = await gl.MergeRequests.merge(id, iid, { sha: rebased.sha, shouldRemoveSourceBranch: true })
  assert.equal(merged.state, 'merged')
  await refused(gl.Branches.show(id, 'fix/jinja'), 404)
  assert.ok((await gl.RepositoryFiles.showRaw(id, 'requirements.txt', 'main')).includes('jinja2==3.1.6  # templates'))

  // The token is changed; the old one is dead.
  const expiresAt = new Date(Date.now() + 9 * 86_400_000).toISOString().slice(0, 10)
  const rotated = await gl.PersonalAccessTokens.rotate('self', { expiresAt })
  assert.equal(rotated.expires_at, expiresAt)
  await refused(gl.Users.showCurrentUser(), 401)
  assert.equal((await new Gitlab({ host, token: rotated.token }).Users.showCurrentUser()).id, user.id)
}

work().then(() => console.log('ok'))
