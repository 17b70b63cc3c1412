import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import kafkajs from 'kafkajs'
import type { DeadLetter } from '../../src/dead-letter/dead-letter.js'
import { SendError, type SessionOptions } from '../../src/dead-letter/kafka-session.js'
import { KafkaDeadLetters } from '../../src/dead-letter/kafka-sink.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { silentLogger } from '../../src/log.js'
import { letter } from './support.js'

const options = (brokers: string[], topic = 'dead') => ({
  kafka: { brokers },
  queryName: 'q',
  topic,
  logger: silentLogger,
})

type Write = (letters: readonly DeadLetter[], session: number) => Promise<void>

/** A sink on sessions that do as told. */
function faked(write: Write) {
  const sessions: SessionOptions[] = []
  const closed: number[] = []
  const sink = new KafkaDeadLetters(options(['localhost:1']), (given) => {
    const n = sessions.push(given)
    return {
      write: (letters) => write(letters, n),
      close: async () => {
        closed.push(n)
      },
    }
  })
  return { sink, sessions, closed }
}

async function failure(t: ExecutionContext, promise: Promise<unknown>): Promise<KafkaToDeltaError> {
  return (await t.throwsAsync(promise, { instanceOf: KafkaToDeltaError })) as KafkaToDeltaError
}

const protocolError = (type: string, code = 1) =>
  new kafkajs.KafkaJSProtocolError(Object.assign(new Error(`kafka says ${type}`), { type, code, retriable: false }))

test('writes are one after another, by one session of one transactional id', async (t) => {
  let running = 0
  const { sink, sessions, closed } = faked(async () => {
    t.is(++running, 1)
    await sleep(5)
    running--
  })
  await Promise.all([sink.write([letter(1)]), sink.write([letter(2)]), sink.write([])])
  t.is(sessions.length, 1)
  t.like(sessions[0], { topic: 'dead', transactionalId: 'kafka2delta-q-dead-letter-dead', groupId: 'q-dead-letter' })
  await sink.close()
  t.deepEqual(closed, [1])
})

test('after an error a new session asks what the topic holds', async (t) => {
  const { sink, sessions, closed } = faked(async (_, session) => {
    if (session === 1) throw new kafkajs.KafkaJSConnectionError('lost', { broker: 'b' })
  })
  const error = await failure(t, sink.write([letter(1)]))
  t.is(error.code, 'KAFKA_UNREACHABLE')
  t.true(error.canRetry)
  t.deepEqual(closed, [1])
  await sink.write([letter(1)])
  t.is(sessions.length, 2)
})

for (const [type, code, expected] of [
  ['INVALID_PRODUCER_EPOCH', 47, 'FENCED'],
  ['KAFKAJS_UNKNOWN_ERROR_CODE', 90, 'FENCED'],
  ['INVALID_PRODUCER_ID_MAPPING', 49, 'KAFKA_UNREACHABLE'],
  ['UNKNOWN_TOPIC_OR_PARTITION', 3, 'TOPIC_NOT_FOUND'],
  ['TRANSACTIONAL_ID_AUTHORIZATION_FAILED', 53, 'KAFKA_AUTH'],
  ['MESSAGE_TOO_LARGE', 10, 'BAD_RECORD'],
] as const) {
  test(`${type} (${code}) is ${expected}`, async (t) => {
    const { sink } = faked(async (letters) => {
      throw new SendError(protocolError(type, code), letters[0] as DeadLetter)
    })
    const error = await failure(t, sink.write([letter(7)]))
    t.is(error.code, expected)
    t.regex(error.message, /dead/)
    if (expected === 'BAD_RECORD') t.like(error.position, { topic: 'a', partition: 0, offset: '7' })
  })
}

test('a stop does not wait for a broker that does not answer', async (t) => {
  t.timeout(20_000)
  const { sink } = faked(() => new Promise(() => {}))
  const stop = new AbortController()
  const written = failure(t, sink.write([letter(1)], stop.signal))
  stop.abort()
  const begun = performance.now()
  t.is((await written).code, 'KAFKA_UNREACHABLE')
  t.true(performance.now() - begun < 8_000)
})

test('a stop lets a write under way come to its end', async (t) => {
  const { sink } = faked(async () => void (await sleep(100)))
  const stop = new AbortController()
  const written = sink.write([letter(1)], stop.signal)
  stop.abort()
  await t.notThrowsAsync(written)
})

test('check: the topic exists, is created by the broker, or is missing', async (t) => {
  t.timeout(60_000)
  const strict = await EmbeddedBroker.start()
  const lax = await EmbeddedBroker.start({ autoCreateTopics: true })
  t.teardown(() => Promise.all([strict.close(), lax.close()]))
  strict.createTopic('dead', 1)
  await new KafkaDeadLetters(options(strict.brokers)).check()
  await new KafkaDeadLetters(options(lax.brokers)).check()
  const missing = await failure(t, new KafkaDeadLetters(options(strict.brokers, 'none')).check())
  t.is(missing.code, 'TOPIC_NOT_FOUND')
  t.is(missing.position.topic, 'none')
  const nobody = await failure(t, new KafkaDeadLetters(options(['127.0.0.1:9'])).check())
  t.is(nobody.code, 'KAFKA_UNREACHABLE')
})
