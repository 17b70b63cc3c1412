/**
 * A query over a real Kafka client and a real registry client, and a table behind HTTP: `ends-child.ts MODE STORE CONFIG`.
 * `command` is the command `run`, which listens for signals itself; `library` is told to stop by SIGUSR2. Nothing here
 * ends the process: that it ends shows that nothing is left open. SIGHUP prints what is.
 */

import { type RunSystems, run } from '../../../src/cli/commands/run.js'
import { loadConfig } from '../../../src/cli/config.js'
import { exitCodeOf, formatError } from '../../../src/cli/errors.js'
import { createLogger } from '../../../src/log.js'
import { realSystems } from '../../../src/stream/connect.js'
import type { StreamingQuery } from '../../../src/stream/query.js'
import { startQuery } from '../../../src/stream/start.js'
import { processOutput } from '../../../src/terminal/output.js'
import { HttpTable } from './http-table.js'

const [, , mode, store = '', config = ''] = process.argv
const lookEveryMs = 300
process.on('SIGHUP', () => console.log('left open:', process.getActiveResourcesInfo()))

const systems: RunSystems['systems'] = (options, logger) => ({
  ...realSystems(options, logger),
  table: ({ uri }, signal) => HttpTable.open(store, uri, signal),
})

async function inLibrary(): Promise<void> {
  const options = loadConfig(config)
  const logger = createLogger('info')
  const starting = new AbortController()
  let query: StreamingQuery | null = null
  process.on('SIGUSR2', () => {
    console.log('finishing the batches in hand')
    starting.abort()
    void query?.stop()
  })
  query = await startQuery({ options, systems: systems(options, logger), logger, lookEveryMs, signal: starting.signal })
  await query.awaitTermination()
}

try {
  const looks = { systems, lookEveryMs }
  if (mode === 'command') process.exitCode = await run({ config, logLevel: 'info' }, processOutput, looks)
  else await inLibrary()
  console.log('ended')
} catch (error) {
  console.log('ended by', formatError(error))
  process.exitCode = (error as Error).name === 'AbortError' ? 0 : exitCodeOf(error)
}
