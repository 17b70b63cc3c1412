/**
 * Which worker has which table: what the leader of the consumer group decides for all of its members. Whole tables, with all
 * topics that are written to their path; where they were, as far as the load allows. The same members give the same answer,
 * in whatever order they come.
 */

/** A member of the group, by what it told as it joined. */
export interface Member {
  /** Kafka's. */
  readonly id: string
  /** The process. One that joined anew may have an older member still. Null where the member does not tell. */
  readonly worker: string | null
  /** Counts the joins of the process. */
  readonly session: number
  /**
   * It joined a moment ago. In an update others leave soon, and what they leave is enough for it: it gets no tables of workers
   * that stay, unless all are new.
   */
  readonly isNew: boolean
  /** The topics that it can read, with the path of their table; null where it does not tell. */
  readonly topics: ReadonlyMap<string, string | null>
  /** Paths of the tables that it has. */
  readonly holds: ReadonlySet<string>
  /** When it was given them, in milliseconds since 1970. */
  readonly heldSince: number
  /** How much work its tables are, by path: see load.ts. */
  readonly loads: ReadonlyMap<string, number>
}

export interface Assignment {
  /** Of each member: its tables, by path, with their topics. */
  readonly tables: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>
  /** Tables that another member had before. */
  readonly numMoved: number
  /** What is amiss. */
  readonly notes: readonly string[]
}

/** Work of a table of which nobody tells, where nobody tells of any. */
const DEFAULT_LOAD = 1

/** Difference between two members, of the load that each would have, up to which tables stay where they are. */
const TOLERANCE = 0.2
/** The same where tables are given out whose worker is gone: what the others have is left to them. */
const TOLERANCE_AFTER_LEAVE = 0.5

/** A table moves where it makes up no more of the difference than this: a larger one would only turn it round. */
const MAX_SHARE = 0.8

interface Table {
  readonly path: string
  readonly load: number
  /** The members that may have it, by id, each with the topics that it would read. */
  readonly candidates: ReadonlyMap<string, readonly string[]>
  /** The member that has it. */
  readonly holder: string | null
}

/** A member, with what it is given. */
interface Share {
  readonly id: string
  load: number
  readonly tables: Map<string, Table>
}

const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

export function assign(members: readonly Member[]): Assignment {
  const notes: string[] = []
  const counted = newestOfWorkers(members)
  const tables = findTables(counted, notes)
  const shares = new Map(counted.map(({ id }) => [id, { id, load: 0, tables: new Map() } as Share]))
  const free: Table[] = []
  for (const table of tables) {
    const share = table.holder === null ? undefined : shares.get(table.holder)
    if (share) give(share, table)
    else free.push(table)
  }
  free.sort((a, b) => b.load - a.load || byText(a.path, b.path))
  for (const table of free) {
    const candidates = [...table.candidates.keys()].map((id) => shares.get(id) as Share)
    const lightest = candidates.sort(byLoad)[0]
    if (lightest) give(lightest, table)
  }
  const settled = counted.filter(({ isNew }) => !isNew)
  const receivers = new Set((settled.length > 0 ? settled : counted).map(({ id }) => id))
  balance([...shares.values()], receivers, free.length > 0 ? TOLERANCE_AFTER_LEAVE : TOLERANCE)
  return {
    tables: new Map(members.map(({ id }) => [id, topicsOf(shares.get(id))])),
    numMoved: [...shares.values()].reduce((sum, share) => sum + numGained(share), 0),
    notes,
  }
}

const byLoad = (a: Share, b: Share) => a.load - b.load || a.tables.size - b.tables.size || byText(a.id, b.id)

function give(share: Share, table: Table): void {
  share.tables.set(table.path, table)
  share.load += table.load
}

function topicsOf(share: Share | undefined): Map<string, readonly string[]> {
  const paths = [...(share?.tables.keys() ?? [])].sort(byText)
  return new Map(paths.map((path) => [path, share?.tables.get(path)?.candidates.get(share.id) ?? []]))
}

const numGained = ({ id, tables }: Share) =>
  [...tables.values()].filter(({ holder }) => holder !== null && holder !== id).length

/** In the order of their ids: of each process, the member of its last join. Of older ones nobody reads on. */
function newestOfWorkers(members: readonly Member[]): Member[] {
  const newest = new Map<string, Member>()
  for (const member of [...members].sort((a, b) => byText(a.id, b.id))) {
    const { worker, session } = member
    if (worker === null) continue
    const other = newest.get(worker)
    if (other === undefined || session >= other.session) newest.set(worker, member)
  }
  const counts = (member: Member) => member.worker === null || newest.get(member.worker) === member
  return members.filter(counts).sort((a, b) => byText(a.id, b.id))
}

