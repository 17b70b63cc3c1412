/** SIGINT and SIGTERM: the first stops cleanly, the second ends the process at once. */

export const SIGNAL_EXIT = { SIGINT: 130, SIGTERM: 143 } as const

export type StopSignal = keyof typeof SIGNAL_EXIT

export interface SignalWatch {
  /** The first signal that came, or null. */
  readonly received: StopSignal | null
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** Stops listening. */
  end(): void
}

/** Listens until {@link SignalWatch.end}. */
export function watchSignals(
  onFirst: (signal: StopSignal) => void,
  force: (signal: StopSignal) => void = (signal) => process.exit(SIGNAL_EXIT[signal]),
): SignalWatch {
  const controller = new AbortController()
  let received: StopSignal | null = null
  const listener = (signal: NodeJS.Signals) => {
    const stop = signal as StopSignal
    if (received) {
      force(stop)
      return
    }
    received = stop
    onFirst(stop)
    controller.abort()
  }
  for (const name of Object.keys(SIGNAL_EXIT)) process.on(name, listener)
  return {
    get received() {
      return received
    },
    signal: controller.signal,
    end() {
      for (const name of Object.keys(SIGNAL_EXIT)) process.off(name, listener)
    },
  }
}
