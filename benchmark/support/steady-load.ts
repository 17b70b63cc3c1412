/** A load of a steady rate. */

import { setTimeout as sleep } from 'node:timers/promises'

interface Load {
  /** A second. */
  rate: number
  seconds: number
  /** Milliseconds from one sending to the next. */
  everyMs: number
}

/**
 * Sends what is due at each moment, however late it comes to that.
 * @param afterEach after each sending: how many were sent so far, and the milliseconds since the beginning
 * @returns how many were sent
 */
export async function sendSteadily(
  { rate, seconds, everyMs }: Load,
  send: (count: number) => void,
  afterEach: (sent: number, sinceMs: number) => Promise<void> = async () => {},
): Promise<number> {
  const began = Date.now()
  const since = () => Date.now() - began
  let sent = 0
  while (since() < seconds * 1000) {
    const due = Math.floor((since() / 1000) * rate)
    send(due - sent)
    sent = due
    await sleep(everyMs)
    await afterEach(sent, since())
  }
  return sent
}
