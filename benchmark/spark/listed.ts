/** The table of known differences in docs/spark.md: read by people and by the comparison. */

import type { Difference } from './difference.js'

export interface ListedDifference extends Difference {
  why: string
}

const BEGIN = '<!-- differences: checked by npm run compare:spark -->'
const END = '<!-- end of differences -->'

/**
 * Reads the rows between the two marks: topic, what, the Spark job, kafka2delta, why.
 * @throws where the marks are missing, a row has no reason or another number of cells, or two rows are the same
 */
export function listedDifferences(markdown: string): ListedDifference[] {
  const [begin, end] = [markdown.indexOf(BEGIN), markdown.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`the table is to stand between "${BEGIN}" and "${END}"`)
  const rows = markdown
    .slice(begin, end)
    .split('\n')
    .filter((line) => line.startsWith('|'))
  const listed = rows.slice(2).map((line): ListedDifference => {
    const cells = line
      .trim()
      .replace(/^\||\|$/g, '')
      .split(/(?<!\\)\|/)
    const [topic = '', what = '', spark = '', ours = ''] = cells.map(fromCell)
    const why = cells[4]?.trim() ?? ''
    if (cells.length !== 5 || [topic, what, spark, ours, why].includes(''))
      throw new Error(`five filled cells are needed: ${line}`)
    return { topic, what, spark, ours, why }
  })
  const seen = new Set<string>()
  for (const difference of listed) {
    if (seen.has(idOf(difference))) throw new Error(`listed twice: ${idOf(difference)}`)
    seen.add(idOf(difference))
  }
  return listed
}

/** A row of the table. */
export const tableRow = ({ topic, what, spark, ours }: Difference, why: string): string =>
  `| ${topic} | ${toCell(what)} | ${toCell(spark)} | ${toCell(ours)} | ${why} |`

export const idOf = ({ topic, what }: Difference): string => `${topic}: ${what}`

export interface Verdict {
  /** Found as listed. */
  known: Difference[]
  /** Found and not listed, or not as listed. */
  unlisted: Difference[]
  /** Listed and no longer found. */
  gone: ListedDifference[]
}

export function judge(found: readonly Difference[], listed: readonly ListedDifference[]): Verdict {
  const byId = new Map(listed.map((difference) => [idOf(difference), difference]))
  const isKnown = (difference: Difference) => {
    const row = byId.get(idOf(difference))
    return row !== undefined && tableRow(row, '') === tableRow(difference, '')
  }
  const foundIds = new Set(found.map(idOf))
  return {
    known: found.filter(isKnown),
    unlisted: found.filter((difference) => !isKnown(difference)),
    gone: listed.filter((difference) => !foundIds.has(idOf(difference))),
  }
}

/** As code, so that nothing in it is Markdown; names in brackets stay as they are. */
function toCell(text: string): string {
  const escaped = text.replaceAll('|', '\\|').replace(/\s+/g, ' ').trim()
  if (/^\(.*\)$/.test(text)) return escaped
  return text.includes('`') ? `\`\` ${escaped} \`\`` : `\`${escaped}\``
}

function fromCell(cell: string): string {
  const text = cell.trim().replaceAll('\\|', '|')
  return /^(`+) ?([^`].*?) ?\1$/.exec(text)?.[2] ?? text
}
