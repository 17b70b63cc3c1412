/**
 * Logins on a real broker: OAUTHBEARER by tokens of a real OpenID provider that hold for 20 seconds, SCRAM and PLAIN.
 * LOGIN_SECONDS says for how long the stream runs.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import avro from 'avsc'
import type { ISocketFactory } from 'kafkajs'
import { check } from '../../src/check/check.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { type StreamingQuery, type StreamOptions, streamToDelta } from '../../src/index.js'
import { createLogger } from '../../src/log.js'
import { resolveOptions } from '../../src/options/resolve.js'
import type { SaslOptions } from '../../src/options/sasl.js'
import { readTable } from '../helpers/read.js'
import { AUDIENCE, OidcServer, SECRET } from './support/oidc-server.js'
import { kafkaJars, NO_KAFKA, RealKafka } from './support/real-kafka.js'

const TOKEN_SECONDS = 20
const SECONDS = Number(process.env.LOGIN_SECONDS ?? 45)
const PASSWORD = 'plain-secret'
const TOPIC = 'shop.public.users'
const KEY = { type: 'record', name: 'Key', fields: [{ name: 'id', type: 'int' }] } as const
const VALUE = {
  type: 'record',
  name: 'Value',
  fields: [
    { name: 'id', type: 'int' },
    { name: '__deleted', type: 'string' },
  ],
} as const

const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-oauthbearer-'))
const jars = kafkaJars()
const run = jars ? test.serial : test.serial.skip
const reason = jars ? '' : ` (${NO_KAFKA})`

let provider: OidcServer
let registry: EmbeddedRegistry
let kafka: RealKafka
let sent = 0

test.before(async (t) => {
  if (!jars) return
  t.timeout(180_000)
  provider = await OidcServer.start(TOKEN_SECONDS)
  registry = await EmbeddedRegistry.start()
  registry.setSchema(1, KEY, `${TOPIC}-key`)
  registry.setSchema(2, VALUE, `${TOPIC}-value`)
  const jaas = (kind: string, more = '') => `org.apache.kafka.common.security.${kind} required${more};`
  const handler = 'org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler'
  const listener = 'listener.name.sasl_plaintext'
  kafka = await RealKafka.start(jars, join(folder, 'kafka'), {
    listeners: ['SASL_PLAINTEXT'],
    properties: [
      'sasl.enabled.mechanisms=OAUTHBEARER,PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
      `${listener}.plain.sasl.jaas.config=${jaas('plain.PlainLoginModule', ` user_alice="${PASSWORD}"`)}`,
      `${listener}.scram-sha-256.sasl.jaas.config=${jaas('scram.ScramLoginModule')}`,
      `${listener}.scram-sha-512.sasl.jaas.config=${jaas('scram.ScramLoginModule')}`,
      `${listener}.oauthbearer.sasl.jaas.config=${jaas('oauthbearer.OAuthBearerLoginModule')}`,
      `${listener}.oauthbearer.sasl.server.callback.handler.class=${handler}`,
      `sasl.oauthbearer.jwks.endpoint.url=${provider.jwksUrl}`,
      `sasl.oauthbearer.expected.audience=${AUDIENCE}`,
      `sasl.oauthbearer.expected.issuer=${provider.url}`,
      // A token that has ended is refused at once.
      'sasl.oauthbearer.clock.skew.seconds=0',
      `${listener}.oauthbearer.connections.max.reauth.ms=${TOKEN_SECONDS * 1000}`,
    ],
    java: [`-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=${provider.jwksUrl}`],
    users: [256, 512].map((bits) => `SCRAM-SHA-${bits}=[name=alice,password=scram-secret-${bits}]`),
  })
  await kafka.createTopic(TOPIC, 1)
})

test.after.always(async () => {
  await kafka?.stop()
  await registry?.close()
  provider?.close()
  rmSync(folder, { recursive: true, force: true })
})

const types = [
  avro.Type.forSchema(KEY as unknown as avro.Schema),
  avro.Type.forSchema(VALUE as unknown as avro.Schema),
] as const

/** Sends one more row. */
async function send(producer: ReturnType<RealKafka['client']['producer']>): Promise<void> {
  const id = sent++
  const header = (schema: number) => Buffer.from([0, 0, 0, 0, schema])
  const key = Buffer.concat([header(1), types[0].toBuffer({ id })])
  const value = Buffer.concat([header(2), types[1].toBuffer({ id, __deleted: 'false' })])
  await producer.send({ topic: TOPIC, messages: [{ key, value }] })
}

async function makeProducer(t: ExecutionContext) {
  const producer = kafka.client.producer()
  await producer.connect()
  t.teardown(() => producer.disconnect())
  return producer
}

const oauth = (more: object = {}): SaslOptions => ({
  mechanism: 'oauthbearer',
  tokenUrl: provider.tokenUrl,
  clientId: 'basic',
  clientSecret: SECRET,
  ...more,
})

let tables = 0

function optionsFor(sasl: SaslOptions, more: Partial<StreamOptions> = {}): StreamOptions {
  return {
    queryName: 'logins',
    kafka: { brokers: kafka.saslBrokers, sasl },
    schemaRegistry: { url: registry.url },
    tables: { [TOPIC]: { path: join(folder, 'tables', String(tables++)) } },
    ...more,
  }
}

/** Lines of the log of at least this level, as they are written. */
function logOf(level: 'warn' | 'debug') {
  const lines: string[] = []
  const write = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(String(chunk))
      done()
    },
  })
  return { lines, logger: createLogger(level, write) }
}

