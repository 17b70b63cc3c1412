/** The one schema of all options: of the API, of the YAML file, and of the JSON Schema that editors use. */

import { z } from 'zod'
import { catalog } from './catalog-schema.js'
import { consumer, kafka, schemaRegistry } from './connection-schema.js'
import {
  choice,
  count,
  decimal,
  duration,
  field,
  flag,
  names,
  optionalNames,
  properties,
  size,
  text,
} from './fields.js'
import { isPattern, wholeName } from './patterns.js'
import { startingOffsets } from './starting-offsets.js'
import { PLACES } from './table-uri.js'
import type { DecimalChoice } from './types.js'
import { parseDuration } from './units.js'
import { WRITE_MODE_NAMES } from './write-modes.js'

/** Names that every object has: KafkaJS keeps topics in plain objects, and takes what those names stand for as a topic's. */
const topicName = z
  .string()
  .regex(/^[a-zA-Z0-9._-]{1,249}$/, 'is no topic name')
  .refine((name) => !(name in {}), {
    error: 'is a name that every JavaScript object has, and KafkaJS cannot read such a topic: give it another name',
  })

/** A topic, or a regular expression between slashes. */
const topicOrPattern = z.string().superRefine((key, context) => {
  if (isPattern(key)) {
    try {
      wholeName(key)
    } catch (error) {
      context.addIssue({ code: 'custom', message: `is no regular expression: ${(error as Error).message}` })
    }
    return
  }
  const { error } = topicName.safeParse(key)
  for (const { message } of error?.issues ?? []) context.addIssue({ code: 'custom', message })
})

function readDecimal(value: unknown): 'string' | 'double' | { precision: number; scale: number } | null {
  if (value === 'string' || value === 'double') return value
  const match = typeof value === 'string' ? /^\s*decimal\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)\s*$/i.exec(value) : null
  const given = match ? { precision: Number(match[1]), scale: Number(match[2]) } : value
  if (typeof given !== 'object' || given === null || !('precision' in given) || !('scale' in given)) return null
  const { precision, scale } = given
  if (!Number.isInteger(precision) || !Number.isInteger(scale)) return null
  const fits =
    Number(precision) >= 1 && Number(precision) <= 38 && Number(scale) >= 0 && Number(scale) <= Number(precision)
  return fits ? { precision: Number(precision), scale: Number(scale) } : null
}

const column = z
  .strictObject({
    timestampNtz: flag(
      "Timestamps without zone as Delta's timestampNtz (default: timestamp, taken as UTC).",
    ).optional(),
    time: choice(
      ['number', 'string'],
      'Times of day as their number (default), or as text HH:MM:SS.ffffff.',
    ).optional(),
    smallIntegers: flag('int8 and int16 as byte and short (default: integer).').optional(),
    decimal: field<DecimalChoice, 'string' | 'double' | { precision: number; scale: number }>(
      readDecimal,
      '"string", "double" or "decimal(precision,scale)" with a precision of at most 38',
      {
        description:
          'Decimals without a fixed scale, or with more digits than Delta has: string (default, exact), double, or decimal(p,s).',
        anyOf: [
          { type: 'string', pattern: '^(string|double|decimal\\(.*\\))$' },
          {
            type: 'object',
            properties: { precision: { type: 'integer' }, scale: { type: 'integer' } },
            required: ['precision', 'scale'],
            additionalProperties: false,
          },
        ],
      },
    ).optional(),
    outOfRange: choice(
      ['fail', 'null', 'clamp'],
      'Values that the type cannot hold (infinity, BC years, NaN): fail (default), null, or the nearest that it can.',
    ).optional(),
  })
  .meta({ description: 'How values of columns are stored.' })

/** Beside `type`, these would say nothing. */
const TYPE_DECIDES = ['timestampNtz', 'time', 'smallIntegers', 'decimal'] as const

