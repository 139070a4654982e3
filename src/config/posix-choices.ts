import type { FileHandleUse } from '../passthrough/inodes/file-handle-use.js'
import { IdTranslation, IdTranslationError } from '../passthrough/owners/id-translation.js'
import { parseXattrMap, XattrMapError } from '../passthrough/xattrs/xattr-map.js'
import type { Need } from '../share/share-config.js'
import type { OptionValues } from './option-values.js'
import type { ShareDraft } from './share-builder.js'
import { UserError } from './user-error.js'

/** What a share is told of attributes, owners and locks. Throws UserError. */
export function posixChoices(values: OptionValues, { where }: ShareDraft) {
  const flag = (name: string) => values.get(name) === true
  const xattrMap = values.get('xattrmap') as string | undefined
  if (xattrMap !== undefined) refusing(where('xattrmap'), () => parseXattrMap(xattrMap))
  const translation = checkedTranslation(values, where)
  const posixAcl = values.get('posix-acl') as Need
  if (posixAcl !== 'never' && (translation.translateUid.length > 0 || translation.translateGid.length > 0)) {
    throw new UserError(
      `${where('posix-acl')} ${posixAcl}: ACLs name users and groups, which are not translated`,
    )
  }
  const xattr = flag('xattr')
  return {
    // ACLs, labels and a map are of no use without.
    xattr,
    xattrMap,
    posixAcl: xattr ? posixAcl : 'never',
    securityLabel: values.get('security-label') as Need,
    killprivV2: flag('killpriv-v2'),
    posixLocks: flag('posix-lock'),
    flock: flag('flock'),
    exportSupport: flag('export'),
    announceSubmounts: flag('announce-submounts'),
    fileHandles: fileHandleUse(values.get('inode-file-handles') as string),
    inodeLimit: values.get('inode-limit') as number,
    ...translation,
  } as const
}

/** The highest id and one more. */
const ALL_IDS = 0xffff_ffff

function checkedTranslation(values: OptionValues, where: ShareDraft['where']) {
  const given = (name: string) => (values.get(name) ?? []) as readonly string[]
  const [translateUid, translateGid] = [given('translate-uid'), given('translate-gid')]
  if (values.get('map-to-me') === true) {
    if (translateUid.length > 0 || translateGid.length > 0)
      throw new UserError(
        `${where('map-to-me')} translates users and groups itself: it does not go with translate-uid or translate-gid`,
      )
    return {
      translateUid: everythingTo(process.getuid?.() ?? 0),
      translateGid: everythingTo(process.getgid?.() ?? 0),
    }
  }
  refusing(where('translate-uid'), () => new IdTranslation(translateUid))
  refusing(where('translate-gid'), () => new IdTranslation(translateGid))
  return { translateUid, translateGid }
}

/** Whoever makes something in the guest is `me` on the host, and `me` is root in the guest. */
function everythingTo(me: number): readonly string[] {
  return [`squash-guest:0:${me}:${ALL_IDS}`, ...(me === 0 ? [] : [`host:${me}:0:1`])]
}

/** virtiofsd has two names for one of them. */
function fileHandleUse(use: string): FileHandleUse {
  return use === 'fallback' ? 'prefer' : (use as FileHandleUse)
}

/** Turns what a notation's reader refuses into the user's error. */
function refusing(where: string, read: () => void): void {
  try {
    read()
  } catch (error) {
    if (!(error instanceof XattrMapError) && !(error instanceof IdTranslationError)) throw error
    throw new UserError(`${where}: ${error.message}`)
  }
}
