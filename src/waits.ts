/** Waits that end: after a time, or by a signal; and many of them side by side. */

import { setImmediate as nextTurn } from 'node:timers/promises'

/** Rejects with `timedOut()` after `ms`; what the promise does later is ignored. */
export async function within<T>(promise: Promise<T>, ms: number, timedOut: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(timedOut()), ms)
  })
  try {
    return await Promise.race([promise, limit])
  } finally {
    clearTimeout(timer)
    promise.catch(() => {})
  }
}

/** Waits for a promise, whatever its outcome, no longer than `ms`. False if it took longer. */
export async function settled(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms)
  })
  const done = promise.then(
    () => true,
    () => true,
  )
  const result = await Promise.race([done, limit])
  clearTimeout(timer)
  return result
}

/** Those who wait by a signal. It has one listener of ours, however many they are. */
interface Waiting {
  calls: Set<() => void>
  listener: () => void
}

const waitingBy = new WeakMap<AbortSignal, Waiting>()

/**
 * Calls `then` when the signal is aborted, or at once where it is already.
 * @returns what ends that: called when the wait is over
 */
export function onAbort(signal: AbortSignal | undefined, then: () => void): () => void {
  if (!signal) return () => {}
  if (signal.aborted) {
    then()
    return () => {}
  }
  const waiting = waitingBy.get(signal) ?? listen(signal)
  // Two waits may pass the same function.
  const call = () => then()
  waiting.calls.add(call)
  return () => {
    waiting.calls.delete(call)
    if (waiting.calls.size > 0 || waitingBy.get(signal) !== waiting) return
    waitingBy.delete(signal)
    signal.removeEventListener('abort', waiting.listener)
  }
}

function listen(signal: AbortSignal): Waiting {
  const calls = new Set<() => void>()
  const listener = () => {
    for (const call of calls) call()
  }
  signal.addEventListener('abort', listener, { once: true })
  const waiting = { calls, listener }
  waitingBy.set(signal, waiting)
  return waiting
}

/** Rejects with the signal's reason where it is aborted first; what the promise does later is ignored. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise
  let ended = () => {}
  const aborted = new Promise<never>((_, reject) => {
    ended = onAbort(signal, () => reject(signal.reason))
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    ended()
    promise.catch(() => {})
  }
}

/** Waits, and no longer than until the signal is aborted. `ref: false`: the process may end meanwhile. */
export async function pause(ms: number, signal?: AbortSignal, { ref = true } = {}): Promise<void> {
  await new Promise<void>((resolve) => {
    let ended = () => {}
    const timer = setTimeout(() => {
      ended()
      resolve()
    }, ms)
    if (!ref) timer.unref()
    ended = onAbort(signal, () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** How long work may go on before others have their turn. Milliseconds. */
const TURN_MS = 25

/** Cuts long work: without it nothing else is done meanwhile, no heartbeat is sent, and no timer goes off. */
export class Turns {
  #begun = performance.now()

  /** The turn has lasted long: {@link next} is due. */
  get isLong(): boolean {
    return performance.now() - this.#begun > TURN_MS
  }

  /** Lets all that waits have its turn. */
  async next(): Promise<void> {
    await nextTurn()
    this.#begun = performance.now()
  }
}

/**
 * Does `work` for each item, with at most `limit` under way at a time. After an error no more is begun; it rejects with the
 * first one when all that was begun has ended.
 * @param patienceMs after so many milliseconds an item counts no longer: those that hang hold up no other. Default: they do.
 */
export async function sideBySide<T, R>(
  limit: number,
  items: readonly T[],
  work: (item: T) => Promise<R>,
  patienceMs?: number,
): Promise<R[]> {
  const results: R[] = []
  const errors: unknown[] = []
  const late: Promise<void>[] = []
  let next = 0
  const workOn = async (at: number) => {
    try {
      results[at] = await work(items[at] as T)
    } catch (error) {
      errors.push(error)
    }
  }
  const worker = async () => {
    while (next < items.length && errors.length === 0) {
      const working = workOn(next++)
      if (patienceMs === undefined) await working
      else if (!(await settled(working, patienceMs))) late.push(working)
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  await Promise.all(late)
  if (errors.length > 0) throw errors[0]
  return results
}
