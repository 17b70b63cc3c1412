/** src/native.d.cts, which is committed so that types can be checked before the addon is built, describes the addon. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'

const DECLARED = readFileSync(new URL('../../src/native.d.cts', import.meta.url), 'utf8')
const ADDON = createRequire(import.meta.url)('../../src/native.cjs') as Record<string, unknown>

const names = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, name]) => name as string).sort()
const isClass = (value: unknown): value is { prototype: object } =>
  typeof value === 'function' && Object.getOwnPropertyNames(value.prototype ?? {}).length > 1

test('the functions and classes of the addon are those that are declared', (t) => {
  const exported = Object.keys(ADDON).filter((name) => typeof ADDON[name] === 'function')
  const hint = 'build the addon again (npm run build:addon) and commit src/native.d.cts'
  t.deepEqual(exported.sort(), names(DECLARED, /^export declare (?:function|class) (\w+)/gm), hint)
  for (const [, name = '', body = ''] of DECLARED.matchAll(/^export declare class (\w+) \{\n(.*?)^\}/gms)) {
    const value = ADDON[name]
    if (!isClass(value)) return t.fail(`${name} is not a class`)
    const members = Object.getOwnPropertyNames(value.prototype).filter((member) => member !== 'constructor')
    t.deepEqual(members.sort(), names(body, /^ {2}(?:get )?(\w+)\(/gm), `${name}: ${hint}`)
  }
})
