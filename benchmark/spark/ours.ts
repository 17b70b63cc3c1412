/** kafka2delta's side: each scenario through the whole path, from a broker to a Delta table. */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FIXTURES } from '../../__test__/integration/support/captured-sets.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { loadFixtureSet } from '../../src/demo/fixtures.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { streamToDelta } from '../../src/index.js'
import type { StreamOptions } from '../../src/options/types.js'
import type { Scenario } from './scenarios.js'

/** Few, so that later commits mark rows of earlier files in deletion vectors. */
const MESSAGES_PER_COMMIT = 3

/** Replays a scenario into the table at `path`; `folder` is for the topic's file. */
export async function writeOurs(
  scenario: Scenario,
  path: string,
  folder: string,
  stream: Partial<StreamOptions> = {},
): Promise<void> {
  mkdirSync(folder, { recursive: true })
  copyFileSync(join(FIXTURES, scenario.set, 'schemas.json'), join(folder, 'schemas.json'))
  const lines = scenario.messages.map((message) => JSON.stringify(message))
  writeFileSync(join(folder, `${scenario.topic}.jsonl`), `${lines.join('\n')}\n`)
  const [broker, registry] = [await EmbeddedBroker.start(), await EmbeddedRegistry.start()]
  try {
    await loadFixtureSet(folder, broker, registry)
    const query = await streamToDelta({
      queryName: 'compare',
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url: registry.url },
      tables: {
        [scenario.topic]: {
          path,
          ...scenario.table,
          additionalCols: scenario.additionalCols,
          ...(scenario.partitionCols.length > 0 ? { partitionCols: scenario.partitionCols } : {}),
        },
      },
      limits: { maxBatchMessages: MESSAGES_PER_COMMIT },
      trigger: { availableNow: true },
      ...stream,
    })
    await query.awaitTermination()
  } finally {
    await broker.close()
    await registry.close()
  }
}

/** Whether a table's log holds a deletion vector. */
export function hasDeletionVectors(path: string): boolean {
  const log = join(path, '_delta_log')
  return readdirSync(log)
    .filter((file) => file.endsWith('.json'))
    .some((file) => readFileSync(join(log, file), 'utf8').includes('"storageType"'))
}