const namedColumn = column
  .extend({
    type: choice(
      ['string'],
      'Stores the exact text of the value, whatever its type: for single values, not for bytes.',
    ).optional(),
  })
  .refine((options) => options.type === undefined || TYPE_DECIDES.every((name) => options[name] === undefined), {
    error: `type "string" decides already how the values are stored: leave out ${TYPE_DECIDES.join(', ')}`,
  })
  .meta({ description: 'How values of a column are stored.' })

const deadLetter = z
  .strictObject({
    path: text(`A Delta table for them alone: a ${PLACES}.`).optional(),
    storageOptions: properties("Options of its object store, added to the query's.").optional(),
    topic: topicName.meta({ description: 'A Kafka topic for them.' }).optional(),
  })
  .refine(({ path, topic }) => (path === undefined) !== (topic === undefined), { error: 'give either path or topic' })
  .refine(({ storageOptions, topic }) => topic === undefined || storageOptions === undefined, {
    error: 'storageOptions are of a path, not of a topic',
  })
  .meta({ description: 'Where messages go that cannot be applied, with onBadRecord: dead-letter.' })

const maintenance = z
  .strictObject({
    minFiles: count(
      'Small files of one size class, Kafka partition and partition value from which on they become one (default: 8).',
      2,
    ).optional(),
    maxBytes: size('Bytes that one step reads (default: 1 GB).', 1024 * 1024).optional(),
    deletedShare: decimal('Share of deleted rows from which on a file is rewritten (default: 0.3).', 0, 1).optional(),
    maxLag: count(
      'Lag in messages above which nothing is rewritten, for an hour at most (default: 1,000,000).',
      0,
    ).optional(),
  })
  .meta({ description: 'When files are rewritten.' })

const scd2Columns = z
  .strictObject({
    validFrom: text('Timestamp since when the version was the current one (default: __valid_from).').optional(),
    validTo: text(
      'Timestamp since when it is not any more; null for the current one (default: __valid_to).',
    ).optional(),
    isCurrent: text('Boolean, true for the current one (default: __is_current).').optional(),
  })
  .meta({ description: 'With writeMode scd2, the columns of a version.' })

