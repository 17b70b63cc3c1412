/** Turns zod's issues into one CONFIG_INVALID that says where, what and what was probably meant. */

import { z } from 'zod'
import { KafkaToDeltaError } from '../errors.js'
import { suggest } from './suggest.js'

/** One thing that is wrong. `path` are the keys and indexes to it. */
export interface OptionProblem {
  path: (string | number)[]
  message: string
  /** The path names a key that should not be there, not a value. */
  atKey: boolean
}

export const pathText = (path: readonly (string | number)[]): string =>
  path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    if (/^[A-Za-z_$][\w$]*$/.test(part)) return text === '' ? part : `${text}.${part}`
    return `${text}[${JSON.stringify(part)}]`
  }, '')

/** CONFIG_INVALID, with the problems one by one for who can show where they stand in a file. */
export class OptionsError extends KafkaToDeltaError {
  readonly problems: readonly OptionProblem[]

  constructor(problems: readonly OptionProblem[]) {
    const lines = problems.map(({ path, message }) => (path.length > 0 ? `${pathText(path)}: ${message}` : message))
    super('CONFIG_INVALID', lines.length === 1 ? (lines[0] as string) : `\n${lines.map((l) => `  - ${l}`).join('\n')}`)
    this.problems = problems
  }
}

/** Options whose values, and all below them, may be secrets: no message repeats them. */
const SECRET: ReadonlySet<string | number> = new Set(['storageOptions', 'sasl', 'ssl', 'auth', 'tls'])

type SchemaWithParts = z.ZodType & {
  shape?: Record<string, z.ZodType>
  valueType?: z.ZodType
  element?: z.ZodType
  unwrap?: () => z.ZodType
}

/** The kind of a discriminated union that the value says it is of. */
function kindOf(union: z.ZodDiscriminatedUnion, value: unknown): SchemaWithParts {
  const { discriminator, options } = union.def
  const kinds = options as readonly SchemaWithParts[]
  const given = ownValue(value, discriminator)
  return kinds.find((kind) => kind.shape?.[discriminator]?.safeParse(given).success) ?? union
}

/** The names that are known at a path: of kinds, those of the kind that the input says. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[], input: unknown): string[] {
  let at = schema as SchemaWithParts
  let value = input
  const open = () => {
    while (at instanceof z.ZodOptional || at instanceof z.ZodDefault) at = at.unwrap() as SchemaWithParts
    if (at instanceof z.ZodDiscriminatedUnion) at = kindOf(at, value)
  }
  open()
  for (const part of path) {
    value = ownValue(value, part)
    const own = at.shape && Object.hasOwn(at.shape, part) ? at.shape[String(part)] : undefined
    const next = own ?? at.valueType ?? at.element
    if (!next) return []
    at = next as SchemaWithParts
    open()
  }
  return Object.keys(at.shape ?? {})
}

function describe(issue: z.core.$ZodIssue, schema: z.ZodType, input: unknown, value: unknown): OptionProblem[] {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, issue.path, input)
    return issue.keys.map((key) => {
      const meant = suggest(key, known)
      const message = `unknown option${meant ? `, did you mean "${meant}"?` : `; known are ${known.join(', ')}`}`
      return { path: [...path, key], message, atKey: true }
    })
  }
  if (issue.code === 'invalid_key') {
    const message = issue.issues.map((inner) => inner.message).join('; ')
    return [{ path, message, atKey: true }]
  }
  if (value === undefined && path.length > 0) {
    const message = issue.message.replace(/^Invalid input: |, (got|received) undefined$/g, '')
    return [{ path, message: message.startsWith('expected') ? `must be given: ${message}` : message, atKey: false }]
  }
  const hidden = path.some((part) => SECRET.has(part))
  return [{ path, message: hidden ? issue.message.replace(/, got .*$/s, '') : issue.message, atKey: false }]
}

function ownValue(value: unknown, name: PropertyKey): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Record<PropertyKey, unknown>)[name]
}

/** The problems of an input that the schema refused. */
export function optionProblems(error: z.ZodError, schema: z.ZodType, input: unknown): OptionProblem[] {
  return error.issues.flatMap((issue) => {
    let value: unknown = input
    for (const part of issue.path) value = ownValue(value, part)
    return describe(issue, schema, input, value)
  })
}

/** Keys named `__proto__`: objects made of such names lose them, so that they would have no effect. */
export function prototypeKeys(value: unknown, path: (string | number)[] = []): OptionProblem[] {
  if (typeof value !== 'object' || value === null || path.length > 8) return []
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null && !Array.isArray(value)) return []
  return Object.entries(value).flatMap(([name, inner]) =>
    name === '__proto__'
      ? [{ path: [...path, name], message: 'cannot be used as a name here', atKey: true }]
      : prototypeKeys(inner, [...path, name]),
  )
}
