/** Texts of databases in the form of the comparison. */

import test from 'ava'
import {
  bits,
  bytesAfter,
  dateOr,
  decimalAsReal,
  decimalDigits,
  decimalWithin,
  isCut,
  listOf,
  momentOr,
  realOf,
  same,
  timeIn,
  truth,
  whole,
} from '../../src/verify/source-text.js'
import { isExponent } from '../../src/verify/sources/readings.js'

test('numbers', (t) => {
  t.is(whole('007'), '7')
  t.is(whole('-9223372036854775808'), '-9223372036854775808')
  t.is(whole('1 year'), undefined)
  const decimal = decimalWithin(2)
  t.is(decimal('1.50'), '1.5')
  t.is(decimal('-0.00'), '0')
  t.is(decimal('1.500'), '1.5')
  t.is(decimal('NaN'), undefined)
  // The table holds another number.
  t.is(decimal('1.501'), undefined)
  t.is(decimalWithin(10)('0001234567890123456789012345678.0123456789'), '1234567890123456789012345678.0123456789')
  t.is(decimalDigits('1.50'), '1.50')
  t.is(decimalDigits('NaN'), undefined)
  t.is(decimalAsReal('1.50'), '1.5')
  t.is(decimalAsReal('Infinity'), undefined)
  t.is(realOf(Math.fround)('1.2345677614212036'), String(Math.fround(1.2345678)))
  t.is(realOf()('-0'), '-0')
  t.is(realOf()('NaN'), 'NaN')
  t.is(realOf()('1e-300'), '1e-300')
  t.is(truth('t'), 'true')
  t.is(truth('0'), 'false')
  t.is(truth('2'), undefined)
})

test('times of day, in the unit that is stored', (t) => {
  t.is(timeIn('microseconds')?.('13:14:15.123456'), '47655123456')
  t.is(timeIn('microseconds')?.('-838:59:58.999999'), '-3020398999999')
  t.is(timeIn('milliseconds')?.('13:14:15.123456'), '47655123')
  t.is(timeIn('nanoseconds')?.('00:00:00.000001'), '1000')
  t.is(timeIn(''), null)
  t.is(timeIn('HH:MM:SS.ffffff'), null)
})

test('dates and moments', (t) => {
  const [date, moment] = [dateOr('fail'), momentOr('fail')]
  t.is(date('1970-01-02'), '1')
  t.is(date('0001-01-01'), '-719162')
  t.is(moment('1969-12-31 23:59:59.999999'), '-1')
  t.is(moment('2024-02-29 13:14:15.12+02'), String(Date.UTC(2024, 1, 29, 11, 14, 15, 120) * 1000))
  t.is(moment('2024-02-29 13:14:15-03:30'), String(Date.UTC(2024, 1, 29, 16, 44, 15) * 1000))
  for (const none of [
    '0044-03-15 BC',
    '0000-00-00',
    '0000-05-05',
    '2024-00-00',
    '2024-02-30',
    'infinity',
    '20000-01-01',
  ]) {
    t.is(date(none), undefined, none)
    t.is(moment(none), undefined, none)
  }
})

test('dates and moments outside the years 1 to 9999, by the option', (t) => {
  t.is(dateOr('null')('infinity'), null)
  t.is(dateOr('clamp')('-infinity'), '-719162')
  t.is(dateOr('clamp')('20000-01-01'), '2932896')
  t.is(momentOr('null')('0044-03-15 10:00:00 BC'), null)
  t.is(momentOr('clamp')('0044-03-15 10:00:00 BC'), '-62135596800000000')
  t.is(momentOr('clamp')('infinity'), '253402300799999999')
  // MySQL's zero dates are another thing.
  for (const option of ['null', 'clamp'] as const) t.is(dateOr(option)('0000-00-00'), undefined)
})

test('a moment that was cut to milliseconds', (t) => {
  t.true(isCut('1000', '1001'))
  t.true(isCut('-2000', '-1001'))
  t.false(isCut('1000', '2001'))
  t.false(isCut('1001', '1002'))
})

test('bytes and bits', (t) => {
  t.is(bytesAfter('\\x')('\\x00FF'), '\\x00ff')
  t.is(bytesAfter('\\x')('00ff'), undefined)
  t.is(bits('1'), '\\x01')
  t.is(bits('101100001111'), '\\x0f0b')
})

test('lists', (t) => {
  t.is(listOf(whole)('{1,NULL,3}'), '["1",null,"3"]')
  t.is(listOf(same)('{a,NULL,"c d","NULL","q\\"\\\\"}'), JSON.stringify(['a', null, 'c d', 'NULL', 'q"\\']))
  t.is(listOf(same)('{}'), '[]')
  t.is(listOf(whole)('{{1},{2}}'), undefined)
  t.is(listOf(whole)('[2:3]={1,2}'), undefined)
})

test('numbers with an exponent', (t) => {
  t.true(isExponent('1E-10', '0.0000000001'))
  t.true(isExponent('-1.50E-8', '-0.0000000150'))
  t.true(isExponent('0E-10', '0.0000000000'))
  t.false(isExponent('1E-9', '0.0000000001'))
  t.false(isExponent('0.1', '0.2'))
})
