import test from 'ava'
import { HeldCredentials } from '../../src/catalog/vended.js'
import type { MergeResult, TableInfo } from '../../src/delta/table.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { silentLogger } from '../../src/log.js'
import { type RenewableTable, VendedTable } from '../../src/stream/vended-table.js'

const HOUR = 3_600_000

/** A table that says by which credentials it is used, and holds steps of compaction back where it is told to. */
function opening(life = HOUR) {
  const state = {
    now: 1_700_000_000_000,
    asked: 0,
    log: [] as string[],
    /** What calls fail with. */
    failure: null as Error | null,
    catalogFailure: null as Error | null,
    compacting: Promise.resolve(),
  }
  const credentials = new HeldCredentials(
    async () => {
      state.asked += 1
      if (state.catalogFailure) throw state.catalogFailure
      return { options: { key: String(state.asked) }, expires: new Date(state.now + life) }
    },
    () => state.now,
  )
  const open = async (options: Record<string, string>): Promise<RenewableTable> => {
    let { key } = options
    state.log.push(`open ${key} in ${options.region}`)
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
      renewStore: async (renewed) => {
        key = renewed.key
        state.log.push(`renew ${key} in ${renewed.region}`)
      },
      close: () => used('close'),
    }
  }
  const storageOptions = (vended: Record<string, string>) => ({ region: 'here', ...vended })
  const opened = () => VendedTable.open({ credentials, storageOptions, open, logger: silentLogger })
  return { state, opened, taken: () => state.log.splice(0) }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('credentials past half of their life are renewed beside the calls, once for all', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  await table.merge(null, {})
  t.deepEqual(taken(), ['open 1 in here', 'merge 1'])
  state.now += HOUR / 2
  await Promise.all([table.refresh(), table.merge(null, {})])
  await turn()
  await table.merge(null, {})
  t.deepEqual(taken(), ['refresh 1', 'merge 1', 'renew 2 in here', 'merge 2'])
  let end = () => {}
  state.compacting = new Promise((resolve) => {
    end = resolve
  })
  const compacting = table.compact({})
  // Longer than the shortest wait of a timer.
  await new Promise((resolve) => setTimeout(resolve, 700))
  end()
  await compacting
  t.deepEqual(taken(), ['compact 2', 'compacted 2'])
  await table.close()
  t.deepEqual(taken(), ['close 2'])
  await t.throwsAsync(table.merge(null, {}), { code: 'CANCELLED' })
})

test('a call waits for new credentials where those that are there are about to end', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  state.now += HOUR - 60_000
  await Promise.all([table.refresh(), table.merge(null, {})])
  t.deepEqual(taken(), ['open 1 in here', 'renew 2 in here', 'refresh 2', 'merge 2'])
})

test('a call that is under way for longer than its credentials live goes on by new ones', async (t) => {
  const { state, opened, taken } = opening(1000)
  const table = await opened()
  let end = () => {}
  state.compacting = new Promise((resolve) => {
    end = resolve
  })
  const compacting = table.compact({})
  while (state.asked < 4) {
    state.now += 500
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  end()
  await compacting
  t.deepEqual(taken().slice(0, 5), [
    'open 1 in here',
    'compact 1',
    'renew 2 in here',
    'renew 3 in here',
    'renew 4 in here',
  ])
  await table.close()
})

test('a catalog that is down stops nothing before the credentials end', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  state.catalogFailure = new KafkaToDeltaError('CATALOG_UNAVAILABLE', 'it is down')
  state.now += HOUR / 2
  await table.merge(null, {})
  await turn()
  state.now += HOUR / 2 - 30_000
  await table.merge(null, {})
  state.now += 30_000
  await t.throwsAsync(table.merge(null, {}), { code: 'STORAGE', message: /it is down/ })
  t.is((await table.info()) as unknown, undefined)
  state.catalogFailure = null
  await table.merge(null, {})
  t.deepEqual(taken(), ['open 1 in here', 'merge 1', 'merge 1', 'info 1', 'renew 5 in here', 'merge 5'])
})

test('credentials that the store refuses are renewed for the next try', async (t) => {
  const { state, opened, taken } = opening()
  const table = await opened()
  taken()
  for (const [number, failure] of [
    new KafkaToDeltaError('STORAGE_DENIED', '403'),
    new KafkaToDeltaError('STORAGE', 'http://store answers: 400 Bad Request: ExpiredToken'),
  ].entries()) {
    state.now += 60_000
    state.failure = failure
    t.is(await t.throwsAsync(table.merge(null, {})), failure)
    state.failure = null
    await table.merge(null, {})
    t.deepEqual(taken(), [`merge ${number + 1}`, `renew ${number + 2} in here`, `merge ${number + 2}`])
  }
})