/** All tables that some member can read, in the order of their paths. */
function findTables(members: readonly Member[], notes: string[]): Table[] {
  const topics = new Map<string, string[]>()
  for (const [topic, path] of agreedPaths(members, notes)) topics.set(path, [...(topics.get(path) ?? []), topic])
  const loads = reportedLoads(members)
  const usual = median([...loads.values()])
  return [...topics]
    .sort(([a], [b]) => byText(a, b))
    .map(([path, all]) => {
      const candidates = candidatesFor(path, all.sort(byText), members, notes)
      return { path, candidates, load: loads.get(path) ?? usual, holder: holderOf(path, candidates, members) }
    })
}

/** The path of each topic's table. Where members do not agree, that which most of them name counts, or the first by name. */
function agreedPaths(members: readonly Member[], notes: string[]): Map<string, string> {
  const votes = new Map<string, Map<string, number>>()
  for (const { topics } of members) {
    for (const [topic, path] of topics) {
      const ofTopic = votes.get(topic) ?? new Map<string, number>()
      votes.set(topic, ofTopic)
      if (path !== null) ofTopic.set(path, (ofTopic.get(path) ?? 0) + 1)
    }
  }
  const agreed = new Map<string, string>()
  for (const [topic, paths] of [...votes].sort(([a], [b]) => byText(a, b))) {
    const ordered = [...paths].sort(([a, ofA], [b, ofB]) => ofB - ofA || byText(a, b))
    // Where nobody tells the path, the topic is a table of its own.
    const path = ordered[0]?.[0] ?? `topic ${topic}`
    agreed.set(topic, path)
    if (ordered.length < 2) continue
    const others = ordered.slice(1).map(([other]) => other)
    notes.push(`workers name different paths for the topic ${topic}: ${path} counts, and not ${others.join(', ')}`)
  }
  return agreed
}

/** Who knows all topics of the table; where nobody does, who knows most of them. */
function candidatesFor(
  path: string,
  topics: readonly string[],
  members: readonly Member[],
  notes: string[],
): Map<string, readonly string[]> {
  const known = members.map(({ id, topics: own }): [string, readonly string[]] => [
    id,
    topics.filter((topic) => own.has(topic) && (own.get(topic) ?? path) === path),
  ])
  const most = Math.max(...known.map(([, own]) => own.length))
  if (most < topics.length)
    notes.push(`no worker knows all topics of ${path}: ${topics.length - most} are not read yet`)
  return new Map(known.filter(([, own]) => own.length === most && most > 0))
}

/** Who has the table: where several say so, the one that was given its tables last. */
function holderOf(path: string, candidates: ReadonlyMap<string, unknown>, members: readonly Member[]): string | null {
  const holders = members.filter(({ id, holds }) => holds.has(path) && candidates.has(id))
  return holders.sort((a, b) => b.heldSince - a.heldSince || byText(a.id, b.id))[0]?.id ?? null
}

/** By path, as told by the one that was given its tables last. */
function reportedLoads(members: readonly Member[]): Map<string, number> {
  const loads = new Map<string, number>()
  const ordered = [...members].sort((a, b) => a.heldSince - b.heldSince || byText(b.id, a.id))
  for (const member of ordered) {
    for (const [path, load] of member.loads) if (Number.isFinite(load) && load > 0) loads.set(path, load)
  }
  return loads
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? DEFAULT_LOAD
}

/** Moves tables from members with much to receivers with little, as few as that takes. */
function balance(shares: readonly Share[], receivers: ReadonlySet<string>, tolerance: number): void {
  const total = shares.reduce((sum, { load }) => sum + load, 0)
  const tolerated = (tolerance * total) / Math.max(1, shares.length)
  // Each move lessens the sum of the squares of the loads: there is an end.
  while (moveOne([...shares].sort(byLoad), receivers, tolerated)) {
    // It has moved one.
  }
}

function moveOne(ordered: readonly Share[], receivers: ReadonlySet<string>, tolerated: number): boolean {
  const light = ordered.filter(({ id }) => receivers.has(id))
  for (const from of [...ordered].reverse()) {
    for (const to of light) {
      const difference = from.load - to.load
      if (difference <= tolerated) break
      const table = bestToMove(from, to, difference)
      if (table === null) continue
      from.tables.delete(table.path)
      from.load -= table.load
      give(to, table)
      return true
    }
  }
  return false
}

/** The table that makes the difference smallest; of equal ones that which is not where it was, or the first by its path. */
function bestToMove(from: Share, to: Share, difference: number): Table | null {
  const misses = ({ load }: Table) => Math.abs(load - difference / 2)
  const stays = ({ holder }: Table) => (holder === from.id ? 1 : 0)
  const isBetter = (a: Table, b: Table) => (misses(a) - misses(b) || stays(a) - stays(b) || byText(a.path, b.path)) < 0
  let best: Table | null = null
  for (const table of from.tables.values()) {
    if (table.load > difference * MAX_SHARE || !table.candidates.has(to.id)) continue
    if (best === null || isBetter(table, best)) best = table
  }
  return best
}
