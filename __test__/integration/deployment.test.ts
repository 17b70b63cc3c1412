/** What stands in resources/kubernetes and resources/docker: valid, whole, and of one piece with what is tested elsewhere. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { parse, parseAllDocuments } from 'yaml'
import { loadConfig } from '../../src/cli/config.js'
import { oraclePython } from './support/oracle.js'

const RESOURCES = fileURLToPath(new URL('../../resources/', import.meta.url))
const KUBERNETES = join(RESOURCES, 'kubernetes')
const DOCKER = join(RESOURCES, 'docker')
const MANIFESTS = fileURLToPath(new URL('support/manifests.py', import.meta.url))

// biome-ignore lint/suspicious/noExplicitAny: YAML of many shapes
type Document = any

const documentsOf = (file: string): Document[] =>
  parseAllDocuments(readFileSync(join(KUBERNETES, file), 'utf8'), { merge: true }).map((document) => document.toJS())

const { resources } = parse(readFileSync(join(KUBERNETES, 'kustomization.yaml'), 'utf8')) as { resources: string[] }
const all = resources.flatMap(documentsOf)
const find = (kind: string, name: string): Document => {
  const found = all.find((document) => document.kind === kind && document.metadata.name === name)
  if (!found) throw new Error(`no ${kind} ${name}`)
  return found
}

function validate(documents: Document[]): string[][] {
  const python = oraclePython()
  if (python === null) throw new Error('needs Python: run it with `npm test -- integration`')
  const { stdout, stderr, status } = spawnSync(python, [MANIFESTS], {
    input: JSON.stringify(documents),
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

/** The document with a value at a path set, or taken out where it is undefined. */
function changed(document: Document, path: (string | number)[], value: unknown): Document {
  const copy = structuredClone(document)
  const last = path.at(-1) as string
  const parent = path.slice(0, -1).reduce((at, name) => at[name], copy)
  if (value === undefined) delete parent[last]
  else parent[last] = value
  return copy
}

test('the manifests are valid', (t) => {
  t.true(all.length >= 20)
  const problems = validate(all)
  all.forEach(({ kind, metadata }, i) => {
    t.deepEqual(problems[i], [], `${kind} ${metadata.name}`)
    if (kind !== 'Namespace') t.is(metadata.namespace, 'lake', metadata.name)
  })
  t.log(`${all.length} resources`)
})

test('each kind of mistake is found', (t) => {
  const worker = find('StatefulSet', 'kafka2delta')
  const kafka = find('Kafka', 'kafka')
  const connect = find('KafkaConnect', 'connect')
  const container = ['spec', 'template', 'spec', 'containers', 0]
  const mistakes = [
    changed(worker, ['spec', 'replicas'], 'one'),
    changed(worker, [...container, 'livenesProbe'], {}),
    changed(worker, [...container, 'livenessProbe', 'httpGet', 'port'], undefined),
    changed(worker, ['apiVersion'], 'apps/v9'),
    changed(find('PodDisruptionBudget', 'kafka2delta'), ['spec', 'maxUnavailible'], 1),
    changed(kafka, ['spec', 'kafka', 'listeners', 0, 'type'], 'internl'),
    changed(kafka, ['spec', 'zookeeper'], {}),
    changed(kafka, ['spec', 'kafka', 'listeners'], undefined),
    changed(kafka, ['apiVersion'], 'kafka.strimzi.io/v1beta1'),
    changed(connect, ['spec', 'build', 'plugins', 0, 'artifacts', 0, 'type'], 'mvn'),
    changed(connect, ['spec', 'bootstrapServer'], 'kafka:9092'),
    changed(find('KafkaConnector', 'shop'), ['spec', 'tasksMax'], 'two'),
    changed(find('KafkaTopic', 'shop.public.orders'), ['spec', 'partitions'], 0),
    changed(find('KafkaUser', 'kafka2delta'), ['spec', 'authentication', 'type'], 'password'),
  ]
  validate(mistakes).forEach((problems, i) => {
    t.true(problems.length > 0, `mistake ${i}`)
  })
})

test('every file is applied, and every name that one resource takes from another exists', (t) => {
  const files = readdirSync(KUBERNETES).filter((name) => name.endsWith('.yaml'))
  t.deepEqual(files.sort(), [...resources, 'kind-cluster.yaml', 'kustomization.yaml'].sort())
  const names = (kind: string) => all.filter((document) => document.kind === kind).map(({ metadata }) => metadata.name)
  // Strimzi makes the user's and the cluster's; the image registry's is the reader's.
  const secrets = [...names('Secret'), ...names('KafkaUser'), 'kafka-cluster-ca-cert', 'image-registry']
  const text = JSON.stringify(all)
  const taken = (pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, name]) => name as string))]
  for (const name of taken(/"secretKeyRef":\{"name":"([^"]+)"/g)) t.true(secrets.includes(name), name)
  for (const name of taken(/"configMap":\{"name":"([^"]+)"/g)) t.true(names('ConfigMap').includes(name), name)
  const services = [...names('Service'), 'kafka-kafka-bootstrap']
  for (const name of taken(/https?:\/\/([a-z0-9-]+):\d+/g)) t.true(services.includes(name), name)
  for (const name of taken(/([a-z-]+-bootstrap):909\d/g)) t.true(services.includes(name), name)
  for (const kind of ['KafkaNodePool', 'KafkaTopic', 'KafkaUser', 'KafkaConnector']) {
    for (const { metadata } of all.filter((document) => document.kind === kind)) {
      const cluster = metadata.labels['strimzi.io/cluster']
      t.true(names(kind === 'KafkaConnector' ? 'KafkaConnect' : 'Kafka').includes(cluster), metadata.name)
    }
  }
  for (const kind of ['Deployment', 'StatefulSet']) {
    for (const { metadata, spec } of all.filter((document) => document.kind === kind)) {
      t.deepEqual(spec.selector.matchLabels, spec.template.metadata.labels, metadata.name)
      for (const { resources: limits, name } of spec.template.spec.containers) {
        t.truthy(limits?.requests?.memory && limits.limits.memory, name)
      }
    }
  }
  const cluster = parse(readFileSync(join(KUBERNETES, 'kind-cluster.yaml'), 'utf8'))
  t.like(cluster, { kind: 'Cluster', apiVersion: 'kind.x-k8s.io/v1alpha4' })
})

