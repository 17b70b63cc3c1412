/** The part of the Kafka protocol that the embedded broker speaks. */

/** API keys, each with the one version that is served: the newest that kafkajs 2.2.4 knows. */
export const APIS = {
  Produce: { key: 0, version: 7 },
  Fetch: { key: 1, version: 11 },
  ListOffsets: { key: 2, version: 3 },
  Metadata: { key: 3, version: 6 },
  OffsetCommit: { key: 8, version: 5 },
  OffsetFetch: { key: 9, version: 4 },
  FindCoordinator: { key: 10, version: 2 },
  JoinGroup: { key: 11, version: 5 },
  Heartbeat: { key: 12, version: 3 },
  LeaveGroup: { key: 13, version: 3 },
  SyncGroup: { key: 14, version: 3 },
  DescribeGroups: { key: 15, version: 2 },
  ListGroups: { key: 16, version: 2 },
  SaslHandshake: { key: 17, version: 1 },
  ApiVersions: { key: 18, version: 2 },
  CreateTopics: { key: 19, version: 3 },
  DeleteTopics: { key: 20, version: 1 },
  DeleteRecords: { key: 21, version: 1 },
  InitProducerId: { key: 22, version: 1 },
  DescribeConfigs: { key: 32, version: 2 },
  SaslAuthenticate: { key: 36, version: 1 },
  CreatePartitions: { key: 37, version: 1 },
  DeleteGroups: { key: 42, version: 1 },
} as const satisfies Record<string, { key: number; version: number }>

export type ApiName = keyof typeof APIS

/** Kafka's error codes, those that the broker answers with. */
export const KafkaErrorCode = {
  UNKNOWN: -1,
  NONE: 0,
  OFFSET_OUT_OF_RANGE: 1,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  INVALID_TOPIC: 17,
  ILLEGAL_GENERATION: 22,
  INCONSISTENT_GROUP_PROTOCOL: 23,
  INVALID_GROUP_ID: 24,
  UNKNOWN_MEMBER_ID: 25,
  REBALANCE_IN_PROGRESS: 27,
  GROUP_AUTHORIZATION_FAILED: 30,
  UNSUPPORTED_SASL_MECHANISM: 33,
  ILLEGAL_SASL_STATE: 34,
  UNSUPPORTED_VERSION: 35,
  TOPIC_ALREADY_EXISTS: 36,
  INVALID_PARTITIONS: 37,
  INVALID_REQUEST: 42,
  UNSUPPORTED_FOR_MESSAGE_FORMAT: 43,
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  SASL_AUTHENTICATION_FAILED: 58,
  NON_EMPTY_GROUP: 68,
  GROUP_ID_NOT_FOUND: 69,
  MEMBER_ID_REQUIRED: 79,
} as const

/** An error that a request is answered with. */
export class KafkaProtocolError extends Error {
  override readonly name = 'KafkaProtocolError'
  /** One of {@link KafkaErrorCode}. */
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

/** The error code of an error: its own, or UNKNOWN. */
export function codeOf(error: unknown): number {
  return error instanceof KafkaProtocolError ? error.code : KafkaErrorCode.UNKNOWN
}

/** Where the broker writes what it does. A pino logger fits. */
export interface BrokerLogger {
  debug(details: object, message: string): void
  warn(details: object, message: string): void
}

/** The id of the only broker. */
export const NODE_ID = 1
