/** The configuration of the command: flags over file over environment. */

import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from 'yaml'
import { KafkaToDeltaError } from '../errors.js'
import { OptionsError, pathText } from '../options/errors.js'
import { resolveOptions } from '../options/resolve.js'
import type { ResolvedOptions } from '../options/types.js'

export type Environment = Readonly<Record<string, string | undefined>>

/** A value and the path of the option that it sets. */
export interface Override {
  path: string[]
  value: unknown
  /** Where it comes from, as people know it: `--brokers`, `KAFKA2DELTA_BROKERS`. */
  origin: string
}

/** Environment variables that set an option where the file does not. */
export const ENVIRONMENT: Readonly<Record<string, readonly string[]>> = {
  KAFKA2DELTA_QUERY_NAME: ['queryName'],
  KAFKA2DELTA_BROKERS: ['kafka', 'brokers'],
  KAFKA2DELTA_CLIENT_ID: ['kafka', 'clientId'],
  KAFKA2DELTA_GROUP_ID: ['consumer', 'groupId'],
  KAFKA2DELTA_REGISTRY_URL: ['schemaRegistry', 'url'],
  KAFKA2DELTA_REGISTRY_USERNAME: ['schemaRegistry', 'auth', 'username'],
  KAFKA2DELTA_REGISTRY_PASSWORD: ['schemaRegistry', 'auth', 'password'],
  KAFKA2DELTA_REGISTRY_TOKEN: ['schemaRegistry', 'auth', 'token'],
  KAFKA2DELTA_STARTING_OFFSETS: ['startingOffsets'],
  KAFKA2DELTA_TRIGGER: ['trigger', 'processingTime'],
}

/** The environment's settings. */
export function environmentOverrides(env: Environment): Override[] {
  return Object.entries(ENVIRONMENT).flatMap(([name, path]) => {
    const value = env[name]
    return value === undefined || value === '' ? [] : [{ path: [...path], value, origin: name }]
  })
}

const VARIABLE = /\$(\$?)\{([^}]*)\}/g

/** Puts values in for `${NAME}` and `${NAME:-default}`; `$${` stays `${`. */
export function substitute(text: string, env: Environment, fail: (message: string) => never): string {
  return text.replace(VARIABLE, (whole, escaped: string, inner: string) => {
    if (escaped) return whole.slice(1)
    const match = /^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?::-([\s\S]*))?$/.exec(inner)
    if (!match) return fail(`a \${…} is no variable; write \${NAME} or \${NAME:-default}, and $\${ for a plain \${`)
    const [, name, fallback] = match as unknown as [string, string, string | undefined]
    const value = Object.hasOwn(env, name) ? env[name] : undefined
    // As in a shell, ":-" takes the default for an empty value too.
    if (fallback !== undefined) return value === undefined || value === '' ? fallback : value
    return value ?? fail(`the environment variable ${name} is not set; set it, or write \${${name}:-default}`)
  })
}

interface Source {
  file: string
  document: Document.Parsed
  lines: LineCounter
}

function place({ file, lines }: Source, offset: number | undefined): string {
  if (offset === undefined) return file
  const { line, col } = lines.linePos(offset)
  return `${file}:${line}:${col}`
}

const invalid = (message: string, cause?: unknown) => new KafkaToDeltaError('CONFIG_INVALID', message, { cause })

/** Reads a YAML text, with the variables of the environment put in. Throws CONFIG_INVALID with line and column. */
export function parseConfig(text: string, file: string, env: Environment): Source {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const source = { file, document, lines }
  const [error] = document.errors
  if (error) {
    const { line } = lines.linePos(error.pos[0])
    const hint = /[[{,].*\$\{/.test(text.split('\n')[line - 1] ?? '')
      ? `; inside [ ] and { }, put quotes around "\${NAME}"`
      : ''
    throw invalid(`${place(source, error.pos[0])}: ${withoutContent(error.message)}${hint}`)
  }
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value !== 'string' || !node.value.includes('${')) return
      // The value goes in after parsing: it can never change the structure of the file.
      node.value = substitute(node.value, env, (message) => {
        throw invalid(`${place(source, node.range?.[0])}: ${message}`)
      })
    },
  })
  if (document.contents === null) throw invalid(`${file} is empty`)
  if (!isMap(document.contents)) throw invalid(`${place(source, 0)}: expected options as "name: value"`)
  return source
}

