/** Loads the native addon, and turns its errors into ours. */

import { createRequire } from 'node:module'
import { ERROR_CODES, type ErrorCode, type ErrorPosition, KafkaToDeltaError } from '../errors.js'
import type { NativeModule } from './native-api.js'

let loaded: NativeModule | null = null

/** Every error in a chain of causes, the outermost first. */
export function causes(error: unknown): unknown[] {
  const chain: unknown[] = []
  for (let at: unknown = error; at !== undefined && at !== null && !chain.includes(at); ) {
    chain.push(at)
    at = at instanceof Error ? at.cause : undefined
  }
  return chain
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** The C library of this process, as far as it matters for binaries. */
function platform(): string {
  if (process.platform !== 'linux') return `${process.platform}-${process.arch}`
  const header = (process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined)?.header
  return `linux-${process.arch}-${header?.glibcVersionRuntime ? 'gnu' : 'musl'}`
}

function unavailable(error: unknown): KafkaToDeltaError {
  const chain = causes(error)
  // The loader tries several files; a missing one says nothing where another was found and could not be loaded.
  const found = chain.filter((cause) => !/cannot find (native binding|module)/i.test(messageOf(cause)))
  const reason = found.length > 0 ? messageOf(found.at(-1)).split('\n')[0] : null
  const message = reason
    ? `the native addon for ${platform()} was found but cannot be loaded: ${reason}`
    : `there is no native addon for ${platform()}: the package kafka2delta-${platform()} is not installed. ` +
      'Install again without --omit=optional; where a package-lock.json of another platform is in the way ' +
      '(npm/cli#4828), remove it and node_modules first'
  return new KafkaToDeltaError('ADDON_UNAVAILABLE', message, { cause: error })
}

/**
 * The addon.
 * @throws ADDON_UNAVAILABLE with the true cause and what to do
 */
export function loadAddon(): NativeModule {
  if (loaded) return loaded
  try {
    loaded = createRequire(import.meta.url)('../native.cjs') as NativeModule
    return loaded
  } catch (error) {
    throw unavailable(error)
  }
}

const isCode = (code: unknown): code is ErrorCode => typeof code === 'string' && Object.hasOwn(ERROR_CODES, code)

/** What to add to a message where the addon and this package are of different versions. napi-rs' statuses are not codes. */
const unknownCode = (code: unknown): string =>
  typeof code === 'string' && /^[A-Z]+(_[A-Z]+)*$/.test(code)
    ? ` (the addon calls this ${code}, a code that this version does not know)`
    : ''

const POSITION_FIELDS = ['topic', 'partition', 'offset', 'table', 'version', 'column', 'schemaId'] as const

function positionOf(error: object): ErrorPosition {
  const source = 'position' in error && typeof error.position === 'object' && error.position ? error.position : error
  const position: Record<string, unknown> = {}
  for (const field of POSITION_FIELDS) {
    const value = (source as Record<string, unknown>)[field]
    if (value !== undefined && value !== null) position[field] = value
  }
  return position as ErrorPosition
}

/** An error of the addon as one of ours. Its own stack ends in Rust; the new one shows who called. */
export function fromNative(error: unknown, position: ErrorPosition = {}): KafkaToDeltaError {
  if (error instanceof KafkaToDeltaError) return error
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  const own = typeof error === 'object' && error !== null ? positionOf(error) : {}
  const details = { ...position, ...own, cause: error }
  const wrapped = isCode(code)
    ? new KafkaToDeltaError(code, messageOf(error), details)
    : new KafkaToDeltaError('INTERNAL', messageOf(error) + unknownCode(code), details)
  Error.captureStackTrace(wrapped, fromNative)
  return wrapped
}
