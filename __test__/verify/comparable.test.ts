import test from 'ava'
import { comparable, type DeltaType, NUMBER_TEXT } from '../../src/verify/comparable.js'

const source = (type: DeltaType, text: string) => comparable(type)?.source(text)

test('numbers', (t) => {
  t.is(source('integer', '007'), '7')
  t.is(source('long', '-9223372036854775808'), '-9223372036854775808')
  t.is(source('long', '13:14:15.123456'), '47655123456')
  t.is(source('long', '-838:59:58.999999'), '-3020398999999')
  t.is(source('long', '1 year'), undefined)
  t.is(source('decimal(10,2)', '1.50'), '1.5')
  t.is(source('decimal(10,2)', '-0.00'), '0')
  t.is(
    source('decimal(38,10)', '0001234567890123456789012345678.0123456789'),
    '1234567890123456789012345678.0123456789',
  )
  t.is(source('decimal(10,2)', 'NaN'), undefined)
  t.is(source('float', '1.1'), String(Math.fround(1.1)))
  t.is(source('double', '-0'), '-0')
  t.is(source('double', 'NaN'), 'NaN')
  t.is(source('double', '1e-300'), '1e-300')
  t.is(source('boolean', 't'), 'true')
  t.is(source('boolean', '0'), 'false')
})

test('a number that is stored as text has no zeros at its end', (t) => {
  for (const number of ['1.50', '1.5']) {
    t.is(NUMBER_TEXT.source(number), '1.5')
    t.is(NUMBER_TEXT.stored(number), '1.5')
  }
  t.is(NUMBER_TEXT.source('100'), '100')
  t.is(NUMBER_TEXT.source('NaN'), 'NaN')
})

test('dates and times', (t) => {
  t.is(source('date', '1970-01-02'), '1')
  t.is(source('date', '0001-01-01'), '-719162')
  t.is(source('date', '0044-03-15 BC'), undefined)
  t.is(source('timestamp', '1969-12-31 23:59:59.999999'), '-1')
  t.is(source('timestamp', '2024-02-29 13:14:15.12+02'), String(Date.UTC(2024, 1, 29, 11, 14, 15, 120) * 1000))
  t.is(source('timestamp', '2024-02-29 13:14:15-03:30'), String(Date.UTC(2024, 1, 29, 16, 44, 15) * 1000))
  t.is(source('timestamp', 'infinity'), undefined)
})

test('lists and bytes', (t) => {
  const list = (elementType: string) => ({ type: 'array', elementType })
  t.is(source(list('integer'), '{1,NULL,3}'), '["1",null,"3"]')
  t.is(source(list('string'), '{a,NULL,"c d","NULL","q\\"\\\\"}'), JSON.stringify(['a', null, 'c d', 'NULL', 'q"\\']))
  t.is(source(list('string'), '{}'), '[]')
  t.is(source(list('integer'), '{{1},{2}}'), undefined)
  t.is(source('binary', '\\x00ff'), '\\x00ff')
  t.is(comparable('binary')?.stored(Uint8Array.of(0, 255)), '\\x00ff')
  t.is(comparable({ type: 'map' }), null)
  t.is(comparable(list('timestamp')), null)
})

test('literals hold quotes', (t) => {
  t.is(comparable('string')?.literal("it's a \\"), "'it\\'s a \\\\'")
  t.is(comparable('date')?.literal('2024-01-01'), "DATE '2024-01-01'")
})
