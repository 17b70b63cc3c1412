import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { readSparkCheckpoint } from '../../src/stream/spark-checkpoint.js'

const META = '{"batchWatermarkMs":0,"batchTimestampMs":1700000000000,"conf":{"spark.sql.shuffle.partitions":"200"}}'

/** A checkpoint as Spark 3.5 leaves it on a disk: with checksums, a file on its way, and a batch that was not finished. */
function checkpoint(offsets: Record<string, string>, commits: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-checkpoint-'))
  for (const name of ['offsets', 'commits', 'sources/0']) mkdirSync(join(folder, name), { recursive: true })
  writeFileSync(join(folder, 'metadata'), '{"id":"4a1c"}')
  for (const [batch, lines] of Object.entries(offsets)) {
    writeFileSync(join(folder, 'offsets', batch), `v1\n${META}\n${lines}`)
    writeFileSync(join(folder, 'offsets', `.${batch}.crc`), 'crc')
  }
  for (const batch of commits) {
    writeFileSync(join(folder, 'commits', batch), 'v1\n{"nextBatchWatermarkMs":0}')
    writeFileSync(join(folder, 'commits', `.${batch}.crc`), 'crc')
  }
  writeFileSync(join(folder, 'commits', '.11.1b2c.tmp'), '')
  return folder
}

const plain = (offsets: Map<string, Map<number, bigint>>) =>
  Object.fromEntries([...offsets].map(([topic, of]) => [topic, Object.fromEntries(of)]))

test('the last committed batch counts, by number', async (t) => {
  const folder = checkpoint(
    {
      9: '{"a":{"0":1}}',
      10: '{"a":{"0":9007199254740993,"12":0},"b.c":{"0":5}}\n-\n{"d":{"1":3,"0":2}}',
      11: '{"a":{"0":99}}',
    },
    ['9', '10'],
  )
  t.deepEqual(plain(await readSparkCheckpoint(folder, {})), {
    a: { 0: 9007199254740993n, 12: 0n },
    'b.c': { 0: 5n },
    d: { 0: 2n, 1: 3n },
  })
  rmSync(folder, { recursive: true })
})

test('what is no checkpoint of Kafka says so', async (t) => {
  const wrong = async (offsets: Record<string, string>, commits: string[], message: RegExp) => {
    const folder = checkpoint(offsets, commits)
    const error = await t.throwsAsync(readSparkCheckpoint(folder, {}), { code: 'CONFIG_INVALID' })
    t.regex(error.message, message)
    rmSync(folder, { recursive: true })
  }
  await wrong({ 0: '{"a":{"0":1}}' }, [], /no committed batch/)
  await wrong({ 0: '17' }, ['0'], /no offsets of Kafka/)
  await wrong({ 0: '{"a":{"zero":1}}' }, ['0'], /no offsets of Kafka/)
  await wrong({ 0: '{"a":' }, ['0'], /not JSON/)
  await wrong({ 0: '-' }, ['0'], /no offsets of Kafka/)
  const folder = checkpoint({}, ['3'])
  // The two folders were not copied together.
  await t.throwsAsync(readSparkCheckpoint(folder, {}))
  await t.throwsAsync(readSparkCheckpoint(join(folder, 'nothing'), {}), { code: 'CONFIG_INVALID' })
  rmSync(folder, { recursive: true })
})
