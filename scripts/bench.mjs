/** `npm run bench:merge -- [options]` and `npm run bench:decode -- [options]`: see benchmark/README.md. */

import { bootstrap, checkNode, requireRust } from './bootstrap.mjs'
import { cargoEnv, LOCKED, ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'

await main(async () => {
  const [what, ...args] = process.argv.slice(2)
  checkNode()
  if (what === 'merge') {
    requireRust('The merge benchmark is written in Rust')
    const cargo = ['run', '--release', ...LOCKED, '-p', 'kafka2delta', '--example', 'bench_merge', '--', ...args]
    process.exitCode = (await run('cargo', cargo, { cwd: ROOT, env: cargoEnv() })).code
  } else if (what === 'decode') {
    await bootstrap()
    const node = ['--import', 'tsx', 'benchmark/decode.ts', ...args]
    process.exitCode = (await run(process.execPath, node, { cwd: ROOT })).code
  } else throw new Problem('usage: node scripts/bench.mjs merge|decode [options]')
})
