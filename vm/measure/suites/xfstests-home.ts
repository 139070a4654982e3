/** The directory of a guest that holds what xfstests asks of a system. */
const HOME = '/run/xfstests'

const USERS = ['fsgqa:2001', 'fsgqa2:2002', '123456-fsgqa:2003']

/** A su without PAM, whose settings the small Debian system lacks. */
const SU = `#!/bin/bash
user=root
while [ $# -gt 0 ]; do
  case $1 in
    -c) command=$2; shift ;;
    -s) shift ;;
    -*) ;;
    *) user=$1 ;;
  esac
  shift
done
exec setpriv --reuid=$(id -u "$user") --regid=$(id -g "$user") --clear-groups bash \${command:+-c "$command"}
`

/**
 * A shell command that makes a guest's Debian system one for xfstests, once for each boot: its users, the name of this
 * machine, gawk as awk, su, and libaio under the name that older systems link with. Then it changes to those programs.
 */
export const ENTER_XFSTESTS_HOME = [
  `[ -e ${HOME} ] || { mkdir ${HOME} && cp -a /etc /tmp/etc && mount --bind /tmp/etc /etc`,
  `for user in ${USERS.join(' ')}; do name=\${user%:*} id=\${user#*:}; echo "$name:x:$id:$id::/tmp:/bin/bash" >> /etc/passwd; echo "$name:x:$id:" >> /etc/group; done`,
  'echo "127.0.0.1 localhost" >> /etc/hosts; ip link set lo up 2> /dev/null',
  `ln -s /usr/bin/gawk ${HOME}/awk; ln -s /usr/lib/*/libaio.so.1t64 ${HOME}/libaio.so.1`,
  `echo ${Buffer.from(SU).toString('base64')} | base64 -d > ${HOME}/su; chmod +x ${HOME}/su; }`,
  `export PATH=${HOME}:$PATH LD_LIBRARY_PATH=${HOME}`,
].join('; ')
