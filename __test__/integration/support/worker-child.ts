/**
 * One of many workers, until it is ended: `worker-child.ts OPTIONS`, with the options of streamToDelta as JSON. Prints a JSON
 * object for its start, each commit, and topics that come and go; its log goes to standard error.
 */

import { streamToDelta } from '../../../src/index.js'
import type { StreamOptions } from '../../../src/options/types.js'

const tell = (event: string, more: object = {}) => console.log(JSON.stringify({ event, at: Date.now(), ...more }))

const query = await streamToDelta(JSON.parse(process.argv[2] ?? '{}') as StreamOptions, { logger: 'warn' })
query.on('progress', ({ topic, numInputRows, version }) => tell('committed', { topic, numInputRows, version }))
query.on('tablesMoved', (moves) => tell('moved', moves))
query.on('tableFailed', ({ topic, error }) => tell('failed', { topic, code: error.code }))
process.on('SIGTERM', () => void query.stop())
tell('started', { topics: Object.keys(query.status.tables) })
await query.awaitTermination()
tell('ended')
