/** The partition assigner of workers that share the tables of a query: kafkajs's side of it. Which worker has what, `workers` decides. */

import kafkajs, { type Assigner, type Cluster, type GroupMember, type GroupMemberAssignment } from 'kafkajs'
import { assign } from '../workers/assign.js'
import { decodeMemberData, encodeMemberData, type MemberData, memberOf } from '../workers/member-data.js'
import type { SourceLogger } from './options.js'
import type { KnownTable } from './sharing.js'

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol

/** All members of a group have it, or they are refused by the broker. */
const NAME = 'kafka2delta-tables'

/** Of Kafka's own part of what members send, which brokers read. */
const VERSION = 0

/**
 * Bytes of the names of topics up to which a member names them in Kafka's part, too. Brokers keep a group as one record of a
 * megabyte at most; our part has the names as well, compressed.
 */
const MAX_NAMED_BYTES = 64 * 1024

export interface AssignerHost {
  /** Called at each join. */
  describe(): Omit<MemberData, 'tables'> & { tables: readonly KnownTable[] }
  /** Names the consumer, see fetch-wait.ts. */
  waitId: string
  logger: SourceLogger | undefined
}

type Metadata = Pick<Cluster, 'findTopicPartitionMetadata'>

export class TableAssigner implements Assigner {
  readonly name = NAME
  readonly version = VERSION
  readonly waitId: string
  readonly #cluster: Metadata
  readonly #host: AssignerHost

  constructor(cluster: Metadata, host: AssignerHost) {
    this.waitId = host.waitId
    this.#cluster = cluster
    this.#host = host
  }

  /** What this member tells the leader. */
  protocol({ topics }: { topics: string[] }): { name: string; metadata: Buffer } {
    const { tables, ...own } = this.#host.describe()
    const subscribed = new Set(topics)
    const withPartitions = tables.flatMap((table) => {
      const read = table.topics.filter((topic) => subscribed.has(topic))
      const counts = read.map((topic): [string, number] => [topic, this.#numPartitions(topic)])
      return read.length > 0 ? [{ path: table.path, load: table.load, topics: new Map(counts) }] : []
    })
    const bytes = topics.reduce((sum, topic) => sum + topic.length, 0)
    const userData = encodeMemberData({ ...own, tables: withPartitions })
    const named = bytes <= MAX_NAMED_BYTES ? topics : []
    return { name: NAME, metadata: MemberMetadata.encode({ version: VERSION, topics: named, userData }) }
  }

  /** What each member gets: asked of the leader alone, whose own metadata are fresh. */
  async assign({ members }: { members: GroupMember[] }): Promise<GroupMemberAssignment[]> {
    const { logger } = this.#host
    const told = members.map(({ memberId, memberMetadata }) => ({ id: memberId, ...readMetadata(memberMetadata) }))
    const unread = told.filter(({ data }) => data === null).map(({ id }) => id)
    if (unread.length > 0) logger?.warn({ members: unread }, 'workers of another version are in the group')
    const { tables, numMoved, notes } = assign(told.map(({ id, data, topics }) => memberOf(id, data, topics)))
    for (const note of notes) logger?.warn({}, note)
    const counts = partitionsTold(told.map(({ data }) => data))
    const numPartitions = (topic: string) => Math.max(counts.get(topic) ?? 0, this.#numPartitions(topic))
    const numTables = Object.fromEntries([...tables].map(([id, own]) => [id, own.size]))
    logger?.info({ tables: numTables, numMoved }, 'tables are shared out among the workers')
    return [...tables].map(([memberId, own]) => {
      const topics = [...own.values()].flat()
      const partitions = topics.map((topic): [string, number[]] => [topic, [...Array(numPartitions(topic)).keys()]])
      const assignment = Object.fromEntries(partitions.filter(([, ids]) => ids.length > 0))
      return {
        memberId,
        memberAssignment: MemberAssignment.encode({ version: VERSION, assignment, userData: Buffer.alloc(0) }),
      }
    })
  }

  /** 0 where it is not known. */
  #numPartitions(topic: string): number {
    try {
      return this.#cluster.findTopicPartitionMetadata(topic).length
    } catch {
      return 0
    }
  }
}

/** Members of any version, and of other programs. */
function readMetadata(metadata: Buffer): { topics: string[]; data: MemberData | null } {
  try {
    const { topics = [], userData } = MemberMetadata.decode(metadata) ?? {}
    return { topics, data: userData ? decodeMemberData(userData) : null }
  } catch {
    return { topics: [], data: null }
  }
}

/** Of topics that other members know and the leader does not, yet. */
function partitionsTold(told: readonly (MemberData | null)[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { topics } of told.flatMap((data) => data?.tables ?? [])) {
    for (const [topic, count] of topics) counts.set(topic, Math.max(count, counts.get(topic) ?? 0))
  }
  return counts
}
