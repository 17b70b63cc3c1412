/** A broker in a process of its own, for a test to kill: appends to a topic and tells each offset on its output. */

import { EmbeddedBroker } from '../../../src/demo/broker/index.js'

const dataDir = process.argv[2]
if (dataDir === undefined) throw new Error('usage: broker-process <folder>')

const broker = await EmbeddedBroker.start({ dataDir })
broker.createTopic('t', 2)
for (let i = 0; ; i++) {
  const { last } = broker.append('t', i % 2, [{ key: null, value: Buffer.from(`v${i}`) }])
  process.stdout.write(`${i % 2} ${last}\n`)
  if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
}
