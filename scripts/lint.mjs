/**
 * `npm run lint`: biome, tsc, rustfmt and clippy, all of them even if one fails. `--fix` formats and mends.
 * Arguments `ts` or `rust` run one half.
 */

import { join } from 'node:path'
import { checkNode, ensureDependencies, requireRust } from './bootstrap.mjs'
import { cargoEnv, LOCKED, ROOT } from './lib/paths.mjs'
import { elapsed, main, Problem, run, say } from './lib/process.mjs'

await main(async () => {
  const args = process.argv.slice(2)
  const fix = args.includes('--fix')
  const wants = (half) => args.includes(half) || !(args.includes('ts') || args.includes('rust'))
  checkNode()
  await ensureDependencies()
  const node = (...path) => [process.execPath, join(ROOT, 'node_modules', ...path)]
  const steps = []
  if (wants('ts')) {
    steps.push(['biome', ...node('@biomejs', 'biome', 'bin', 'biome'), 'check', ...(fix ? ['--write'] : [])])
    if (!fix) steps.push(['tsc', ...node('typescript', 'bin', 'tsc'), '-p', '.'])
  }
  if (wants('rust')) {
    requireRust('Half of this project is written in Rust')
    steps.push(['rustfmt', 'cargo', 'fmt', '--all', ...(fix ? [] : ['--check'])])
    // In the release profile, whose build scripts and macros the tests have compiled already.
    const clippy = ['clippy', '--release', '--workspace', '--all-targets', ...LOCKED, '--', '-D', 'warnings']
    if (!fix) steps.push(['clippy', 'cargo', ...clippy])
  }
  const failed = []
  for (const [name, program, ...rest] of steps) {
    const began = Date.now()
    const { code } = await run(program, rest, { cwd: ROOT, env: cargoEnv() })
    if (code !== 0) failed.push(name)
    say(`${name}: ${code === 0 ? 'ok' : 'failed'} (${elapsed(began)})`)
  }
  if (failed.length > 0) throw new Problem(`lint failed: ${failed.join(', ')}`)
})
