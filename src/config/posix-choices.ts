import { IdTranslation } from '../passthrough/owners/id-translation.js'
import { parseXattrMap } from '../passthrough/xattrs/xattr-map.js'
import type { ChosenOptions } from './option-values.js'
import { refusing } from './refusing.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

/** A share's choices for attributes, owners and locks. Throws UserError. */
export function posixChoices(options: ChosenOptions, { where }: ShareDraft) {
  const xattrMap = options.get('xattrmap')
  if (xattrMap !== undefined) refusing(where('xattrmap'), () => parseXattrMap(xattrMap))
  const translation = checkedTranslation(options, where)
  const posixAcl = options.get('posix-acl')
  if (posixAcl !== 'never' && (translation.translateUid.length > 0 || translation.translateGid.length > 0)) {
    throw new UserError(
      `${where('posix-acl')} ${posixAcl}: ACLs name users and groups, which are not translated`,
    )
  }
  const xattr = options.get('xattr')
  const handles = options.get('inode-file-handles')
  return {
    // ACLs, labels and a map need extended attributes.
    xattr,
    xattrMap,
    posixAcl: xattr ? posixAcl : 'never',
    securityLabel: options.get('security-label'),
    killprivV2: options.get('killpriv-v2'),
    posixLocks: options.get('posix-lock'),
    flock: options.get('flock'),
    lockTimeoutSec: options.get('lock-timeout'),
    allowSuid: options.get('suid'),
    allowDev: options.get('dev'),
    allowProjectIds: options.get('allow-project-ids'),
    exportSupport: options.get('export'),
    announceSubmounts: options.get('announce-submounts'),
    // virtiofsd has two names for this choice.
    fileHandles: handles === 'fallback' ? 'prefer' : handles,
    inodeLimit: options.get('inode-limit'),
    ...translation,
  } as const
}

/** The number of ids: the highest id plus one. */
const ALL_IDS = 0xffff_ffff

function checkedTranslation(options: ChosenOptions, where: ShareDraft['where']) {
  const translateUid = options.get('translate-uid')
  const translateGid = options.get('translate-gid')
  if (options.get('map-to-me')) {
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

/** Maps every user of the guest to `me` on the host, and `me` to root in the guest. */
function everythingTo(me: number): readonly string[] {
  return [`squash-guest:0:${me}:${ALL_IDS}`, ...(me === 0 ? [] : [`host:${me}:0:1`])]
}