test("the connector is resources/connect's", (t) => {
  const { config } = JSON.parse(readFileSync(join(RESOURCES, 'connect', 'postgres-flattened.json'), 'utf8'))
  const { spec } = find('KafkaConnector', 'shop')
  const ours: Record<string, string> = {
    'connector.class': spec.class,
    'tasks.max': String(spec.tasksMax),
    ...spec.config,
  }
  t.deepEqual(Object.keys(ours).sort(), Object.keys(config).sort())
  const filled = new Map<string, string>()
  for (const [name, value] of Object.entries<string>(config)) {
    const placeholder = /^\$\{(\w+)\}$/.exec(value)?.[1]
    if (placeholder === undefined) t.is(ours[name], value, name)
    else {
      t.is(filled.get(placeholder) ?? ours[name], ours[name], placeholder)
      filled.set(placeholder, ours[name] as string)
    }
  }
  const topics = (filled.get('TABLES') as string).split(',').map((table) => `${filled.get('TOPIC_PREFIX')}.${table}`)
  const { tables } = parse(find('ConfigMap', 'kafka2delta').data['kafka2delta.yaml'])
  t.deepEqual(Object.keys(tables).sort(), topics.sort())
})

/** The configuration as `run` reads it. */
function loaded(text: string, env: Record<string, string>) {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-config-'))
  try {
    writeFileSync(join(folder, 'kafka2delta.yaml'), text)
    return loadConfig(join(folder, 'kafka2delta.yaml'), [], env)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test("the worker's configuration is one, with the variables that its pod has", (t) => {
  const [container] = find('StatefulSet', 'kafka2delta').spec.template.spec.containers
  const ca = '-----BEGIN CERTIFICATE-----'
  const given = (name: string) => (name === 'KAFKA_CA' ? ca : `the ${name}`)
  const env = Object.fromEntries(container.env.map(({ name }: { name: string }) => [name, given(name)]))
  const text = find('ConfigMap', 'kafka2delta').data['kafka2delta.yaml']
  const options = loaded(text, env)
  t.is(options.tables.length, 2)
  t.like(options.kafka, { sasl: { password: 'the KAFKA_PASSWORD' }, ssl: { ca } })
  t.throws(() => loaded(text, {}), { code: 'CONFIG_INVALID' })
  const mounted = container.volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)
  t.true(mounted.some((path: string) => options.tables[0]?.indexDir?.startsWith(path)))
  t.true(mounted.some((path: string) => container.args[2].startsWith(path)))
})

test('compose: files, services and placeholders exist', (t) => {
  const { services, volumes } = parse(readFileSync(join(DOCKER, 'compose.yaml'), 'utf8')) as Document
  for (const [name, service] of Object.entries<Document>(services)) {
    for (const needed of Object.keys(service.depends_on ?? {})) t.true(needed in services, `${name} needs ${needed}`)
    for (const mount of service.volumes ?? []) {
      const [from] = mount.split(':')
      // The tables' folder is made by the first start.
      if (from.startsWith('.') && from !== './lake') t.true(existsSync(join(DOCKER, from)), `${name}: ${from}`)
      else if (!from.startsWith('.')) t.true(from in volumes, `${name}: ${from}`)
    }
    const build = typeof service.build === 'string' ? { context: service.build } : service.build
    if (build) t.true(existsSync(join(DOCKER, build.context, build.dockerfile ?? 'Dockerfile')), name)
    else t.regex(service.image, /:[\w.-]+$/, `${name} names a version`)
  }
  const connector = readFileSync(join(RESOURCES, 'connect', 'postgres-flattened.json'), 'utf8')
  for (const [, name] of connector.matchAll(/\$\{(\w+)\}/g))
    t.true((name as string) in services.connector.environment, name)
  const options = loaded(readFileSync(join(DOCKER, 'kafka2delta.yaml'), 'utf8'), {})
  const { TABLES, TOPIC_PREFIX } = services.connector.environment
  const topics = TABLES.split(',').map((table: string) => `${TOPIC_PREFIX}.${table}`)
  t.deepEqual(options.tables.map(({ topic }) => topic).sort(), topics.sort())
})
