/** Requests about the cluster and its topics. */

import type { BrokerState, Handler } from './context.js'
import { APIS, codeOf, KafkaErrorCode, KafkaProtocolError, NODE_ID } from './protocol.js'
import type { WireWriter } from './wire.js'

const THROTTLE_MS = 0
const CLUSTER_ID = 'kafka2delta-embedded'
const RESOURCE_TOPIC = 2
const SOURCE_TOPIC = 1
const SOURCE_DEFAULT = 5

export function writeApiVersions(response: WireWriter, error: number, withThrottle: boolean): void {
  response.int16(error).array(Object.entries(APIS), (writer, [name, { key, version }]) => {
    writer.int16(key)
    // Clients probe this one from its highest version down.
    writer.int16(name === 'ApiVersions' ? 0 : version).int16(version)
  })
  if (withThrottle) response.int32(THROTTLE_MS)
}

interface TopicMetadata {
  name: string
  error: number
  partitions: number
  isLeaderless?: boolean
}

function describeTopic(state: BrokerState, name: string, mayCreate: boolean): TopicMetadata {
  const topic = state.topics.get(name)
  if (topic) {
    const { partitions, isLeaderless = false } = topic
    return { name, error: 0, partitions: partitions.length, isLeaderless }
  }
  if (!mayCreate) return { name, error: KafkaErrorCode.UNKNOWN_TOPIC_OR_PARTITION, partitions: 0 }
  try {
    const created = state.topics.create(name, state.defaultPartitions)
    return { name, error: 0, partitions: created.partitions.length }
  } catch (error) {
    return { name, error: codeOf(error), partitions: 0 }
  }
}

export const metadata: Handler = (state, request, response) => {
  const names = request.nullableArray((reader) => reader.string())
  const mayCreate = request.boolean() && state.autoCreateTopics
  const topics = (names ?? state.topics.names).map((name) => describeTopic(state, name, names !== null && mayCreate))
  response.int32(THROTTLE_MS)
  response.int32(1).int32(NODE_ID).string(state.host).int32(state.port).string(null)
  response.string(CLUSTER_ID).int32(NODE_ID)
  response.array(topics, (writer, { name, error, partitions, isLeaderless }) => {
    writer.int16(error).string(name).boolean(false)
    const ids = Array.from({ length: partitions }, (_, id) => id)
    writer.array(ids, (to, id) => {
      if (isLeaderless && id === partitions - 1) to.int16(KafkaErrorCode.LEADER_NOT_AVAILABLE).int32(id).int32(-1)
      else to.int16(0).int32(id).int32(NODE_ID)
      to.int32(1).int32(NODE_ID) // replicas
      to.int32(1).int32(NODE_ID) // in sync
      to.int32(0) // offline
    })
  })
  return undefined
}

/** Runs an action that a topic's error is answered for. */
function attempt(action: () => void): { code: number; message: string | null } {
  try {
    action()
    return { code: 0, message: null }
  } catch (error) {
    return { code: codeOf(error), message: error instanceof Error ? error.message : String(error) }
  }
}

export const createTopics: Handler = (state, request, response) => {
  const wanted = request.array((reader) => ({
    name: reader.string(),
    partitions: reader.int32(),
    replication: reader.int16(),
    assignment: reader.array((to) => ({ partition: to.int32(), replicas: to.array((r) => r.int32()) })),
    configs: reader.array((to) => [to.string(), to.nullableString() ?? ''] as const),
  }))
  request.int32() // timeout
  const validateOnly = request.boolean()
  response.int32(THROTTLE_MS).array(wanted, (writer, { name, partitions, assignment, configs }) => {
    const count = assignment.length > 0 ? assignment.length : partitions === -1 ? state.defaultPartitions : partitions
    const { code, message } = attempt(() => {
      if (validateOnly) state.topics.validate(name, count)
      else state.topics.create(name, count, new Map(configs))
    })
    writer.string(name).int16(code).string(message)
  })
  return undefined
}

