import test from 'ava'
import { hiveType } from '../../../src/catalog/hive/types.js'
import type { DeltaType } from '../../../src/delta/schema-json.js'

const array = (elementType: DeltaType): DeltaType => ({ type: 'array', elementType })
const struct = (fields: Record<string, DeltaType>): DeltaType => ({
  type: 'struct',
  fields: Object.entries(fields).map(([name, type]) => ({ name, type })),
})

test("Delta's types in Hive's words", (t) => {
  const words: [DeltaType, string][] = [
    ['byte', 'tinyint'],
    ['short', 'smallint'],
    ['integer', 'int'],
    ['long', 'bigint'],
    ['float', 'float'],
    ['double', 'double'],
    ['boolean', 'boolean'],
    ['string', 'string'],
    ['binary', 'binary'],
    ['date', 'date'],
    ['timestamp', 'timestamp'],
    ['timestamp_ntz', 'timestamp'],
    ['decimal(38,18)', 'decimal(38,18)'],
    [array('long'), 'array<bigint>'],
    [{ type: 'map', keyType: 'string', valueType: array('timestamp_ntz') }, 'map<string,array<timestamp>>'],
    [struct({ a: 'integer', B_1: struct({ '2c': 'short' }) }), 'struct<a:int,B_1:struct<2c:smallint>>'],
  ]
  for (const [type, word] of words) t.is(hiveType(type), word)
})

test('a type that Hive has no words for is a string', (t) => {
  t.is(hiveType('variant'), 'string')
  t.is(hiveType(array('variant')), 'string')
  t.is(hiveType(struct({})), 'string')
  for (const name of ['größe', 'a b', 'a,b', 'a:b', 'a;b', 'a<b', 'a`b', 'a.b', 'a-b', ''])
    t.is(hiveType(array(struct({ [name]: 'long' }))), 'string')
})

test('a type that is longer than the metastore has room for is a string', (t) => {
  const fields = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`field_${i}`, 'long']))
  t.regex(hiveType(struct(fields(100))), /^struct<field_0:bigint,/)
  t.is(hiveType(struct(fields(1000))), 'string')
})
