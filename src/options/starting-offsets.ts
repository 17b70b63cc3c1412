/** The option `startingOffsets`: its forms, and how they are read. */

import { field } from './fields.js'

/** Where partitions start that the table holds no offset of. */
export type StartingOffsets =
  | 'earliest'
  | 'latest'
  /** The first message at or after this time: a date, its ISO 8601 text, or milliseconds since 1970. */
  | Date
  | number
  | string
  /** Topic to partition to offset, as Spark has it: -2 is earliest, -1 latest. */
  | Readonly<Record<string, Readonly<Record<string, number | bigint | string>>>>
  /** After the last batch that a Spark job has committed: its checkpoint's folder or URL. New partitions: the earliest. */
  | { readonly sparkCheckpoint: string }

/** Starting offsets, read. */
export type ResolvedStartingOffsets =
  | 'earliest'
  | 'latest'
  /** Milliseconds since 1970. */
  | { timestamp: number }
  /** `*`: of the partitions that are not named. */
  | { offsets: Map<string, Map<number | '*', bigint>> }
  | { sparkCheckpoint: string }

function readOffsets(value: object): ResolvedStartingOffsets | null {
  const topics = new Map<string, Map<number | '*', bigint>>()
  for (const [topic, partitions] of Object.entries(value)) {
    if (typeof partitions !== 'object' || partitions === null) return null
    const offsets = new Map<number | '*', bigint>()
    for (const [partition, offset] of Object.entries(partitions as object)) {
      if (!/^\d+$/.test(partition) || !/^-?\d+$/.test(String(offset)) || BigInt(offset) < -2n) return null
      offsets.set(Number(partition), BigInt(offset))
    }
    topics.set(topic, offsets)
  }
  return topics.size === 0 ? null : { offsets: topics }
}

function read(value: unknown): ResolvedStartingOffsets | null {
  if (value === 'earliest' || value === 'latest') return value
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : { timestamp: value.getTime() }
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? { timestamp: value } : null
  if (typeof value === 'string') {
    if (/^\d+$/.test(value)) return { timestamp: Number(value) }
    const time = /^\d{4}-\d\d-\d\d/.test(value) ? Date.parse(value) : Number.NaN
    return Number.isNaN(time) ? null : { timestamp: time }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
  const { sparkCheckpoint } = value as { sparkCheckpoint?: unknown }
  if (typeof sparkCheckpoint === 'string' && Object.keys(value).length === 1) {
    return sparkCheckpoint === '' ? null : { sparkCheckpoint }
  }
  return readOffsets(value)
}

export const startingOffsets = field<StartingOffsets, ResolvedStartingOffsets>(
  read,
  '"earliest", "latest", a time (ISO 8601 or milliseconds since 1970), offsets as {topic: {partition: offset}}, or {sparkCheckpoint: path}',
  {
    description:
      'Where partitions start that the table holds no offset of: earliest, latest, a time, {topic: {partition: offset}}, where -2 is earliest and -1 latest, or {sparkCheckpoint: path}.',
    anyOf: [
      { enum: ['earliest', 'latest'] },
      { type: 'string', description: 'ISO 8601 time', pattern: '^\\d{4}-\\d\\d-\\d\\d|^\\d+$' },
      { type: 'integer', minimum: 0, description: 'milliseconds since 1970' },
      {
        type: 'object',
        description: "after the last batch that a Spark job has committed: its checkpoint's folder or URL",
        properties: { sparkCheckpoint: { type: 'string', minLength: 1 } },
        required: ['sparkCheckpoint'],
        additionalProperties: false,
      },
      {
        type: 'object',
        description: 'topic to partition to offset',
        additionalProperties: { type: 'object', additionalProperties: { type: ['integer', 'string'] } },
      },
    ],
  },
)
