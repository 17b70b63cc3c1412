import test from 'ava'
import { collectDeadLetters } from '../../src/dead-letter/dead-letter.js'
import { toMessage } from '../../src/dead-letter/kafka-session.js'
import { inColumns } from '../../src/kafka/micro-batch.js'
import { batchOf, confluent, decodeAll } from './support.js'

const NAMES = ['constructor', 'toString', 'valueOf', 'hasOwnProperty', '__proto__']

for (const name of NAMES) {
  test(`${name} is a plain name of a column, a record, connect.name, a logical type and a header`, async (t) => {
    const int = { type: 'int', 'connect.name': name }
    const value = {
      type: 'record',
      name,
      'connect.name': name,
      fields: [
        { name: 'id', type: int },
        { name, type: { type: 'long', logicalType: name } },
        { name: 'text', type: { type: 'string', 'connect.name': name } },
      ],
    }
    const key = { type: 'record', name: 'Key', fields: [{ name: 'id', type: int }] }
    const { rows } = await decodeAll({ topic: 't' }, { 1: key, 2: value }, [
      { key: confluent(1, Buffer.from([2])), value: confluent(2, Buffer.from([2, 4, 2, 0x61])) },
    ])
    t.is(rows.length, 1)
    t.is(rows[0]?.id, 1)
    t.is(Object.getOwnPropertyDescriptor(rows[0], name)?.value, 2n)

    // As kafkajs gives a header of this name: what every object has comes first.
    const inherited = ({} as Record<string, unknown>)[name]
    const headers = Object.fromEntries([[name, [inherited, Buffer.from('x')]]]) as never
    const batch = batchOf('t', [{ key: null, value: Buffer.from('bad'), headers }])
    const bad = { topic: 't', partition: 0, offset: '0', reason: 'r', key: null, value: null }
    const [letter] = collectDeadLetters(inColumns(batch), [bad], 'q')
    t.deepEqual(letter?.headers, [{ name, value: Buffer.from('x') }])
    const sent = toMessage(letter as never).headers as object
    t.deepEqual(Object.getOwnPropertyDescriptor(sent, name)?.value, Buffer.from('x'))
  })
}
