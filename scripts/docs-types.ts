/** Writes docs/types.md. Its tables are computed: each case is decoded by the program itself. `--check` only compares. */

import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { decodeAll, encode } from '../__test__/debezium/support.js'
import { deltaTypeName } from '../src/arrow/types.js'
import { parseAvroSchema } from '../src/avro/schema.js'
import { columnTypeOf } from '../src/avro/semantic-types.js'
import { KafkaToDeltaError } from '../src/errors.js'
import type { ResolvedColumn } from '../src/options/types.js'
import * as text from './docs-types-text.js'

const FILE = new URL('../docs/types.md', import.meta.url)
const CONNECT = 'org.apache.kafka.connect.data.'
const TIME = 'io.debezium.time.'
const DATA = 'io.debezium.data.'

interface Source {
  /** As a connector's user knows it. */
  name: string
  schema: unknown
  remark?: string
}

const named = (type: string, name: string) => ({ type, 'connect.name': name })
const small = (type: string) => ({ type: 'int', 'connect.type': type })
const logical = (type: string, logicalType: string) => ({ type, logicalType })
const decimal = (precision: number | null, scale: number) => ({
  type: 'bytes',
  scale,
  precision: precision ?? 64,
  'connect.parameters': {
    scale: String(scale),
    ...(precision === null ? {} : { 'connect.decimal.precision': String(precision) }),
  },
  'connect.name': `${CONNECT}Decimal`,
})
const variable = {
  type: 'record',
  name: 'VariableScaleDecimal',
  'connect.name': `${DATA}VariableScaleDecimal`,
  fields: [
    { name: 'scale', type: 'int' },
    { name: 'value', type: 'bytes' },
  ],
}
const point = {
  type: 'record',
  name: 'Point',
  'connect.name': `${DATA}geometry.Point`,
  fields: [
    { name: 'x', type: 'double' },
    { name: 'y', type: 'double' },
    { name: 'wkb', type: ['null', 'bytes'] },
    { name: 'srid', type: ['null', 'int'] },
  ],
}

/** Debezium's structured dates and times: every field may be null. */
const structured = (name: string, fields: string[]) => ({
  type: 'record',
  name,
  'connect.name': `${TIME}${name}`,
  fields: [...fields, 'specialValue'].map((field) => ({
    name: field,
    type: ['null', field === 'specialValue' ? 'string' : 'int'],
    default: null,
  })),
})
const DAY = ['year', 'month', 'day']
const CLOCK = ['hour', 'minute', 'second', 'nanos']
const structuredDate = structured('StructuredDate', DAY)
const structuredTimestamp = structured('StructuredTimestamp', [...DAY, ...CLOCK])
const structuredZonedTimestamp = structured('StructuredZonedTimestamp', [...DAY, ...CLOCK, 'offsetSeconds'])
const structuredDuration = {
  type: 'record',
  name: 'StructuredDuration',
  'connect.name': `${TIME}StructuredDuration`,
  fields: ['years', 'months', 'days', 'hours', 'minutes', 'seconds', 'nanos', 'precision'].map((name) => ({
    name,
    type: ['null', name === 'seconds' ? 'long' : 'int'],
  })),
}
const geometry = {
  type: 'record',
  name: 'Geometry',
  'connect.name': `${DATA}geometry.Geometry`,
  fields: [
    { name: 'wkb', type: 'bytes' },
    { name: 'srid', type: ['null', 'int'] },
    { name: 'extensions', type: ['null', { type: 'map', values: 'string' }] },
  ],
}
const sparse = {
  type: 'record',
  name: 'SparseDoubleVector',
  'connect.name': `${DATA}SparseDoubleVector`,
  fields: [
    { name: 'dimensions', type: { type: 'int', 'connect.type': 'int16' } },
    {
      name: 'vector',
      type: {
        type: 'array',
        items: {
          type: 'record',
          name: 'MapEntry',
          fields: [
            { name: 'key', type: { type: 'int', 'connect.type': 'int16' } },
            { name: 'value', type: 'double' },
          ],
        },
      },
    },
  ],
}

