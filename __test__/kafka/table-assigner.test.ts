/** The assigner as kafkajs calls it: what members send, and what they are given. */

import test from 'ava'
import kafkajs from 'kafkajs'
import type { KnownTable } from '../../src/kafka/sharing.js'
import { TableAssigner } from '../../src/kafka/table-assigner.js'

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol

function worker(name: string, tables: KnownTable[], partitions: Record<string, number>) {
  const warnings: string[] = []
  const quiet = { debug() {}, info() {}, error() {} }
  const cluster = { findTopicPartitionMetadata: (topic: string) => Array(partitions[topic] ?? 0).fill({}) }
  const describe = () => ({ worker: name, session: 0, isNew: false, heldSince: 0, tables })
  const logger = { ...quiet, warn: (_: object, message: string) => warnings.push(message) }
  const assigner = new TableAssigner(cluster, { describe, waitId: name, logger })
  const topics = tables.flatMap((table) => table.topics)
  const join = (id: string) => ({ memberId: id, memberMetadata: assigner.protocol({ topics }).metadata })
  return { assigner, join, topics, warnings }
}

const table = (path: string, ...topics: string[]): KnownTable => ({ path, topics, load: null })

async function given(assigner: TableAssigner, members: { memberId: string; memberMetadata: Buffer }[]) {
  const assignments = await assigner.assign({ members })
  const decoded = assignments.map(({ memberId, memberAssignment }) => [
    memberId,
    MemberAssignment.decode(memberAssignment)?.assignment ?? null,
  ])
  return Object.fromEntries(decoded) as Record<string, Record<string, number[]>>
}

test('all partitions of all topics of a table go to one member', async (t) => {
  const tables = [table('/a', 'a1', 'a2'), table('/b', 'b')]
  const one = worker('one', tables, { a1: 2, a2: 1, b: 3 })
  const two = worker('two', tables, { a1: 2, a2: 1, b: 3 })
  t.deepEqual(await given(one.assigner, [one.join('m1'), two.join('m2')]), {
    m1: { a1: [0, 1], a2: [0] },
    m2: { b: [0, 1, 2] },
  })
  t.deepEqual(one.warnings, [])
})

test('a topic that only another member has seen, and partitions that one has not seen yet', async (t) => {
  const leader = worker('leader', [table('/a', 'a')], { a: 1 })
  const other = worker('other', [table('/a', 'a'), table('/new', 'new')], { a: 4, new: 2 })
  const found = await given(leader.assigner, [leader.join('m1'), other.join('m2')])
  t.deepEqual(found, { m1: { a: [0, 1, 2, 3] }, m2: { new: [0, 1] } })
})

test('a member of another version, or of another program, has what it subscribes to', async (t) => {
  const leader = worker('leader', [table('/a', 'a'), table('/b', 'b')], { a: 1, b: 1 })
  const userData = Buffer.from('another format')
  const other = { memberId: 'm2', memberMetadata: MemberMetadata.encode({ version: 0, topics: ['a', 'b'], userData }) }
  const found = await given(leader.assigner, [leader.join('m1'), other])
  t.deepEqual(Object.values(found).map((own) => Object.keys(own).length), [1, 1]) // biome-ignore format: short
  t.deepEqual(leader.warnings, ['workers of another version are in the group'])
  const broken = { memberId: 'm3', memberMetadata: Buffer.from([0]) }
  t.deepEqual((await given(leader.assigner, [leader.join('m1'), broken])).m3, {})
})

test('topics are named to the broker as long as they are few', async (t) => {
  const named = (n: number) => {
    const { assigner, topics } = worker(
      'w',
      Array.from({ length: n }, (_, i) => table(`/${i}`, `topic-${i}`)),
      {},
    )
    return MemberMetadata.decode(assigner.protocol({ topics }).metadata)?.topics.length
  }
  t.is(named(10), 10)
  t.is(named(10_000), 0)
})

test('a topic without partitions is left out, and a table that is not read is not told of', async (t) => {
  const one = worker('one', [table('/a', 'a'), table('/gone', 'gone')], { a: 1 })
  t.deepEqual(await given(one.assigner, [one.join('m1')]), { m1: { a: [0] } })
  const metadata = MemberMetadata.decode(one.assigner.protocol({ topics: ['a'] }).metadata)
  t.deepEqual(
    await given(one.assigner, [{ memberId: 'm', memberMetadata: MemberMetadata.encode(metadata as never) }]),
    {
      m: { a: [0] },
    },
  )
})
