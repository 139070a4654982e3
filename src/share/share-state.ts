import { StateError, type StateLoader } from 'vhost-user-ts'
import { type InitAgreement, type InitWishes, type Session, wishFlags } from 'virtio-fs-ts/protocol'
import type { PassthroughFileSystem } from '../passthrough/passthrough-file-system.js'
import type { LoadedState } from '../passthrough/state/loaded-state.js'
import { type BlockReader, damaged } from '../state/blocks.js'
import { objectOf, type SectionTaker, sectionReader, stateStream, textSection } from '../state/sections.js'
import { agreementOf, agreementText } from './saved-agreement.js'
import { differences, optionsOf } from './saved-options.js'
import type { ShareConfig } from './share-config.js'

/** Section META: the agreement with the guest, and the options that a guest can notice. It comes first. */
export const META = { tag: 'META', version: 1, isRequired: true } as const

/** The parts of a share that its state needs. */
export interface StateParts {
  readonly config: ShareConfig
  readonly session: Session
  readonly passthrough: PassthroughFileSystem
  /** `kind` comes from a fixed set. */
  warn(kind: string, fields: object): void
}

/** The state of a share, for another device that goes on for the same guest. */
export class ShareState {
  constructor(private parts: StateParts) {}

  /** Other options are in force from now on. */
  change(config: ShareConfig): void {
    this.parts = { ...this.parts, config }
  }

  /** Yields the state. The share stays as it is. Throws StateError between pieces if the session ends meanwhile. */
  *save(): Generator<Uint8Array> {
    const { session } = this.parts
    const { agreed } = session
    for (const piece of stateStream(this.sections())) {
      yield piece
      if (session.agreed !== agreed) throw new StateError('the session ended while its state was saved')
    }
  }

  /** The state is going to be asked for, or not any more. */
  prepare(isExpected: boolean): void {
    const { session, passthrough } = this.parts
    if (isExpected && session.agreed !== undefined) passthrough.prepareState()
    else passthrough.dropPreparations()
  }

  private *sections(): Generator<Iterable<Uint8Array>> {
    yield this.meta()
    if (this.parts.session.agreed !== undefined) yield* this.parts.passthrough.savedSections()
  }

  /** Yields the sections for another process of this host. `pass` is called with each descriptor that it needs. */
  *handed(pass: (fd: number) => void): Generator<Iterable<Uint8Array>> {
    const { session, passthrough } = this.parts
    mustNotBeRemoved(session)
    passthrough.handRoot(pass)
    yield this.meta()
    if (session.agreed !== undefined) yield* passthrough.handedSections(pass)
    yield* passthrough.handedQuota()
  }

  private meta(): Iterable<Uint8Array> {
    const { config, session } = this.parts
    const { agreed } = session
    const agreement = agreed === undefined ? null : agreementText(agreed)
    return textSection(META, { program: 'virtiofsd-ts', agreement, options: optionsOf(config) })
  }

  /** Takes such sections over. Throws StateError. */
  take(takeFd: () => number): { readonly takers: readonly SectionTaker[]; end(): void } {
    const { parts } = this
    const { session, passthrough } = parts
    const taken = passthrough.takeState(takeFd)
    let begun = false
    const meta = (contents: Uint8Array) => {
      begun = true
      taken.takeRoot()
      beginAgreed(parts, contents)
    }
    const end = () => {
      if (!begun) throw damaged('section META is missing')
      taken.mustBeCounted()
      if (session.agreed !== undefined) taken.end()
    }
    return { takers: [{ kind: META, take: meta }, ...taken.takers], end }
  }

  /** Throws StateError for a share that was removed: its directory is closed. */
  load(): StateLoader {
    mustNotBeRemoved(this.parts.session)
    return new ShareLoader(this.parts)
  }
}

/** Takes a state over. Until its end the session is not the guest's; after a failure it is empty. */
class ShareLoader implements StateLoader {
  private readonly reader: BlockReader
  private readonly loaded: LoadedState
  private begun = false
  /** The agreement that came with the state. Undefined for a guest that has not mounted. */
  private agreement: InitAgreement | undefined

  constructor(private readonly parts: StateParts) {
    const { session, passthrough } = parts
    session.end()
    this.loaded = passthrough.loadState()
    const takers = this.loaded.takers.map(({ kind, take }) => ({
      kind,
      take: (contents: Uint8Array) => {
        if (session.agreed === undefined) throw damaged(`section ${kind.tag} without a session`)
        take(contents)
      },
    }))
    this.reader = sectionReader([{ kind: META, take: (contents) => this.meta(contents) }, ...takers])
  }

  write(bytes: Uint8Array): void {
    this.reader.write(bytes)
  }

  end(): void {
    this.reader.end()
    if (!this.begun) throw damaged('section META is missing')
    if (this.parts.session.agreed !== this.agreement)
      throw new StateError('the session ended while its state was loaded')
    this.loaded.end((kind, fields) => this.parts.warn(kind, fields))
  }

  abort(): void {
    this.loaded.close()
    this.parts.session.end()
  }

  private meta(contents: Uint8Array): void {
    if (this.begun) throw damaged('section META comes twice')
    this.begun = true
    this.agreement = beginAgreed(this.parts, contents)
  }
}

/** Begins the session that section META describes. Returns undefined for a guest that has not mounted. */
function beginAgreed({ session, config, warn }: StateParts, contents: Uint8Array): InitAgreement | undefined {
  const { agreement, options } = objectOf(contents)
  const { must, may } = differences(optionsOf(config), options)
  if (must !== undefined) throw new StateError(must)
  if (may !== undefined) warn('the source had other caching options: those of this device are used', may)
  if (agreement === null) return undefined
  mustNotBeRemoved(session)
  const agreed = agreementOf(agreement)
  mustBeOffered(agreed, session.wishes)
  session.resume(agreed)
  return agreed
}

function mustNotBeRemoved(session: Session): void {
  if (session.isShut) throw new StateError('this share was removed')
}

/** The wishes that come from options which the guest relies on. */
const reliedOn = [
  'writeback',
  'posixAcl',
  'securityLabel',
  'killprivV2',
  'posixLocks',
  'flock',
  'exportSupport',
  'submounts',
] as const satisfies readonly (keyof InitWishes)[]

/**
 * Throws StateError for an agreement on what this share does not offer. A state can leave out the options that would tell,
 * and some of these let a guest do what it may not do here, such as name the security context of a file.
 */
function mustBeOffered({ flags }: InitAgreement, wishes: InitWishes): void {
  const missing = reliedOn.find((wish) => !wishes[wish] && (flags & wishFlags[wish]) !== 0n)
  if (missing !== undefined)
    throw new StateError(`the guest and its source agreed on ${missing}, which is not offered here`)
}
