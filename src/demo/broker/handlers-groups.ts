/** Requests of consumer groups. */

import type { Handler } from './context.js'
import type { CommittedOffset } from './group-coordinator.js'
import { codeOf, KafkaErrorCode, NODE_ID } from './protocol.js'

const THROTTLE_MS = 0

export const findCoordinator: Handler = (state, request, response) => {
  request.string() // group or transactional id: there is one broker
  request.int8()
  response.int32(THROTTLE_MS).int16(0).string(null).int32(NODE_ID).string(state.host).int32(state.port)
  return undefined
}

export const joinGroup: Handler = async (state, request, response, context) => {
  const groupId = request.string()
  const sessionTimeoutMs = request.int32()
  const rebalanceTimeoutMs = request.int32()
  const memberId = request.string()
  request.nullableString() // group instance id: no static membership
  const protocolType = request.string()
  const protocols = request.array((reader) => ({ name: reader.string(), metadata: Buffer.from(reader.bytes()) }))
  const fail = (error: number, id: string) => {
    response.int32(THROTTLE_MS).int16(error).int32(-1).string('').string('').string(id).int32(0)
  }
  try {
    const group = state.groups.group(groupId)
    if (memberId === '') {
      fail(KafkaErrorCode.MEMBER_ID_REQUIRED, group.newMemberId(context.clientId))
      return undefined
    }
    const result = await group.join({
      memberId,
      clientId: context.clientId,
      clientHost: context.clientHost,
      sessionTimeoutMs,
      rebalanceTimeoutMs,
      protocolType,
      protocols,
    })
    response.int32(THROTTLE_MS).int16(0).int32(result.generationId).string(result.protocol)
    response.string(result.leaderId).string(result.memberId)
    response.array(result.members, (writer, member) => {
      writer.string(member.memberId).string(null).bytes(member.metadata)
    })
  } catch (error) {
    fail(codeOf(error), memberId)
  }
  return undefined
}

export const syncGroup: Handler = async (state, request, response) => {
  const groupId = request.string()
  const generation = request.int32()
  const memberId = request.string()
  request.nullableString() // group instance id
  const assignments = new Map(
    request.array((reader) => [reader.string(), Buffer.from(reader.bytes())] as [string, Buffer]),
  )
  try {
    const assignment = await state.groups.group(groupId).sync(memberId, generation, assignments)
    response.int32(THROTTLE_MS).int16(0).bytes(assignment)
  } catch (error) {
    response.int32(THROTTLE_MS).int16(codeOf(error)).bytes(Buffer.alloc(0))
  }
  return undefined
}

export const heartbeat: Handler = (state, request, response) => {
  const groupId = request.string()
  const generation = request.int32()
  const memberId = request.string()
  request.nullableString() // group instance id
  let error = 0
  try {
    state.groups.group(groupId).heartbeat(memberId, generation)
  } catch (failure) {
    error = codeOf(failure)
  }
  response.int32(THROTTLE_MS).int16(error)
  return undefined
}

export const leaveGroup: Handler = (state, request, response) => {
  const groupId = request.string()
  const members = request.array((reader) => ({ memberId: reader.string(), instanceId: reader.nullableString() }))
  response
    .int32(THROTTLE_MS)
    .int16(0)
    .array(members, (writer, { memberId, instanceId }) => {
      let error = 0
      try {
        state.groups.group(groupId).leave(memberId)
      } catch (failure) {
        error = codeOf(failure)
      }
      writer.string(memberId).string(instanceId).int16(error)
    })
  return undefined
}

export const offsetCommit: Handler = (state, request, response) => {
  const groupId = request.string()
  const generation = request.int32()
  const memberId = request.string()
  const topics = request.array((reader) => ({
    topic: reader.string(),
    partitions: reader.array((to) => ({
      partition: to.int32(),
      offset: to.int64(),
      metadata: to.nullableString(),
    })),
  }))
  let refused = 0
  try {
    state.groups.group(groupId).checkCommit(memberId, generation)
  } catch (error) {
    refused = codeOf(error)
  }
  response.int32(THROTTLE_MS).array(topics, (writer, { topic, partitions }) => {
    writer.string(topic).array(partitions, (to, { partition, offset, metadata }) => {
      let error = refused
      if (error === 0) {
        if (state.topics.get(topic)?.partitions[partition]) {
          state.groups.commit(groupId, { topic, partition, offset, metadata })
        } else error = KafkaErrorCode.UNKNOWN_TOPIC_OR_PARTITION
      }
      to.int32(partition).int16(error)
    })
  })
  return undefined
}

export const offsetFetch: Handler = (state, request, response) => {
  const groupId = request.string()
  const wanted = request.nullableArray((reader) => ({
    topic: reader.string(),
    partitions: reader.array((to) => to.int32()),
  }))
  const found = new Map<string, Omit<CommittedOffset, 'topic'>[]>()
  if (wanted === null) {
    for (const { topic, ...offset } of state.groups.allCommitted(groupId)) {
      found.set(topic, [...(found.get(topic) ?? []), offset])
    }
  } else {
    for (const { topic, partitions } of wanted) {
      found.set(
        topic,
        partitions.map((partition) => {
          const { offset = -1, metadata = '' } = state.groups.committed(groupId, topic, partition) ?? {}
          return { partition, offset, metadata }
        }),
      )
    }
  }
  response.int32(THROTTLE_MS).array([...found], (writer, [topic, partitions]) => {
    writer.string(topic).array(partitions, (to, { partition, offset, metadata }) => {
      to.int32(partition).int64(offset).string(metadata).int16(0)
    })
  })
  response.int16(0)
  return undefined
}

export const listGroups: Handler = (state, _request, response) => {
  response
    .int32(THROTTLE_MS)
    .int16(0)
    .array(state.groups.ids, (writer, id) => {
      writer.string(id).string(state.groups.find(id)?.protocolType ?? '')
    })
  return undefined
}

export const describeGroups: Handler = (state, request, response) => {
  const ids = request.array((reader) => reader.string())
  response.int32(THROTTLE_MS).array(ids, (writer, id) => {
    const group = state.groups.find(id)
    const known = group !== undefined || state.groups.ids.includes(id)
    writer.int16(0).string(id)
    writer.string(group?.state ?? (known ? 'Empty' : 'Dead'))
    writer.string(group?.protocolType ?? '').string(group?.protocol ?? '')
    writer.array(group?.members ?? [], (to, member) => {
      to.string(member.memberId).string(member.clientId).string(member.clientHost)
      to.bytes(member.metadata).bytes(member.assignment)
    })
  })
  return undefined
}

export const deleteGroups: Handler = (state, request, response) => {
  const ids = request.array((reader) => reader.string())
  response.int32(THROTTLE_MS).array(ids, (writer, id) => {
    let error = 0
    try {
      state.groups.delete(id)
    } catch (failure) {
      error = codeOf(failure)
    }
    writer.string(id).int16(error)
  })
  return undefined
}
