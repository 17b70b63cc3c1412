/** Merges into a new table of a store that takes no file (`ADDRESS`), aborts that, and ends by itself. */

import { deepStrictEqual, rejects } from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { Int32, Table, Uint8, vectorFromArray } from 'apache-arrow'
import { DeltaTable } from '../../../src/index.js'

const storageOptions = {
  endpoint: process.argv[2] as string,
  allow_http: 'true',
  access_key_id: 'a',
  secret_access_key: 'b',
  region: 'us-east-1',
}
const table = await DeltaTable.open({ path: 's3://bucket/table', storageOptions })
const change = new Table({ id: vectorFromArray([1], new Int32()), _op: vectorFromArray([0], new Uint8()) })
const controller = new AbortController()
const enough = new Error('enough')
const merged = table.merge(change, { primaryKey: ['id'], signal: controller.signal })
const next = table.merge(change, { primaryKey: ['id'] })
await sleep(500)
controller.abort(enough)
const [first, second] = await Promise.allSettled([merged, next])
deepStrictEqual([first.status, second.status], ['rejected', 'rejected'])
await rejects(merged, enough)
// Nobody knows how far the first one came.
await rejects(next, /the table was closed/)
await table.close()
console.log('through')
