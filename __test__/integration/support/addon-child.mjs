/**
 * Opens a table through the addon and lets go of it: `addon-child.mjs main|workers PATH`. Plain JavaScript, since a
 * worker's first file does not go through tsx.
 */

import { once } from 'node:events'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { isMainThread, Worker, workerData } from 'node:worker_threads'

async function look(who, uri) {
  const { openTable } = createRequire(import.meta.url)('../../../src/native.cjs')
  const options = {
    uri,
    storageOptions: {},
    primaryKey: ['id'],
    additionalCols: [],
    partitionCols: [],
    name: 'exit',
    description: 'exit',
    tableProperties: {},
    writeMode: 'upsert',
    mergeMode: 'auto',
    schemaEvolution: 'add',
    onMissingValue: 'null',
    targetFileSize: 1 << 20,
    maxRewriteBytes: 10 * 2 ** 30,
    rememberedKeys: 1000,
    compression: 'snappy',
    clusterBy: [],
    keyIndex: 'auto',
    indexMemory: 2 ** 30,
  }
  const table = await openTable(JSON.stringify(options))
  const exists = JSON.parse(await table.info()).version !== null
  console.log(`${who}: exists ${exists}`)
  await table.close()
}

async function inWorker(uri) {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { uri } })
  const [code] = await once(worker, 'exit')
  if (code !== 0) throw new Error(`the worker ended with ${code}`)
}

if (!isMainThread) await look('worker', workerData.uri)
else {
  const [who, uri] = process.argv.slice(2)
  if (who === 'main') await look('main', uri)
  else {
    await inWorker(uri)
    await inWorker(uri)
    await Promise.all([inWorker(uri), inWorker(uri)])
  }
}
