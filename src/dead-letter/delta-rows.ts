/** Dead letters as rows of a Delta table. The first columns are those of Spark's Kafka source. */

import {
  Binary,
  type Data,
  type DataType,
  Field,
  Int32,
  Int64,
  List,
  makeData,
  Struct,
  TimestampMicrosecond,
  Uint8,
  Utf8,
} from 'apache-arrow'
import { packValidity } from '../arrow/builders.js'
import { type NamedData, writeIpc } from '../arrow/ipc.js'
import type { DeadLetter } from './dead-letter.js'

/** Where a record is. A topic that was made anew has others there. */
export const POSITION = ['topic', 'partition', 'offset'] as const

/** A record is stored once: what is written again replaces it. */
export const DEAD_LETTER_KEY = [...POSITION, 'timestamp'] as const

/**
 * The letters as one Arrow IPC stream of upserts.
 *
 * | column | type | |
 * |---|---|---|
 * | `topic`, `partition`, `offset` | string, int, long | where the record is: with its time the key |
 * | `timestamp` | timestamp | the record's own time |
 * | `key`, `value` | binary | the bytes as they came |
 * | `headers` | array of struct (`key` string, `value` binary) | |
 * | `reason`, `error_code` | string | |
 * | `query_name` | string | |
 * | `key_schema_id`, `value_schema_id` | int | ids in the registry |
 * | `written_at` | timestamp | |
 */
export function deadLetterRows(letters: readonly DeadLetter[], writtenAt: number): Uint8Array {
  const rows = letters.length
  const of = <T>(pick: (letter: DeadLetter) => T): T[] => letters.map(pick)
  const columns: [name: string, data: Data][] = [
    ['topic', texts(of(({ topic }) => topic))],
    ['partition', ints(of(({ partition }) => partition))],
    [
      'offset',
      longs(
        new Int64(),
        of(({ offset }) => BigInt(offset)),
      ),
    ],
    ['timestamp', times(of(({ timestamp }) => (timestamp === null ? null : BigInt(timestamp))))],
    [
      'key',
      bytes(
        new Binary(),
        of(({ key }) => key),
      ),
    ],
    [
      'value',
      bytes(
        new Binary(),
        of(({ value }) => value),
      ),
    ],
    ['headers', headers(letters)],
    ['reason', texts(of(({ reason }) => reason))],
    ['error_code', texts(of(({ code }) => code))],
    ['query_name', texts(of(({ queryName }) => queryName))],
    ['key_schema_id', ints(of(({ keySchemaId }) => keySchemaId))],
    ['value_schema_id', ints(of(({ valueSchemaId }) => valueSchemaId))],
    ['written_at', times(of(() => BigInt(writtenAt)))],
  ]
  const named: NamedData[] = columns.map(([name, data]) => ({ name, data, nullable: true }))
  const upserts = makeData({ type: new Uint8(), length: rows, nullCount: 0, data: new Uint8Array(rows) }) as Data
  return writeIpc([...named, { name: '_op', data: upserts, nullable: false }], rows)
}

function validity(values: readonly unknown[]) {
  return packValidity(
    Uint8Array.from(values, (value) => (value === null ? 0 : 1)),
    values.length,
  )
}

function made(type: DataType, values: readonly unknown[], rest: object): Data {
  return makeData({ type, length: values.length, ...validity(values), ...rest } as never) as Data
}

function ints(values: readonly (number | null)[]): Data {
  return made(new Int32(), values, { data: Int32Array.from(values, (value) => value ?? 0) })
}

function longs(type: DataType, values: readonly (bigint | null)[]): Data {
  return made(type, values, { data: BigInt64Array.from(values, (value) => value ?? 0n) })
}

/** Of milliseconds. */
function times(values: readonly (bigint | null)[]): Data {
  const micros = values.map((ms) => (ms === null ? null : ms * 1000n))
  return longs(new TimestampMicrosecond('UTC'), micros)
}

function bytes(type: DataType, values: readonly (Buffer | null)[]): Data {
  const valueOffsets = new Int32Array(values.length + 1)
  let end = 0
  for (const [i, value] of values.entries()) {
    end += value?.length ?? 0
    valueOffsets[i + 1] = end
  }
  const data = new Uint8Array(end)
  for (const [i, value] of values.entries()) if (value !== null) data.set(value, valueOffsets[i])
  return made(type, values, { valueOffsets, data })
}

const texts = (values: readonly string[]): Data =>
  bytes(
    new Utf8(),
    values.map((value) => Buffer.from(value)),
  )

function headers(letters: readonly DeadLetter[]): Data {
  const all = letters.flatMap((letter) => letter.headers)
  const valueOffsets = new Int32Array(letters.length + 1)
  for (const [i, letter] of letters.entries()) {
    valueOffsets[i + 1] = (valueOffsets[i] as number) + letter.headers.length
  }
  const key = texts(all.map(({ name }) => name))
  const value = bytes(
    new Binary(),
    all.map((header) => header.value),
  )
  const type = new Struct([new Field('key', key.type, true), new Field('value', value.type, true)])
  const child = makeData({ type, length: all.length, nullCount: 0, children: [key, value] } as never) as Data
  const list = new List(new Field('element', type, true))
  return made(list, letters, { valueOffsets, child })
}
