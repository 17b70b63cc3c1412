/**
 * What a fresh clone needs before anything runs: the npm packages and the native addon. Each step looks whether it
 * was done already, and says what it does while it takes long. Plain Node: nothing is installed yet.
 */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ROOT, STATE_DIR, TARGET_DIR } from './lib/paths.mjs'
import { Problem, run, StatusLine, say, version } from './lib/process.mjs'

const newer = (a, b) => {
  for (let i = 0; i < 3; i++) if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) > (b[i] ?? 0)
  return false
}
const numbers = (text) => (/(\d+)\.(\d+)(?:\.(\d+))?/.exec(text) ?? []).slice(1).map((n) => Number(n ?? 0))

export function checkNode() {
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).engines.node
  if (newer(numbers(wanted), numbers(process.versions.node))) {
    throw new Problem(`Node.js ${wanted} is needed; this is ${process.versions.node}.`)
  }
}

const sha256 = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex')
}

const remembered = (name) => {
  try {
    return readFileSync(join(STATE_DIR, name), 'utf8')
  } catch {
    return null
  }
}

const remember = (name, text) => {
  mkdirSync(STATE_DIR, { recursive: true })
  writeFileSync(join(STATE_DIR, name), text)
}

/** Installs the npm packages where they are missing or older than the lock file. */
export async function ensureDependencies() {
  const lock = join(ROOT, 'package-lock.json')
  const hash = sha256(readFileSync(lock))
  if (remembered('lock') === hash) return
  // npm writes this file last: a newer one means that somebody ran npm install by hand.
  const installed = join(ROOT, 'node_modules', '.package-lock.json')
  if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(lock).mtimeMs) {
    say('npm packages: installing (npm ci)')
    const status = new StatusLine('npm packages')
    const { code, output } = await run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: ROOT,
      onOutput: () => {},
    })
    const time = status.end()
    if (code !== 0) throw new Problem(`npm ci failed:\n${output.trim().split('\n').slice(0, 30).join('\n')}`)
    say(`npm packages: installed in ${time}`)
  }
  remember('lock', hash)
}

/** The oldest Rust that compiles the crates. */
export function minimumRust() {
  return /^rust-version\s*=\s*"([^"]+)"/m.exec(readFileSync(join(ROOT, 'Cargo.toml'), 'utf8'))?.[1] ?? '1.0'
}

/** Throws with what is missing and how to get it, before anything slow has begun. */
export function requireRust(what = 'The native addon is written in Rust') {
  const minimum = minimumRust()
  const get =
    process.platform === 'win32'
      ? 'Install it from https://rustup.rs'
      : "Install it with\n\n  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh\n\nand open a new shell"
  const cargo = version('cargo')
  if (cargo === null) {
    throw new Problem(`${what}, and cargo is not on the PATH: Rust ${minimum} or newer is needed.\n${get}.`)
  }
  const found = numbers(version('rustc') ?? cargo)
  if (newer(numbers(minimum), found)) {
    throw new Problem(
      `${what}: Rust ${minimum} or newer is needed, this is ${found.join('.')}. Update it: rustup update`,
    )
  }
}

function* filesBelow(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (entry.name !== 'target') yield* filesBelow(path)
    } else if (/\.(rs|toml)$/.test(entry.name)) yield path
  }
}

/** A hash of all that the addon is built from; without the lock file, which cargo itself may write. */
export function addonHash({ withLock = true } = {}) {
  const lock = withLock ? [join(ROOT, 'Cargo.lock')] : []
  const files = [join(ROOT, 'Cargo.toml'), ...lock, ...filesBelow(join(ROOT, 'crates'))]
  return sha256(...files.flatMap((file) => [relative(ROOT, file), readFileSync(file)]))
}

const addonFiles = () => {
  const names = readdirSync(join(ROOT, 'src')).filter((name) => /^kafka2delta\..+\.node$/.test(name))
  return names.length > 0 && existsSync(join(ROOT, 'src', 'native.cjs')) ? names : null
}

/** Whether the addon in src/ was built from what is in crates/ now. */
export const isAddonCurrent = () => addonFiles() !== null && remembered('addon') === addonHash()

/** Builds the addon where it is missing or out of date. */
export async function ensureAddon() {
  if (isAddonCurrent()) return
  requireRust()
  const { buildAddon } = await import('./build-addon.mjs')
  const first = !existsSync(join(TARGET_DIR, 'release'))
  say(
    first
      ? 'native addon: compiling some 400 crates for the first time; on two cores this takes about half an hour'
      : 'native addon: building what has changed',
  )
  const time = await buildAddon()
  say(`native addon: built in ${time}`)
}

/** Called by the build after success; `before` is what it began with: sources edited meanwhile are not in it. */
export function rememberAddon(before) {
  if (addonHash({ withLock: false }) === before) remember('addon', addonHash())
}

/** All of it, for a script that then runs TypeScript. */
export async function bootstrap() {
  checkNode()
  // Without Rust nothing below can end well: say so before npm downloads anything.
  if (!isAddonCurrent()) requireRust()
  await ensureDependencies()
  await ensureAddon()
}
