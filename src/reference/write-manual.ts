/** A build step: writes the manual page to the file named by the first argument. */
import { writeFileSync } from 'node:fs'
import { version } from '../config/command-line.js'
import { manualPage } from './manual-page.js'

const [, , file] = process.argv
if (file === undefined) throw new Error('which file?')
writeFileSync(file, manualPage(version()))
