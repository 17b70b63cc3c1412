/** The engine's error codes are codes of the closed list of src/errors.ts. */

import { readFileSync } from 'node:fs'
import test from 'ava'
import { fromNative } from '../src/delta/addon.js'
import { ERROR_CODES } from '../src/errors.js'

const RUST = readFileSync(new URL('../crates/kafka2delta/src/error/mod.rs', import.meta.url), 'utf8')

const snakeCase = (variant: string) => variant.replace(/(?!^)([A-Z])/g, '_$1').toUpperCase()

test('every error code of the engine is in the list of src/errors.ts', (t) => {
  const variants = [...(/pub enum ErrorCode \{(.*?)\n\}/s.exec(RUST)?.[1] ?? '').matchAll(/^ {4}(\w+),$/gm)]
  const names = new Map([...RUST.matchAll(/Self::(\w+) => "([A-Z_]+)"/g)].map(([, variant, name]) => [variant, name]))
  t.true(variants.length > 10)
  for (const [, variant = ''] of variants) {
    t.is(names.get(variant), snakeCase(variant), `the name of ErrorCode::${variant}`)
    t.true(Object.hasOwn(ERROR_CODES, snakeCase(variant)), `src/errors.ts lacks ${snakeCase(variant)}`)
  }
})

test('a code that is not in the list is named in the message', (t) => {
  const error = fromNative(Object.assign(new Error('the moon is full'), { code: 'MOON_FULL' }))
  t.is(error.code, 'INTERNAL')
  t.is(error.message, 'the moon is full (the addon calls this MOON_FULL, a code that this version does not know)')
})

test('an error without a code of its own keeps its message', (t) => {
  t.is(fromNative(new Error('odd')).message, 'odd')
  // napi-rs' own statuses are no codes of ours, and say nothing that the message does not.
  t.is(fromNative(Object.assign(new Error('bad argument'), { code: 'InvalidArg' })).message, 'bad argument')
})
