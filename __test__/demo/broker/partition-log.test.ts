import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { crc32c } from '../../../src/demo/broker/crc32c.js'
import { EmbeddedBroker } from '../../../src/demo/broker/index.js'
import { PartitionLog } from '../../../src/demo/broker/partition-log.js'
import { KafkaErrorCode } from '../../../src/demo/broker/protocol.js'
import { buildBatch, buildEmptyBatch } from '../../../src/demo/broker/record-batch.js'
import { client, consume } from '../support.js'

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), 'kafka2delta-log-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** A batch as an idempotent producer sends it. */
function produced(sequence: number, count: number): Buffer {
  const records = Array.from({ length: count }, () => ({ key: null, value: Buffer.from('x'), timestamp: 1 }))
  const batch = buildBatch(records, 0)
  batch.writeBigInt64BE(7n, 43)
  batch.writeInt16BE(0, 51)
  batch.writeInt32BE(sequence, 53)
  batch.writeUInt32BE(crc32c(batch, 21), 17)
  return batch
}

test('a batch that a producer repeats is kept once and gets its old offset', (t) => {
  const log = new PartitionLog(null)
  t.is(log.appendProduced(produced(0, 3)), 0)
  t.is(log.appendProduced(produced(3, 2)), 3)
  t.is(log.appendProduced(produced(0, 3)), 0)
  t.is(log.appendProduced(produced(3, 2)), 3)
  t.is(log.nextOffset, 5)
  t.like(
    t.throws(() => log.appendProduced(produced(9, 1))),
    { code: KafkaErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER },
  )
  t.is(log.appendProduced(produced(5, 1)), 5)
})

test('a read begins with the batch that holds the offset, and keeps to the limit', (t) => {
  const log = new PartitionLog(null)
  const batch = (offset: number) => buildBatch([{ key: null, value: Buffer.alloc(100), offset, timestamp: 5 }], 0)
  for (const offset of [0, 1, 10, 11]) log.appendAt(batch(offset))
  log.appendAt(buildEmptyBatch(12, 5))
  const bases = (offset: number, maxBytes = 1e6, atLeastOne = true) =>
    log.read(offset, maxBytes, atLeastOne).map((bytes) => Number(bytes.readBigInt64BE(0)))
  t.deepEqual(bases(0), [0, 1, 10, 11, 12])
  t.deepEqual(bases(5), [10, 11, 12])
  t.deepEqual(bases(16), [12])
  t.deepEqual(bases(17), [])
  t.deepEqual(bases(0, 1), [0])
  t.deepEqual(bases(0, 1, false), [])
  t.deepEqual(bases(0, 2 * batch(0).length), [0, 1])
  t.like(
    t.throws(() => bases(18)),
    { code: KafkaErrorCode.OFFSET_OUT_OF_RANGE },
  )
  log.moveLogStart(11)
  t.is(log.batchCount, 2)
  t.like(
    t.throws(() => bases(10)),
    { code: KafkaErrorCode.OFFSET_OUT_OF_RANGE },
  )
  t.deepEqual(log.findByTimestamp(5), { offset: 11, timestamp: 5 })
  t.is(log.findByTimestamp(6), null)
  log.moveLogStart(100)
  t.deepEqual([log.logStart, log.nextOffset, log.batchCount], [100, 100, 0])
})

test('a damaged file is named with the place of the damage', (t) => {
  const file = join(folder(t), '0.log')
  const log = new PartitionLog(file)
  log.appendAt(buildBatch([{ key: null, value: Buffer.from('one') }], 0))
  const second = readFileSync(file).length
  log.appendAt(buildBatch([{ key: null, value: Buffer.from('two') }], 1))
  log.close()
  const bytes = readFileSync(file)
  bytes.writeUInt8(bytes.readUInt8(second + 40) ^ 1, second + 40)
  writeFileSync(file, bytes)
  t.throws(() => new PartitionLog(file), { message: new RegExp(`0\\.log is damaged at byte ${second}`) })
})

test('what was appended before a kill -9 is there afterwards', async (t) => {
  const dataDir = folder(t)
  const script = fileURLToPath(new URL('./broker-process.ts', import.meta.url))
  const child: ChildProcess = spawn(process.execPath, ['--import=tsx', script, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  const told = [-1, -1]
  if (!child.stdout) return t.fail('no output')
  for await (const line of createInterface({ input: child.stdout })) {
    const [partition = 0, offset = 0] = line.split(' ').map(Number)
    told[partition] = offset
    if (offset === 300) child.kill('SIGKILL')
  }
  await exit
  const broker = await EmbeddedBroker.start({ dataDir })
  t.teardown(() => broker.close())
  const highs = [0, 1].map((partition) => broker.offsets('t', partition).high)
  for (const partition of [0, 1]) t.true((highs[partition] ?? 0) > (told[partition] ?? 0))
  const total = (highs[0] ?? 0) + (highs[1] ?? 0)
  const received = await consume(client(broker), ['t'], total)
  t.is(new Set(received.map(({ message }) => String(message.value))).size, total)
  return undefined
})
