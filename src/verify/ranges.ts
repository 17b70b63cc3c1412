/** Parts of a key's range. */

export interface Range {
  /** Keys above this one; null for all from the first. */
  after: readonly string[] | null
  /** Keys up to this one; null for all to the last. */
  upTo: readonly string[] | null
}

/** A key column in SQL: what the rows are ordered by, and a compared value as a literal. */
export interface Ordered {
  sql: string
  literal(value: string): string
}

/** The rows of a range, by the order of the key's columns one after another; empty for all rows. */
export function rangeSql({ after, upTo }: Range, key: readonly Ordered[]): string {
  const bound = (values: readonly string[], sign: string, last: string) =>
    values
      .map((_, i) => {
        const terms = values.slice(0, i + 1).map((value, j) => {
          const { sql, literal } = key[j] as Ordered
          return `${sql} ${j < i ? '=' : i === values.length - 1 ? last : sign} ${literal(value)}`
        })
        return `(${terms.join(' AND ')})`
      })
      .join(' OR ')
  const bounds = [...(after ? [bound(after, '>', '>')] : []), ...(upTo ? [bound(upTo, '<', '<=')] : [])]
  return bounds.map((text) => `(${text})`).join(' AND ')
}

/** Ranges that one query asks for. */
export const MOST_RANGES = 16

/**
 * The fewest chunks to be read so that all that are wanted lie in at most {@link MOST_RANGES} ranges: the smallest gaps
 * between them are read, too. Chunks are given and returned by their numbers, ascending.
 */
export function bridged(wanted: readonly number[]): number[] {
  const gaps = wanted.slice(1).flatMap((to, i) => {
    const from = wanted[i] as number
    return to - from > 1 ? [{ from, to }] : []
  })
  gaps.sort((a, b) => a.to - a.from - (b.to - b.from))
  const between = gaps
    .slice(0, Math.max(0, gaps.length + 1 - MOST_RANGES))
    .flatMap(({ from, to }) => Array.from({ length: to - from - 1 }, (_, i) => from + 1 + i))
  return [...wanted, ...between].sort((a, b) => a - b)
}

/** Chunks in order of the key, those side by side as one range. */
export function joined(chunks: readonly Range[]): Range[] {
  const ranges: Range[] = []
  for (const { after, upTo } of chunks) {
    const last = ranges.at(-1)
    if (last && after !== null && last.upTo === after) last.upTo = upTo
    else ranges.push({ after, upTo })
  }
  return ranges
}