/** Runs until all that was sent is in the table. */
async function replay(sasl: SaslOptions): Promise<number> {
  const options = optionsFor(sasl, { trigger: { availableNow: true } })
  const query = await streamToDelta(options)
  await query.awaitTermination()
  return (await readTable(options.tables[TOPIC]?.path ?? '')).numRows
}

run(`a stream runs on over the ends of many tokens, on the same connections${reason}`, async (t) => {
  t.timeout((SECONDS + 120) * 1000)
  const producer = await makeProducer(t)
  await send(producer)
  let opened = 0
  const socketFactory: ISocketFactory = ({ host, port, onConnect }) => {
    opened++
    return net.connect({ host, port }, onConnect)
  }
  const sasl = oauth({ extensions: { logicalCluster: 'lkc-1' } })
  const options = optionsFor(sasl, { kafka: { brokers: kafka.saslBrokers, sasl, socketFactory } })
  const { lines, logger } = logOf('warn')
  const asked = provider.asked
  const query = await streamToDelta(options, { logger })
  t.teardown(() => query.stop())
  await query.processAllAvailable()
  // What a broker says that has just begun.
  lines.length = 0
  const openedAtStart = opened
  const until = Date.now() + SECONDS * 1000
  while (Date.now() < until) {
    await send(producer)
    await sleep(100)
  }
  await query.processAllAvailable()
  const tokens = provider.asked - asked
  t.log(`${SECONDS} s, ${sent} rows, ${tokens} tokens, ${opened - openedAtStart} connections opened meanwhile`)
  t.deepEqual(lines, [])
  t.is(opened, openedAtStart)
  t.true(tokens >= Math.floor(SECONDS / TOKEN_SECONDS), String(tokens))
  await query.stop()
  t.is((await readTable(options.tables[TOPIC]?.path ?? '')).numRows, sent)
})

run(`a token endpoint that is down is waited for, and told; then the stream goes on${reason}`, async (t) => {
  t.timeout(180_000)
  const producer = await makeProducer(t)
  await send(producer)
  const options = optionsFor(oauth({ scope: 'stream' }))
  const query = await streamToDelta(options)
  t.teardown(() => query.stop())
  await query.processAllAvailable()
  provider.failing = 503
  t.teardown(() => {
    provider.failing = null
  })
  const waiting = await untilWaiting(query, provider.tokenUrl)
  t.is(waiting.code, 'KAFKA_UNREACHABLE')
  t.true(waiting.message.includes(`cannot get a token from ${provider.tokenUrl}`), waiting.message)
  t.false(waiting.message.includes(SECRET))
  provider.failing = null
  await send(producer)
  await query.processAllAvailable()
  await query.stop()
  t.is((await readTable(options.tables[TOPIC]?.path ?? '')).numRows, sent)
})

/** What a table waits for, as soon as it says so of this. */
async function untilWaiting(query: StreamingQuery, text: string) {
  for (;;) {
    const found = Object.values(query.status.tables).find(({ waitingFor }) => waitingFor)?.waitingFor
    if (found?.message.includes(text)) return found
    await sleep(100)
  }
}

run(`what is wrong with a token login is said, without the secret${reason}`, async (t) => {
  t.timeout(120_000)
  const secret = await t.throwsAsync(replay(oauth({ clientSecret: 'not the s3cret' })), { code: 'KAFKA_AUTH' })
  t.regex(secret.message, new RegExp(`cannot get a token from ${provider.tokenUrl}: .* \\(check kafka\\.sasl\\)`))
  t.false(secret.message.includes('not the s3cret'))

  // Its tokens are signed by other keys.
  const stranger = await OidcServer.start(TOKEN_SECONDS)
  t.teardown(() => stranger.close())
  const refused = await t.throwsAsync(replay(oauth({ tokenUrl: stranger.tokenUrl })), { code: 'KAFKA_AUTH' })
  t.regex(refused.message, /OAUTHBEARER authentication failed: .*invalid_token/)

  stranger.failing = 'silent'
  const silent = await t.throwsAsync(replay(oauth({ tokenUrl: stranger.tokenUrl, scope: 'stream' })), {
    code: 'KAFKA_UNREACHABLE',
  })
  t.true(silent.message.includes(`cannot get a token from ${stranger.tokenUrl}: no answer within 5 seconds`))
})

run(`check tells whether the login works${reason}`, async (t) => {
  t.timeout(60_000)
  const brokerOf = async (sasl: SaslOptions) => {
    const { systems } = await check(resolveOptions(optionsFor(sasl)))
    const found = systems.find(({ kind }) => kind === 'broker')
    t.false(JSON.stringify(found).includes(SECRET))
    return found
  }
  t.like(await brokerOf(oauth()), { ok: true })
  const wrong = await brokerOf(oauth({ clientId: 'nobody' }))
  t.like(wrong, { ok: false, finding: { code: 'KAFKA_AUTH' } })
  t.true(wrong?.finding?.message.includes(provider.tokenUrl))
})

for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const) {
  const right = mechanism === 'plain' ? PASSWORD : `scram-secret-${mechanism.slice(-3)}`
  run(`${mechanism} with the right password and with a wrong one${reason}`, async (t) => {
    t.timeout(60_000)
    await send(await makeProducer(t))
    t.is(await replay({ mechanism, username: 'alice', password: right }), sent)
    const wrong = await t.throwsAsync(replay({ mechanism, username: 'alice', password: 'not the s3cret' }), {
      code: 'KAFKA_AUTH',
    })
    t.false(wrong.message.includes('not the s3cret'))
  })
}