const GROUPS: { title: string; sources: Source[] }[] = [
  {
    title: 'Truth values and numbers',
    sources: [
      { name: '`boolean`', schema: 'boolean' },
      { name: '`int`', schema: 'int' },
      { name: '`int`, `connect.type` int8', schema: small('int8'), remark: 'As the Spark job stored it' },
      { name: '`int`, `connect.type` int16', schema: small('int16'), remark: 'As the Spark job stored it' },
      { name: '`long`', schema: 'long', remark: 'All 64 bits, also beyond 2^53' },
      { name: '`float`', schema: 'float', remark: 'NaN and the infinities are values' },
      { name: '`double`', schema: 'double', remark: 'NaN and the infinities are values' },
      { name: 'union of `int` and `long`', schema: ['null', 'int', 'long'] },
      { name: 'union of `float` and `double`', schema: ['null', 'float', 'double'] },
    ],
  },
  {
    title: 'Decimals',
    sources: [
      { name: '`Decimal` (10,2)', schema: decimal(10, 2) },
      { name: '`Decimal` (38,38)', schema: decimal(38, 38) },
      { name: '`Decimal` (2,5)', schema: decimal(2, 5), remark: 'Scale above precision: Postgres `numeric(2,5)`' },
      { name: '`Decimal` (3,2046)', schema: decimal(3, 2046), remark: 'Scale -2 in 11 bits: Postgres `numeric(3,-2)`' },
      { name: '`Decimal` (5,-2)', schema: decimal(5, -2), remark: 'Oracle `NUMBER(5,-2)`' },
      { name: '`Decimal` without precision', schema: decimal(null, 2), remark: 'Postgres `money`' },
      { name: '`Decimal` (50,40)', schema: decimal(50, 40), remark: 'More than the 38 digits of Delta' },
      { name: '`VariableScaleDecimal`', schema: variable, remark: 'Postgres `numeric` without precision' },
      {
        name: '`bytes` or `fixed`, Avro `decimal` (20,4)',
        schema: { ...logical('bytes', 'decimal'), precision: 20, scale: 4 },
      },
    ],
  },
  {
    title: 'Dates, times, durations',
    sources: [
      { name: `\`${CONNECT}Date\``, schema: named('int', `${CONNECT}Date`) },
      { name: `\`${TIME}Date\`, Avro \`date\``, schema: named('int', `${TIME}Date`) },
      { name: `\`${TIME}IsoDate\``, schema: named('string', `${TIME}IsoDate`) },
      { name: `\`${TIME}StructuredDate\``, schema: structuredDate },
      { name: `\`${CONNECT}Timestamp\``, schema: named('long', `${CONNECT}Timestamp`), remark: 'Milliseconds' },
      {
        name: `\`${TIME}Timestamp\`, Avro \`timestamp-millis\``,
        schema: named('long', `${TIME}Timestamp`),
        remark: 'Milliseconds',
      },
      {
        name: `\`${TIME}MicroTimestamp\`, Avro \`timestamp-micros\``,
        schema: named('long', `${TIME}MicroTimestamp`),
        remark: 'Microseconds',
      },
      {
        name: `\`${TIME}NanoTimestamp\`, Avro \`timestamp-nanos\``,
        schema: named('long', `${TIME}NanoTimestamp`),
        remark: 'Rounded down to microseconds; as text, exact',
      },
      { name: 'Avro `local-timestamp-millis`, `-micros`, `-nanos`', schema: logical('long', 'local-timestamp-micros') },
      { name: `\`${TIME}IsoTimestamp\``, schema: named('string', `${TIME}IsoTimestamp`) },
      {
        name: `\`${TIME}ZonedTimestamp\``,
        schema: named('string', `${TIME}ZonedTimestamp`),
        remark: 'Any offset, any fraction; always an instant. As text, as it came',
      },
      { name: `\`${TIME}StructuredTimestamp\``, schema: structuredTimestamp, remark: 'Rounded down to microseconds' },
      { name: `\`${TIME}StructuredZonedTimestamp\``, schema: structuredZonedTimestamp, remark: 'Always an instant' },
      {
        name: `\`${CONNECT}Time\`, \`${TIME}Time\`, Avro \`time-millis\``,
        schema: named('int', `${TIME}Time`),
        remark: 'Milliseconds since midnight',
      },
      {
        name: `\`${TIME}MicroTime\`, Avro \`time-micros\``,
        schema: named('long', `${TIME}MicroTime`),
        remark: "Microseconds; MySQL's may be negative or above a day",
      },
      { name: `\`${TIME}NanoTime\``, schema: named('long', `${TIME}NanoTime`), remark: 'Nanoseconds' },
      {
        name: `\`${TIME}StructuredTime\``,
        schema: structured('StructuredTime', CLOCK),
        remark: 'Nanoseconds since midnight',
      },
      { name: `\`${TIME}IsoTime\`, \`${TIME}ZonedTime\``, schema: named('string', `${TIME}ZonedTime`) },
      {
        name: `\`${TIME}StructuredZonedTime\``,
        schema: structured('StructuredZonedTime', [...CLOCK, 'offsetSeconds']),
        remark: 'ISO 8601, `11:14:15.5+02:00`',
      },
      { name: `\`${TIME}Year\``, schema: named('int', `${TIME}Year`) },
      { name: `\`${TIME}MicroDuration\`, \`${TIME}NanoDuration\``, schema: named('long', `${TIME}MicroDuration`) },
      { name: `\`${TIME}Interval\``, schema: named('string', `${TIME}Interval`), remark: 'ISO 8601, `P1Y2M3DT4H5M6S`' },
      { name: `\`${TIME}StructuredDuration\``, schema: structuredDuration, remark: 'A record as any other' },
    ],
  },
  {
    title: 'Text and bytes',
    sources: [
      { name: '`string`', schema: 'string', remark: 'Must be UTF-8' },
      {
        name: `\`${DATA}Json\`, \`Xml\`, \`Uuid\`, \`Enum\`, \`EnumSet\`, \`Ltree\`, \`Tsvector\``,
        schema: named('string', `${DATA}Json`),
      },
      { name: 'Avro `enum`', schema: { type: 'enum', name: 'E', symbols: ['A', 'B'] } },
      { name: '`bytes`', schema: 'bytes' },
      { name: '`fixed`', schema: { type: 'fixed', name: 'F', size: 16 } },
      { name: `\`${DATA}Bits\``, schema: named('bytes', `${DATA}Bits`), remark: 'The lowest byte first' },
    ],
  },
  {
    title: 'Nested types',
    sources: [
      { name: 'array of `int`', schema: { type: 'array', items: ['null', 'int'] }, remark: 'Items may be null' },
      {
        name: 'map of `string`',
        schema: { type: 'map', values: ['null', 'string'] },
        remark: 'Keys are text, each once',
      },
      {
        name: 'record',
        schema: {
          type: 'record',
          name: 'R',
          fields: [
            { name: 'a', type: 'int' },
            { name: 'b', type: ['null', 'string'] },
          ],
        },
      },
      { name: `\`${DATA}geometry.Point\``, schema: point, remark: 'A record as any other' },
      {
        name: `\`${DATA}geometry.Geometry\`, \`Geography\``,
        schema: geometry,
        remark: '`extensions` since Debezium 3.7; `Circle` and `Line` are records too',
      },
      {
        name: `\`${DATA}DoubleVector\`, \`FloatVector\``,
        schema: { ...named('array', `${DATA}DoubleVector`), items: 'double' },
        remark: '`FloatVector`: `array<float>`',
      },
      { name: `\`${DATA}SparseDoubleVector\``, schema: sparse, remark: 'A record as any other' },
      {
        name: 'union of several types',
        schema: ['null', 'int', 'string'],
        remark: "As Spark's Avro reader: the member that it is, the others null",
      },
      {
        name: 'array of records of arrays',
        schema: {
          type: 'array',
          items: { type: 'record', name: 'O', fields: [{ name: 'tags', type: { type: 'array', items: 'string' } }] },
        },
      },
    ],
  },
]

