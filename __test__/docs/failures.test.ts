/**
 * docs/failures.md is held against the tests that it names, the list of error codes, their exit codes and who tries again.
 */

import { existsSync, readFileSync } from 'node:fs'
import test from 'ava'
import { ERROR_CODES, type ErrorCode } from '../../src/errors.js'

const at = (path: string) => new URL(`../../${path}`, import.meta.url)
const read = (path: string) => readFileSync(at(path), 'utf8')
const DOCUMENT = read('docs/failures.md')

interface Row {
  failure: string
  /** With the exit code that the row says. */
  codes: [code: string, exit: number][]
  triedAgain: string
  tests: string
}

const cells = (line: string) =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
// Crash points have tables of their own, and tests that hold them.
const [FAILURES = ''] = DOCUMENT.split('## Crash points')
const lines = FAILURES.split('\n').filter((line) => line.startsWith('|') && !line.startsWith('|---'))
const codesOf = (cell: string) =>
  [...cell.matchAll(/`([A-Z_]+)` (\d+)/g)].map(([, code, exit]): [string, number] => [code as string, Number(exit)])

const ROWS: Row[] = lines
  .map(cells)
  .filter((row) => row.length === 6 && row[0] !== 'what happens')
  .map(([failure = '', code = '', , triedAgain = '', , tests = '']) => ({
    failure,
    codes: codesOf(code),
    triedAgain,
    tests,
  }))

/** The titles of a file's tests. What a title takes from a variable may be anything. */
function titlesOf(path: string): RegExp[] {
  const text = read(path)
  if (path.endsWith('.rs')) {
    const functions = text.matchAll(/#\[(?:tokio::)?test[^\]]*\]\s+(?:async )?fn (\w+)\(/g)
    return [...functions].map(([, name]) => new RegExp(`^${name}$`))
  }
  const found = text.matchAll(/\b(?:test|run)(?:\.serial)?\(\s*(?:'((?:[^'\\]|\\.)*)'|"([^"]*)"|`([^`]*)`)/g)
  return [...found].map(([, single, double, template]) => {
    const title = (single ?? double ?? template ?? '').replaceAll("\\'", "'")
    const parts = title.split(/\$\{(?:[^{}]|\{[^}]*\})*\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return new RegExp(`^${parts.join('.*')}$`)
  })
}

/** `file`: title · title `file`: … */
function namedTests(cell: string): { path: string; titles: string[] }[] {
  const parts = cell.split(/`([\w/.-]+\.(?:test\.ts|rs))`:?/).slice(1)
  return parts
    .filter((_, i) => i % 2 === 0)
    .map((file, i) => ({
      path: file.endsWith('.rs') ? `crates/kafka2delta/${file.replace(/^engine/, 'tests/engine')}` : `__test__/${file}`,
      titles: (parts[i * 2 + 1] ?? '')
        .split(' · ')
        .map((title) => title.trim())
        .filter((title) => title !== ''),
    }))
}

test('the document has rows', (t) => t.true(ROWS.length > 45, `${ROWS.length} rows`))

test('every row names tests, and all of them exist', (t) => {
  for (const { failure, tests } of ROWS) {
    const named = namedTests(tests)
    t.true(named.length > 0, `${failure}: no test`)
    for (const { path, titles } of named) {
      t.true(existsSync(at(path)), `${failure}: there is no ${path}`)
      const known = titlesOf(path)
      t.deepEqual(
        titles.filter((title) => !known.some((pattern) => pattern.test(title))),
        [],
        `${failure}: ${path}`,
      )
    }
  }
})

test('every error code is in a row, with its exit code, and no other', (t) => {
  const told = lines.flatMap((line) => codesOf(line))
  for (const [code, exit] of told) {
    t.true(Object.hasOwn(ERROR_CODES, code), `${code} is no code`)
    t.is(exit, ERROR_CODES[code as ErrorCode]?.exit, code)
  }
  const names = new Set(told.map(([code]) => code))
  t.deepEqual(
    Object.keys(ERROR_CODES).filter((code) => !names.has(code)),
    [],
  )
  const spans = [...DOCUMENT.matchAll(/`([A-Z][A-Z_]+)`/g)].map(([, name]) => name as string)
  t.deepEqual(
    spans.filter((name) => !Object.hasOwn(ERROR_CODES, name)),
    [],
  )
})

/** How a row says what src/errors.ts says of its code. */
const SAYS = {
  outage: /^as long as it lasts/,
  conflict: /^as long as it lasts/,
  access: /^where it was allowed before/,
}

test('what is tried again is what src/errors.ts says', (t) => {
  for (const { failure, codes, triedAgain } of ROWS) {
    for (const [code] of codes) {
      const { retry } = ERROR_CODES[code as ErrorCode]
      // A topic's right is asked for by another question, whose answer is final.
      const pattern = retry === false || retry === 'caller' || /right on a topic/.test(failure) ? /^no\b/ : SAYS[retry]
      t.regex(triedAgain, pattern, `${failure}: ${code}`)
    }
  }
})

test('metrics and events of the document are those of the program', (t) => {
  const metrics = read('src/http/metrics.ts') + read('src/delta/results.ts')
  const named = [...DOCUMENT.matchAll(/`kafka2delta_(\w+)`/g)].map(([, name]) => name as string)
  t.true(named.length > 3)
  for (const name of named) t.true(metrics.includes(name.replace(/_total$/, '')), `kafka2delta_${name}`)
  const events = read('src/stream/query.ts')
  for (const event of ['tableFailed', 'dataLoss']) {
    t.true(DOCUMENT.includes(`\`${event}\``))
    t.true(events.includes(`  ${event}: [`))
  }
})