/** Options of the whole query that a table may set for itself. */
const perTable = {
  deletedColName: text('The field that says whether a row is deleted (default: __deleted).').optional(),
  lsnColName: text("The field with the log sequence number (default: found by Debezium's names).").optional(),
  deletes: choice(
    ['hard', 'soft', 'ignore'],
    'Deletes remove rows (hard, the default), mark them in softDeleteColName (soft), or do nothing (ignore).',
  ).optional(),
  softDeleteColName: text(
    'With soft deletes, the boolean column that is true for deleted rows (default: __deleted).',
  ).optional(),
  writeMode: choice(
    WRITE_MODE_NAMES,
    "upsert: the table equals the source's (default). append: a changelog, each change a row. scd2: each version of a row with the time from which and to which it was the current one.",
  ).optional(),
  scd2Columns: scd2Columns.optional(),
  mergeMode: choice(
    ['auto', 'merge-on-read', 'copy-on-write'],
    'merge-on-read writes deletion vectors, copy-on-write rewrites files. auto: the former for new tables and those that have it enabled.',
  ).optional(),
  schemaEvolution: choice(
    ['add', 'none', 'fail'],
    'New columns: add them (default), ignore them, or stop the table.',
  ).optional(),
  orderGuard: choice(
    ['auto', 'off'],
    'How changes of several partitions are ordered: by positions and timestamps (auto, the default), or as they arrive.',
  ).optional(),
  onMissingValue: choice(['null', 'fail'], 'A left-out value that has no stored value.').optional(),
  onBadRecord: choice(
    ['fail', 'skip', 'dead-letter'],
    'A message that cannot be applied: stop the table (default), count and skip it, or write it to deadLetter.',
  ).optional(),
  deadLetter: deadLetter.optional(),
  unavailableValuePlaceholder: text(
    "Debezium's unavailable.value.placeholder (default: __debezium_unavailable_value).",
  ).optional(),
  compression: choice(['snappy', 'zstd'], 'Of the Parquet files (default: snappy).').optional(),
  targetFileSize: size('Size of a data file, such as "128 MB" (the default).', 1024 * 1024).optional(),
  maxRewriteBytes: size(
    'Size up to which a table is rewritten when a column grows, such as "10 GB" (the default).',
    0,
  ).optional(),
  rememberedKeys: count('How many deletes and order values are remembered (default: 1,000,000).', 0).optional(),
  clusterBy: optionalNames(
    'Columns by which compaction sorts rows, as a Z-order where there are several (default: rows keep their order).',
  ).optional(),
  keyIndex: choice(
    ['auto', 'none'],
    'none: no key index is kept; the key columns of the files that may hold a key are read instead (default: auto).',
  ).optional(),
  indexMemory: size(
    "Memory for a table's key index, some 21 bytes a key; above, it works from a file. All indexes together have a quarter of limits.maxMemory (default: 1 GB).",
    1024 * 1024,
  ).optional(),
  indexDir: text(
    'Local folder that keeps the key index between runs (default: none, and each start builds it anew).',
  ).optional(),
  maintenance: z
    .union([flag('Compaction beside the stream (default: true).'), maintenance], {
      error: 'expected true, false or options such as {minFiles: 8}',
    })
    .meta({ description: 'Compaction beside the stream: true (default), false, or when files are rewritten.' })
    .optional(),
  columnDefaults: column
    .meta({ description: 'How values are stored of columns that are not named in columns.' })
    .optional(),
  metadataColumns: names(
    "What to store of a row's last change: kafka.topic, kafka.partition, kafka.offset, kafka.timestamp, operation, and of envelopes fields of the event, as Debezium's add.fields has them (op, source.ts_ms). Each may have another name: kafka.offset:position makes the column __position.",
  ).optional(),
  tableProperties: properties('Delta table properties, set when the table is created.').optional(),
  storageOptions: properties('Options of the object store: credentials, endpoint, region.').optional(),
  catalog: catalog.optional(),
}

