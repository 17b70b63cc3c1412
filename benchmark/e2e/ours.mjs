/**
 * Applies what is in a topic to a table, by the built package, and tells of it:
 * `ours.mjs '{"brokers", "registry", "topic", "table"}'`.
 */

import { streamToDelta } from '../../dist/index.js'
import { tellUse } from './use.mjs'

const { brokers, registry, topic, table } = JSON.parse(process.argv[2])
const query = await streamToDelta({
  queryName: 'e2e',
  kafka: { brokers },
  schemaRegistry: { url: registry },
  tables: { [topic]: { path: table } },
  trigger: { availableNow: true },
})
let [events, commits] = [0, 0]
query.on('progress', ({ numInputRows }) => {
  if (commits++ === 0) console.log(JSON.stringify({ firstCommit: Date.now() }))
  events += numInputRows
})
await query.awaitTermination()
tellUse({ events, commits })
