/**
 * A program that streams until it is ended: `stream-child.ts OPTIONS`, with the options of streamToDelta as JSON.
 * Prints a line when it has started and at each commit. With `availableNow` it ends by itself.
 */

import { streamToDelta } from '../../../src/index.js'
import type { StreamOptions } from '../../../src/options/types.js'

const query = await streamToDelta(JSON.parse(process.argv[2] ?? '{}') as StreamOptions)
query.on('progress', (progress) => console.log(`committed ${progress.version}`))
process.on('SIGTERM', () => void query.stop())
console.log('started')
await query.awaitTermination()
console.log('ended')
