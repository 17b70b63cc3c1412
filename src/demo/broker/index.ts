/** A Kafka broker inside the process. */

export { EmbeddedBroker, type EmbeddedBrokerOptions, type PartitionOffsets } from './embedded-broker.js'
export type { CommittedOffset } from './group-coordinator.js'
export type { BrokerLogger } from './protocol.js'
export type { BrokerRecord } from './record-batch.js'
