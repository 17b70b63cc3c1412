/** Kafka as users have it: TLS with a private authority, SASL, client certificates; and the messages where these are wrong. */

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import kafkajs, { type KafkaConfig } from 'kafkajs'
import { type StreamOptions, streamToDelta } from '../../src/index.js'
import { KafkaSource } from '../../src/kafka/source.js'
import { readTable } from '../helpers/read.js'
import { drain, FakeTable, LIMITS } from '../kafka/support.js'
import { closeAll, needs, serve } from './support/captured-sets.js'
import { kafkaJars, NO_KAFKA, RealKafka } from './support/real-kafka.js'

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs

const SET = 'flat'
const TOPIC = 'postgres.public.users'
const PASSWORD = 'a secret, "quoted" one'
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-security-'))
const jars = kafkaJars()
const run = jars ? test.serial : test.serial.skip
const reason = jars ? '' : ` (${NO_KAFKA})`

let kafka: RealKafka

/** Authority, server and client, as the JDK's keytool makes them. */
function certificates(): { ca: string; cert: string; key: string } {
  const dir = join(folder, 'tls')
  mkdirSync(dir, { recursive: true })
  const must = (program: string, ...args: string[]) => {
    const { status, stderr, stdout } = spawnSync(program, args, { cwd: dir, encoding: 'utf8' })
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}${stdout}`)
  }
  const store = (name: string) => ['-keystore', `${name}.p12`, '-storetype', 'PKCS12', '-storepass', 'changeit']
  const pair = ['-keyalg', 'EC', '-groupname', 'secp256r1', '-validity', '30']
  must(
    'keytool',
    '-genkeypair',
    '-alias',
    'ca',
    '-dname',
    'CN=private authority',
    '-ext',
    'bc:c',
    ...pair,
    ...store('ca'),
  )
  must('keytool', '-exportcert', '-alias', 'ca', '-rfc', '-file', 'ca.pem', ...store('ca'))
  for (const name of ['server', 'client']) {
    must('keytool', '-genkeypair', '-alias', name, '-dname', `CN=${name}`, ...pair, ...store(name))
    must('keytool', '-certreq', '-alias', name, '-file', `${name}.csr`, ...store(name))
    const names = ['-ext', 'san=ip:127.0.0.1,dns:localhost']
    must(
      'keytool',
      '-gencert',
      '-alias',
      'ca',
      '-rfc',
      '-infile',
      `${name}.csr`,
      '-outfile',
      `${name}.pem`,
      ...names,
      ...store('ca'),
    )
    must('keytool', '-importcert', '-noprompt', '-alias', 'ca', '-file', 'ca.pem', ...store(name))
    must('keytool', '-importcert', '-noprompt', '-alias', name, '-file', `${name}.pem`, ...store(name))
  }
  must('keytool', '-importcert', '-noprompt', '-alias', 'ca', '-file', 'ca.pem', ...store('trusted'))
  must('openssl', 'pkcs12', '-in', 'client.p12', '-nodes', '-nocerts', '-passin', 'pass:changeit', '-out', 'client.key')
  const read = (name: string) => readFileSync(join(dir, name), 'utf8')
  return { ca: read('ca.pem'), cert: read('client.pem'), key: read('client.key') }
}

let tls: ReturnType<typeof certificates>

test.before(async (t) => {
  if (!jars) return
  t.timeout(120_000)
  tls = certificates()
  const store = (kind: string, name: string) => [
    `ssl.${kind}.location=${join(folder, 'tls', `${name}.p12`)}`,
    `ssl.${kind}.password=changeit`,
    `ssl.${kind}.type=PKCS12`,
  ]
  const escaped = PASSWORD.replaceAll('"', '\\"').replaceAll('\\', '\\\\')
  const jaas = (kind: string, more = '') => `org.apache.kafka.common.security.${kind} required${more};`
  kafka = await RealKafka.start(jars, join(folder, 'kafka'), {
    properties: [
      ...store('keystore', 'server'),
      ...store('truststore', 'trusted'),
      'listener.name.ssl.ssl.client.auth=required',
      'sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
      `listener.name.sasl_ssl.plain.sasl.jaas.config=${jaas('plain.PlainLoginModule', ` user_alice="${escaped}" user_bob="bobs"`)}`,
      `listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=${jaas('scram.ScramLoginModule')}`,
      `listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=${jaas('scram.ScramLoginModule')}`,
      'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users=User:ANONYMOUS',
      'allow.everyone.if.no.acl.found=true',
    ],
    users: [256, 512].map((bits) => `SCRAM-SHA-${bits}=[name=alice,password=scram-secret-${bits}]`),
  })
  await kafka.produceCaptured((await serve(SET)).dir, TOPIC)
})

test.after.always(async () => {
  await kafka?.stop()
  await closeAll()
  rmSync(folder, { recursive: true, force: true })
})

let tables = 0

async function replay(config: KafkaConfig, schemaRegistry?: StreamOptions['schemaRegistry']): Promise<number> {
  const { registry } = await serve(SET)
  const path = join(folder, 'tables', String(tables++))
  const options: StreamOptions = {
    queryName: 'secured',
    kafka: config,
    schemaRegistry: schemaRegistry ?? { url: registry.url },
    tables: { [TOPIC]: { path, ...needs(TOPIC).table } },
    trigger: { availableNow: true },
  }
  const query = await streamToDelta(options)
  await query.awaitTermination()
  return (await readTable(path)).numRows
}

const ways: [string, () => KafkaConfig][] = [
  ['SASL PLAIN', () => sasl({ mechanism: 'plain', username: 'alice', password: PASSWORD })],
  ['SCRAM-SHA-256', () => sasl({ mechanism: 'scram-sha-256', username: 'alice', password: 'scram-secret-256' })],
  ['SCRAM-SHA-512', () => sasl({ mechanism: 'scram-sha-512', username: 'alice', password: 'scram-secret-512' })],
  ['a client certificate', () => ({ brokers: kafka.tlsBrokers, ssl: tls })],
]

function sasl(credentials: NonNullable<KafkaConfig['sasl']>): KafkaConfig {
  return { brokers: kafka.saslBrokers, ssl: { ca: tls.ca }, sasl: credentials } as KafkaConfig
}

for (const [name, config] of ways) {
  run(`${name}, over TLS with a private authority${reason}`, async (t) => {
    t.timeout(60_000)
    t.is(await replay(config()), await replay({ brokers: kafka.brokers }))
  })
}

run(`what is wrong is said, without the secret${reason}`, async (t) => {
  t.timeout(120_000)
  const wrong = sasl({ mechanism: 'scram-sha-512', username: 'alice', password: 'not the secret' })
  const refused = await t.throwsAsync(replay(wrong), { code: 'KAFKA_AUTH' })
  t.false(refused.message.includes('not the secret'))
  t.regex(refused.message, /check sasl/)
  const unknown = sasl({ mechanism: 'plain', username: 'nobody', password: 'x-secret' })
  await t.throwsAsync(replay(unknown), { code: 'KAFKA_AUTH' })

  // The authority is not known.
  const credentials = sasl({ mechanism: 'plain', username: 'alice', password: PASSWORD }).sasl
  const untrusted = { brokers: kafka.saslBrokers, ssl: true, sasl: credentials } as KafkaConfig
  const authority = await t.throwsAsync(replay(untrusted), { code: 'KAFKA_UNREACHABLE' })
  t.regex(authority.message, /certificate/i)
  // No TLS on a port that wants it.
  const plain = await t.throwsAsync(replay({ brokers: kafka.saslBrokers }), { code: 'KAFKA_UNREACHABLE' })
  t.regex(plain.message, /TLS \(ssl\)/)
  // No certificate of the client's.
  await t.throwsAsync(replay({ brokers: kafka.tlsBrokers, ssl: { ca: tls.ca } }), { code: 'KAFKA_UNREACHABLE' })
})

run(`a registry with a private authority, which wants a certificate and a token${reason}`, async (t) => {
  t.timeout(60_000)
  const { registry } = await serve(SET)
  const server = createServer({ ...tls, requestCert: true }, async (request, response) => {
    const isKnown = request.headers.authorization === 'Bearer token-secret'
    const answer = isKnown ? await fetch(`${registry.url}${request.url}`) : null
    response.writeHead(answer?.status ?? 401, { 'content-type': 'application/json' }).end(await answer?.text())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const brokers = { brokers: kafka.brokers }
  const auth = { token: 'token-secret' }
  t.is(await replay(brokers, { url, tls, auth }), await replay(brokers))
  t.is(await replay(brokers, { urls: ['http://127.0.0.1:9', url], tls, auth }), await replay(brokers))

  const refused = await t.throwsAsync(replay(brokers, { url, tls, auth: { token: 'wrong-secret' } }), {
    code: 'REGISTRY_AUTH',
  })
  t.false(refused.message.includes('wrong-secret'))
  const untrusted = await t.throwsAsync(replay(brokers, { url, auth }), { code: 'REGISTRY_UNREACHABLE' })
  t.regex(untrusted.message, /certificate/i)
  await t.throwsAsync(replay(brokers, { url, tls: { ca: tls.ca }, auth }), { code: 'REGISTRY_UNREACHABLE' })
})

const bob = () => sasl({ mechanism: 'plain', username: 'bob', password: 'bobs' })

/** Takes one operation on a topic from bob. */
async function deny(operation: number, topic: string): Promise<void> {
  const admin = kafka.client.admin()
  await admin.connect()
  const acl = {
    resourceType: AclResourceTypes.TOPIC,
    resourceName: topic,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: 'User:bob',
    host: '*',
    operation,
    permissionType: AclPermissionTypes.DENY,
  }
  await admin.createAcls({ acl: [acl] })
  await admin.disconnect()
}

/** Three topics with one message each, read by bob. */
async function bobsSource(t: ExecutionContext, name: string, stored: FakeTable) {
  const topics = ['a', 'b', 'c'].map((topic) => `${name}-${topic}`)
  const [a, b, c] = topics as [string, string, string]
  const producer = kafka.client.producer()
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const send = async (of: string[]) => {
    for (const topic of of) await producer.send({ topic, messages: [{ value: topic }] })
  }
  for (const topic of topics) await kafka.createTopic(topic, 1)
  await send(topics)
  const none = new FakeTable()
  const source = new KafkaSource(
    {
      queryName: name,
      kafka: bob(),
      consumer: { metadataMaxAge: 500 },
      workers: 'single',
      topics,
      startingOffsets: 'earliest',
      failOnDataLoss: true,
      trigger: { processingTime: 0, maxDelay: 0 },
      limits: LIMITS,
    },
    (topic) => (topic === b ? stored : none).stored(),
  )
  t.teardown(() => source.stop())
  /** The first and the last topic deliver all that comes. */
  const othersGoOn = async () => {
    await send([a, c])
    for (const topic of [a, c]) {
      const table = new FakeTable()
      await drain(source, table, () => table.values.length === 2, topic)
    }
  }
  return { b, source, othersGoOn }
}

for (const operation of ['READ', 'DESCRIBE'] as const) {
  run(`a topic that the user may not ${operation} any more ends alone, named; the others go on${reason}`, async (t) => {
    t.timeout(120_000)
    const table = new FakeTable()
    const { b, source, othersGoOn } = await bobsSource(t, `lost-${operation}`, table)
    await source.start()
    await drain(source, table, () => table.values.length === 1, b)
    const waiting = source.next(b)
    await deny(AclOperationTypes[operation], b)
    t.like(await t.throwsAsync(waiting), { code: 'KAFKA_AUTH', position: { topic: b } })
    await othersGoOn()
  })

  run(
    `a topic that the user may not ${operation} from the start ends alone where its table has commits, and is refused where not${reason}`,
    async (t) => {
      t.timeout(120_000)
      const table = new FakeTable()
      const { b, source } = await bobsSource(t, `never-${operation}`, table)
      await deny(AclOperationTypes[operation], b)
      t.like(await t.throwsAsync(source.start()), { code: 'KAFKA_AUTH', position: { topic: b } })
      table.commits = 1
      const again = await bobsSource(t, `late-${operation}`, table)
      await deny(AclOperationTypes[operation], again.b)
      await again.source.start()
      t.like(await t.throwsAsync(again.source.next(again.b)), { code: 'KAFKA_AUTH', position: { topic: again.b } })
      await again.othersGoOn()
    },
  )
}
