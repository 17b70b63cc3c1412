import test from 'ava'
import { bridged, joined, MOST_RANGES, type Range, rangeSql } from '../../src/verify/ranges.js'

const key = ['a', 'b'].map((sql) => ({ sql, literal: (value: string) => `'${value}'` }))

test('a range of a composite key', (t) => {
  t.is(rangeSql({ after: null, upTo: null }, key), '')
  t.is(rangeSql({ after: ['1', 'x'], upTo: null }, key), "((a > '1') OR (a = '1' AND b > 'x'))")
  t.is(
    rangeSql({ after: ['1', 'x'], upTo: ['2', 'y'] }, key),
    "((a > '1') OR (a = '1' AND b > 'x')) AND ((a < '2') OR (a = '2' AND b <= 'y'))",
  )
})

test('chunks side by side are one range', (t) => {
  const [a, b, c] = [['1'], ['2'], ['3']]
  const chunks: Range[] = [
    { after: null, upTo: a as string[] },
    { after: a as string[], upTo: b as string[] },
    { after: c as string[], upTo: null },
  ]
  t.deepEqual(joined(chunks), [
    { after: null, upTo: ['2'] },
    { after: ['3'], upTo: null },
  ])
})

test('where too many chunks differ, the smallest gaps between them are read, too', (t) => {
  t.deepEqual(bridged([]), [])
  t.deepEqual(bridged([3, 4, 9]), [3, 4, 9])
  const far = Array.from({ length: MOST_RANGES }, (_, i) => i * 10)
  t.deepEqual(bridged(far), far)
  // One more range than there may be: the gap of one chunk is the smallest.
  const last = far.at(-1) as number
  t.deepEqual(bridged([...far, last + 2]), [...far, last + 1, last + 2])
  const every = Array.from({ length: 100 }, (_, i) => 2 * i)
  const read = bridged(every)
  t.true(every.every((i) => read.includes(i)))
  t.is(read.filter((n, i) => i > 0 && n !== (read[i - 1] as number) + 1).length + 1, MOST_RANGES)
})
