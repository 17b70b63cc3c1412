/** A stream whose table goes by credentials that Unity Catalog gives, and that end while it runs. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { installedCatalogs } from '../../scripts/lib/python.mjs'
import { readRows } from '../helpers/read.js'
import { runVendedStream } from './support/vended-stream.js'

const python = installedCatalogs()
const run = python === null ? test.skip : test
const reason = python === null ? ': needs Python: run it with `npm test`' : ''

run(`credentials of two seconds are renewed while the stream runs, and no row is lost${reason}`, async (t) => {
  t.timeout(120_000)
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-vended-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'orders')
  const { rows, given } = await runVendedStream(t, python as string, { path, seconds: 2, times: 3 })
  const found = await readRows(path, { columns: ['id'], orderBy: ['id'] })
  t.deepEqual(
    found.map(({ id }) => Number(id)),
    Array.from({ length: rows }, (_, i) => i + 1),
  )
  t.deepEqual(given[0], ['path', `file://${path}`, 'PATH_CREATE_TABLE'])
  t.deepEqual(given.at(-1), ['table', 'id-of-main.shop.orders', 'READ_WRITE'])
})
