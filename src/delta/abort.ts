/** Signals across the addon's border. */

import type { ErrorPosition } from '../errors.js'
import { onAbort } from '../waits.js'
import { causes, fromNative } from './addon.js'

/**
 * Runs a native call under a signal. The addon ignores a signal that is aborted already, and overwrites its `onabort`:
 * so it gets a private one, and `signal.reason` (an AbortError unless the caller gave another) is thrown here.
 */
export async function withSignal<T>(
  signal: AbortSignal | undefined,
  position: ErrorPosition,
  call: (own: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted()
  const controller = signal ? new AbortController() : null
  const ended = onAbort(signal, () => controller?.abort(signal?.reason))
  try {
    return await call(controller?.signal)
  } catch (error) {
    if (signal?.aborted && wasCancelled(error)) throw signal.reason
    throw fromNative(error, position)
  } finally {
    ended()
  }
}

function wasCancelled(error: unknown): boolean {
  return causes(error).some(
    (cause) =>
      cause instanceof Error &&
      (cause.name === 'AbortError' || ('code' in cause && (cause.code === 'CANCELLED' || cause.code === 'Cancelled'))),
  )
}
