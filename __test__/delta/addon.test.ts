/** The addon that is not there, or cannot be loaded. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { loadAddon } from '../../src/delta/addon.js'

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-addon-'))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

test.serial('an addon that is not there is told with what to do', (t) => {
  process.env.NAPI_RS_NATIVE_LIBRARY_PATH = join(folder, 'missing.node')
  const error = t.throws(loadAddon, { code: 'ADDON_UNAVAILABLE' })
  t.regex(error?.message ?? '', /the package kafka2delta-\S+ is not installed/)
})

test.serial('an addon that cannot be loaded is told with the reason', (t) => {
  const path = join(folder, 'broken.node')
  writeFileSync(path, 'no library')
  process.env.NAPI_RS_NATIVE_LIBRARY_PATH = path
  t.throws(loadAddon, { code: 'ADDON_UNAVAILABLE', message: /found but cannot be loaded: .*broken\.node/ })
})
