import { EventEmitter } from 'node:events'
import test from 'ava'
import kafkajs, { type Consumer, type ConsumerConfig, type Kafka, type RetryOptions } from 'kafkajs'
import { ConsumerSession, type SessionHost } from '../../src/kafka/consumer-session.js'
import { optionsFor, startBroker } from './support.js'

/** A consumer of kafkajs that does nothing but end. */
class EndingConsumer extends EventEmitter {
  readonly events = { CRASH: 'crash' }
  retry: RetryOptions | undefined

  readonly kafka = {
    consumer: ({ retry }: ConsumerConfig) => {
      this.retry = retry as RetryOptions
      return this as unknown as Consumer
    },
  } as Kafka

  /** As kafkajs does: it asks only where the first cause may pass. */
  async end(error: Error, first: { retriable: boolean }): Promise<void> {
    if (first.retriable) await (this.retry as ConsumerConfig['retry'])?.restartOnFailure?.(error)
    this.emit('crash', { payload: { error } })
  }
}

const errors = {
  // Its type takes no message, and its constructor needs one.
  coordinator: () =>
    Object.assign(new Error('Failed to find group coordinator'), { name: 'KafkaJSGroupCoordinatorNotFound' }),
  closed: () => new kafkajs.KafkaJSConnectionError('Connection error: ECONNREFUSED'),
  invalid: () => new kafkajs.KafkaJSNonRetriableError('a defect'),
}

for (const [what, error, retriable, mayPass] of [
  ['the group’s coordinator that no broker tells', errors.coordinator(), false, true],
  ['a connection that ended', errors.closed(), true, true],
  ['what is no outage', errors.invalid(), false, false],
] as const) {
  test(`a consumer that ends by ${what} ${mayPass ? 'begins again' : 'ends for good'}`, async (t) => {
    const broker = await startBroker(t)
    const consumer = new EndingConsumer()
    const crashed: boolean[] = []
    const host = { crashed: (_error: Error, mayPass: boolean) => crashed.push(mayPass) } as unknown as SessionHost
    new ConsumerSession(consumer.kafka, optionsFor(broker), null, host)
    const wrapped = Object.assign(new Error(error.message, { cause: error }), { retriable: false })
    await consumer.end(wrapped, { retriable })
    t.deepEqual(crashed, [mayPass])
  })
}

test('a caller who does not want a consumer to begin again is heard', async (t) => {
  const broker = await startBroker(t)
  const consumer = new EndingConsumer()
  const crashed: boolean[] = []
  const host = { crashed: (_error: Error, mayPass: boolean) => crashed.push(mayPass) } as unknown as SessionHost
  const options = optionsFor(broker, { consumer: { retry: { restartOnFailure: async () => false } } })
  new ConsumerSession(consumer.kafka, options, null, host)
  await consumer.end(errors.closed(), { retriable: true })
  t.deepEqual(crashed, [false])
})
