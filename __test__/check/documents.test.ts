/** docs/check.md has every code and every field, and what the check says of readers is what docs/readers.md says. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { FINDINGS } from '../../src/check/findings.js'
import { emptyCheck } from '../../src/check/report.js'
import { REFUSED_BY } from '../../src/check/rules/table.js'

const read = (name: string) => readFileSync(fileURLToPath(new URL(`../../docs/${name}`, import.meta.url)), 'utf8')

test('docs/check.md lists every code, with its severity', (t) => {
  const rows = [...read('check.md').matchAll(/^\| `([A-Z_]+)` \| (\w+) \|/gm)].map(([, code, severity]) => [
    code,
    severity,
  ])
  t.deepEqual(Object.fromEntries(rows), FINDINGS as Record<string, string>)
  t.is(rows.length, Object.keys(FINDINGS).length)
})

test('docs/check.md names every field of a table in the JSON', (t) => {
  const text = read('check.md')
  const missing = Object.keys(emptyCheck('', '', '', '')).filter((name) => !text.includes(`\`${name}\``))
  t.deepEqual(missing, [])
})

test('readers that refuse a table are those of docs/readers.md', (t) => {
  const [head = [], ...rows] = read('readers.md')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split('|').map((cell) => cell.trim()))
  const refusing = (table: string) =>
    rows
      .filter((row) => row[head.indexOf(table)]?.startsWith('refuses'))
      .map((row) => (row[1] as string).replaceAll('`', ''))
  t.deepEqual(refusing('merge-on-read').sort(), [...REFUSED_BY.deletionVectors].sort())
  const ofCheckpoint = refusing('v2-checkpoint').filter(
    (name) => !(REFUSED_BY.deletionVectors as readonly string[]).includes(name),
  )
  t.deepEqual(ofCheckpoint, [...REFUSED_BY.v2Checkpoint])
})
