/**
 * A stream in a process of its own, so that it can be killed: `node stream.mjs OPTIONS` as JSON. By messages of its parent
 * it waits until everything is applied (`through`) or stops (`stop`), and answers each with the same text.
 */

import { streamToDelta } from '../../src/index.ts'

const query = await streamToDelta(JSON.parse(process.argv[2]))
query.awaitTermination().catch((error) => {
  console.error(error)
  process.exitCode = 1
  if (process.connected) process.disconnect()
})
process.on('message', async (message) => {
  await (message === 'stop' ? query.stop() : query.processAllAvailable())
  if (!process.connected) return
  process.send(message)
  if (message === 'stop') process.disconnect()
})
process.send('started')
