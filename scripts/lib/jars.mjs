/** Jars that a pom.xml names, fetched by Maven into the cache folder. */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE_DIR } from './paths.mjs'
import { run, StatusLine, say, version } from './process.mjs'

const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies'

/** Where the jars of a pom.xml lie, whether they are there or not. */
export const jarsFolder = (prefix, pom) =>
  join(CACHE_DIR, `${prefix}-${createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12)}`)

/** Java's major version, or null where `program` cannot be run. */
export function javaVersion(program = 'java') {
  const java = version(program, ['-version'])
  return java === null ? null : Number(/version "(\d+)/.exec(java)?.[1] ?? 0)
}

/**
 * Fetches the jars where they are not there yet.
 * @returns {Promise<{ jars: string } | { missing: string }>} their folder, or why there is none
 */
export async function ensureJars(what, prefix, pom) {
  const jars = jarsFolder(prefix, pom)
  if (existsSync(jars)) return { jars }
  if (version('mvn') === null) return { missing: 'Maven is not installed' }
  say(`${what}: fetching jars (once)`)
  const status = new StatusLine(what)
  const partial = `${jars}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(CACHE_DIR, { recursive: true })
  const args = ['-B', '-q', '-f', pom, COPY, '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
  const { code, output } = await run('mvn', args, { onOutput: () => {} })
  status.end()
  if (code !== 0) return { missing: `Maven cannot fetch ${what}: ${output.trim().split('\n').at(-1)}` }
  renameSync(partial, jars)
  return { jars }
}
