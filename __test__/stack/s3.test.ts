/** Tables on S3: three processes that commit at the same time, and credentials of the environment. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'ava'
import { ENDPOINTS } from '../../scripts/stack/settings.mjs'
import { up } from '../../scripts/stack/stack.mjs'
import { readTable } from '../helpers/read.js'
import { race, WRITER } from './support/race.js'
import { S3_OPTIONS } from './support/replica.js'

test('three writers on one table', async (t) => {
  await up(['s3'])
  await race(t, `s3://${ENDPOINTS.S3_BUCKET}/race_${process.pid}_${Date.now()}`, S3_OPTIONS)
})

test('what the options leave out comes from the usual environment variables', async (t) => {
  t.timeout(60_000)
  await up(['s3'])
  const path = `s3://${ENDPOINTS.S3_BUCKET}/environment_${process.pid}_${Date.now()}`
  const args = ['--import=tsx', WRITER, path, '{}', '1', '3']
  const writer = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...S3_OPTIONS } })
  t.deepEqual(await once(writer, 'exit'), [0, null])
  t.is((await readTable(path, { storageOptions: S3_OPTIONS })).numRows, 4)
})
