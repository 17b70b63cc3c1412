/**
 * docs/semantics.md says what a change means. Its examples are run: in both merge modes, in the batches that they are
 * written in, and where they leave that open, with each message as a batch of its own.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { parse as parseYaml } from 'yaml'
import { MERGE_FIGURES } from '../../src/delta/results.js'
import { ERROR_CODES } from '../../src/errors.js'
import { COUNTERS, type Example, parseExamples } from './parse.js'
import { type Outcome, replay, tableOptions } from './replay.js'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const DOCUMENT = read('docs/semantics.md')
const EXAMPLES = parseExamples(DOCUMENT)

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-semantics-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))
let tables = 0

function cell(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(cell).join(', ')}]` : String(value)
}

/** The table as the document shows it. Columns that only Debezium's own fields made may be left out there. */
function shown(t: ExecutionContext, { columns, show }: Example, outcome: Outcome): string[][] {
  const names = columns.map(({ name }) => name)
  const others = [...outcome.columns.keys()].filter((name) => !names.includes(name))
  const extra = others.filter((name) => !/^__(op|source_\w+|deleted)$/.test(name))
  if (show === null) t.deepEqual(extra, [], 'columns that the table of the document lacks')
  if (outcome.columns.size > 0) {
    const missing = names.filter((name) => !outcome.columns.has(name))
    t.deepEqual(missing, [], 'columns that the Delta table lacks')
  }
  for (const { name, type } of columns) if (type !== '') t.is(outcome.columns.get(name), type, `the type of ${name}`)
  return outcome.rows.map((row) => names.map((name) => cell(row[name]))).sort()
}

for (const example of EXAMPLES) {
  test(`${example.title}, line ${example.line}`, async (t) => {
    t.timeout(120_000)
    const { facts } = example
    const asWritten = example.batches === 'as written' || facts.has('error')
    const ways = asWritten ? [false] : example.batches === 'one message each' ? [true] : [false, true]
    for (const mode of ['merge-on-read', 'copy-on-write']) {
      for (const single of ways) {
        const path = join(folder, String(tables++))
        const outcome = await replay(example, path, mode, single)
        const way = `${mode}, ${single ? 'each message by itself' : 'as written'}`
        t.is(outcome.facts.get('error'), facts.get('error'), `${way}: ${outcome.facts.get('message') ?? ''}`)
        t.deepEqual(shown(t, example, outcome), [...example.rows].sort(), way)
        for (const [name, wanted] of facts) {
          // What is dropped in one batch may be overwritten in the next one, and the other way round.
          if (!single || ways.length === 1 || !COUNTERS.some((counter) => counter === name))
            t.is(outcome.facts.get(name), wanted, name)
        }
        if (single && ways.length > 1) continue
        for (const name of COUNTERS.filter((counter) => counter !== 'ignored')) {
          t.is(Number(outcome.facts.get(name) ?? 0), Number(facts.get(name) ?? 0), `${way}: ${name}`)
        }
      }
    }
  })
}

test('the document has examples', (t) => t.true(EXAMPLES.length > 40, `${EXAMPLES.length} examples`))

test('options of the document are options of the schema', (t) => {
  const schema = JSON.stringify(JSON.parse(read('resources/kafka2delta.schema.json')))
  const progress = read('src/stream/progress.ts')
  const known = (name: string) =>
    Object.hasOwn(MERGE_FIGURES, name) ||
    schema.includes(`"${name}":`) ||
    new RegExp(`\\b${name}: number`).test(progress)
  const prose = DOCUMENT.replace(/^```[\s\S]*?^```$/gm, '')
  const spans = [...prose.matchAll(/`([^`]+)`/g)].map(([, text]) => text as string)
  const names = spans
    .map((text) => /^[a-z]+(?:[A-Z][a-z]*)+(?=$|: )/.exec(text)?.[0])
    .filter((name) => name !== undefined)
  t.true(names.length > 10)
  t.deepEqual(
    names.filter((name) => !known(name)),
    [],
  )
  // `name: value` in the text has to be a value that the option takes, too.
  for (const text of spans.filter(
    (span) => /^[a-z]+(?:[A-Z][a-z]*)*: \S/.test(span) && known(span.split(':')[0] ?? ''),
  )) {
    const option = parseYaml(`{${text}}`) as Record<string, unknown>
    if (Object.hasOwn(option, 'failOnDataLoss')) continue
    const needs = option.onBadRecord === 'dead-letter' ? { deadLetter: { path: 'letters' } } : {}
    t.notThrows(() => tableOptions('t', { ...needs, ...option }), text)
  }
})

test('error codes of the document are codes of the list', (t) => {
  const codes = [...DOCUMENT.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code as string)
  t.deepEqual(
    codes.filter((code) => !Object.hasOwn(ERROR_CODES, code)),
    [],
  )
})
