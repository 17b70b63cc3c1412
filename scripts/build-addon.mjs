/**
 * Builds the native addon into src/: native.cjs (the loader), native.d.cts and kafka2delta.<platform>.node.
 *
 *   node scripts/build-addon.mjs [-- more options of `napi build`, e.g. --profile dist --target aarch64-apple-darwin]
 */

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { addonHash, checkNode, ensureDependencies, rememberAddon, requireRust } from './bootstrap.mjs'
import { cargoEnv, LOCKED, ROOT } from './lib/paths.mjs'
import { main, Problem, run, StatusLine } from './lib/process.mjs'

const NAPI = join(ROOT, 'node_modules', '@napi-rs', 'cli', 'dist', 'cli.js')

/** Follows cargo's own progress line, `Building [==> ] 12/345: crate, crate`. */
function follow(status) {
  return (text) => {
    for (const piece of text.split(/[\r\n]/)) {
      const building = /Building \[[=> ]*\] (\d+)\/(\d+)(?:: (.*))?/.exec(piece)
      if (building)
        status.update(`${building[1]} of ${building[2]} crates${building[3] ? ` (${building[3].trim()})` : ''}`)
      else if (/Blocking waiting for file lock/.test(piece)) status.update('waiting for another cargo to end')
      else if (/Downloading|Updating/.test(piece)) status.update('downloading crates')
    }
  }
}

/** The end of cargo's output without its progress lines. */
const readable = (output) =>
  output
    .split(/[\r\n]+/)
    .filter(
      (line) =>
        line.trim() && !/^\s*(Building \[|Compiling|Downloaded|Downloading|Fresh|at )|Internal Error/.test(line),
    )
    .slice(-80)
    .join('\n')

/**
 * @param {string[]} options more options of `napi build`; a --target or --profile builds for publishing
 * @returns {Promise<string>} the time that it took
 */
export async function buildAddon(options = []) {
  const before = addonHash({ withLock: false })
  const isOwn = !options.some((option) => /^--(target|profile)/.test(option))
  const env = {
    ...cargoEnv(),
    CARGO_TERM_PROGRESS_WHEN: 'always',
    CARGO_TERM_PROGRESS_WIDTH: '100',
    CARGO_TERM_COLOR: 'never',
  }
  // `napi build` always names a target, which cargo keeps apart from a plain build; cargo-host.mjs makes both one, so
  // that the addon and the tests of the crates share their 400 dependencies.
  if (isOwn && process.platform !== 'win32') env.CARGO = join(ROOT, 'scripts', 'cargo-host.mjs')
  const status = new StatusLine('native addon')
  const args = [
    'build',
    '--platform',
    '--manifest-path',
    'crates/kafka2delta-node/Cargo.toml',
    '--package-json-path',
    'package.json',
  ]
  args.push('--output-dir', 'src', '--js', 'native.cjs', '--dts', 'native.d.cts')
  if (isOwn) args.push('--release')
  const { code, output } = await run(process.execPath, [NAPI, ...args, ...options, '--', ...LOCKED], {
    cwd: ROOT,
    env,
    onOutput: follow(status),
  })
  const time = status.end()
  if (code !== 0) throw new Problem(`the native addon cannot be built:\n\n${readable(output)}`)
  if (isOwn) rememberAddon(before)
  return time
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    checkNode()
    requireRust()
    await ensureDependencies()
    const options = process.argv.slice(2).filter((argument) => argument !== '--')
    console.log(`native addon: built in ${await buildAddon(options)}`)
  })
}
