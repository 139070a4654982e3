import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { Agent } from '../../../vm/guest/agent.js'
import { buildInitramfs } from '../../../vm/guest/initramfs.js'
import { findKernel } from '../../../vm/guest/kernel.js'
import { sleep } from '../device/device.js'
import { FreshRoot } from './fresh-root.js'

const CHECKOUT = fileURLToPath(new URL('../../../..', import.meta.url))
const SUITE = 'trixie'
const PACKAGES = [
  'libvirt-daemon',
  'libvirt-daemon-driver-qemu',
  'libvirt-clients',
  'qemu-system-x86',
  'nodejs',
]
const PROGRAM = '/usr/libexec/virtiofsd-ts'
const MAIN = '/opt/virtiofsd-ts/dist/program/main.js'
/** The arguments of libvirt are --fd=N --shared-dir DIRECTORY. */
const SCRIPT = `#!/bin/sh
exec node ${MAIN} "$@" --control-socket "/run/control.$(basename "$3")"
`
/** No other security driver, control groups or namespaces: libvirt itself runs in a container of ours. */
const QEMU_CONF = `security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
`
const LIBVIRTD_CONF = `auth_unix_rw = "none"
auth_unix_ro = "none"
`
const TIMEOUT_MS = 180_000
const POLL_MS = 100

/** A file system of a domain, which libvirt has our program serve. */
export const fileSystem = (directory: string, tag: string) => `<filesystem type='mount'>
  <driver type='virtiofs'/><binary path='${PROGRAM}'/><source dir='${directory}'/><target dir='${tag}'/>
</filesystem>`

/** Ports into which devices are plugged while the domain runs. */
const PORTS = "<controller type='pci' model='pcie-root-port'/>".repeat(4)

const domain = (name: string, devices: string) => `<domain type='qemu'>
  <name>${name}</name><memory unit='MiB'>512</memory><vcpu>1</vcpu><features><acpi/><apic/></features>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type><kernel>/boot/kernel</kernel><initrd>/boot/initramfs</initrd>
    <cmdline>console=ttyS0 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check</cmdline>
  </os>
  <cpu mode='maximum'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/><memballoon model='none'/>
    <controller type='pci' index='0' model='pcie-root'/>${PORTS}
    <serial type='unix'><source mode='connect' path='/run/lines/console'/><target port='0'/></serial>
    <serial type='unix'><source mode='connect' path='/run/lines/agent'/><target port='1'/></serial>
    ${devices}
  </devices>
</domain>`

/** A Debian system in which libvirtd runs, and our program, which libvirt starts. One domain at a time. */
export class Libvirt {
  private onAgent: ((line: Socket) => void) | undefined
  private readonly console: Buffer[] = []

  private constructor(readonly root: FreshRoot) {}

  static async start(t: Test): Promise<Libvirt> {
    const root = await FreshRoot.make(t, SUITE, PACKAGES)
    root.run(`apt-get install -qy --no-install-recommends ${PACKAGES.join(' ')} >/dev/null 2>&1`)
    const libvirt = new Libvirt(root)
    await libvirt.prepare(t)
    // The shell reaps what loses its parent: libvirt waits until such processes are gone.
    const script = 'mount -t proc proc /proc && mount -t sysfs sys /sys && { libvirtd & wait; }'
    // Without the NODE_OPTIONS of the test runner, which would reach the device through libvirtd.
    const clean = ['-u', 'NODE_OPTIONS']
    const inside = ['unshare', '--mount', '--pid', '--fork', '--kill-child']
    const daemon = spawn('env', [...clean, ...inside, ...root.words('sh', '-c', script)], { stdio: 'ignore' })
    t.teardown(async () => {
      const ended = new Promise((resolve) => daemon.once('exit', resolve))
      daemon.kill('SIGKILL')
      await ended
    })
    for (const endMs = performance.now() + TIMEOUT_MS; ; await sleep(POLL_MS)) {
      try {
        libvirt.virsh('version')
        return libvirt
      } catch (error) {
        if (performance.now() > endMs) throw error
      }
    }
  }

