/** Tables on S3 by credentials that end while they are open, and that the S3 server takes no more then. */

import { setTimeout as sleep } from 'node:timers/promises'
import { Int32, Table, vectorFromArray } from 'apache-arrow'
import test from 'ava'
import { installedCatalogs } from '../../scripts/lib/python.mjs'
import { DeltaTable } from '../../src/index.js'
import { readRows } from '../helpers/read.js'
import { runVendedStream } from '../integration/support/vended-stream.js'
import { Identities } from './support/identities.js'
import { S3WithUsers } from './support/s3-users.js'

const LIFE_MS = 3_000
const python = installedCatalogs()

let store: S3WithUsers

test.before(async () => {
  // Those of this machine would count first.
  for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  process.env.AWS_SHARED_CREDENTIALS_FILE = '/nowhere'
  store = await S3WithUsers.start()
})

test.after.always(() => store?.end())

async function idsOf(path: string): Promise<number[]> {
  const rows = await readRows(path, { storageOptions: store.as(), columns: ['id'], orderBy: ['id'] })
  return rows.map(({ id }) => Number(id))
}

const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1)

const run = python === null ? test.serial.skip : test.serial
run(`a stream outlives the credentials of Unity Catalog${python === null ? ': needs Python' : ''}`, async (t) => {
  t.timeout(180_000)
  const path = 's3://lake/vended'
  const gateway = store.administration
  const stream = { path, storageOptions: store.place, seconds: LIFE_MS / 1000, times: 6, gateway }
  const { rows, given } = await runVendedStream(t, python as string, stream)
  t.deepEqual(await idsOf(path), upTo(rows))
  t.log(`${rows} rows by ${given.length} credentials`)
  await t.throwsAsync(DeltaTable.open({ path, storageOptions: store.as('id-1', 'a-key') }), { code: 'STORAGE_DENIED' })
})

for (const kind of ['instance', 'pod', 'web identity'] as const) {
  test.serial(`an open table outlives the credentials of its ${kind}`, async (t) => {
    t.timeout(60_000)
    const identities = await Identities.start(store, LIFE_MS)
    t.teardown(() => identities.end())
    const path = `s3://lake/${kind.replace(' ', '-')}`
    const storageOptions = { ...store.place, ...identities.options[kind] }
    const table = await DeltaTable.open({ path, storageOptions, primaryKey: ['id'] })
    const [first, until] = [store.users, Date.now() + 3 * LIFE_MS]
    let last = 0
    while (Date.now() < until) {
      await table.merge(new Table({ id: vectorFromArray([++last], new Int32()) }))
      await sleep(200)
    }
    await table.close()
    t.deepEqual(await idsOf(path), upTo(last))
    t.true(store.users - first >= 4, `${store.users - first} more credentials`)
    const old = { path, storageOptions: store.as(`user-${first}`, 'a-key') }
    await t.throwsAsync(DeltaTable.open(old), { code: 'STORAGE_DENIED' })
  })
}
