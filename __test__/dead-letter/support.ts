import type { DeadLetter } from '../../src/dead-letter/dead-letter.js'

export function letter(offset: number, change: Partial<DeadLetter> = {}): DeadLetter {
  return {
    topic: 'a',
    partition: 0,
    offset: String(offset),
    timestamp: '1700000000123',
    key: Buffer.from([0, 0, 0, 0, 1, offset]),
    value: Buffer.from([255, 254, offset]),
    headers: [{ name: 'h', value: Buffer.from('x') }],
    reason: 'the value is no Avro',
    code: 'BAD_RECORD',
    queryName: 'q',
    keySchemaId: 1,
    valueSchemaId: null,
    ...change,
  }
}
