/** Secrets: texts, or files that hold them, which may be replaced while the program runs. */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { KafkaToDeltaError } from '../errors.js'
import { field } from './fields.js'

/** A text, or the file that holds it: that is read anew at each login. */
export type Secret = string | { readonly file: string }

/** What is shown of a secret that is neither. */
const EXPECTED = 'a text that is not empty, or {file: name}'

const isFile = (value: unknown): value is { file: string } =>
  typeof value === 'object' &&
  value !== null &&
  Object.keys(value).join() === 'file' &&
  typeof (value as { file: unknown }).file === 'string' &&
  (value as { file: string }).file !== ''

export const secret = (description: string) =>
  field<Secret, Secret>(
    (value) => (typeof value === 'string' && value !== '' ? value : isFile(value) ? { file: value.file } : null),
    EXPECTED,
    {
      description: `${description} A text, or {file: name}, which is read anew at each login.`,
      anyOf: [
        { type: 'string', minLength: 1 },
        {
          type: 'object',
          properties: { file: { type: 'string', minLength: 1 } },
          required: ['file'],
          additionalProperties: false,
        },
      ],
    },
    'secret',
  )

/** A secret as it is now. @throws CONFIG_INVALID where its file cannot be read, or is empty */
export function readSecret(secret: Secret, where: string): string {
  if (typeof secret === 'string') return secret
  let text: string
  try {
    text = readFileSync(secret.file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new KafkaToDeltaError('CONFIG_INVALID', `${where}: the file ${secret.file} cannot be read (${code})`)
  }
  // Editors and `echo` end a file with a line break, which belongs to no secret.
  const found = text.replace(/\r?\n$/, '')
  if (found === '') throw new KafkaToDeltaError('CONFIG_INVALID', `${where}: the file ${secret.file} is empty`)
  return found
}

/**
 * The options with absolute names of the files that hold secrets. Each was read once: what is missing is told at the start.
 * @param baseDir what relative names count from
 * @throws CONFIG_INVALID for a file that cannot be read, or is empty
 */
export function withSecretFiles<T extends object>(options: T, where: string, baseDir = process.cwd()): T {
  const entries = Object.entries(options).map(([name, value]: [string, unknown]) => {
    if (!isFile(value)) return [name, value]
    const found = { file: resolve(baseDir, value.file) }
    readSecret(found, `${where}.${name}`)
    return [name, found]
  })
  return Object.fromEntries(entries) as T
}
