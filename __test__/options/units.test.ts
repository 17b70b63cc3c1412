import test from 'ava'
import { suggest } from '../../src/options/suggest.js'
import { parseDuration, parseSize } from '../../src/options/units.js'

test('durations', (t) => {
  t.is(parseDuration(1500), 1500)
  t.is(parseDuration('1500'), 1500)
  t.is(parseDuration('1 second'), 1000)
  t.is(parseDuration('500ms'), 500)
  t.is(parseDuration('interval 2 days'), 172_800_000)
  t.is(parseDuration('1 minute 30 seconds'), 90_000)
  t.is(parseDuration('1.5 h'), 5_400_000)
  for (const wrong of ['', 'soon', '1 fortnight', '-1 s', '1 s x', -1, Number.NaN, null, {}])
    t.is(parseDuration(wrong), null)
})

test('sizes', (t) => {
  t.is(parseSize('128 MB'), 128 * 2 ** 20)
  t.is(parseSize('64mib'), 64 * 2 ** 20)
  t.is(parseSize('1.5 GB'), 1.5 * 2 ** 30)
  t.is(parseSize(10), 10)
  t.is(parseSize('10'), 10)
  for (const wrong of ['', 'x', '10 parsecs', 1.5, -1, null]) t.is(parseSize(wrong), null)
})

test('the nearest known word', (t) => {
  const known = ['tableName', 'tableProperties', 'path', 'schema']
  t.is(suggest('table_name', known), 'tableName')
  t.is(suggest('shcema', known), 'schema')
  t.is(suggest('pth', known), 'path')
  t.is(suggest('colour', known), null)
})
