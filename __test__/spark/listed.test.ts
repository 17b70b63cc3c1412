import { readFileSync } from 'node:fs'
import test from 'ava'
import { judge, listedDifferences, tableRow } from '../../benchmark/spark/listed.js'
import { replayed } from '../../benchmark/spark/scenarios.js'

const page = (...rows: string[]) =>
  [
    'text',
    '<!-- differences: checked by npm run compare:spark -->',
    '| topic | what | the Spark job | kafka2delta | why ours is right |',
    '|---|---|---|---|---|',
    ...rows,
    '<!-- end of differences -->',
    '| not | read | any | more | now |',
  ].join('\n')

const difference = { topic: 'a.b, first 2', what: 'v', spark: 'id 1: x | "y"\\', ours: 'id 1:  `z`\n' }

test('a row that was printed is read back and known', (t) => {
  const listed = listedDifferences(page(tableRow(difference, 'It is `so` and `so`.')))
  t.is(listed[0]?.why, 'It is `so` and `so`.')
  t.deepEqual(judge([difference], listed), { known: [difference], unlisted: [], gone: [] })
})

test('what is not listed, what is listed otherwise, and what is gone', (t) => {
  const listed = listedDifferences(page('| t | `v` | `1` | `2` | why |', '| t | (rows) | `3 rows` | `2 rows` | why |'))
  const [changed, added] = [
    { topic: 't', what: 'v', spark: '1', ours: '3' },
    { topic: 't', what: 'w', spark: '1', ours: '2' },
  ]
  const { known, unlisted, gone } = judge([changed, added], listed)
  t.deepEqual([known, unlisted], [[], [changed, added]])
  t.deepEqual(gone, [{ topic: 't', what: '(rows)', spark: '3 rows', ours: '2 rows', why: 'why' }])
})

test('a page that is not as it has to be', (t) => {
  t.throws(() => listedDifferences('no table'), { message: /has to|is to stand between/ })
  t.throws(() => listedDifferences(page('| t | v | 1 | 2 |  |')), { message: /five filled cells/ })
  t.throws(() => listedDifferences(page('| t | v | 1 | 2 | why | more |')), { message: /five filled cells/ })
  t.throws(() => listedDifferences(page('| t | v | 1 | 2 | why |', '| t | `v` | 3 | 4 | why |')), {
    message: 'listed twice: t: v',
  })
})

test('docs/spark.md lists differences of topics that are compared', (t) => {
  const listed = listedDifferences(readFileSync(new URL('../../docs/spark.md', import.meta.url), 'utf8'))
  const compared = new Set(replayed().map(({ id }) => id))
  t.true(listed.length > 0)
  t.deepEqual(
    listed.filter(({ topic }) => !compared.has(topic)),
    [],
  )
})
