/** Building blocks of the option schema: values that people write in several forms. */

import { z } from 'zod'
import { parseDuration, parseSize } from './units.js'

/** How a field looks in the JSON Schema, where zod cannot know it. */
interface Shape {
  description?: string
  [keyword: string]: unknown
}

/**
 * A field that `read` turns into its value; null means "not valid", and `expected` says what is.
 * @param secret the value may hold a secret: it is not shown
 */
export function field<In, Out>(
  read: (value: unknown) => Out | null,
  expected: string,
  shape: Shape,
  secret: 'secret' | 'shown' = 'shown',
) {
  return z
    .unknown()
    .transform((value, context): Out => {
      const result = read(value)
      if (result !== null) return result
      context.addIssue({
        code: 'custom',
        message: `expected ${expected}, got ${secret === 'secret' ? kindOf(value) : show(value)}`,
      })
      return z.NEVER
    })
    .meta(shape) as unknown as z.ZodType<Out, In>
}

/** What a value is, without any of its content. */
function kindOf(value: unknown): string {
  return typeof value === 'string' ? 'a text' : typeof value === 'number' ? 'a number' : show(value)
}

/** A value for a message: short, and without its content where it is no plain value. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}

/** Milliseconds, from a number or text as `1 second`. */
export const duration = (description: string, minimum = 0) =>
  field<number | string, number>(
    (value) => {
      const ms = parseDuration(value)
      return ms === null || ms < minimum ? null : ms
    },
    `a duration such as "1 second", "500 ms" or a number of milliseconds${minimum > 0 ? ` of at least ${minimum} ms` : ''}`,
    {
      description,
      anyOf: [
        { type: 'string', pattern: '\\d' },
        { type: 'number', minimum },
      ],
    },
  )

/** Bytes, from a number or text as `128 MB`. */
export const size = (description: string, minimum: number) =>
  field<number | string, number>(
    (value) => {
      const bytes = parseSize(value)
      return bytes === null || bytes < minimum ? null : bytes
    },
    `a size such as "128 MB" or a number of bytes, at least ${minimum}`,
    {
      description,
      anyOf: [
        { type: 'string', pattern: '^\\s*\\d' },
        { type: 'integer', minimum },
      ],
    },
  )

/** A whole number. Text is taken too: values from the environment are text. */
export const count = (description: string, minimum: number, maximum = Number.MAX_SAFE_INTEGER) =>
  field<number | string, number>(
    (value) => {
      const number = typeof value === 'string' && /^\d+$/.test(value.trim()) ? Number(value) : value
      return typeof number === 'number' && Number.isSafeInteger(number) && number >= minimum && number <= maximum
        ? number
        : null
    },
    `a whole number of at least ${minimum}${maximum < Number.MAX_SAFE_INTEGER ? ` and at most ${maximum}` : ''}`,
    {
      description,
      anyOf: [
        { type: 'integer', minimum },
        { type: 'string', pattern: '^\\d+$' },
      ],
    },
  )

/** A number. Text is taken too: values from the environment are text. */
export const decimal = (description: string, above: number, maximum = Number.MAX_VALUE) =>
  field<number | string, number>(
    (value) => {
      const number = typeof value === 'string' && /^\s*\d*\.?\d+\s*$/.test(value) ? Number(value) : value
      return typeof number === 'number' && number > above && number <= maximum ? number : null
    },
    `a number above ${above}${maximum < Number.MAX_VALUE ? ` and at most ${maximum}` : ''}`,
    {
      description,
      anyOf: [
        { type: 'number', exclusiveMinimum: above, ...(maximum < Number.MAX_VALUE ? { maximum } : {}) },
        { type: 'string', pattern: '^\\s*\\d*\\.?\\d+\\s*$' },
      ],
    },
  )

/** A truth value; the texts `true` and `false` are taken too. */
export const flag = (description: string) =>
  field<boolean | 'true' | 'false', boolean>(
    (value) => {
      if (typeof value === 'boolean') return value
      return value === 'true' ? true : value === 'false' ? false : null
    },
    'true or false',
    { description, enum: [true, false, 'true', 'false'] },
  )

/** Text with at least one character. */
export const text = (description: string) => z.string().min(1, 'must not be empty').meta({ description })

/** A list of names; one name, or several with commas between, may be given as text. */
export const names = (description: string) => nameList(description, 1)

/** {@link names}, or none. */
export const optionalNames = (description: string) => nameList(description, 0)

const nameList = (description: string, minimum: number) =>
  field<string | readonly string[], string[]>(
    (value) => {
      const list = typeof value === 'string' ? value.split(',').map((name) => name.trim()) : value
      return Array.isArray(list) &&
        list.length >= minimum &&
        list.every((name) => typeof name === 'string' && name !== '')
        ? [...list]
        : null
    },
    'a list of names',
    {
      description,
      anyOf: [
        { type: 'array', items: { type: 'string', minLength: 1 }, minItems: minimum },
        { type: 'string', minLength: 1 },
      ],
    },
  )

/** Text by text, as storage options and table properties are. Numbers and truth values become text. */
export const properties = (description: string) =>
  field<Readonly<Record<string, string | number | boolean>>, Record<string, string>>(
    (value) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
      const result: Record<string, string> = {}
      for (const [name, entry] of Object.entries(value)) {
        if (typeof entry !== 'string' && typeof entry !== 'number' && typeof entry !== 'boolean') return null
        result[name] = String(entry)
      }
      return result
    },
    'names with text values',
    { description, type: 'object', additionalProperties: { type: ['string', 'number', 'boolean'] } },
    'secret',
  )

/** A function, which only the API can give. */
export const callback = <T>(description: string) =>
  z.custom<T>((value) => typeof value === 'function', 'expected a function').meta({ description, apiOnly: true })

/** One of some texts. */
export const choice = <const T extends readonly [string, ...string[]]>(values: T, description: string) =>
  z
    .enum(values, {
      error: (issue) => `expected ${values.map((v) => JSON.stringify(v)).join(' or ')}, got ${show(issue.input)}`,
    })
    .meta({ description })
