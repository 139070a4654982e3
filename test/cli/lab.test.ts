/** The command line of `make lab`. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const LAB = fileURLToPath(new URL('../../vm/lab.js', import.meta.url))

function runLab(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [LAB, ...args], { encoding: 'utf8' })
  return { status, stdout, stderr: stderr.trim().split('\n') }
}

t.test('wrong options are one line and status 125, which says nothing about a commit', async (t) => {
  t.match(runLab('--cases', 'nope/*'), { status: 125, stderr: [/^no case is called nope\/\*: there are /] })
  t.match(runLab('--kernels', '6.13'), {
    status: 125,
    stderr: [/^no kernel 6\.13: it is neither a file nor/],
  })
  t.match(runLab('--kernels', ''), { status: 125, stderr: ['--kernels names no kernel'] })
  t.match(runLab('--kernel-image', '/no/bzImage'), { status: 125, stderr: [/^no kernel \/no\/bzImage/] })
  t.match(runLab('--shares', 'nope'), {
    status: 125,
    stderr: [/^no share is called nope: there are direct, /],
  })
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
