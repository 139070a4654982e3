import { pathToFileURL } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { runCommand } from '../host/command.js'
import { findInPath } from '../host/find-in-path.js'
import { showProgress } from '../host/progress.js'

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome']
const PACKAGES = ['chromium', 'fonts-dejavu-core']

/** The state of a page in the browser. */
export interface PageView {
  /** Script errors, console errors, and requests to anything outside the page. */
  errors: string[]
  /** The charts in the page, and those that were drawn. */
  charts: number
  drawnCharts: number
  /** The page's text as a reader sees it with every part opened. */
  text: string
}

export interface ViewOptions {
  /** The file for a picture of the whole page. */
  screenshotPath?: string
  /** Default 1280. */
  widthPx?: number
  colorScheme?: 'light' | 'dark'
  /** Opens every closed part; default true. */
  openAll?: boolean
}

/** Returns the browser's path: an installed one, or Debian's, which root gets by apt. Undefined if there is none. */
export async function findChromium(): Promise<string | undefined> {
  const installed = PROGRAMS.map((name) => findInPath(name)).find((path) => path !== undefined)
  if (installed !== undefined) return installed
  if (process.getuid?.() !== 0 || findInPath('apt-get') === undefined) return undefined
  await showProgress(`apt-get install ${PACKAGES.join(' ')}`, async () => {
    await runCommand('apt-get', ['update', '--quiet'])
    await runCommand('apt-get', ['install', '--yes', '--no-install-recommends', ...PACKAGES])
  })
  return findInPath('chromium')
}

/** Opens a local page in a headless browser, scrolls through it, and reports what it saw. */
export async function viewPage(
  browserPath: string,
  file: string,
  options: ViewOptions = {},
): Promise<PageView> {
  const browser = await chromium.launch({ executablePath: browserPath })
  try {
    return await view(browser, pathToFileURL(file).href, options)
  } finally {
    await browser.close()
  }
}

async function view(browser: Browser, url: string, options: ViewOptions): Promise<PageView> {
  const { screenshotPath, widthPx = 1280, colorScheme = 'light', openAll = true } = options
  const page = await browser.newPage({ viewport: { width: widthPx, height: 900 }, colorScheme })
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  page.on('request', (request) => {
    if (request.url() !== url) errors.push(`the page asked for ${request.url()}`)
  })
  await page.goto(url)
  if (openAll) await openAllParts(page)
  await drawAllCharts(page)
  if (screenshotPath !== undefined) await page.screenshot({ path: screenshotPath, fullPage: true })
  return {
    errors,
    charts: await page.locator('figure.chart:visible').count(),
    drawnCharts: await page.locator('figure.chart:visible:has(svg)').count(),
    // biome-ignore lint/performance/useDomNodeTextContent: scripts are text content too, but no reader sees them
    text: await page.innerText('body'),
  }
}

/** The code for the page is text, because these files are compiled without the types of a browser. */
async function openAllParts(page: Page): Promise<void> {
  await page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
}

/** Scrolls to each chart, since a chart is drawn only when it comes into view. */
async function drawAllCharts(page: Page): Promise<void> {
  for (const figure of await page.locator('figure.chart:visible').all()) {
    await figure.scrollIntoViewIfNeeded()
    await figure
      .locator('svg')
      .first()
      .waitFor({ state: 'attached', timeout: 5_000 })
      .catch(() => {})
  }
}
