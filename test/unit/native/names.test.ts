/** The addon, index.js and index.d.ts export the same names. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'

// From dist/test/unit/native back to the sources: it is JavaScript.
const LOADER = new URL('../../../../native/load-addon.js', import.meta.url).href
/** Names of index.js besides those of the addon. */
const OWN = ['addonPath', 'launcherPath']
/** In a build with sanitizers alone. */
const SANITIZED = 'sanitizerTrap'

const declarations = readFileSync('native/index.d.ts', 'utf8')

t.test('addon, index.js and index.d.ts have the same functions and values', async (t) => {
  const { loadAddon } = (await import(LOADER)) as { loadAddon(): { addon: object } }
  const addon = Object.keys(loadAddon().addon).filter((name) => name !== SANITIZED)
  const handedOn = Object.keys(native).filter((name) => !OWN.includes(name))
  const declared = [...declarations.matchAll(/^export (?:function|const) (\w+)/gm)].map(([, name]) => name)
  t.same(handedOn.sort(), addon.sort())
  t.same(declared.sort(), [...addon, ...OWN].sort())
})

t.test('the constants are those that index.d.ts declares', async (t) => {
  const [, block = ''] = /^export const constants: Readonly<\{\n(.*?)^\}>/ms.exec(declarations) ?? []
  const declared = [...block.matchAll(/^ {2}(\w+): number$/gm)].map(([, name]) => name)
  t.same(declared.sort(), Object.keys(native.constants).sort())
})
