/** The captured topics, each served by an embedded broker and registry, and what a table needs for each. */

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import { fixtureTopics, loadFixtureSet } from '../../../src/demo/fixtures.js'
import { EmbeddedRegistry } from '../../../src/demo/registry.js'
import type { TableOptions } from '../../../src/options/types.js'
import type { OracleJob } from './oracle.js'

export const FIXTURES = fileURLToPath(new URL('../../fixtures', import.meta.url))

export const SETS = [
  'flat',
  'flat-adaptive',
  'envelope',
  'hard',
  'hard-seq',
  'hard-env',
  'mariadb-flat',
  'mariadb-flat-adaptive',
  'mariadb-envelope',
  'debezium-3',
  'debezium-3-connect',
  'debezium-3-isostring',
  'debezium-3-nanoseconds',
  'debezium-3-structured',
  'debezium-3-vectors',
  'debezium-3-mariadb',
  'debezium-3-mariadb-envelope',
  'debezium-3-mariadb-11',
  'debezium-3-mysql',
] as const

/** Topics of a set that hold a table: MariaDB's connector also writes one of schema changes. */
export const tableTopics = (set: string): string[] =>
  fixtureTopics(join(FIXTURES, set)).filter((topic) => topic.includes('.'))

export interface ServedSet {
  dir: string
  broker: EmbeddedBroker
  registry: EmbeddedRegistry
}

const served = new Map<string, Promise<ServedSet>>()

/** A set's own broker and registry, since the ids of schemas are given anew in each. Started once. */
export function serve(set: string): Promise<ServedSet> {
  let found = served.get(set)
  if (!found) {
    found = start(set)
    served.set(set, found)
  }
  return found
}

async function start(set: string): Promise<ServedSet> {
  const dir = join(FIXTURES, set)
  const [broker, registry] = [await EmbeddedBroker.start(), await EmbeddedRegistry.start()]
  await loadFixtureSet(dir, broker, registry)
  return { dir, broker, registry }
}

export async function closeAll(): Promise<void> {
  for (const set of served.values()) {
    const { broker, registry } = await set
    await broker.close()
    await registry.close()
  }
  served.clear()
}

/** Infinity, BC years and years after 9999, which Delta cannot hold: null, since the default is an error. */
const OUT_OF_RANGE_COLUMNS = ['d', 'ts', 'tz']

/** What a topic needs beside the defaults, for the stream and for the oracle alike. */
export function needs(
  topic: string,
  outOfRange: 'null' | 'clamp' = 'null',
): {
  table: Omit<TableOptions, 'path'>
  job: Partial<OracleJob>
} {
  if (topic.endsWith('.nopk')) return { table: { primaryKey: 'x' }, job: { primary_key: ['x'] } }
  if (/\.(specials|far|far_nanos)$/.test(topic)) {
    const columns = Object.fromEntries(OUT_OF_RANGE_COLUMNS.map((name) => [name, { outOfRange }]))
    return { table: { columns }, job: { out_of_range: outOfRange } }
  }
  return { table: {}, job: {} }
}
