/** What several tables of a configuration do to each other. */

import { openLogins } from '../../options/open-logins.js'
import type { ResolvedOptions, ResolvedTable } from '../../options/types.js'
import { type Finding, finding } from '../findings.js'

const sorted = (tables: readonly ResolvedTable[]) =>
  [...new Map(tables.map((table) => [table.uri, table])).values()].sort((a, b) => (a.uri < b.uri ? -1 : 1))

/** Tables within another table's folder, or dead letters there: a vacuum of the outer one may remove their files. */
export function nestedPaths(tables: readonly ResolvedTable[]): Finding[] {
  const uris = new Set(tables.map(({ uri }) => uri))
  const inside = (uri: string) => {
    for (let at = uri.lastIndexOf('/'); at > 0; at = uri.lastIndexOf('/', at - 1)) {
      const outer = uri.slice(0, at)
      if (uris.has(outer)) return outer
    }
    return null
  }
  return sorted(tables).flatMap(({ uri, topic }) => {
    const outer = inside(uri)
    if (outer === null) return []
    return finding(
      'PATHS_NESTED',
      `the table of ${topic}, ${uri}, lies within the folder of another table, ${outer}: a vacuum of that one may remove its files`,
      'give each table a folder that is not within another one',
    )
  })
}

/** Logins without TLS. */
export function unencryptedLogins(options: ResolvedOptions): Finding[] {
  return openLogins(options).map(({ message, remedy }) => finding('LOGIN_NOT_ENCRYPTED', message, remedy))
}

/** Dead letters go to a topic that is not there. */
export function deadLetterTopics({ tables, patterns }: ResolvedOptions, topics: ReadonlySet<string>): Finding[] {
  const wanted = [...tables, ...patterns.map(({ table }) => table)].flatMap(({ deadLetter }) =>
    deadLetter?.kind === 'kafka' ? [deadLetter.topic] : [],
  )
  return [...new Set(wanted)]
    .filter((topic) => !topics.has(topic))
    .map((topic) =>
      finding(
        'DEAD_LETTER_TOPIC_MISSING',
        `Kafka has no topic ${topic} for dead letters, or this user may not see it`,
        'make the topic, or let the broker make it (auto.create.topics.enable), and give this user the operation Write',
      ),
    )
}