const WAYS: [string, ResolvedColumn][] = [
  ['smallIntegers: true', { smallIntegers: true }],
  ['timestampNtz: true', { timestampNtz: true }],
  ["time: 'string'", { time: 'string' }],
  ["decimal: 'decimal(38,10)'", { decimal: { precision: 38, scale: 10 } }],
  ["decimal: 'double'", { decimal: 'double' }],
]

function typeName(schema: unknown, options: ResolvedColumn): string | null {
  try {
    return deltaTypeName(columnTypeOf(parseAvroSchema(schema as never), options, 'c'))
  } catch (error) {
    if (error instanceof KafkaToDeltaError) return null
    throw error
  }
}

/** Rows of a Markdown table. */
function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

function typesTable(sources: Source[]): string {
  const rows = sources.map(({ name, schema, remark = '' }) => {
    const normal = typeName(schema, {})
    const others = WAYS.map(([option, options]) => [option, typeName(schema, options)] as const).filter(
      ([, type]) => type !== null && type !== normal,
    )
    const text = typeName(schema, { type: 'string' }) === null ? 'no' : 'yes'
    return [
      name,
      `\`${normal}\``,
      others.map(([option, type]) => `\`${option}\` → \`${type}\``).join('<br>'),
      text,
      remark,
    ]
  })
  return table(['source', 'Delta', 'by option', "`type: 'string'`", 'remarks'], rows)
}

