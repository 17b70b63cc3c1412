/** Apache Kafka's jars, for the tests that run a real broker. Needs Java 17 and Maven. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ensureJars, jarsFolder, javaVersion } from './jars.mjs'
import { ROOT } from './paths.mjs'

const POM = join(ROOT, '__test__', 'integration', 'kafka', 'pom.xml')
const MINIMUM_JAVA = 17

function missingTool() {
  const java = javaVersion()
  if (java === null) return 'Java is not installed'
  return java < MINIMUM_JAVA ? `Java ${MINIMUM_JAVA} or newer is needed, this is ${java}` : null
}

/** The folder of the jars if they were fetched before and Java is there, otherwise null. */
export function installedKafka() {
  const jars = jarsFolder('kafka', POM)
  return existsSync(jars) && missingTool() === null ? jars : null
}

/**
 * Fetches the jars where they are not there yet.
 * @returns {Promise<{ jars: string } | { missing: string }>} their folder, or why there is none
 */
export async function ensureKafka() {
  const missing = missingTool()
  return missing ? { missing } : ensureJars('Kafka', 'kafka', POM)
}
