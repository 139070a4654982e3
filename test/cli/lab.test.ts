/** The command line of `make lab`. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const LAB = fileURLToPath(new URL('../../vm/lab.js', import.meta.url))

t.setTimeout(120_000)

function runLab(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [LAB, ...args], { encoding: 'utf8' })
  return { status, stdout, stderr: stderr.trim().split('\n') }
}

t.test('wrong options are one line and status 125, which says nothing about a commit', async (t) => {
  t.match(runLab('--cases', 'nope/*'), {
    status: 125,
    stderr: [/^no case is called nope\/\*\. There are async\/\*, /],
  })
  t.match(runLab('--kernels', 'nope'), {
    status: 125,
    stderr: [/^no kernel nope: it is neither a file nor/],
  })
  t.match(runLab('--kernels', ''), { status: 125, stderr: ['--kernels names no kernel'] })
  t.match(runLab('--kernel-image', '/no/bzImage'), { status: 125, stderr: [/^no kernel \/no\/bzImage/] })
  t.match(runLab('--shares', 'nope'), {
    status: 125,
    stderr: [/^no share is called nope: there are direct, /],
  })
  t.match(runLab('--boot-limit', '0'), { status: 125, stderr: [/^--boot-limit 0: expected a number/] })
  t.match(runLab('--expect', '/no/file'), { status: 125, stderr: [/^\/no\/file cannot be read: ENOENT/] })
  t.match(runLab('--nope'), { status: 125, stderr: [/unknown option '--nope'/] })
  t.match(runLab('--judge-as', '6.9'), { status: 125, stderr: [/expected a version such as 7\.39/] })
})

t.test('cases can be listed, all and some', async (t) => {
  t.match(runLab('--list'), { status: 0, stdout: /^overlap\/non-extending +writes within a file/m })
  const { stdout } = runLab('--list', '--cases', 'mmap/*')
  t.notMatch(stdout, 'overlap/')
  t.match(stdout, 'mmap/shared-read')
})

t.test('a missing tree or commit gives no verdict', async (t) => {
  const dir = t.testdir({ linux: { fs: { fuse: { Kconfig: '' } } } })
  t.match(runLab('--tree', dir), { status: 125, stdout: /no kernel tree in .*: it has no fs\/fuse\/Kconfig/ })
  t.match(runLab('--tree', `${dir}/linux`, '--rev', 'nope'), {
    status: 125,
    stdout: /linux is no git repository of its own/,
  })
  t.match(runLab('--tree', dir, '--flavour', 'fast'), {
    status: 125,
    stderr: [/Allowed choices are default, d/],
  })
  const bisect = spawnSync(process.execPath, [LAB.replace('lab.js', 'lab-bisect.js'), '--tree', dir], {
    encoding: 'utf8',
  })
  t.match(bisect, { status: 125, stderr: /required option '--good <commit>' not specified/ })
})

t.test('a kernel that is none has no result to compare', async (t) => {
  const compare = spawnSync(process.execPath, [LAB.replace('lab.js', 'lab-compare.js'), 'nope', 'nope'], {
    encoding: 'utf8',
  })
  t.match(compare, { status: 125, stderr: /^no kernel nope: [^\n]*\nnope: the lab has no result\n$/ })
})

t.test('what an earlier run observed can be expected', async (t) => {
  const dir = t.testdir({ 'two.json': '{"kernels":[{},{}]}', 'none.json': '{}' })
  t.match(runLab('--expect', `${dir}/two.json`), {
    status: 125,
    stderr: [/the result has 2 kernels, expected /],
  })
  t.match(runLab('--expect', `${dir}/none.json`), {
    status: 125,
    stderr: [/none.json is not a result of the lab/],
  })
})