/** The name after `AS` in `expression AS name`; null where there is none. */
export function computedName(expression: string): string | null {
  const found = /\S\s+as\s+(?:"([^"]+)"|`([^`]+)`|([^\s"`]+))\s*$/i.exec(expression)
  return found && (found[1] ?? found[2] ?? found[3] ?? null)
}

const pace = {
  processingTime: field<number | string, number | 'adaptive'>(
    (value) => (value === 'adaptive' ? value : parseDuration(value)),
    'a duration such as "1 second", "500 ms" or a number of milliseconds, or adaptive',
    {
      description:
        'Between two batches; adaptive (default): from 150 milliseconds to a second, by how many tables change, and up to half a minute while the process is overloaded.',
      anyOf: [
        { type: 'string', pattern: '\\d' },
        { type: 'number', minimum: 0 },
        { type: 'string', const: 'adaptive' },
      ],
    },
  ).optional(),
  maxDelay: duration(
    'How long changes may wait for others as long as they are fewer than 1,000 (default: as processingTime).',
  ).optional(),
}

const isGiven = (value: object) => Object.values(value).some((part) => part !== undefined)

const tableTrigger = z
  .strictObject(pace)
  .refine(isGiven, { error: 'expected {processingTime: "1 second", maxDelay: "1 minute"}, or one of these' })
  .meta({ description: "How often this table is committed; what is not given is the query's.", minProperties: 1 })

const trigger = z
  .strictObject({
    ...pace,
    availableNow: field<true | 'true', true>((value) => value === true || value === 'true' || null, 'true', {
      description: 'Apply what the topics hold now, and end.',
      const: true,
    }).optional(),
  })
  .refine(({ availableNow, ...others }) => isGiven(others) !== (availableNow === true), {
    error:
      'expected {processingTime: "1 second", maxDelay: "1 minute"}, one of these, or {availableNow: true} by itself',
  })
  .transform(({ availableNow, ...others }) => (availableNow ? { availableNow } : others))
  .meta({
    description:
      'When batches are made: {processingTime: "adaptive"} (default), {processingTime: "1 second", maxDelay: "1 minute"}, or {availableNow: true}.',
    minProperties: 1,
  })

const table = z
  .strictObject({
    path: text(`Where the table lies: a ${PLACES}.`),
    schema: text("First part of the table's name.").optional(),
    tableName: text("Second part of the table's name.").optional(),
    description: text("The table's description.").optional(),
    primaryKey: names("The key columns; default: the fields of the Kafka key's schema.").optional(),
    additionalCols: z
      .array(
        z.string().refine((expression) => computedName(expression) !== null, {
          error: 'expected "expression AS name"',
        }),
      )
      .meta({ description: 'Computed columns, as "YEAR(created_at) AS year", in Spark SQL.' })
      .optional(),
    partitionCols: optionalNames('The columns that the table is partitioned by.').optional(),
    columns: z
      .record(z.string(), namedColumn)
      .meta({ description: 'Columns that are stored otherwise than by default, by field name.' })
      .optional(),
    includeColumns: names('The fields to keep; key columns always are. Default: all.').optional(),
    excludeColumns: names('Fields to leave out.').optional(),
    renameColumns: properties('New names, by field name.').optional(),
    shared: flag('Several topics are written to this path; no key may be in two of them (default: false).').optional(),
    exclude: z
      .union([topicOrPattern, z.array(topicOrPattern)], {
        error: 'expected names of topics, or patterns as "/tmp_.*/"',
      })
      .transform((value) => (typeof value === 'string' ? [value] : value))
      .meta({ description: 'Of a pattern: topics that it does not take, by name or by pattern.' })
      .optional(),
    trigger: tableTrigger.optional(),
    ...perTable,
  })
  .meta({ description: 'One table.' })

export const optionsSchema = z
  .strictObject({
    queryName: z
      .string({ error: 'must be given: it names the offsets in the tables' })
      .regex(/^[^\s:]+$/, 'must not be empty, and holds no space and no colon')
      .meta({ description: 'Names the offsets in the tables: keep it for ever.' }),
    kafka,
    consumer: consumer.optional(),
    schemaRegistry,
    tables: z
      .record(topicOrPattern, table)
      .refine((tables) => Object.keys(tables).length > 0, { error: 'name at least one topic' })
      .meta({
        description:
          'Topic to table. A key between slashes is a regular expression for topics that are not named: /shop\\.public\\.(.*)/, with $1 or $<name> in path, schema, tableName and description.',
      }),
    startingOffsets: startingOffsets.optional(),
    failOnDataLoss: flag('Stop where the topic no longer has offsets that were not applied (default true).').optional(),
    trigger: trigger.optional(),
    limits: z
      .strictObject({
        maxBatchMessages: count('Messages of one commit (default 100,000).', 1).optional(),
        maxBatchBytes: size(
          'Bytes of keys and values of one commit; decoded, it takes twice as much at most (default 64 MB).',
          1024,
        ).optional(),
        maxMemory: size(
          "Memory of all queries of the process: a quarter for messages that wait, three eighths for batches until they are committed, a quarter for key indexes, an eighth for compaction; a message of more than an eighth is a bad record (default: half of the container's or the machine's).",
          1024 * 1024,
        ).optional(),
        maxQueueBytes: size(
          "Bytes of one topic's messages in memory, waiting or not decoded yet (default 192 MB).",
          1024,
        ).optional(),
      })
      .meta({ description: 'Bounds of batches and memory.' })
      .optional(),
    workers: choice(
      ['single', 'many'],
      'How many processes share the tables: one (single, default), or any number by a consumer group (many).',
    ).optional(),
    ...perTable,
  })
  .meta({ title: 'kafka2delta', description: 'The configuration of kafka2delta.' })

export type ParsedOptions = z.output<typeof optionsSchema>
export type ParsedTable = z.output<typeof table>
