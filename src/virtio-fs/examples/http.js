/** Serves a web server's files by range requests: `--file-system './http.js?url=http://host/index.json'`, a list of paths. */
export default async ({ url }) => {
  const ask = async (path, init) => {
    const reply = await fetch(new URL(path, url), init)
    if (reply.status === 404) throw Object.assign(new Error(path), { code: 'ENOENT' })
    if (!reply.ok) throw Object.assign(new Error(`${path}: ${reply.status}`), { code: 'EIO' })
    return reply
  }
  const node = (path) => ({
    async stat({ signal }) {
      const { headers } = await ask(path, { method: 'HEAD', signal })
      return {
        size: Number(headers.get('content-length')),
        mtime: new Date(headers.get('last-modified') ?? 0),
      }
    },
    async read(position, length, { signal }) {
      const range = `bytes=${position}-${position + length - 1}`
      const reply = await ask(path, { headers: { range }, signal })
      const bytes = new Uint8Array(await reply.arrayBuffer())
      // A server without range support sends everything.
      return reply.status === 206 ? bytes : bytes.subarray(position, position + length)
    },
  })
  const paths = await (await ask(url)).json()
  const files = new Map(paths.map((path) => [path, node(path)]))
  return {
    root: {
      lookup: (name) => files.get(name),
      readdir: () => [...files].map(([name, node]) => ({ name, node })),
    },
  }
}
