import test from 'ava'
import { isOffset, lostEntries } from '../../../src/delta/offset-entries.js'
import { Messages } from '../../../src/kafka/messages.js'
import type { OffsetRange } from '../../../src/kafka/micro-batch.js'
import { batchRange, Positions } from '../../../src/stream/table/positions.js'

const message = (offset: number, timestamp: number) => ({
  offset: String(offset),
  timestamp: String(timestamp),
  key: null,
  value: Buffer.from('v'),
})

/** Offsets `first` to `last`, of which those hold a message that are named. */
function range(first: number, last: number, at: [number, number][], resumedAt?: number): OffsetRange {
  const found = { partition: 0, firstOffset: BigInt(first), lastOffset: BigInt(last) }
  const messages = Messages.of(at.map(([offset, timestamp]) => message(offset, timestamp)))
  return { ...found, messages, ...(resumedAt === undefined ? {} : { resumedAt: BigInt(resumedAt) }) }
}

const batch = (...ranges: OffsetRange[]) => ({
  topic: 't',
  ranges,
  numMessages: 0,
  numPartitions: 1,
  numBytes: 0,
})

/** A table: what its commits hold, with the engine's fence. */
class Table {
  readonly stored = new Map<string, bigint>()
  readonly positions = new Positions('q', 't')

  commit(...ranges: OffsetRange[]): string[] {
    const accepted = this.positions.accept(batch(...ranges), true)
    const offsets = this.positions.offsetsFor((accepted?.ranges ?? []).map((range) => batchRange(range)))
    for (const { appId, expected, last, mayFall } of offsets) {
      const stored = this.stored.get(appId) ?? null
      if (stored !== expected || (!mayFall && stored !== null && stored > last)) throw new Error(`FENCED ${appId}`)
      this.stored.set(appId, last)
    }
    this.positions.committed(offsets)
    return [...this.stored].map(([appId, last]) => `${appId}=${last}`).sort()
  }

  get entries() {
    return [...this.stored].map(([appId, version]) => ({ appId, version }))
  }
}

test('the time of the last message stands beside the offset, as long as it is at that offset', (t) => {
  const table = new Table()
  t.deepEqual(
    table.commit(
      range(0, 5, [
        [3, 103],
        [5, 105],
      ]),
    ),
    ['q:t:0:time=105', 'q:t:0=5'],
  )
  t.deepEqual(table.positions.storedOffsets(table.entries).records, new Map([[0, { offset: 5n, timestamp: '105' }]]))
  // A producer with a slow clock.
  t.deepEqual(table.commit(range(6, 6, [[6, 50]])), ['q:t:0:time=50', 'q:t:0=6'])
  // The marker of a transaction is last.
  t.deepEqual(table.commit(range(7, 8, [[7, 107]])), ['q:t:0:time=-1', 'q:t:0=8'])
  t.deepEqual(table.positions.storedOffsets(table.entries).records, new Map())
  t.false(table.positions.lost.size > 0)
})

test('messages that change nothing are kept with their time', (t) => {
  const table = new Table()
  table.commit(range(0, 1, [[1, 101]]))
  const ignored = table.positions.accept(batch(range(2, 4, [[4, 104]])), false)
  table.positions.keep((ignored?.ranges ?? []).map((range) => batchRange(range)))
  t.is(table.positions.done(0), 5n)
  t.deepEqual(table.commit(), ['q:t:0:time=104', 'q:t:0=4'])
})

test('a delete at the end of a partition is kept for the range after it', (t) => {
  const table = new Table()
  const commit = (ranges: OffsetRange[], deletes: [number, bigint][]) => {
    const accepted = table.positions.accept(batch(...ranges), true)
    const offsets = table.positions.offsetsFor(ranges.map((range) => batchRange(range, new Map(deletes))))
    for (const { appId, last } of offsets) table.stored.set(appId, last)
    table.positions.committed(offsets)
    return accepted?.ranges[0]?.afterDelete
  }
  const deleted = () => table.stored.get('q:t:0:deleted')
  t.is(commit([range(0, 5, [[5, 105]])], [[0, 77n]]), undefined)
  t.is(deleted(), 77n)
  const restarted = new Positions('q', 't')
  restarted.reset(table.entries)
  t.is(restarted.accept(batch(range(6, 6, [[6, 106]])), false)?.ranges[0]?.afterDelete, 77n)
  // The batch after that knows by itself.
  t.is(restarted.accept(batch(range(7, 7, [[7, 107]])), false)?.ranges[0]?.afterDelete, undefined)
  // A topic that was made anew.
  restarted.reset(table.entries)
  t.is(restarted.accept(batch(range(6, 6, [[6, 106]], 6)), true)?.ranges[0]?.afterDelete, undefined)
  // Nor does it know what was before a gap.
  restarted.reset(table.entries)
  t.is(restarted.accept(batch(range(6, 20, [[20, 120]], 20)), true)?.ranges[0]?.afterDelete, undefined)
  t.is(commit([range(6, 6, [[6, 106]])], []), 77n)
  t.is(deleted(), -1n)
  t.deepEqual(lostEntries(table.stored), [])
})

test('a loss is remembered', (t) => {
  const table = new Table()
  table.commit(range(0, 1, [[1, 101]]))
  t.deepEqual(table.commit(range(2, 9, [[9, 109]], 8)), ['q:t:0:lost=8', 'q:t:0:time=109', 'q:t:0=9'])
  table.commit(range(10, 10, [[10, 110]]))
  t.deepEqual(table.positions.lost, new Map([[0, 8n]]))
  t.deepEqual(lostEntries(table.stored), [{ appId: 'q:t:0:lost', expected: 8n, last: -1n, mayFall: true }])
  // Made good.
  table.stored.set('q:t:0:lost', -1n)
  table.positions.reset(table.entries)
  t.is(table.positions.lost.size, 0)
  t.deepEqual(lostEntries(table.stored), [])
  t.deepEqual([...table.stored.keys()].filter(isOffset), ['q:t:0'])
})

test('a topic that was made anew begins below what is stored', (t) => {
  const table = new Table()
  table.commit(range(0, 99, [[99, 199]]))
  t.deepEqual(table.commit(range(0, 2, [[2, 902]], 0)), ['q:t:0:lost=0', 'q:t:0:time=902', 'q:t:0=2'])
  t.deepEqual(table.commit(range(3, 3, [[3, 903]])), ['q:t:0:lost=0', 'q:t:0:time=903', 'q:t:0=3'])
  t.is(table.positions.done(0), 4n)
})

test('also where messages that change nothing come first', (t) => {
  const table = new Table()
  table.commit(range(0, 99, [[99, 199]]))
  const ignored = table.positions.accept(batch(range(0, 2, [[2, 902]], 0)), true)
  table.positions.keep((ignored?.ranges ?? []).map((range) => batchRange(range)))
  t.deepEqual(table.commit(range(3, 3, [[3, 903]])), ['q:t:0:lost=0', 'q:t:0:time=903', 'q:t:0=3'])
})
