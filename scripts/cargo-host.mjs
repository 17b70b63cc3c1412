#!/usr/bin/env node
/**
 * Stands in for cargo under `napi build`: builds for the host without --target, into the folder that `cargo test`
 * and clippy use, and puts the library where napi looks for it.
 */

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const args = process.argv.slice(2)
const at = args.indexOf('--target')
const triple = at >= 0 ? args[at + 1] : null
if (at >= 0) args.splice(at, 2)
const env = { ...process.env }
delete env.CARGO
const { status, error } = spawnSync('cargo', args, { stdio: 'inherit', env })
if (error) console.error(error.message)
if (status === 0 && triple) {
  const from = join(env.CARGO_TARGET_DIR, 'release')
  const to = join(env.CARGO_TARGET_DIR, triple, 'release')
  mkdirSync(to, { recursive: true })
  for (const name of readdirSync(from)) {
    if (/^lib\w+\.(so|dylib)$/.test(name)) copyFileSync(join(from, name), join(to, name))
  }
}
process.exitCode = status ?? 1
