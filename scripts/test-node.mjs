/**
 * Runs the tests of the TypeScript under another Node.js, taken from the npm registry:
 *
 *   node scripts/test-node.mjs 24 [ava arguments]
 */

import { bootstrap } from './bootstrap.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'

await main(async () => {
  const [wanted, ...rest] = process.argv.slice(2)
  if (!/^\d+(\.\d+){0,2}$/.test(wanted ?? ''))
    throw new Problem('usage: node scripts/test-node.mjs VERSION [ava arguments]')
  await bootstrap()
  // A node in npx's package goes before this one on the PATH; the script under it starts ava with its own execPath.
  const child = ['scripts/test.mjs', 'unit', 'integration', ...rest]
  const npx = ['-y', '-p', `node@${wanted}`, 'node', ...child]
  const { code } = await run('npx', npx, { cwd: ROOT })
  process.exitCode = code
})
