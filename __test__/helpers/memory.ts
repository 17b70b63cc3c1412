/** How much memory buffers take. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes of all buffers that are still reachable. */
export async function bufferBytes(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    collect()
    // Buffers are given back after the collection, by tasks of their own.
    await new Promise((resolve) => setImmediate(resolve))
  }
  return process.memoryUsage().arrayBuffers
}

export const MB = 1024 ** 2
