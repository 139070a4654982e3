/** Serves a git revision read-only, without a checkout: `--file-system './git-revision.js?repository=.&revision=HEAD'`. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'

/** Reads objects with `git cat-file --batch`, one after the other. */
class Objects {
  #waiting = Promise.resolve()
  #bytes = Buffer.alloc(0)
  constructor(repository) {
    this.git = spawn('git', ['-C', repository, 'cat-file', '--batch'], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.git.unref()
  }
  read(name) {
    this.#waiting = this.#waiting.catch(() => {}).then(() => this.#ask(name))
    return this.#waiting
  }
  async #more() {
    const chunks = [this.#bytes]
    for (let chunk = this.git.stdout.read(); chunk; chunk = this.git.stdout.read()) chunks.push(chunk)
    if (chunks.length === 1) await once(this.git.stdout, 'readable')
    else this.#bytes = Buffer.concat(chunks)
  }
  async #take(length) {
    while (this.#bytes.length < length) await this.#more()
    const taken = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return taken
  }
  /** Reads "NAME TYPE SIZE", a line feed, the object and a line feed. */
  async #ask(name) {
    this.git.stdin.write(`${name}\n`)
    while (!this.#bytes.includes(10)) await this.#more()
    const head = String(await this.#take(this.#bytes.indexOf(10) + 1))
    const size = Number(head.split(' ')[2])
    if (Number.isNaN(size)) throw Object.assign(new Error(head), { code: 'ENOENT' })
    return (await this.#take(size + 1)).subarray(0, size)
  }
}

export default ({ repository = '.', revision = 'HEAD' } = {}) => {
  const objects = new Objects(repository)
  const git = (...args) =>
    execFileSync('git', ['-C', repository, ...args], { maxBuffer: 2 ** 30, encoding: 'utf8' })
  const mtime = new Date(Number(git('log', '-1', '--format=%ct', revision)) * 1000)
  const root = {
    names: new Map(),
    stat: () => ({ mtime }),
    lookup: (name) => root.names.get(name),
    readdir: () => list(root),
  }
  const list = ({ names }) => [...names].map(([name, node]) => ({ name, node }))
  // Each record is "MODE TYPE NAME SIZE<tab>PATH" with a NUL at its end.
  for (const line of git('ls-tree', '-r', '-l', '-z', revision).split('\0')) {
    const [, mode, type, name, size, path] = /^(\d+) (\w+) (\w+) +(\S+)\t(.*)$/s.exec(line) ?? []
    if (type !== 'blob') continue
    const parts = path.split('/')
    let directory = root
    for (const part of parts.slice(0, -1)) {
      const node = {
        names: new Map(),
        stat: () => ({ mtime }),
        lookup: (child) => node.names.get(child),
        readdir: () => list(node),
      }
      if (!directory.names.has(part)) directory.names.set(part, node)
      directory = directory.names.get(part)
    }
    const attributes = { mode: Number.parseInt(mode, 8), size: Number(size), mtime }
    let content
    const read = () => (content ??= objects.read(name))
    directory.names.set(
      parts.at(-1),
      mode === '120000'
        ? { stat: () => attributes, readlink: async () => String(await read()) }
        : {
            stat: () => attributes,
            read: async (position, length) => (await read()).subarray(position, position + length),
          },
    )
  }
  return { root }
}
