/** The numbers that stand for PostgreSQL's `infinity` and `-infinity`, though they could be dates. */

/**
 * What Debezium makes of PostgreSQL's dates `infinity` and `-infinity`: numbers beyond every database's dates, whose signs
 * mean nothing. A snapshot's come from Java's class of dates, by the time zone of Connect, and lose their upper bits.
 */
const INFINITE_DAYS = new Map([
  [Number.POSITIVE_INFINITY, 'infinity'],
  [Number.NEGATIVE_INFINITY, '-infinity'],
  // Streamed.
  [-2147472692, 'infinity'],
  [-2147472691, '-infinity'],
  // Of snapshots.
  [-622191234, 'infinity'],
  [-622191233, 'infinity'],
  [-625821272, '-infinity'],
  [-625821271, '-infinity'],
  // Of snapshots, as ISO texts with all their bits.
  [106748361128, '-infinity'],
  [106748361129, '-infinity'],
])

/**
 * What Debezium makes of PostgreSQL's timestamps `infinity` and `-infinity` in nanoseconds: since 3.6 the ends of the
 * range, with 3.1 to 3.5 what is left where its microseconds times 1000 exceed 64 bits.
 */
const INFINITE_NANOS = new Map([
  [2n ** 63n - 1n, 'infinity'],
  [-29_575_808_000n, 'infinity'],
  [1n - 2n ** 63n, '-infinity'],
  [-(2n ** 63n), '-infinity'],
  [22_375_808_000n, '-infinity'],
])
const INFINITE_NANOS_HIGH = new Set([...INFINITE_NANOS.keys()].map((value) => Number(value >> 32n)))

/** `infinity` or `-infinity` where this number of days stands for it. */
export function infiniteDay(days: number): string | undefined {
  return INFINITE_DAYS.get(days)
}

/** `infinity` or `-infinity` where this number of nanoseconds stands for it. */
export function infiniteNanos(low: number, high: number): string | undefined {
  return INFINITE_NANOS_HIGH.has(high) ? INFINITE_NANOS.get((BigInt(high) << 32n) | BigInt(low >>> 0)) : undefined
}
