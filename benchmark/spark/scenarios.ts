/** What is compared: captured topics, as they are or in part, with the options that each side has for them. */

import { join } from 'node:path'
import avro from 'avsc'
import { FIXTURES, needs, SETS, tableTopics } from '../../__test__/integration/support/captured-sets.js'
import { type FixtureMessage, readFixtureSchemas, readFixtureTopic } from '../../src/demo/fixtures.js'
import type { TableOptions } from '../../src/options/types.js'

export interface Scenario {
  /** The topic, and what is done to it: unique. */
  id: string
  set: string
  topic: string
  messages: readonly FixtureMessage[]
  additionalCols: readonly string[]
  partitionCols: readonly string[]
  /** What only kafka2delta has options for. */
  table: Omit<TableOptions, 'path'>
  /** Columns of the key, by which rows are paired. */
  key: readonly string[]
}

interface Variant {
  /** After the topic's name. */
  name?: string
  messages?: (all: FixtureMessage[]) => FixtureMessage[]
  additionalCols?: readonly string[]
  partitionCols?: readonly string[]
}

/** As the Spark job's own tests have them. */
const YEAR_AND_MONTH = {
  name: 'by year and month',
  additionalCols: ['YEAR(created_at) AS year', 'MONTH(created_at) AS month'],
  partitionCols: ['year', 'month'],
}

/** `orders.id` becomes a bigint at offset 7, which ends the Spark job. */
const BEFORE_WIDER_KEY = 7

const firstOrders = (all: FixtureMessage[]) => all.slice(0, BEFORE_WIDER_KEY)

/** A message without a value for the key of the first one. */
function withTombstone(all: FixtureMessage[]): FixtureMessage[] {
  const [first, last] = [all[0], all.at(-1)] as [FixtureMessage, FixtureMessage]
  return [...all, { ...first, offset: last.offset + 1, timestamp: last.timestamp + 5000, value_b64: null, headers: {} }]
}

/** Of user 600: the delete under schema 49, the insert under schema 8. */
const USER_DELETED_AT = 31
const USER_INSERTED_AT = 22

/**
 * A key that is deleted under a newer schema and inserted again under an older one, as dropping a column has it, with
 * no quiet second between. The captured insert is repeated with a later LSN.
 */
function insertedAgain(all: FixtureMessage[]): FixtureMessage[] {
  const [deleted, inserted] = [all[USER_DELETED_AT], all[USER_INSERTED_AT]] as [FixtureMessage, FixtureMessage]
  const bytes = Buffer.from(inserted.value_b64 as string, 'base64')
  const schema = readFixtureSchemas(join(FIXTURES, 'flat')).get(bytes.readInt32BE(1))
  const type = avro.Type.forSchema(schema as avro.Schema, { wrapUnions: false })
  const row = type.fromBuffer(bytes.subarray(5)) as Record<string, unknown>
  const later = type.clone({ ...row, name: 'copy a, again', __log_sequence_number: 22_544_900 })
  const value = Buffer.concat([bytes.subarray(0, 5), type.toBuffer(later)])
  const again = { ...inserted, offset: deleted.offset + 1, timestamp: deleted.timestamp }
  return [...all.slice(0, USER_DELETED_AT + 1), { ...again, value_b64: value.toString('base64') }]
}

/** Beside each topic as it is. */
const VARIANTS: Record<string, readonly Variant[]> = {
  'postgres.public.users': [{ name: 'deleted and back', messages: insertedAgain }],
  // Both topics end with a delete: what was there before it is compared, too.
  'flat.public.toasted': [{ name: 'first 4', messages: (all) => all.slice(0, 4) }],
  'flat.public.toasted_full': [{ name: 'first 2', messages: (all) => all.slice(0, 2) }],
  'postgres.public.products': [YEAR_AND_MONTH, { name: 'and a tombstone', messages: withTombstone }],
  'postgres.public.orders': [
    { name: `first ${BEFORE_WIDER_KEY}`, messages: firstOrders },
    { ...YEAR_AND_MONTH, name: `first ${BEFORE_WIDER_KEY}, ${YEAR_AND_MONTH.name}`, messages: firstOrders },
    {
      name: `first ${BEFORE_WIDER_KEY}, by is_large`,
      messages: firstOrders,
      additionalCols: ['total_amount > 5 AS is_large'],
      partitionCols: ['is_large'],
    },
  ],
  // The topic of a table whose rows the job meets first in an incremental snapshot: without an LSN.
  'inc.public.inc': [{ name: 'from offset 4', messages: (all) => all.filter((m) => m.offset >= 4) }],
}

/** Sets that the Spark job's connector makes, and one topic that it does not. */
export const REPLAYED = { sets: ['flat', 'hard'], topics: [{ set: 'envelope', topic: 'env.public.users' }] } as const

function scenario(set: string, topic: string, variant: Variant = {}): Scenario {
  const dir = join(FIXTURES, set)
  const all = readFixtureTopic(dir, topic)
  const messages = variant.messages ? variant.messages(all) : all
  const { table } = needs(topic)
  return {
    id: variant.name ? `${topic}, ${variant.name}` : topic,
    set,
    topic,
    messages,
    additionalCols: variant.additionalCols ?? [],
    partitionCols: variant.partitionCols ?? [],
    table,
    key: table.primaryKey === undefined ? keyFields(dir, messages) : [table.primaryKey].flat(),
  }
}

/** The fields of the key's schema. */
function keyFields(dir: string, messages: readonly FixtureMessage[]): string[] {
  const framed = messages.find((m) => m.key_b64 !== null)?.key_b64
  if (!framed) throw new Error(`${dir}: no message has a key`)
  const schema = readFixtureSchemas(dir).get(Buffer.from(framed, 'base64').readInt32BE(1))
  return (schema as { fields: { name: string }[] }).fields.map((f) => f.name)
}

/** Replayed by both. */
export function replayed(): Scenario[] {
  const topics = REPLAYED.sets.flatMap((set) => tableTopics(set).map((topic) => ({ set, topic })))
  return [...topics, ...REPLAYED.topics].flatMap(({ set, topic }) => [
    scenario(set, topic),
    ...(VARIANTS[topic] ?? []).map((variant) => scenario(set, topic, variant)),
  ])
}

/** Written by kafka2delta alone, to be read by Spark and another reader: the other captured sets. */
export function readOnly(): Scenario[] {
  const done = new Set<string>([...replayed().map((s) => s.topic)])
  return SETS.flatMap((set) =>
    tableTopics(set)
      .filter((topic) => !done.has(topic))
      .map((topic) => scenario(set, topic)),
  )
}

/** A second without messages ends a micro-batch, as it does where the job's trigger is one second. */
const QUIET_MS = 1000

/** The number of each message's micro-batch in a job that was running when the topic was written. */
export function microBatches(messages: readonly FixtureMessage[]): number[] {
  let batch = 0
  return messages.map((message, i) => {
    const before = messages[i - 1]
    if (before && message.timestamp - before.timestamp > QUIET_MS) batch++
    return batch
  })
}
