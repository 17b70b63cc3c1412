/** `npm run demo -- [options]`: installs and builds what is missing, then runs the command's demo from source. */

import { bootstrap } from './bootstrap.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, run } from './lib/process.mjs'

await main(async () => {
  await bootstrap()
  const args = ['--import', 'tsx', 'src/cli/main.ts', 'demo', ...process.argv.slice(2)]
  process.exitCode = (await run(process.execPath, args, { cwd: ROOT })).code
})
