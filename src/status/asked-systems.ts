/** The systems that a status by the tables asks. Nothing of them writes. */

import { DeltaTable } from '../delta/table.js'
import { fewRetries } from '../kafka/ask.js'
import { TopicCatalog } from '../kafka/topic-catalog.js'
import type { Logger } from '../log.js'
import type { ResolvedOptions } from '../options/types.js'
import { openDeltaTable, realSystems } from '../stream/connect.js'
import { TableDiscovery } from '../stream/discovery.js'
import { VendedTables } from '../stream/vended-tables.js'
import type { AskedSystems } from './from-tables.js'

export function askedSystems(options: ResolvedOptions, logger: Logger): AskedSystems & { close(): Promise<void> } {
  const systems = realSystems(options, logger)
  const vended = new VendedTables({ logger, open: openDeltaTable })
  const { kafka, queryName } = options
  const catalog = new TopicCatalog({ kafka, queryName, logger, retry: fewRetries(kafka) })
  const find = systems.topics?.bind(systems)
  return {
    findTables: async () => (find ? new TableDiscovery(options, find, logger).look() : { tables: [], failures: [] }),
    ends: (topics) => catalog.ends(topics),
    // Without the options of the stream: nothing is checked against them, and no index is built.
    ofNow: (table) => vended.ofNow(table),
    open: ({ uri, storageOptions }) => DeltaTable.open({ path: uri, storageOptions }),
    close: async () => {
      await Promise.all([systems.close?.(), vended.close()])
    },
  }
}
