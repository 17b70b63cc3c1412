/** Messages of a simple table, some of which cannot be applied, and what tables must hold after them. */

import avro from 'avsc'
import type { EmbeddedRegistry } from '../../../src/demo/registry.js'

const KEY_ID = 1
const VALUE_ID = 2
/** An id that the registry does not know. */
export const UNKNOWN_ID = 999
const KEY = { type: 'record', name: 'Key', namespace: 'bad', fields: [{ name: 'id', type: 'int' }] } as const
const VALUE = {
  type: 'record',
  name: 'Value',
  namespace: 'bad',
  fields: [
    { name: 'id', type: 'int' },
    { name: 'v', type: 'string' },
    { name: '__deleted', type: 'string' },
  ],
} as const

const key = avro.Type.forSchema(KEY as unknown as avro.Schema)
const value = avro.Type.forSchema(VALUE as unknown as avro.Schema)

export interface TestMessage {
  key: Buffer | null
  value: Buffer | null
  headers: Record<string, Buffer | Buffer[]>
  timestamp: number
  /** What the reason says; null for a message that can be applied. */
  bad: RegExp | null
}

function framed(id: number, avroBytes: Buffer): Buffer {
  const header = Buffer.alloc(5)
  header.writeInt32BE(id, 1)
  return Buffer.concat([header, avroBytes])
}

export function registerSchemas(registry: EmbeddedRegistry): void {
  registry.setSchema(KEY_ID, KEY)
  registry.setSchema(VALUE_ID, VALUE)
}

export function goodMessage(id: number, v: string, timestamp = Date.now()): TestMessage {
  return {
    key: framed(KEY_ID, key.toBuffer({ id })),
    value: framed(VALUE_ID, value.toBuffer({ id, v, __deleted: 'false' })),
    headers: {},
    timestamp,
    bad: null,
  }
}

/** Bad messages of several kinds; `n` chooses the kind and makes it unlike the others. */
export function badMessage(n: number, timestamp = Date.now()): TestMessage {
  const good = goodMessage(n, `bad ${n}`, timestamp)
  const whole = good.value as Buffer
  const headers = { n: Buffer.from(String(n)), twice: [Buffer.from([0, 255]), Buffer.from('b')] }
  switch (n % 5) {
    case 0:
      return { ...good, value: whole.subarray(0, whole.length - 3), bad: /ends before its value/ }
    case 1:
      return { ...good, value: Buffer.from(`{"n":${n}}`), headers, bad: /is JSON, not Avro/ }
    case 2:
      return { ...good, value: Buffer.from([0x80, n & 255, 0xff]), headers, bad: /first byte 0x80/ }
    case 3:
      return { ...good, value: framed(UNKNOWN_ID, whole.subarray(5)), bad: /unknown schema id 999/ }
    default:
      return { ...good, key: null, headers, bad: /key/ }
  }
}
