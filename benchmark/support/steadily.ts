/** A steady load. */

import { setTimeout as sleep } from 'node:timers/promises'

/** What is due to be sent, at each of so many milliseconds: however late the last one was, the rate stays. */
export async function* steadily(rate: number, seconds: number, everyMs: number) {
  const began = Date.now()
  let sent = 0
  for (let sinceMs = 0; sinceMs < seconds * 1000; sinceMs = Date.now() - began) {
    const count = Math.floor((sinceMs / 1000) * rate) - sent
    sent += count
    yield { count, sinceMs }
    await sleep(Math.max(0, began + sinceMs + everyMs - Date.now()))
  }
}
