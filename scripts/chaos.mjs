/** `npm run chaos -- [--seed N] [--seeds K] [--minutes M]`: workers under fire on the stack; see __test__/stack/chaos/main.ts. */

import { bootstrap } from './bootstrap.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, Problem, run } from './lib/process.mjs'
import { ensurePython } from './lib/python.mjs'
import { down, up } from './stack/stack.mjs'

await main(async () => {
  await bootstrap()
  const python = await ensurePython()
  if ('missing' in python) throw new Problem(python.missing)
  // What this has started is ended after it; what ran before goes on.
  const started = await up(['kafka', 'registry', 'postgres', 's3', 'connect'])
  try {
    const node = ['--import', 'tsx', '__test__/stack/chaos/main.ts', ...process.argv.slice(2)]
    const env = { ...process.env, ORACLE_PYTHON: python.python }
    process.exitCode = (await run(process.execPath, node, { cwd: ROOT, env })).code
  } finally {
    await down(started)
  }
})
