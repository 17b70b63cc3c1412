/** Writes all rows of a Delta table, read by `scanTable`, to the standard output as an Arrow IPC stream. */

import { RecordBatchStreamWriter } from 'apache-arrow'
import { scanTable } from '../../src/delta/index.js'

const table = await scanTable(process.argv[2] as string).toTable()
process.stdout.write(RecordBatchStreamWriter.writeAll(table).toUint8Array(true))
