/** Apache Kafka itself, one broker on free ports of the loopback interface, its data in a folder of its own. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CompressionTypes, type IHeaders, Kafka, logLevel } from 'kafkajs'
import { installedKafka } from '../../../scripts/stack/install.mjs'
import { VERSIONS } from '../../../scripts/stack/settings.mjs'
import { readFixtureTopic } from '../../../src/demo/fixtures.js'
import { freePort } from '../../helpers/free-port.js'

/** The folder of a version's jars, or null where Java or the jars are missing: `npm test` fetches them. */
export function kafkaJars(version: string = VERSIONS.kafka): string | null {
  return installedKafka(version)
}

export const NO_KAFKA = 'needs Java 17 and Maven: run it with `npm test`'

const HOST = '127.0.0.1'
const START_TIMEOUT_MS = 90_000

/** Server properties of listeners, and SCRAM users as `kafka-storage format --add-scram` has them. */
export interface Security {
  properties: string[]
  users: string[]
  /** Default: SASL_SSL and SSL. */
  listeners?: readonly ('SASL_SSL' | 'SSL' | 'SASL_PLAINTEXT')[]
  /** System properties. */
  java?: readonly string[]
}

export class RealKafka {
  readonly brokers: string[]
  /** A login, with TLS where the listener has it. */
  readonly saslBrokers: string[]
  /** TLS, and a certificate of the client's. */
  readonly tlsBrokers: string[]
  readonly client: Kafka
  readonly #child: ChildProcess
  #output = ''

  private constructor(child: ChildProcess, port: number, guarded: readonly string[]) {
    this.#child = child
    const of = (protocol: RegExp) => guarded.filter((one) => protocol.test(one)).map((one) => one.replace(protocol, ''))
    this.saslBrokers = of(/^SASL_\w+:\/\//)
    this.tlsBrokers = of(/^SSL:\/\//)
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (text) => {
        this.#output = (this.#output + text).slice(-4000)
      })
    }
    this.brokers = [`${HOST}:${port}`]
    this.client = new Kafka({ brokers: this.brokers, logLevel: logLevel.NOTHING, retry: { retries: 3 } })
  }

  /**
   * @param security a listener beside the plain one, as users have it
   * @param heap of the broker, which also bounds its buffers: each of its threads keeps one of the largest message
   */
  static async start(jars: string, folder: string, security?: Security, heap = '384m'): Promise<RealKafka> {
    const [port, controller] = [await freePort(), await freePort()]
    mkdirSync(folder, { recursive: true })
    const guarded: string[] = []
    for (const protocol of security ? (security.listeners ?? ['SASL_SSL', 'SSL']) : []) {
      guarded.push(`${protocol}://${HOST}:${await freePort()}`)
    }
    const properties = join(folder, 'kafka.properties')
    const lines = [
      'process.roles=broker,controller',
      'node.id=1',
      `controller.quorum.voters=1@${HOST}:${controller}`,
      `listeners=${[`PLAINTEXT://${HOST}:${port}`, ...guarded, `CONTROLLER://${HOST}:${controller}`].join(',')}`,
      `advertised.listeners=${[`PLAINTEXT://${HOST}:${port}`, ...guarded].join(',')}`,
      'controller.listener.names=CONTROLLER',
      'inter.broker.listener.name=PLAINTEXT',
      'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT',
      `log.dirs=${join(folder, 'data')}`,
      'offsets.topic.replication.factor=1',
      'offsets.topic.num.partitions=1',
      'transaction.state.log.replication.factor=1',
      'transaction.state.log.min.isr=1',
      'transaction.state.log.num.partitions=1',
      'group.initial.rebalance.delay.ms=0',
      'auto.create.topics.enable=false',
      // So that a compacted topic is compacted while a test waits.
      'log.cleaner.backoff.ms=200',
      'log.retention.check.interval.ms=500',
      'log.initial.task.delay.ms=500',
      ...(security?.properties ?? []),
    ]
    writeFileSync(properties, lines.join('\n'))
    const classPath = ['-cp', join(jars, '*')]
    const id = `k${randomBytes(16).toString('base64url').slice(1, 21)}A`
    const scram = (security?.users ?? []).flatMap((user) => ['--add-scram', user])
    const format = spawnSync('java', [
      ...classPath,
      'kafka.tools.StorageTool',
      'format',
      '-t',
      id,
      '-c',
      properties,
      ...scram,
    ])
    if (format.status !== 0) throw new Error(`Kafka's storage cannot be formatted: ${format.stderr}${format.stdout}`)
    const java = [
      '-Xms128m',
      `-Xmx${heap}`,
      '-XX:+UseSerialGC',
      ...(security?.java ?? []),
      ...classPath,
      'kafka.Kafka',
      properties,
    ]
    const kafka = new RealKafka(spawn('java', java, { stdio: ['ignore', 'pipe', 'pipe'] }), port, guarded)
    await kafka.#untilReady()
    return kafka
  }

  async #untilReady(): Promise<void> {
    const until = Date.now() + START_TIMEOUT_MS
    for (;;) {
      if (this.#child.exitCode !== null) throw new Error(`Kafka ended: ${this.#output}`)
      const admin = this.client.admin()
      try {
        await admin.connect()
        await admin.listTopics()
        return
      } catch (error) {
        if (Date.now() > until) throw new Error(`Kafka does not answer: ${this.#output}`, { cause: error })
        await sleep(500)
      } finally {
        await admin.disconnect().catch(() => {})
      }
    }
  }

  async createTopic(topic: string, numPartitions: number, config: Record<string, string> = {}): Promise<void> {
    const admin = this.client.admin()
    await admin.connect()
    // Captured messages are older than the default retention.
    const configEntries = Object.entries({ 'retention.ms': '-1', ...config }).map(([name, value]) => ({ name, value }))
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, configEntries }] })
    // Kafka answers before every request can use the topic.
    for (let tries = 0; ; tries++) {
      try {
        if ((await admin.fetchTopicOffsets(topic)).length === numPartitions) break
      } catch (error) {
        if (tries > 50) throw error
      }
      await sleep(100)
    }
    await admin.disconnect()
  }

  /** Produces a captured topic: partitions, timestamps, keys, values and headers as they were. */
  async produceCaptured(dir: string, topic: string, compression = CompressionTypes.None): Promise<void> {
    const messages = capturedMessages(dir, topic)
    await this.createTopic(topic, Math.max(...messages.map((m) => m.partition)) + 1)
    const producer = this.client.producer()
    await producer.connect()
    await producer.send({ topic, messages, compression, acks: -1 })
    await producer.disconnect()
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), 20_000)
    await ended
    clearTimeout(killer)
  }
}

/** A captured topic as KafkaJS takes messages. */
export function capturedMessages(dir: string, topic: string) {
  const bytes = (text: string | null) => (text === null ? null : Buffer.from(text, 'base64'))
  return readFixtureTopic(dir, topic).map((m) => {
    const headers: IHeaders = {}
    for (const [name, value] of Object.entries(m.headers)) {
      if (typeof value === 'string') headers[name] = Buffer.from(value, 'base64')
    }
    return {
      partition: m.partition,
      timestamp: String(m.timestamp),
      key: bytes(m.key_b64),
      value: bytes(m.value_b64),
      headers,
    }
  })
}
