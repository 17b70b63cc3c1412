/**
 * Writes `__test__/integration/support/strimzi-crds.json`: the schemas of the Strimzi resources in resources/kubernetes, by
 * kind, as Strimzi's own generator makes them from its API. Needs Java 21 and Maven: `node scripts/strimzi-crds.mjs`, after
 * a change of the version below. Descriptions are left out.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { ensureJars, javaVersion } from './lib/jars.mjs'
import { ROOT } from './lib/paths.mjs'
import { main, must, Problem } from './lib/process.mjs'
import { pomOf } from './stack/install.mjs'

const VERSION = '1.2.0'
const API_VERSION = 'v1'
const CLASSES = [
  'kafka.Kafka',
  'nodepool.KafkaNodePool',
  'topic.KafkaTopic',
  'user.KafkaUser',
  'connect.KafkaConnect',
  'connector.KafkaConnector',
]
const FILE = join(ROOT, '__test__', 'integration', 'support', 'strimzi-crds.json')

/** A schema without what says nothing of validity. */
function bare(schema) {
  if (Array.isArray(schema)) return schema.map(bare)
  if (typeof schema !== 'object' || schema === null) return schema
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([name, value]) => !(name === 'description' && typeof value === 'string'))
      .map(([name, value]) => [name, bare(value)]),
  )
}

await main(async () => {
  const java = process.env.JAVA ?? 'java'
  if ((javaVersion(java) ?? 0) < 21) throw new Problem('Strimzi needs Java 21: JAVA=/path/to/java')
  const artifacts = ['api', 'crd-generator'].map((name) => `io.strimzi:${name}:${VERSION}`)
  const { jars, missing } = await ensureJars('strimzi', 'strimzi', pomOf('strimzi', artifacts))
  if (missing) throw new Problem(missing)
  const folder = mkdtempSync(join(tmpdir(), 'strimzi-'))
  try {
    const kinds = {}
    for (const name of CLASSES) {
      const file = join(folder, `${name}.yaml`)
      await must(java, [
        '-cp',
        join(jars, '*'),
        'io.strimzi.crdgenerator.CrdGenerator',
        '--yaml',
        `io.strimzi.api.kafka.model.${name}=${file}`,
      ])
      const { spec } = parse(readFileSync(file, 'utf8'))
      const { schema } = spec.versions.find((version) => version.name === API_VERSION)
      const { spec: of } = schema.openAPIV3Schema.properties
      kinds[spec.names.kind] = { apiVersion: `${spec.group}/${API_VERSION}`, spec: bare(of) }
    }
    writeFileSync(FILE, `${JSON.stringify({ strimzi: VERSION, kinds })}\n`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
