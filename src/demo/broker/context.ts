/** What a request handler works with. */

import type { GroupCoordinator } from './group-coordinator.js'
import type { BrokerLogger } from './protocol.js'
import type { TopicStore } from './topics.js'
import type { WireReader, WireWriter } from './wire.js'

export interface BrokerState {
  readonly topics: TopicStore
  readonly groups: GroupCoordinator
  readonly host: string
  /** The port clients are told to use. */
  port: number
  readonly autoCreateTopics: boolean
  /** Partitions of a topic that is created without a number. */
  readonly defaultPartitions: number
  /** User → password; null where no authentication is asked for. */
  users: ReadonlyMap<string, string> | null
  readonly logger: BrokerLogger | null
  nextProducerId: number
}

/** The connection that a request came through. */
export interface RequestContext {
  clientId: string
  clientHost: string
  session: { authenticated: boolean }
  /** Aborted when the connection ends: whatever waits for data gives up. */
  signal: AbortSignal
}

/** Reads a request's body and writes the answer's; answers nothing where it gives `false`. */
export type Handler = (
  state: BrokerState,
  request: WireReader,
  response: WireWriter,
  context: RequestContext,
) => Promise<boolean | undefined> | boolean | undefined
