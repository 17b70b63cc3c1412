import test, { type ExecutionContext } from 'ava'
import { ConsumerGroup } from '../../../src/demo/broker/group.js'
import { KafkaErrorCode, KafkaProtocolError } from '../../../src/demo/broker/protocol.js'
import { until } from '../support.js'

function group(t: ExecutionContext, initialDelayMs = 0): ConsumerGroup {
  const made = new ConsumerGroup('g', initialDelayMs)
  t.teardown(() => made.close())
  return made
}

const request = (memberId: string, options: { protocols?: string[]; session?: number; rebalance?: number } = {}) => ({
  memberId,
  clientId: 'c',
  clientHost: '/127.0.0.1',
  sessionTimeoutMs: options.session ?? 10_000,
  rebalanceTimeoutMs: options.rebalance ?? 10_000,
  protocolType: 'consumer',
  protocols: (options.protocols ?? ['sticky']).map((name) => ({ name, metadata: Buffer.from(memberId) })),
})

const code = (error: unknown) => (error instanceof KafkaProtocolError ? error.code : String(error))

function heartbeatCode(g: ConsumerGroup, member: string, generation: number): number | string {
  try {
    g.heartbeat(member, generation)
    return 0
  } catch (error) {
    return code(error)
  }
}

test('a member that is not heard of is put out, and the others are told', async (t) => {
  const g = group(t)
  const [a, b] = [g.newMemberId('a'), g.newMemberId('b')]
  await g.join(request(a))
  const second = g.join(request(b, { session: 200 }))
  const first = g.join(request(a))
  const [joinedB, joinedA] = await Promise.all([second, first])
  t.is(joinedA.generationId, joinedB.generationId)
  t.is(joinedA.leaderId, a)
  t.deepEqual(joinedA.members.map(({ memberId }) => memberId).sort(), [a, b].sort())
  t.deepEqual(joinedB.members, [])
  const assignments = new Map([
    [a, Buffer.from('for a')],
    [b, Buffer.from('for b')],
  ])
  const waiting = g.sync(b, joinedB.generationId, new Map())
  t.is(String(await g.sync(a, joinedA.generationId, assignments)), 'for a')
  t.is(String(await waiting), 'for b')
  t.is(g.state, 'Stable')
  await until(() => heartbeatCode(g, a, joinedA.generationId) === KafkaErrorCode.REBALANCE_IN_PROGRESS, 2000)
  t.is(heartbeatCode(g, b, joinedB.generationId), KafkaErrorCode.UNKNOWN_MEMBER_ID)
  const alone = await g.join(request(a))
  t.is(alone.generationId, joinedA.generationId + 1)
  t.deepEqual(
    alone.members.map(({ memberId }) => memberId),
    [a],
  )
  t.is(heartbeatCode(g, a, joinedA.generationId), KafkaErrorCode.ILLEGAL_GENERATION)
})

test('a member that does not come back to a rebalance in time is left out', async (t) => {
  const g = group(t)
  const [a, b] = [g.newMemberId('a'), g.newMemberId('b')]
  const { generationId } = await g.join(request(a, { rebalance: 200 }))
  await g.sync(a, generationId, new Map())
  const joined = await g.join(request(b, { rebalance: 200 }))
  t.is(joined.leaderId, b)
  t.deepEqual(
    joined.members.map(({ memberId }) => memberId),
    [b],
  )
})

test('a member that waits for the leader is sent to a new rebalance when the leader leaves', async (t) => {
  const g = group(t, 50)
  const [a, b] = [g.newMemberId('a'), g.newMemberId('b')]
  const [joinedA, joinedB] = await Promise.all([g.join(request(a)), g.join(request(b))])
  t.is(joinedA.generationId, 1)
  const waiting = t.throwsAsync(g.sync(b, joinedB.generationId, new Map()))
  g.leave(a)
  t.is(code(await waiting), KafkaErrorCode.REBALANCE_IN_PROGRESS)
  const again = await g.join(request(b))
  t.is(again.leaderId, b)
})

test('the protocol is one that all members have; a member without it is refused', async (t) => {
  const g = group(t, 50)
  const ids = ['a', 'b', 'c', 'd'].map((name) => g.newMemberId(name))
  const [a = '', b = '', c = '', d = ''] = ids
  const joins = [
    g.join(request(a, { protocols: ['x', 'y'] })),
    g.join(request(b, { protocols: ['y', 'x'] })),
    g.join(request(c, { protocols: ['z', 'y'] })),
  ]
  const refused = await t.throwsAsync(g.join(request(d, { protocols: ['x', 'z'] })))
  t.is(code(refused), KafkaErrorCode.INCONSISTENT_GROUP_PROTOCOL)
  const results = await Promise.all(joins)
  t.deepEqual(
    results.map(({ protocol }) => protocol),
    ['y', 'y', 'y'],
  )
})

test('commits are refused from other generations and from strangers', async (t) => {
  const g = group(t)
  const a = g.newMemberId('a')
  t.notThrows(() => g.checkCommit('', -1))
  const { generationId } = await g.join(request(a))
  t.is(code(t.throws(() => g.checkCommit(a, generationId))), KafkaErrorCode.REBALANCE_IN_PROGRESS)
  await g.sync(a, generationId, new Map())
  t.notThrows(() => g.checkCommit(a, generationId))
  t.is(code(t.throws(() => g.checkCommit(a, generationId - 1))), KafkaErrorCode.ILLEGAL_GENERATION)
  t.is(code(t.throws(() => g.checkCommit('who', generationId))), KafkaErrorCode.UNKNOWN_MEMBER_ID)
  t.is(code(t.throws(() => g.checkCommit('', -1))), KafkaErrorCode.UNKNOWN_MEMBER_ID)
  t.is(code(await t.throwsAsync(g.join(request('who')))), KafkaErrorCode.UNKNOWN_MEMBER_ID)
})