  /** Runs virsh. Returns its output. Throws with its error. */
  virsh(...words: readonly string[]): string {
    const [command = '', ...args] = this.root.words('virsh', '-q', '-c', 'qemu:///system', ...words)
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim()
  }

  /** Writes a description for virsh. Returns its path. */
  describe(name: string, xml: string): string {
    const path = `/root/${name}.xml`
    writeFileSync(join(this.root.path, path), xml)
    return path
  }

  define(name: string, devices: string): void {
    this.virsh('define', this.describe(name, domain(name, devices)))
  }

  /** Starts a domain. Resolves to the line to the agent in its guest. */
  async startDomain(name: string): Promise<Socket> {
    const line = new Promise<Socket>((resolve) => {
      this.onAgent = resolve
    })
    this.virsh('start', name)
    return line
  }

  /** Puts another process in the place of the one that serves the share `name`. Throws with its error. */
  replaceDevice(name: string): void {
    this.root.run(`node ${MAIN} ctl --control-socket /run/control.${name} replace`)
  }

  /** What libvirt's domain has said: its console, and the log of QEMU and of each device. */
  log(): string {
    const logs = this.root.run('tail -n 20 /var/log/libvirt/qemu/*.log 2>/dev/null || true')
    return `${Buffer.concat(this.console).toString().slice(-2000)}\n${logs}`
  }

  private async prepare(t: Test): Promise<void> {
    const { path } = this.root
    const kernel = await findKernel('6.12')
    for (const directory of ['boot', 'run/lines', 'opt/virtiofsd-ts', 'sys', 'usr/libexec'])
      mkdirSync(join(path, directory), { recursive: true })
    copyFileSync(kernel.image, join(path, 'boot/kernel'))
    copyFileSync(await buildInitramfs({ kernel }), join(path, 'boot/initramfs'))
    execFileSync('mount', ['--bind', '-o', 'ro', CHECKOUT, join(path, 'opt/virtiofsd-ts')])
    writeFileSync(join(path, PROGRAM), SCRIPT)
    chmodSync(join(path, PROGRAM), 0o755)
    writeFileSync(join(path, 'etc/libvirt/qemu.conf'), QEMU_CONF)
    writeFileSync(join(path, 'etc/libvirt/libvirtd.conf'), LIBVIRTD_CONF)
    const take = {
      console: (line: Socket) => line.on('data', (bytes: Buffer) => this.console.push(bytes)),
      agent: (line: Socket) => this.onAgent?.(line),
    }
    for (const [name, taker] of Object.entries(take)) {
      const server = createServer((line) => taker(line.on('error', () => {})))
      await new Promise<void>((resolve) => server.listen(join(path, 'run/lines', name), resolve))
      t.teardown(() => server.close())
    }
  }
}

/** The guest of a domain, by its agent alone. */
export class DomainGuest {
  private readonly agent: Agent

  private constructor(line: Socket) {
    this.agent = new Agent([line])
  }

  static async behind(line: Socket): Promise<DomainGuest> {
    const guest = new DomainGuest(line)
    await guest.agent.hello
    return guest
  }

  /** The domain was restored: its agent has another line. */
  goOnAt(line: Socket): void {
    this.agent.moveTo([line])
  }

  /** Starts a command that goes on. */
  start(command: string): void {
    this.agent.start(command, { timeoutMs: 0 }).report.catch(() => {})
  }

  /** Returns the output of a command. Throws if it fails. */
  async output(command: string): Promise<string> {
    const { status, stdout, stderr } = await this.agent.start(command, { timeoutMs: TIMEOUT_MS }).report
    if (status !== 0) throw new Error(`status ${status} from ${command}: ${stderr}`)
    return stdout.toString()
  }
}

/** Reads a file of the Debian system. */
export function readIn(root: FreshRoot, path: string): string {
  return readFileSync(join(root.path, path), 'utf8')
}