/** A message of the YAML parser without the piece of the file that it repeats: that may be a password. */
function withoutContent(message: string): string {
  return message.replace(/(?:: | \\|["'`]).*$/s, '')
}

function valuesOf(source: Source): Record<string, unknown> {
  try {
    return source.document.toJS({ maxAliasCount: 1000 }) as Record<string, unknown>
  } catch {
    // The parser's message names the text that was taken for an alias, which may be a password.
    throw invalid(
      `${source.file}: a text that begins with * stands for an anchor (&name) that is not there; put quotes around it`,
    )
  }
}

/** Where a path stands in a document: its key or value, or the nearest thing above it. */
function offsetOf(document: Document.Parsed, path: readonly (string | number)[], atKey: boolean): number | undefined {
  let node: Node | null = document.contents
  let offset = node?.range?.[0]
  for (const [i, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document) ?? null
    if (isMap(node)) {
      const pair = node.items.find((item: Pair) => isScalar(item.key) && String(item.key.value) === String(part))
      if (!pair) return offset
      const key = pair.key as Node
      const value = pair.value as Node | null
      const last = i === path.length - 1
      offset = (last && !atKey ? (value?.range?.[0] ?? key.range?.[0]) : key.range?.[0]) ?? offset
      node = value
    } else if (isSeq(node)) {
      node = (node.items[Number(part)] as Node | undefined) ?? null
      offset = node?.range?.[0] ?? offset
    } else return offset
  }
  return offset
}

function setAt(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = target
  for (const part of path.slice(0, -1)) {
    const next = at[part]
    if (typeof next !== 'object' || next === null) at[part] = {}
    at = at[part] as Record<string, unknown>
  }
  at[path.at(-1) as string] = value
}

function hasAt(target: unknown, path: readonly string[]): boolean {
  let at = target
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return false
    at = (at as Record<string, unknown>)[part]
  }
  return at !== null && at !== undefined
}

/** A path stands in another's way: a trigger of the file and one of the environment, a url and urls. */
const EXCLUSIVE: readonly string[][] = [['trigger'], ['schemaRegistry', 'auth']]

function mergeOverrides(values: Record<string, unknown>, environment: Override[], flags: Override[]): Override[] {
  const used: Override[] = []
  for (const override of environment) {
    const group = EXCLUSIVE.find((path) => path.every((part, i) => override.path[i] === part))
    const fromFile =
      hasAt(values, override.path) || (group && hasAt(values, group) && !used.some((o) => sameGroup(o, group)))
    const otherUrl = override.path.join('.') === 'schemaRegistry.url' && hasAt(values, ['schemaRegistry', 'urls'])
    if (fromFile || otherUrl) continue
    setAt(values, override.path, override.value)
    used.push(override)
  }
  for (const override of flags) {
    if (override.path[0] === 'trigger') values.trigger = {}
    if (override.path.join('.') === 'schemaRegistry.url' && typeof values.schemaRegistry === 'object') {
      delete (values.schemaRegistry as Record<string, unknown> | null)?.urls
    }
    setAt(values, override.path, override.value)
    used.push(override)
  }
  return used
}

const sameGroup = (override: Override, group: readonly string[]) => group.every((part, i) => override.path[i] === part)

/** Whether one path leads to or through the other. */
const isOneWay = (a: readonly (string | number)[], b: readonly string[]) =>
  a.length > 0 && b.slice(0, a.length).every((part, i) => String(a[i]) === part)

/**
 * The options of the command. Relative table paths of a file count from the file's folder.
 * @throws CONFIG_UNREADABLE; CONFIG_INVALID with file, line and column, or the flag or variable that is wrong
 */
export function loadConfig(file: string, flags: Override[] = [], env: Environment = process.env): ResolvedOptions {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message
    throw new KafkaToDeltaError('CONFIG_UNREADABLE', `${file}: ${reason}`, { cause: error })
  }
  const source = parseConfig(text, file, env)
  const values = valuesOf(source)
  const used = mergeOverrides(values, environmentOverrides(env), flags)
  try {
    return resolveOptions(values, dirname(resolve(file)))
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error
    const problems = error.problems.map(({ path, message, atKey }) => {
      const override = used.find((candidate) => isOneWay(path, candidate.path))
      const where = override ? override.origin : place(source, offsetOf(source.document, path, atKey))
      return `${where}: ${path.length > 0 ? `${pathText(path)}: ` : ''}${message}`
    })
    throw invalid(
      problems.length === 1 ? (problems[0] as string) : `\n${problems.map((p) => `  - ${p}`).join('\n')}`,
      error,
    )
  }
}
