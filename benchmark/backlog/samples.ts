/** What was seen of the worker, second by second: as a table of figures, and as a picture. */

const MB = 2 ** 20

export const KINDS = ['queued', 'decoding', 'merging', 'indexes', 'compaction'] as const

export interface Sample {
  /** Seconds since the start. */
  at: number
  /** Bytes; so are the others. */
  resident: number
  /** Of it: the heap of JavaScript, and its buffers. */
  heap: number
  buffers: number
  kinds: Record<(typeof KINDS)[number], number>
  /** Messages that are in the tables. */
  rows: number
  /** Messages that are sent and not in the tables. */
  lag: number
}

export const counted = ({ kinds }: Sample): number => KINDS.reduce((sum, kind) => sum + kinds[kind], 0)

const COLUMNS: [name: string, of: (sample: Sample) => number][] = [
  ['seconds', ({ at }) => at],
  ['resident', ({ resident }) => resident],
  ['heap', ({ heap }) => heap],
  ['buffers', ({ buffers }) => buffers],
  ...KINDS.map((kind): [string, (sample: Sample) => number] => [kind, ({ kinds }) => kinds[kind]]),
  ['counted', counted],
  ['rows', ({ rows }) => rows],
  ['lag', ({ lag }) => lag],
]

export function toCsv(samples: readonly Sample[]): string {
  const lines = samples.map((sample) => COLUMNS.map(([, of]) => Math.round(of(sample) * 10) / 10).join(','))
  return `${[COLUMNS.map(([name]) => name).join(','), ...lines].join('\n')}\n`
}

const WIDTH = 900
const HEIGHT = 400
const MARGIN = { left: 70, right: 15, top: 34, bottom: 46 }
/** Points of a line at most: of those in between the highest is drawn. */
const POINTS = 600

/** Resident and counted memory over time in MB, with what they are held against. `live`: when the backlog was done. */
export function picture(
  samples: readonly Sample[],
  lines: { limit: number; bound: number; live: number | null },
): string {
  const end = samples.at(-1)?.at ?? 1
  const most = 1.1 * Math.max(lines.bound, lines.limit, ...samples.map(({ resident }) => resident))
  const x = (at: number) => MARGIN.left + (at / end) * (WIDTH - MARGIN.left - MARGIN.right)
  const y = (bytes: number) => HEIGHT - MARGIN.bottom - (bytes / most) * (HEIGHT - MARGIN.top - MARGIN.bottom)
  const text = (left: number, top: number, what: string, more = '') =>
    `<text x="${left.toFixed(0)}" y="${top.toFixed(0)}" ${more}>${what}</text>`
  const rule = (from: [number, number], to: [number, number], style: string) =>
    `<path d="M${from.map(Math.round).join(' ')}L${to.map(Math.round).join(' ')}" ${style}/>`
  const curve = (of: (sample: Sample) => number, color: string) => {
    const step = Math.max(1, Math.ceil(samples.length / POINTS))
    const points: string[] = []
    for (let i = 0; i < samples.length; i += step) {
      const part = samples.slice(i, i + step)
      points.push(`${x(part[0]?.at ?? 0).toFixed(1)},${y(Math.max(...part.map(of))).toFixed(1)}`)
    }
    return `<polyline fill="none" stroke="${color}" stroke-width="1.3" points="${points.join(' ')}"/>`
  }
  const left = MARGIN.left
  const right = WIDTH - MARGIN.right
  const level = (bytes: number, style: string) => rule([left, y(bytes)], [right, y(bytes)], style)
  const gigabyte = 1024 * MB
  const tick = most > 4 * gigabyte ? gigabyte : most > gigabyte ? gigabyte / 4 : gigabyte / 16
  const ticks = Array.from({ length: Math.floor(most / tick) + 1 }, (_, n) => n * tick)
  const minutes = end > 600 ? 5 : end > 120 ? 1 : 0.5
  const times = Array.from({ length: Math.floor(end / 60 / minutes) + 1 }, (_, n) => n * minutes)
  const legend: [string, string, string][] = [
    ['resident', '#06c', ''],
    ['counted', '#080', ''],
    ['limits.maxMemory', '#c60', '6 4'],
    ['stated bound', '#c00', '6 4'],
  ]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    ...ticks.map((bytes) => level(bytes, 'stroke="#ddd"')),
    ...ticks.map((bytes) => text(left - 6, y(bytes) + 4, String(Math.round(bytes / MB)), 'text-anchor="end"')),
    ...times.map((at) => text(x(at * 60), HEIGHT - MARGIN.bottom + 18, String(at), 'text-anchor="middle"')),
    text(14, MARGIN.top - 14, 'MB'),
    text((left + right) / 2, HEIGHT - 8, 'minutes', 'text-anchor="middle"'),
    rule([left, y(0)], [right, y(0)], 'stroke="#333"'),
    rule([left, MARGIN.top], [left, y(0)], 'stroke="#333"'),
    level(lines.limit, 'stroke="#c60" stroke-dasharray="6 4"'),
    level(lines.bound, 'stroke="#c00" stroke-dasharray="6 4"'),
    ...(lines.live === null
      ? []
      : [
          rule([x(lines.live), MARGIN.top], [x(lines.live), y(0)], 'stroke="#999" stroke-dasharray="2 3"'),
          text(x(lines.live) + 5, y(0) - 6, 'the backlog is done: live load', 'fill="#777"'),
        ]),
    curve(({ resident }) => resident, '#06c'),
    curve(counted, '#080'),
    ...legend.map(([, color, dashes], n) =>
      rule(
        [left + 20 + n * 170, 14],
        [left + 50 + n * 170, 14],
        `stroke="${color}" stroke-width="2" stroke-dasharray="${dashes}"`,
      ),
    ),
    ...legend.map(([name, color], n) => text(left + 56 + n * 170, 18, name, `fill="${color}"`)),
    '</svg>\n',
  ].join('\n')
}
