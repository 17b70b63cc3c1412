import test from 'ava'
import { comparable, decimal, readable } from '../../src/verify/comparable.js'

const list = (elementType: string) => ({ type: 'array', elementType })

test('stored values as texts', (t) => {
  t.is(comparable('binary')?.stored(Uint8Array.of(0, 255)), '\\x00ff')
  t.is(comparable('double')?.stored(-0), '-0')
  t.is(comparable(list('long'))?.stored([1n, null]), '["1",null]')
  t.is(comparable({ type: 'map' }), null)
  t.is(comparable(list('timestamp')), null)
})

test('a decimal has no zeros at its end', (t) => {
  t.is(decimal('1.50'), '1.5')
  t.is(decimal('100'), '100')
  t.is(decimal('-0.00'), '0')
  t.is(decimal('NaN'), undefined)
})

test('literals', (t) => {
  t.is(comparable('string')?.literal("it's a \\"), "'it\\'s a \\\\'")
  t.is(comparable('date')?.literal('-719162'), "DATE '0001-01-01'")
  t.is(comparable('timestamp')?.literal('-1'), "TIMESTAMP '1969-12-31 23:59:59.999999'")
  t.is(comparable('double')?.literal('1e-300'), "CAST('1e-300' AS DOUBLE)")
  t.is(comparable('decimal(10,2)')?.literal('1.5'), "CAST('1.5' AS decimal(10,2))")
  t.is(comparable('binary')?.literal('\\x00ff'), "X'00ff'")
})

test('compared values for people', (t) => {
  t.is(readable('date', '19782'), '2024-02-29')
  t.is(readable('timestamp_ntz', '-1'), '1969-12-31 23:59:59.999999')
  t.is(readable('long', '7'), '7')
})
