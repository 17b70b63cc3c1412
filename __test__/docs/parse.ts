/** Reads the examples of docs/semantics.md: a block of messages, and what follows it: a table of rows, and facts. */

import { parse as parseYaml } from 'yaml'

type Values = Record<string, unknown>

/** A field's name and type, `price decimal(10,2)`. */
export interface FieldSpec {
  name: string
  type: string
}

/** The key's fields; one type, not a record, for keys of a single value; null for messages without key. */
export type KeySpec = FieldSpec[] | string | null

export interface Message {
  kind: 'message'
  partition: number
  /** Null for none. */
  key: unknown
  /** c, u, r, d, t or m; `tombstone`, or `raw` bytes. */
  op: string
  row: Values
  /** What the change says of itself: `lsn`, `snapshot`, headers. */
  about: Values
  /** The value's fields, as the source has them at that time. */
  fields: FieldSpec[]
  keySpec: KeySpec
}

/** `id, notes WHERE id < 100` */
function shown(text: string, line: number): NonNullable<Example['show']> {
  const [, columns, where] = /^(.+?) WHERE (.+)$/.exec(text) ?? fail(line, `show: ${text} has no WHERE`)
  return { columns: (columns as string).split(', '), where: where as string }
}

export type Step = Message | { kind: 'boundary' } | { kind: 'restart'; options: Values }

export interface Example {
  line: number
  title: string
  options: Values
  envelope: boolean
  source: 'postgres' | 'mysql'
  /** What `add.fields` of the connector has; null for all that the order needs. */
  added: string[] | null
  /** The batches, where the result depends on them: `as written`, or each message by itself. Null: any. */
  batches: 'as written' | 'one message each' | null
  /** The columns and rows that are shown instead of all. */
  show: { columns: string[]; where: string } | null
  steps: Step[]
  columns: FieldSpec[]
  rows: string[][]
  /** What was counted, `dropped as old`; `error`; `table property`, `hidden columns`. */
  facts: Map<string, string>
}

const HEADERS = ['options', 'form', 'source', 'add', 'key', 'value', 'batches', 'show']
const OPS = ['c', 'u', 'r', 'd', 't', 'm', 'tombstone', 'raw']
export const COUNTERS = ['dropped as old', 'missing values', 'skipped', 'ignored'] as const
const FACTS: readonly string[] = [...COUNTERS, 'error', 'table property', 'hidden columns']
const ABOUT = [
  'time',
  'lsn',
  'commit',
  'sequence',
  'snapshot',
  'newkey',
  'oldkey',
  'before',
  'file',
  'pos',
  'server',
  'db',
]

function fail(line: number, what: string): never {
  throw new Error(`docs/semantics.md, line ${line}: ${what}`)
}

function flow(text: string, line: number): Values {
  let value: unknown
  try {
    value = parseYaml(`{${text}}`)
  } catch (error) {
    fail(line, `${JSON.stringify(text)} is not readable: ${(error as Error).message}`)
  }
  return value as Values
}

/** `id int, price decimal(10,2)` */
function fieldSpecs(text: string, line: number): FieldSpec[] {
  return text.split(/,(?![^(]*\))/).map((part) => {
    const match = /^\s*(\w+)\s+(\S+)\s*$/.exec(part)
    return match === null
      ? fail(line, `${JSON.stringify(part)} is no field and type`)
      : { name: match[1] as string, type: match[2] as string }
  })
}

/** Where a line stands for many, `n=1..100  id: {n}  c  v: {n + 5}`, all of them. */
function expand(text: string, line: number): string[] {
  const match = /^n=(\d+)\.\.(\d+)\s{2,}(.*)$/.exec(text)
  if (match === null) return [text]
  const [from, to, rest] = [Number(match[1]), Number(match[2]), match[3] as string]
  if (to < from || to - from > 10_000) fail(line, 'a range that is none')
  return Array.from({ length: to - from + 1 }, (_, i) =>
    rest.replace(/\{n(?: \+ (\d+))?\}/g, (_whole, add?: string) => String(from + i + Number(add ?? 0))),
  )
}

function messageOf(text: string, line: number, fields: FieldSpec[], keySpec: KeySpec): Message {
  const parts = text.split(/\s{2,}/)
  const partition = /^p\d+$/.test(parts[0] as string) ? Number((parts.shift() as string).slice(1)) : 0
  const [key, op, ...rest] = parts as [string, string, ...string[]]
  if (!OPS.includes(op)) fail(line, `${JSON.stringify(text)}: expected a key, two spaces, and one of ${OPS.join(', ')}`)
  const about = rest.at(-1)?.startsWith('@') ? flow((rest.pop() as string).slice(1), line) : {}
  if (rest.length > 1) fail(line, `${JSON.stringify(rest[1])} is too much`)
  const unknown = Object.keys(about).find((name) => !ABOUT.includes(name))
  if (unknown !== undefined) fail(line, `@${unknown} is not known`)
  const row = op === 'raw' ? { raw: rest[0] ?? '' } : flow(rest[0] ?? '', line)
  const known = new Set(fields.map(({ name }) => name))
  const wrong = op === 'raw' ? undefined : Object.keys(row).find((name) => !known.has(name))
  if (wrong !== undefined) fail(line, `the row has a field ${wrong}, which the value's schema lacks`)
  const parsedKey = key === 'null' ? null : key.includes(':') ? flow(key, line) : parseYaml(key)
  if (keySpec === null && parsedKey !== null) fail(line, 'a key, where the example says key: none')
  return { kind: 'message', partition, key: parsedKey, op, row, about, fields, keySpec }
}

