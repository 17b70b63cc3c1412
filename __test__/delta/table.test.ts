import {
  Int64,
  RecordBatch,
  Table,
  tableFromArrays,
  tableFromIPC,
  tableToIPC,
  Utf8,
  vectorFromArray,
} from 'apache-arrow'
import test from 'ava'
import { causes, fromNative } from '../../src/delta/addon.js'
import type { NativeModule, NativeTable } from '../../src/delta/native-api.js'
import { DeltaTable, type MergeResult } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { NO_FIGURES } from '../helpers/figures.js'

const result: MergeResult = {
  ...NO_FIGURES,
  version: 0,
  numRowsUpserted: 1,
  addedColumns: [],
  widenedColumns: [],
  notes: [],
  indexBytes: 0,
  peakBytes: 0,
  timings: { collapse: 0, locate: 0, fetch: 0, write: 0, commit: 0, total: 0 },
}

/** As the addon gives it. */
const resultText = JSON.stringify(result)

/** The addon's shape, with the given parts of a table. */
function addon(parts: Partial<NativeTable>, opened: unknown[] = []): NativeModule {
  const info = async () => JSON.stringify({ version: 3, properties: {}, offsets: { 'q:t:0': '9007199254740993' } })
  return {
    openTable: async (options) => {
      opened.push(JSON.parse(options))
      return {
        info,
        refresh: info,
        merge: async () => resultText,
        deleteWhere: async () => resultText,
        compact: async () => 'null',
        checkpoint: unused,
        vacuum: unused,
        renewStore: unused,
        close: async () => {},
        ...parts,
      }
    },
    listObjects: async () => [],
    readObject: async () => new Uint8Array(),
    tableHistory: async () => [],
    limitMemory: () => {},
    heldMemory: () => '{}',
    scanTable: unused,
    tableChanges: unused,
  }
}

const unused = async () => {
  throw new Error('not called')
}

const nativeError = (code: string, message: string, extra: object = {}) =>
  Object.assign(new Error(message), { code, ...extra })

test('the addon gets complete options', async (t) => {
  const opened: unknown[] = []
  await DeltaTable.open({ path: 's3://b/t', primaryKey: ['id'] }, addon({}, opened))
  t.deepEqual(opened[0], {
    uri: 's3://b/t',
    storageOptions: {},
    primaryKey: ['id'],
    additionalCols: [],
    partitionCols: [],
    tableProperties: {},
    writeMode: 'upsert',
    mergeMode: 'auto',
    schemaEvolution: 'add',
    onMissingValue: 'null',
    targetFileSize: 128 * 2 ** 20,
    maxRewriteBytes: 10 * 2 ** 30,
    rememberedKeys: 1_000_000,
    clusterBy: [],
    keyIndex: 'auto',
    indexMemory: 2 ** 30,
    compression: 'snappy',
  })
})

test('names of columns that a write mode adds are complete, and part of the mode', async (t) => {
  const opened: unknown[] = []
  const scd2Columns = { validTo: 'until' }
  await DeltaTable.open({ path: '/t', writeMode: 'scd2', scd2Columns }, addon({}, opened))
  await DeltaTable.open({ path: '/t', scd2Columns }, addon({}, opened))
  const [history, equal] = opened as { writeMode: unknown; scd2Columns?: unknown }[]
  const names = { validFrom: '__valid_from', validTo: 'until', isCurrent: '__is_current' }
  t.deepEqual(history?.writeMode, { scd2: names })
  t.is(equal?.writeMode, 'upsert')
  t.false('scd2Columns' in (history ?? {}) || 'scd2Columns' in (equal ?? {}))
})

test('an Arrow table becomes one record batch with _op', async (t) => {
  let sent: Uint8Array | null | undefined = null
  const table = await DeltaTable.open(
    { path: '/t', primaryKey: ['id'] },
    addon({
      merge: async (ipc) => {
        sent = ipc
        return resultText
      },
    }),
  )
  const first = tableFromArrays({ id: BigInt64Array.of(1n, 2n) })
  const withNames = (ids: bigint[], names: (string | null)[]) =>
    new Table({ id: vectorFromArray(ids, new Int64()), name: vectorFromArray(names, new Utf8()) })
  const a = withNames([1n, 2n], ['a', null])
  const b = withNames([9007199254740993n], ['c'])
  await table.merge(a.concat(b))
  const read = tableFromIPC(sent as unknown as Uint8Array)
  t.is(read.batches.length, 1)
  t.true(read.batches[0] instanceof RecordBatch)
  t.deepEqual(
    read.toArray().map((row) => [row?.id, row?.name, row?._op]),
    [
      [1n, 'a', 0],
      [2n, null, 0],
      [9007199254740993n, 'c', 0],
    ],
  )
  await table.merge(first)
  t.deepEqual(tableFromIPC(sent as unknown as Uint8Array).schema.names, ['id', '_op'])
})