const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] }

/** What a table holds of the value: its type, and the value or why the record is refused. */
async function store(
  schema: unknown,
  value: unknown,
  options: ResolvedColumn,
): Promise<{ type: string; shown: string }> {
  const type = {
    type: 'record',
    name: 'Value',
    fields: [
      { name: 'id', type: 'int' },
      { name: 'c', type: schema },
    ],
  }
  const message = { key: encode(1, KEY, { id: 1 }), value: encode(2, type, { id: 1, c: value }) }
  const settings = { topic: 'orders', columns: { c: options } }
  const name = typeName(schema, options) as string
  try {
    const { rows } = await decodeAll(settings, { 1: KEY, 2: type }, [message])
    return { type: name, shown: `\`${show(rows[0]?.c, name)}\`` }
  } catch (error) {
    if (!(error instanceof KafkaToDeltaError)) throw error
    const reason = error.message.replace(/^.*column c: /, '')
    return { type: name, shown: `${error.code}: ${reason}` }
  }
}

function show(value: unknown, type: string): string {
  if (value === null) return 'null'
  if (type === 'date') return iso(BigInt(value as number) * 86_400_000_000n).slice(0, 10)
  if (type.startsWith('timestamp')) return `${iso(value as bigint)}${type === 'timestamp' ? 'Z' : ''}`
  const scale = Number(/^decimal\(\d+,(\d+)\)$/.exec(type)?.[1] ?? -1)
  if (scale > 0) {
    const [whole, fraction = ''] = String(value).split('.')
    return `${whole}.${fraction.padEnd(scale, '0')}`
  }
  return typeof value === 'string' ? value : typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function iso(micros: bigint): string {
  const part = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n
  const seconds = new Date(Number((micros - part) / 1000n)).toISOString().slice(0, 19)
  return `${seconds}.${String(part).padStart(6, '0')}`
}

const minus = (text: string) => Buffer.from(text, 'hex')

const VALUES: [string, unknown, unknown, string][] = [
  ['`long`', 'long', 9007199254740993n, '9007199254740993'],
  ['`boolean`', 'boolean', true, 'true'],
  ['`double`', 'double', 1e10, '1e10'],
  ['`double`', 'double', 0.1, '0.1'],
  ['`double`', 'double', NaN, 'NaN'],
  ['`Decimal` (10,2)', decimal(10, 2), minus('ff85'), '-1.23'],
  ['`Decimal` (50,40)', decimal(50, 40), minus('01'), '1E-40'],
  ['`VariableScaleDecimal`', variable, { scale: 3, value: minus('04d2') }, '1.234'],
  [`\`${TIME}Date\``, named('int', `${TIME}Date`), 19753, '2024-01-31'],
  [`\`${TIME}MicroTimestamp\``, named('long', `${TIME}MicroTimestamp`), 1706704200500000n, '2024-01-31 12:30:00.5'],
  [
    `\`${TIME}NanoTimestamp\``,
    named('long', `${TIME}NanoTimestamp`),
    1706704200000000001n,
    '2024-01-31 12:30:00.000000001',
  ],
  [`\`${TIME}ZonedTimestamp\``, named('string', `${TIME}ZonedTimestamp`), '2024-01-31T12:30:00.5+05:30', 'the same'],
  [`\`${TIME}MicroTime\``, named('long', `${TIME}MicroTime`), 45_000_000_000n, '12:30:00'],
  [`\`${TIME}MicroTime\``, named('long', `${TIME}MicroTime`), -3_020_399_000_000n, '-838:59:59 (MySQL)'],
]

async function valuesTable(): Promise<string> {
  const rows: string[][] = []
  for (const [source, schema, value, meant] of VALUES) {
    const normal = await store(schema, value, {})
    const asText = await store(schema, value, { type: 'string' })
    rows.push([source, meant, `\`${normal.type}\``, normal.shown, asText.shown])
  }
  return table(['source', 'value', 'Delta', 'stored', "stored with `type: 'string'`"], rows)
}

const far: [string, unknown, unknown, ResolvedColumn][] = [
  ['date `infinity` of Postgres', named('int', `${TIME}Date`), -2147472692, {}],
  ['date 44 BC', named('int', `${TIME}Date`), -735160, {}],
  ['date 20000-07-05', named('int', `${TIME}Date`), 6585508, {}],
  ['timestamp `infinity` of Postgres', named('long', `${TIME}MicroTimestamp`), 9223372036825200000n, {}],
  ['the same in nanoseconds', named('long', `${TIME}NanoTimestamp`), 9223372036854775807n, {}],
  ['the same, structured', structuredTimestamp, { specialValue: 'POSITIVE_INFINITY' }, {}],
  ['MySQL’s zero date, structured', structuredDate, { year: 0, month: 0, day: 0 }, {}],
  ['timestamptz `-infinity`', named('string', `${TIME}ZonedTimestamp`), '-infinity', {}],
  ['timestamptz 44 BC', named('string', `${TIME}ZonedTimestamp`), '-0043-03-15T10:00:00Z', {}],
  [
    '`numeric` 123.456 as `decimal(5,2)`',
    variable,
    { scale: 3, value: minus('01e240') },
    { decimal: { precision: 5, scale: 2 } },
  ],
  [
    '`numeric` 12345 as `decimal(5,2)`',
    variable,
    { scale: 0, value: minus('3039') },
    { decimal: { precision: 5, scale: 2 } },
  ],
  ['`numeric` 7E+400 as `double`', variable, { scale: -400, value: minus('07') }, { decimal: 'double' }],
]

async function outsideTable(): Promise<string> {
  const rows: string[][] = []
  for (const [name, schema, value, options] of far) {
    const cells = [name]
    for (const outOfRange of ['fail', 'null', 'clamp'] as const) {
      cells.push((await store(schema, value, { ...options, outOfRange })).shown)
    }
    cells.push((await store(schema, value, { type: 'string' })).shown.replace(/`(7)0{100,}`/, '`$1` and 400 zeros'))
    rows.push(cells)
  }
  return table(['value', '`fail` (default)', '`null`', '`clamp`', "`type: 'string'`"], rows)
}

const REFUSED: [string, unknown, unknown, ResolvedColumn][] = [
  ['a boolean of 2', 'boolean', null, {}],
  ['a text that is no ISO 8601', named('string', `${TIME}ZonedTimestamp`), 'yesterday', {}],
  ['a decimal without bytes', decimal(10, 2), Buffer.alloc(0), {}],
  ['an int8 beyond a byte', small('int8'), 200, { smallIntegers: true }],
]

async function refusedTable(): Promise<string> {
  const rows: string[][] = []
  for (const [name, schema, value, options] of REFUSED) {
    // What no encoder writes: a boolean of 2 is the enum's third symbol.
    const shown = value === null ? await storeBroken() : (await store(schema, value, options)).shown
    rows.push([name, shown])
  }
  return table(['value', 'error'], rows)
}

async function storeBroken(): Promise<string> {
  const fields = (type: unknown) => ({
    type: 'record',
    name: 'Value',
    fields: [
      { name: 'id', type: 'int' },
      { name: 'c', type },
    ],
  })
  const value = encode(2, fields('int'), { id: 1, c: 1 })
  try {
    await decodeAll({ topic: 'orders' }, { 1: KEY, 2: fields('boolean') }, [{ key: encode(1, KEY, { id: 1 }), value }])
    return 'none'
  } catch (error) {
    if (!(error instanceof KafkaToDeltaError)) throw error
    return `${error.code}: ${error.message.replace(/^.*column c: /, '')}`
  }
}

/** The whole document. */
export async function typesDocument(): Promise<string> {
  const groups = GROUPS.map(({ title, sources }) => `### ${title}\n\n${typesTable(sources)}`)
  return [
    text.HEAD,
    ...groups,
    text.TEXTS,
    await valuesTable(),
    text.OUTSIDE,
    await outsideTable(),
    text.REFUSED,
    await refusedTable(),
    text.END,
  ].join('\n\n')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const wanted = await typesDocument()
  if (!process.argv.includes('--check')) writeFileSync(FILE, wanted)
  else if (readFileSync(FILE, 'utf8') !== wanted) {
    console.error('docs/types.md is not what the code gives: run npm run docs')
    process.exitCode = 1
  }
}
