/** Durations and sizes as people write them: `1 second`, `500ms`, `interval 2 minutes`, `128 MB`, `64 MiB`. */

const DURATION_UNITS = new Map<string, number>()
for (const [names, ms] of [
  [['ms', 'milli', 'millis', 'millisecond', 'milliseconds'], 1],
  [['s', 'sec', 'secs', 'second', 'seconds'], 1000],
  [['m', 'min', 'mins', 'minute', 'minutes'], 60_000],
  [['h', 'hr', 'hrs', 'hour', 'hours'], 3_600_000],
  [['d', 'day', 'days'], 86_400_000],
  [['w', 'week', 'weeks'], 604_800_000],
] as const) {
  for (const name of names) DURATION_UNITS.set(name, ms)
}

const SIZE_UNITS = new Map([
  ['b', 1],
  ['byte', 1],
  ['bytes', 1],
  ['k', 1024],
  ['kb', 1024],
  ['kib', 1024],
  ['m', 1024 ** 2],
  ['mb', 1024 ** 2],
  ['mib', 1024 ** 2],
  ['g', 1024 ** 3],
  ['gb', 1024 ** 3],
  ['gib', 1024 ** 3],
  ['t', 1024 ** 4],
  ['tb', 1024 ** 4],
  ['tib', 1024 ** 4],
])

function sumOfParts(text: string, units: ReadonlyMap<string, number>): number | null {
  const part = /\s*(\d+(?:\.\d+)?)\s*([a-z]+)/iy
  let total = 0
  let count = 0
  let end = 0
  for (let match = part.exec(text); match; match = part.exec(text)) {
    const unit = units.get((match[2] as string).toLowerCase())
    if (unit === undefined) return null
    total += Number(match[1]) * unit
    count++
    end = part.lastIndex
  }
  return count > 0 && text.slice(end).trim() === '' ? total : null
}

/** Milliseconds of a duration; null where it is none. A bare number is milliseconds. */
export function parseDuration(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) && value >= 0 ? value : null
  if (typeof value !== 'string') return null
  const text = value.trim().replace(/^interval\s+/i, '')
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text)
  return sumOfParts(text, DURATION_UNITS)
}

/** Bytes of a size; null where it is none. A bare number is bytes; units are powers of 1024, as in Spark. */
export function parseSize(value: unknown): number | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null
  if (typeof value !== 'string') return null
  const text = value.trim()
  if (/^\d+$/.test(text)) return Number(text)
  const bytes = sumOfParts(text, SIZE_UNITS)
  return bytes === null ? null : Math.round(bytes)
}
