import test from 'ava'
import { VendedOptions } from '../../src/catalog/vended.js'
import type { MergeResult, TableInfo } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { silentLogger } from '../../src/log.js'
import type { StreamTable } from '../../src/stream/dependencies.js'
import { VendedTable } from '../../src/stream/vended-table.js'

const HOUR = 3_600_000

/** A table that says by which credentials it is used, and holds calls back where it is told to. */
function opening() {
  const state = {
    now: 1_700_000_000_000,
    asked: 0,
    log: [] as string[],
    /** What the next opening fails with, once. */
    openingFailure: null as Error | null,
    /** What calls fail with. */
    failure: null as Error | null,
    catalogFailure: null as Error | null,
    compacting: Promise.resolve(),
  }
  const credentials = new VendedOptions(
    async () => {
      state.asked += 1
      if (state.catalogFailure) throw state.catalogFailure
      return { options: { key: String(state.asked) }, expires: new Date(state.now + HOUR) }
    },
    () => state.now,
  )
  const open = async ({ key }: Record<string, string>): Promise<StreamTable> => {
    const failure = state.openingFailure
    state.openingFailure = null
    if (failure) throw failure
    state.log.push(`open ${key}`)
    const used = async (what: string) => {
      state.log.push(`${what} ${key}`)
      if (state.failure) throw state.failure
    }
    return {
      uri: 's3://lake/orders',
      info: async () => used('info') as unknown as TableInfo,
      refresh: async () => used('refresh') as unknown as TableInfo,
      merge: async () => used('merge') as unknown as MergeResult,
      compact: async () => {
        await used('compact')
        await state.compacting
        state.log.push(`compacted ${key}`)
        return null
      },
      close: () => used('close'),
    }
  }
  const opened = () => VendedTable.open({ uri: 's3://lake/orders', credentials, open, logger: silentLogger })
  return { state, opened, taken: () => state.log.splice(0) }
}

test('a table is opened anew by the next call, once its credentials are past half of their life', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  await table.merge(null, {})
  t.deepEqual(taken(), ['open 1', 'merge 1'])
  state.now += HOUR / 2
  await Promise.all([table.refresh(), table.merge(null, {})])
  t.deepEqual(taken(), ['close 1', 'open 2', 'refresh 2', 'merge 2'])
  await table.close()
  t.deepEqual(taken(), ['close 2'])
  await t.throwsAsync(table.merge(null, {}), { code: 'CANCELLED' })
})

test('what is under way is not waited for as long as the credentials are good', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  let end = () => {}
  state.compacting = new Promise((resolve) => {
    end = resolve
  })
  const compacting = table.compact({})
  state.now += HOUR / 2
  await table.merge(null, {})
  t.deepEqual(taken(), ['open 1', 'compact 1', 'merge 1'])
  state.now += HOUR / 2
  const merging = table.merge(null, {})
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(taken(), [])
  end()
  await Promise.all([compacting, merging])
  t.deepEqual(taken(), ['compacted 1', 'close 1', 'open 2', 'merge 2'])
})

test('a catalog that is down stops nothing before the credentials end', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  state.catalogFailure = new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'it is down')
  state.now += HOUR / 2
  await table.merge(null, {})
  state.now += HOUR / 2
  await t.throwsAsync(table.merge(null, {}), { code: 'STORAGE', message: /it is down/ })
  state.catalogFailure = null
  await table.merge(null, {})
  t.deepEqual(taken(), ['open 1', 'merge 1', 'close 1', 'open 4', 'merge 4'])
})

test('credentials that the store refuses are renewed for the next try', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  for (const failure of [
    new KafkaToDeltaError('STORAGE_DENIED', '403'),
    new KafkaToDeltaError('STORAGE', 'http://store answers: 400 Bad Request: ExpiredToken'),
  ]) {
    state.now += 60_000
    state.failure = failure
    t.is(await t.throwsAsync(table.merge(null, {})), failure)
    state.failure = null
    await table.merge(null, {})
  }
  t.deepEqual(taken(), ['open 1', 'merge 1', 'close 1', 'open 2', 'merge 2', 'merge 2', 'close 2', 'open 3', 'merge 3'])
})

test('a table that could not be opened anew is opened by the next call', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  state.now += HOUR
  state.openingFailure = new KafkaToDeltaError('STORAGE', 'the store is down')
  await t.throwsAsync(table.merge(null, {}), { code: 'STORAGE', message: 'the store is down' })
  await table.merge(null, {})
  t.deepEqual(taken(), ['open 1', 'close 1', 'open 3', 'merge 3'])
  await table.close()
})
