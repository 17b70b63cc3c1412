import { getEventListeners } from 'node:events'
import test from 'ava'
import { withSignal } from '../src/delta/abort.js'
import { onAbort, pause, sideBySide, unlessAborted } from '../src/waits.js'

const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length

test('many waits by one signal are one listener, and none when they are over', async (t) => {
  const { signal } = new AbortController()
  const ends: (() => void)[] = []
  const work = Array.from({ length: 30 }, () => new Promise<void>((resolve) => ends.push(resolve)))
  const waits = work.flatMap((end) => [
    unlessAborted(end, signal),
    withSignal(signal, {}, () => end),
    pause(20, signal, { ref: true }),
  ])
  t.is(listeners(signal), 1)
  for (const end of ends) end()
  await Promise.all(waits)
  t.is(listeners(signal), 0)
  // Once more, after the listener was taken away.
  const again = new AbortController()
  await unlessAborted(Promise.resolve(), again.signal)
  const later = unlessAborted(new Promise(() => {}), again.signal)
  again.abort(new Error('stopped'))
  await t.throwsAsync(later, { message: 'stopped' })
})

test('an aborted signal ends every wait by it, but not those that were over', async (t) => {
  const stop = new AbortController()
  const reason = new Error('stopped')
  const called: string[] = []
  onAbort(stop.signal, () => called.push('first'))
  onAbort(stop.signal, () => called.push('over'))()
  const same = () => called.push('same')
  onAbort(stop.signal, same)
  onAbort(stop.signal, same)()
  const waits = [unlessAborted(new Promise(() => {}), stop.signal), withSignal(stop.signal, {}, hang)]
  const paused = pause(60_000, stop.signal)
  stop.abort(reason)
  for (const wait of waits) t.is(await t.throwsAsync(wait), reason)
  await paused
  t.deepEqual(called, ['first', 'same'])
  onAbort(stop.signal, () => called.push('late'))()
  await pause(60_000, stop.signal)
  await t.throwsAsync(unlessAborted(new Promise(() => {}), stop.signal), { message: 'stopped' })
  t.is(called.at(-1), 'late')
})

test('without a signal there is nothing to wait by', async (t) => {
  onAbort(undefined, () => t.fail())()
  t.is(await unlessAborted(Promise.resolve(1), undefined), 1)
  await pause(1)
})

/** A call of the addon that ends with its signal alone. */
const hang = (signal?: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal?.addEventListener('abort', () => reject(Object.assign(new Error('cancelled'), { code: 'CANCELLED' })))
  })

test('what hangs gives its place to others, where patience ends', async (t) => {
  let open: (value: string) => void = () => {}
  const hanging = new Promise<string>((resolve) => {
    open = resolve
  })
  const begun: number[] = []
  const work = async (item: number) => {
    begun.push(item)
    return item < 3 ? hanging : `done ${item}`
  }
  const items = [0, 1, 2, 3, 4, 5]
  const all = sideBySide(2, items, work, 5)
  while (begun.length < items.length) await pause(1)
  open('at last')
  t.deepEqual(await all, ['at last', 'at last', 'at last', 'done 3', 'done 4', 'done 5'])
  // Without it, they keep it.
  begun.length = 0
  const later = sideBySide(2, [3, 0, 1, 4], async (item) => (item < 3 ? new Promise<string>(() => {}) : work(item)))
  await pause(30)
  t.deepEqual(begun, [3])
  later.catch(() => {})
})