export const deleteTopics: Handler = (state, request, response) => {
  const names = request.array((reader) => reader.string())
  request.int32() // timeout
  response.int32(THROTTLE_MS).array(names, (writer, name) => {
    const { code } = attempt(() => {
      state.topics.delete(name)
      state.groups.forgetTopic(name)
    })
    writer.string(name).int16(code)
  })
  return undefined
}

export const createPartitions: Handler = (state, request, response) => {
  const wanted = request.array((reader) => {
    const name = reader.string()
    const count = reader.int32()
    reader.nullableArray((to) => to.nullableArray((replica) => replica.int32()))
    return { name, count }
  })
  request.int32() // timeout
  const validateOnly = request.boolean()
  response.int32(THROTTLE_MS).array(wanted, (writer, { name, count }) => {
    const { code, message } = attempt(() => {
      if (!validateOnly) state.topics.grow(name, count)
      else if (count <= (state.topics.get(name)?.partitions.length ?? Number.POSITIVE_INFINITY)) {
        throw new KafkaProtocolError(KafkaErrorCode.INVALID_PARTITIONS, `${count} partitions`)
      }
    })
    writer.string(name).int16(code).string(message)
  })
  return undefined
}

interface Config {
  name: string
  value: string
  source: number
}

function topicConfigs(state: BrokerState, name: string): Config[] {
  const topic = state.topics.get(name)
  if (!topic) throw new KafkaProtocolError(KafkaErrorCode.UNKNOWN_TOPIC_OR_PARTITION, `no topic ${name}`)
  const configs: Config[] = []
  for (const [key, value] of [
    ['cleanup.policy', 'delete'],
    ['compression.type', 'producer'],
    ['message.timestamp.type', 'CreateTime'],
    ['retention.ms', '-1'],
  ] as const) {
    if (!topic.configs.has(key)) configs.push({ name: key, value, source: SOURCE_DEFAULT })
  }
  for (const [key, value] of topic.configs) configs.push({ name: key, value, source: SOURCE_TOPIC })
  return configs
}

function brokerConfigs(state: BrokerState): Config[] {
  return [
    { name: 'auto.create.topics.enable', value: String(state.autoCreateTopics), source: SOURCE_DEFAULT },
    { name: 'broker.id', value: String(NODE_ID), source: SOURCE_DEFAULT },
    { name: 'num.partitions', value: String(state.defaultPartitions), source: SOURCE_DEFAULT },
  ]
}

export const describeConfigs: Handler = (state, request, response) => {
  const resources = request.array((reader) => ({
    type: reader.int8(),
    name: reader.string(),
    names: reader.nullableArray((to) => to.string()),
  }))
  request.boolean() // synonyms: none here
  response.int32(THROTTLE_MS).array(resources, (writer, { type, name, names }) => {
    let configs: Config[] = []
    const { code, message } = attempt(() => {
      configs = type === RESOURCE_TOPIC ? topicConfigs(state, name) : brokerConfigs(state)
    })
    // kafkajs sends an empty list of names as null, other clients send it as it is: both mean all.
    if (names !== null && names.length > 0) configs = configs.filter((config) => names.includes(config.name))
    writer.int16(code).string(message).int8(type).string(name)
    writer.array(configs, (to, config) => {
      to.string(config.name).string(config.value).boolean(false).int8(config.source).boolean(false).int32(0)
    })
  })
  return undefined
}

export const saslHandshake: Handler = (_state, request, response) => {
  const mechanism = request.string()
  const error = mechanism === 'PLAIN' ? 0 : KafkaErrorCode.UNSUPPORTED_SASL_MECHANISM
  response.int16(error).array(['PLAIN'], (writer, name) => {
    writer.string(name)
  })
  return undefined
}

export const saslAuthenticate: Handler = (state, request, response, { session }) => {
  // PLAIN: authorization id, user and password, with zero bytes between them.
  const [, user = '', password = ''] = request.bytes().toString('utf8').split('\0')
  session.authenticated = state.users === null || state.users.get(user) === password
  if (session.authenticated) response.int16(0).string(null)
  else
    response
      .int16(KafkaErrorCode.SASL_AUTHENTICATION_FAILED)
      .string('Authentication failed: Invalid username or password')
  response.bytes(Buffer.alloc(0)).int64(0)
  return undefined
}
