/** One campaign against one target, in a process of its own: node child.js OPTIONS, as JSON. */
import { openSync, writeSync } from 'node:fs'
import { type CampaignResult, minimize, runCampaign } from './campaign.js'
import type { ChildOptions, TargetName } from './child-options.js'
import { readCorpus, writeCorpus } from './corpus.js'
import { Coverage } from './coverage.js'
import type { Target } from './target.js'
import { MessageTarget } from './targets/messages.js'
import { RaceTarget } from './targets/races.js'
import { makePassthrough, RequestTarget } from './targets/requests.js'
import { RingTarget } from './targets/rings.js'
import { StateTarget } from './targets/state.js'
import { ThreadsTarget } from './targets/threads.js'
import { treeMaker } from './targets/trees.js'

const makers: Readonly<Record<TargetName, (options: ChildOptions) => Target | Promise<Target>>> = {
  messages: () => new MessageTarget(),
  rings: () => new RingTarget(),
  races: ({ seed }) => RaceTarget.start(seed),
  requests: ({ scratch }) => new RequestTarget('requests', scratch, (root) => makePassthrough(root)),
  threads: ({ scratch, threads }) => new ThreadsTarget(scratch, threads),
  state: ({ scratch }) => new StateTarget(scratch),
  trees: async ({ scratch }) => new RequestTarget('trees', scratch, await treeMaker()),
}

/**
 * Coverage costs several times what a request does. It is on in the first part of a campaign; the inputs that it found
 * guide the rest.
 */
const GUIDED_SHARE = 0.1

async function main(options: ChildOptions): Promise<void> {
  const { target: name, messages, seed, inputPath, keep } = options
  const inputFd = openSync(inputPath, 'w')
  const target = await makers[name](options)
  const about = (input: Uint8Array) => {
    writeSync(inputFd, Uint32Array.of(input.length), 0, 4, 0)
    writeSync(inputFd, input, 0, input.length, 4)
  }
  const tell = (result: CampaignResult, ended: boolean) =>
    writeSync(1, `${JSON.stringify({ ...result, ended })}\n`)
  if (options.replay !== undefined) {
    about(options.replay)
    tell({ inputs: 1, messages: target.run(options.replay), blocks: 0, pool: 0 }, true)
  } else {
    const { result, finds } = runCampaign(target, {
      seed,
      messages,
      guidedMessages: name === 'races' || name === 'threads' ? 0 : messages * GUIDED_SHARE,
      coverage: new Coverage('/src/'),
      corpus: readCorpus(name),
      about,
      progress: (done) => tell(done, false),
    })
    if (keep) writeCorpus(name, minimize(target, finds, new Coverage('/src/')))
    tell(result, true)
  }
  target.close()
}

const given = JSON.parse(process.argv[2] ?? '{}') as ChildOptions
const { replay } = given
await main({ ...given, replay: replay === undefined ? undefined : Uint8Array.from(Object.values(replay)) })
