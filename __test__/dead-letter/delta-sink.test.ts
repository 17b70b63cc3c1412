import { tableFromIPC } from 'apache-arrow'
import test from 'ava'
import { DeltaDeadLetters, type OpenDeadLetterTable } from '../../src/dead-letter/delta-sink.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { silentLogger } from '../../src/log.js'
import { FakeStorage, FakeTable } from '../stream/fakes.js'
import { letter } from './support.js'

function opener(change: { schemaJson?: string; fails?: number; storedKey?: string[] } = {}) {
  const { storedKey } = change
  const properties = storedKey ? { 'kafka2delta.primaryKey': JSON.stringify(storedKey) } : {}
  const opened: FakeTable[] = []
  const keys = new Set<string>()
  const groups: number[] = []
  let fails = change.fails ?? 0
  const open: OpenDeadLetterTable = async ({ uri }) => {
    if (fails-- > 0) throw new KafkaToDeltaError('STORAGE', 'not now')
    const table = new FakeTable(uri, new FakeStorage())
    table.info = async () => ({ exists: true, schemaJson: change.schemaJson ?? null, properties }) as never
    table.merge = async (ipc, { primaryKey } = {}) => {
      keys.add((primaryKey ?? []).join())
      groups.push(tableFromIPC(ipc as Uint8Array).numRows)
      return { version: groups.length } as never
    }
    opened.push(table)
    return table
  }
  return { open, opened, groups, keys }
}

const place = (uri: string, region = 'eu') => ({ uri, storageOptions: { region } })

test('a table is opened with the first letter, shared in the process, and closed with its last sink', async (t) => {
  const { open, opened, groups } = opener()
  const [a, b, other] = ['eu', 'eu', 'us'].map(
    (region) => new DeltaDeadLetters(place('/shared', region), silentLogger, open),
  ) as [DeltaDeadLetters, DeltaDeadLetters, DeltaDeadLetters]
  t.is(a.target, '/shared')
  await a.check()
  await a.write([])
  t.is(opened.length, 0)
  await Promise.all([a.write([letter(1)]), b.write([letter(2)]), a.write([letter(3)])])
  t.is(opened.length, 1)
  await other.write([letter(4)])
  t.is(opened.length, 2)
  t.is(groups.length, 4)
  await a.close()
  await a.close()
  t.false(opened[0]?.closed)
  await b.close()
  t.true(opened[0]?.closed)
  await other.close()
  await b.write([letter(5)])
  t.is(opened.length, 3)
  await b.close()
})

test('a stop ends the waiting for a store that does not answer, and the merge is told', async (t) => {
  let told: AbortSignal | undefined
  const open: OpenDeadLetterTable = async ({ uri }) => {
    const table = new FakeTable(uri, new FakeStorage())
    table.merge = (_, { signal } = {} as never) => {
      told = signal
      return new Promise(() => {})
    }
    return table
  }
  const sink = new DeltaDeadLetters(place('/silent'), silentLogger, open)
  const stopping = new AbortController()
  const writing = sink.write([letter(1)], stopping.signal)
  while (told === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
  t.false(told.aborted)
  stopping.abort()
  await t.throwsAsync(writing, { code: 'CANCELLED' })
  t.true(told.aborted)
})

test('what cannot be opened is opened anew by the next try', async (t) => {
  const { open, opened } = opener({ fails: 1 })
  const [a, b] = [0, 1].map(() => new DeltaDeadLetters(place('/later'), silentLogger, open)) as [
    DeltaDeadLetters,
    DeltaDeadLetters,
  ]
  await Promise.all([a, b].map((sink) => t.throwsAsync(sink.write([letter(1)]), { message: 'not now' })))
  await Promise.all([a.write([letter(1)]), b.write([letter(1)])])
  t.is(opened.length, 1)
  await a.close()
  t.false(opened[0]?.closed)
  await b.close()
  t.true(opened[0]?.closed)
})

test('many letters are several commits of bounded size', async (t) => {
  const { open, groups } = opener()
  const sink = new DeltaDeadLetters(place('/many'), silentLogger, open)
  await sink.write(Array.from({ length: 25_000 }, (_, i) => letter(i % 256, { offset: String(i) })))
  t.deepEqual(groups, [10_000, 10_000, 5_000])
  groups.length = 0
  await sink.write(Array.from({ length: 9 }, (_, i) => letter(i, { value: Buffer.alloc(5 * 2 ** 20) })))
  t.deepEqual(groups, [3, 3, 3])
  await sink.close()
})

test('letters are told apart by position and time, in tables of an older version by position alone', async (t) => {
  const position = ['topic', 'partition', 'offset']
  for (const [storedKey, key] of [
    [undefined, [...position, 'timestamp']],
    [
      [...position, 'timestamp'],
      [...position, 'timestamp'],
    ],
    [position, position],
    // The engine refuses another key than the table's.
    [['id'], [...position, 'timestamp']],
  ] as const) {
    const { open, keys } = opener(storedKey ? { storedKey: [...storedKey] } : {})
    const sink = new DeltaDeadLetters(place('/keyed'), silentLogger, open)
    await sink.write([letter(1)])
    await sink.close()
    t.deepEqual([...keys], [key.join()])
  }
})

test('a table that holds something else is refused', async (t) => {
  const schemaJson = JSON.stringify({ fields: [{ name: 'id' }, { name: 'topic' }] })
  const { open, opened } = opener({ schemaJson })
  const sink = new DeltaDeadLetters(place('/orders'), silentLogger, open)
  const error = await t.throwsAsync(sink.write([letter(1)]), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'TABLE_UNSUPPORTED')
  t.true(opened[0]?.closed)
})
