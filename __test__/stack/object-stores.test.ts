/**
 * Tables on Azure Blob Storage and Google Cloud Storage, as far as their emulators go: every kind of request that a
 * table's life needs, and several processes that commit at the same time.
 */

import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Int64, Table, Uint8, Utf8, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { ENDPOINTS } from '../../scripts/stack/settings.mjs'
import { down, type Part, up } from '../../scripts/stack/stack.mjs'
import { DeltaTable, tableHistory } from '../../src/index.js'
import { readTable } from '../helpers/read.js'
import { race } from './support/race.js'
import { SourceOracle } from './support/source-oracle.js'

// Where the emulator is: no storage option says it. The processes that are started from here inherit it.
process.env.AZURITE_BLOB_STORAGE_URL = ENDPOINTS.AZURE_ENDPOINT

const STORES = [
  {
    name: 'Azure',
    lake: `az://${ENDPOINTS.AZURE_CONTAINER}`,
    storageOptions: {
      AZURE_STORAGE_USE_EMULATOR: 'true',
      AZURE_STORAGE_ACCOUNT_NAME: ENDPOINTS.AZURE_ACCOUNT,
      AZURE_STORAGE_ACCOUNT_KEY: ENDPOINTS.AZURE_KEY,
    },
  },
  {
    // fake-gcs-server, behind what translates the XML interface for it: scripts/stack/gcs-xml.mjs.
    name: 'GCS',
    lake: `gs://${ENDPOINTS.GCS_BUCKET}`,
    storageOptions: {
      GOOGLE_SERVICE_ACCOUNT_KEY: JSON.stringify({
        gcs_base_url: ENDPOINTS.GCS_ENDPOINT,
        disable_oauth: true,
        client_email: '',
        private_key: '',
        private_key_id: '',
      }),
    },
  },
]

const id = `${process.pid}_${Date.now().toString(36)}`
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-stores-'))
let started: Part[] = []
let oracle: SourceOracle

test.before(async (t) => {
  t.timeout(600_000)
  oracle = SourceOracle.start()
  started = await up(['azure', 'gcs'])
})

test.after.always(async () => {
  await oracle?.close()
  await down(started)
  rmSync(folder, { recursive: true, force: true })
})

/** A batch of changes: a text, or null for a delete. */
function batch(changes: ReadonlyMap<bigint, string | null>): Table {
  const texts = [...changes.values()]
  return new Table({
    id: vectorFromArray([...changes.keys()], new Int64()),
    text: vectorFromArray(texts, new Utf8()),
    _op: vectorFromArray(
      texts.map((text) => (text === null ? 1 : 0)),
      new Uint8(),
    ),
  })
}

/** Texts that do not get smaller: a compacted file has several of the 16 MiB that are uploaded at a time. */
const bigRows = (first: number) =>
  new Map(Array.from({ length: 20 }, (_, i) => [BigInt(first + i), randomBytes(512 << 10).toString('hex')]))

for (const { name, lake, storageOptions } of STORES) {
  test.serial(`${name}: a table's life`, async (t) => {
    t.timeout(180_000)
    const path = `${lake}/${id}/life of ä table`
    const expected = new Map<bigint, string>()
    let offset = -1n
    let table = await DeltaTable.open({ path, storageOptions, primaryKey: ['id'] })

    const merge = async (changes: ReadonlyMap<bigint, string | null>) => {
      for (const [key, text] of changes) text === null ? expected.delete(key) : expected.set(key, text)
      const offsets = [{ appId: 'test', expected: offset < 0n ? null : offset, last: ++offset }]
      await table.merge(batch(changes), { offsets })
    }
    const check = async () => {
      const rows = (await readTable(path, { storageOptions })).toArray()
      t.is(rows.length, expected.size)
      t.true(rows.every((row) => expected.get(row.id) === row.text))
    }

    for (const first of [0, 100, 200]) await merge(bigRows(first))
    await merge(new Map([...[1n, 101n].map((key) => [key, 'changed'] as const), [2n, null], [102n, null]]))
    await check()
    const late = await t.throwsAsync(table.merge(null, { offsets: [{ appId: 'test', expected: 0n, last: 1n }] }))
    t.is((late as NodeJS.ErrnoException).code, 'FENCED')

    const compacted = await table.compact({ full: true })
    t.like(compacted, { filesRemoved: 4, filesAdded: 1, rows: expected.size })
    t.true(Number(compacted?.bytesWritten) > 32 << 20)
    t.is((await table.checkpoint()).version, Number(compacted?.version))
    await merge(new Map([...Array(5).keys()].map((i) => [BigInt(300 + i), `after ${i}`])))
    await table.close()

    table = await DeltaTable.open({ path, storageOptions, primaryKey: ['id'] })
    const info = await table.info()
    t.like(info, { exists: true, version: Number(compacted?.version) + 1, numRows: expected.size })
    t.is((await table.offsets()).get('test'), offset)
    await merge(
      new Map([
        [300n, 'opened again'],
        [103n, null],
      ]),
    )
    await check()
    t.is((await tableHistory(path, { storageOptions, limit: 100 })).length, Number((await table.info()).version) + 1)

    const planned = await table.vacuum({ retention: 0, dryRun: true })
    t.true(planned.numFiles >= 4)
    await check()
    t.is((await table.vacuum({ retention: 0 })).numFiles, planned.numFiles)
    t.is((await table.vacuum({ retention: 0, dryRun: true })).numFiles, 0)
    await table.close()
    await check()

    const rows = [...expected].map(([key, text]) => ({ id: String(key), text }))
    const compared = await oracle.compare(path, storageOptions, ['id'], rows, join(folder, `${name}.jsonl`))
    t.deepEqual(compared, { rows: expected.size, differences: [] })
  })

  test.serial(`${name}: three writers on one table`, (t) => race(t, `${lake}/${id}/race`, storageOptions))
}
