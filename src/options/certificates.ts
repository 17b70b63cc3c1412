/** Certificates and keys of TLS options: PEM texts, or the files that hold them, as secrets are mounted. */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { KafkaToDeltaError } from '../errors.js'
import { readSecret, type Secret, withSecretFiles } from './secret.js'

/** Node's TLS options that hold PEM. */
const PEM = ['ca', 'cert', 'key'] as const

/**
 * TLS options with each file's contents in place of its name: what is a text and not PEM names a file.
 * @param where of the option, for messages
 * @param baseDir what relative names count from
 * @throws CONFIG_INVALID for a file that cannot be read or holds no PEM
 */
export function withCertificates<T extends object>(tls: T, where: string, baseDir = process.cwd()): T {
  const read = (name: string, value: unknown): unknown => {
    if (Array.isArray(value)) return value.map((item) => read(name, item))
    return typeof value === 'string' && !value.includes('-----BEGIN')
      ? pemFile(value, `${where}.${name}`, baseDir)
      : value
  }
  const found = PEM.filter((name) => name in tls)
  return { ...tls, ...Object.fromEntries(found.map((name) => [name, read(name, tls[name as keyof T])])) }
}

/** Certificates and their key are read at the start, and so is the passphrase. */
export function resolveTls<T extends object & { passphrase?: Secret | undefined }>(
  tls: T,
  where: string,
  baseDir?: string,
): T {
  const found = withSecretFiles(withCertificates(tls, where, baseDir), where, baseDir)
  const { passphrase } = found
  return passphrase ? { ...found, passphrase: readSecret(passphrase, `${where}.passphrase`) } : found
}

function pemFile(file: string, where: string, baseDir: string): string {
  let text: string
  // Longer texts are no names but keys without their first line: they are not repeated in a message.
  const shown = file.length > 200 || file.includes('\n') ? 'this text' : file
  try {
    text = readFileSync(resolve(baseDir, file), 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new KafkaToDeltaError('CONFIG_INVALID', `${where}: ${shown} is neither PEM text nor a file (${code})`)
  }
  if (!text.includes('-----BEGIN')) throw new KafkaToDeltaError('CONFIG_INVALID', `${where}: ${shown} holds no PEM`)
  return text
}