test('bytes are copied unless they are handed over', async (t) => {
  const seen: (Uint8Array | null | undefined)[] = []
  const table = await DeltaTable.open(
    { path: '/t', primaryKey: ['id'] },
    addon({
      merge: async (ipc) => {
        seen.push(ipc)
        return resultText
      },
    }),
  )
  const ipc = tableToIPC(tableFromArrays({ id: [1] }))
  await table.merge(ipc)
  await table.merge(ipc, { transfer: true })
  t.not(seen[0], ipc)
  t.deepEqual(seen[0], ipc)
  t.is(seen[1], ipc)
})

test('errors of the addon keep code and position, and show who called', async (t) => {
  const native = nativeError('FENCED', 'stored 5, expected 3', { position: { version: 7, topic: null } })
  const table = await DeltaTable.open(
    { path: '/t', primaryKey: ['id'] },
    addon({
      merge: async () => {
        throw native
      },
      refresh: async () => {
        throw new Error('odd')
      },
    }),
  )
  const error = await t.throwsAsync(table.merge(null), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'FENCED')
  t.is(error?.cause, native)
  t.deepEqual(error?.position, { table: '/t', version: 7 })
  t.regex(error?.stack ?? '', /table\.ts/)
  t.is((await t.throwsAsync(table.refresh(), { instanceOf: KafkaToDeltaError }))?.code, 'INTERNAL')
})

test('a signal that is aborted already never reaches the addon', async (t) => {
  let calls = 0
  const table = await DeltaTable.open(
    { path: '/t', primaryKey: ['id'] },
    addon({
      merge: async () => {
        calls++
        return resultText
      },
    }),
  )
  await t.throwsAsync(table.merge(null, { signal: AbortSignal.abort() }), { name: 'AbortError', any: true })
  t.is(calls, 0)
  await t.throwsAsync(DeltaTable.open({ path: '/t', signal: AbortSignal.abort() }, addon({})), {
    name: 'AbortError',
    any: true,
  })
})

test('the addon gets a signal of its own, and the abort is thrown as such', async (t) => {
  const controller = new AbortController()
  let mine = 0
  controller.signal.onabort = () => {
    mine++
  }
  let seen: AbortSignal | null | undefined
  const table = await DeltaTable.open(
    { path: '/t', primaryKey: ['id'] },
    addon({
      merge: (_ipc, _key, _offsets, signal) => {
        seen = signal
        return new Promise((_, reject) => {
          // As napi-rs does: it overwrites the handler.
          if (signal) signal.onabort = () => reject(nativeError('Cancelled', 'Cancelled'))
        })
      },
    }),
  )
  const merging = table.merge(null, { signal: controller.signal })
  controller.abort()
  await t.throwsAsync(merging, { name: 'AbortError', any: true })
  t.not(seen, controller.signal)
  t.is(mine, 1)
})

test('an error that came before the abort stays what it is', async (t) => {
  const controller = new AbortController()
  const table = await DeltaTable.open(
    { path: '/t', primaryKey: ['id'] },
    addon({
      merge: async () => {
        controller.abort()
        throw nativeError('STORAGE', 'disk full')
      },
    }),
  )
  const error = await t.throwsAsync(table.merge(null, { signal: controller.signal }), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'STORAGE')
})

test('offsets stay exact beyond 2^53', async (t) => {
  const table = await DeltaTable.open({ path: '/t' }, addon({}))
  t.deepEqual(await table.offsets(), new Map([['q:t:0', 9007199254740993n]]))
})

test('a renewed store counts for what is read from then on, unless it cannot be opened', async (t) => {
  const renewed: unknown[] = []
  const renewStore = async (options: Record<string, string>) => {
    if (options.key === 'bad') throw nativeError('STORAGE_DENIED', 'no such key')
    renewed.push(options)
  }
  const scanned: string[] = []
  const scanTable: NativeModule['scanTable'] = async (options) => {
    scanned.push(JSON.parse(options).storageOptions.key)
    throw nativeError('STORAGE', 'it was asked')
  }
  const table = await DeltaTable.open(
    { path: '/t', storageOptions: { key: 'first' } },
    { ...addon({ renewStore }), scanTable },
  )
  await t.throwsAsync(table.scan().toTable(), { message: 'it was asked' })
  await table.renewStore({ key: 'second' })
  await t.throwsAsync(table.renewStore({ key: 'bad' }), { code: 'STORAGE_DENIED', message: 'no such key' })
  await t.throwsAsync(table.scan().toTable(), { message: 'it was asked' })
  t.deepEqual([renewed, scanned], [[{ key: 'second' }], ['first', 'second']])
})

test('a closed table is refused', async (t) => {
  const table = await DeltaTable.open({ path: '/t' }, addon({}))
  await table.close()
  await table.close()
  await t.throwsAsync(table.info(), { message: 'the table was closed' })
})

test('causes go to the end, and not in circles', (t) => {
  const inner = new Error('inner')
  const outer = new Error('outer', { cause: inner })
  inner.cause = outer
  t.deepEqual(causes(outer), [outer, inner])
  t.is(fromNative('text').message, 'text')
  t.is(fromNative(nativeError('ENOENT', 'x')).code, 'INTERNAL')
})
