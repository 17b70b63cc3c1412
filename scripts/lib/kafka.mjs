/** Apache Kafka's jars, for the tests that run a real broker. Needs Java 17 and Maven. */

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE_DIR, ROOT } from './paths.mjs'
import { run, StatusLine, say, version } from './process.mjs'

const POM = join(ROOT, '__test__', 'integration', 'kafka', 'pom.xml')
const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies'
const MINIMUM_JAVA = 17

function missingTool() {
  const java = version('java', ['-version'])
  if (java === null) return 'Java is not installed'
  const major = Number(/version "(\d+)/.exec(java)?.[1] ?? 0)
  if (major < MINIMUM_JAVA) return `Java ${MINIMUM_JAVA} or newer is needed, this is ${java}`
  return null
}

const jarsFolder = () =>
  join(CACHE_DIR, `kafka-${createHash('sha256').update(readFileSync(POM)).digest('hex').slice(0, 12)}`)

/** The folder of the jars if they were fetched before and Java is there, otherwise null. */
export function installedKafka() {
  return existsSync(jarsFolder()) && missingTool() === null ? jarsFolder() : null
}

/**
 * Fetches the jars where they are not there yet.
 * @returns {Promise<{ jars: string } | { missing: string }>} their folder, or why there is none
 */
export async function ensureKafka() {
  const missing = missingTool()
  if (missing) return { missing }
  const jars = jarsFolder()
  if (existsSync(jars)) return { jars }
  if (version('mvn') === null) return { missing: 'Maven is not installed' }
  say("Kafka: fetching the test broker's jars (once)")
  const status = new StatusLine('Kafka')
  const partial = `${jars}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(CACHE_DIR, { recursive: true })
  const args = ['-B', '-q', '-f', POM, COPY, '-DincludeScope=runtime', `-DoutputDirectory=${partial}`]
  const { code, output } = await run('mvn', args, { onOutput: () => {} })
  status.end()
  if (code !== 0) return { missing: `Maven cannot fetch Kafka: ${output.trim().split('\n').at(-1)}` }
  renameSync(partial, jars)
  return { jars }
}
