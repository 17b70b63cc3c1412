/** A second process that commits to a table: `node race-writer.mjs URI OPTIONS FIRST COUNT`. */

import { tableFromArrays } from 'apache-arrow'
import { DeltaTable } from '../../../src/index.ts'

const [uri, options, first, count] = process.argv.slice(2)
const table = await DeltaTable.open({ path: uri, storageOptions: JSON.parse(options), primaryKey: ['id'] })
for (let i = 0; i < Number(count); i++) {
  const id = BigInt(Number(first) + i)
  const offsets = [{ appId: `writer-${first}`, ...(i > 0 ? { expected: BigInt(i - 1) } : {}), last: BigInt(i) }]
  await table.merge(tableFromArrays({ id: BigInt64Array.of(id, 0n), by: [first, first] }), { offsets })
}
await table.close()