function stepsOf(example: Example, body: string[], first: number): void {
  let fields: FieldSpec[] | null = null
  let keySpec: KeySpec = [{ name: 'id', type: 'int' }]
  body.forEach((raw, i) => {
    const line = first + i
    const text = raw.replace(/(^|\s)#.*$/, '').trim()
    if (text === '') return
    const header = /^(\w+): (.*)$/.exec(text)
    if (header !== null && HEADERS.includes(header[1] as string)) {
      const value = header[2] as string
      switch (header[1]) {
        case 'value':
          fields = fieldSpecs(value, line)
          return
        case 'options':
          if (!/^\{.*\}$/.test(value)) fail(line, 'expected options: {…}')
          example.options = flow(value.slice(1, -1), line)
          return
        case 'form':
          if (value !== 'envelope') fail(line, 'form: envelope is the only one beside the default')
          example.envelope = true
          return
        case 'source':
          if (value !== 'mysql') fail(line, 'source: mysql is the only one beside the default')
          example.source = 'mysql'
          return
        case 'add':
          example.added = value === 'none' ? [] : value.split(', ')
          return
        case 'key':
          keySpec = value === 'none' ? null : value.includes(' ') ? fieldSpecs(value, line) : value
          return
        case 'batches':
          if (value !== 'as written' && value !== 'one message each') fail(line, `batches: ${value} is not known`)
          example.batches = value
          return
        default:
          example.show = shown(value, line)
          return
      }
    }
    if (text === '---') {
      example.steps.push({ kind: 'boundary' })
      return
    }
    if (text.startsWith('===')) {
      const restart = /^=== restart(?: with (.*))?$/.exec(text)
      if (restart === null) fail(line, `${JSON.stringify(text)}: expected === restart`)
      example.steps.push({ kind: 'restart', options: flow(restart[1] ?? '', line) })
      return
    }
    if (fields === null) fail(line, 'a message before the line value: …')
    const known: FieldSpec[] = fields
    for (const one of expand(text, line)) {
      example.steps.push(messageOf(one, line, known, keySpec))
    }
  })
  if (!example.steps.some(({ kind }) => kind === 'message')) fail(first, 'an example without messages')
}

const cells = (row: string) =>
  row
    .trim()
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.trim())

/** All examples, in order. */
export function parseExamples(markdown: string): Example[] {
  const lines = markdown.split('\n')
  const examples: Example[] = []
  let title = ''
  for (let i = 0; i < lines.length; i++) {
    const text = lines[i] as string
    if (/^#+ /.test(text)) title = text.replace(/^#+ /, '')
    if (!text.startsWith('```')) continue
    const language = text.slice(3).trim()
    const end = lines.indexOf('```', i + 1)
    if (end < 0) fail(i + 1, 'a block without end')
    const body = lines.slice(i + 1, end)
    const first = i + 2
    i = end
    if (language !== 'changes') continue
    const example: Example = {
      line: first - 1,
      title,
      options: {},
      envelope: false,
      source: 'postgres',
      added: null,
      batches: null,
      show: null,
      steps: [],
      columns: [],
      rows: [],
      facts: new Map(),
    }
    stepsOf(example, body, first)
    i = resultOf(example, lines, end + 1)
    examples.push(example)
  }
  return examples
}

/** The table and the facts below a block; returns the last line read. */
function resultOf(example: Example, lines: string[], from: number): number {
  let at = from
  const blank = () => {
    while (lines[at]?.trim() === '') at++
  }
  blank()
  if (!lines[at]?.startsWith('|') || !/^\|[\s|-]+\|$/.test(lines[at + 1] ?? '')) {
    fail(at + 1, 'expected the table of the rows below the block of changes')
  }
  example.columns = cells(lines[at] as string).map((cell) => {
    const [name, type = ''] = cell.replaceAll('`', '').split(': ')
    return { name: name as string, type }
  })
  for (at += 2; lines[at]?.trim(); at++) {
    if (!lines[at]?.startsWith('|')) fail(at + 1, 'expected an empty line below the table')
    const row = cells(lines[at] as string)
    if (row.length !== example.columns.length)
      fail(at + 1, `${row.length} cells, but ${example.columns.length} columns`)
    example.rows.push(row)
  }
  blank()
  const facts = /^→ (.*)$/.exec(lines[at] ?? '')
  if (facts === null) return at - 1
  for (const fact of (facts[1] as string).split('; ')) {
    const [, name, value] = /^(.*?): (.*)$/.exec(fact) ?? fail(at + 1, `${JSON.stringify(fact)} is no fact`)
    if (!FACTS.includes(name as string)) fail(at + 1, `${JSON.stringify(name)}: expected one of ${FACTS.join(', ')}`)
    example.facts.set(name as string, (value as string).replaceAll('`', ''))
  }
  return at
}
