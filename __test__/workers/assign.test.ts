/** The assigner: given tables and members, and over thousands of random groups. */

import test from 'ava'
import { type Assignment, assign, type Member } from '../../src/workers/assign.js'
import { generator, type Random, ROUNDS, SEED } from '../helpers/random.js'

interface Given {
  worker?: string | null
  session?: number
  isNew?: boolean
  topics?: Iterable<readonly [string, string | null]>
  holds?: Iterable<string>
  heldSince?: number
  loads?: Iterable<readonly [string, number]>
}

const member = (id: string, given: Given = {}): Member => ({
  id,
  worker: given.worker === undefined ? `worker of ${id}` : given.worker,
  session: given.session ?? 0,
  isNew: given.isNew ?? false,
  topics: new Map(given.topics ?? []),
  holds: new Set(given.holds ?? []),
  heldSince: given.heldSince ?? 0,
  loads: new Map(given.loads ?? []),
})

const numbered = (n: number, of: (i: number) => string) => Array.from({ length: n }, (_, i) => of(i))
/** `n` topics with a table each. */
const topicsOf = (n: number) => numbered(n, (i) => `t${i}`).map((topic) => [topic, `/lake/${topic}`] as const)

const pathsOf = ({ tables }: Assignment, id: string) => [...(tables.get(id)?.keys() ?? [])]
const sizes = ({ tables }: Assignment) => [...tables.values()].map((own) => own.size)

/** What members tell as they join again with what they were given. */
function next(assignment: Assignment, members: readonly Member[], heldSince = 1): Member[] {
  return members.map((before) => ({ ...before, holds: new Set(pathsOf(assignment, before.id)), heldSince }))
}

test('one member has all tables, and every one of several an equal part', (t) => {
  const topics = topicsOf(12)
  t.deepEqual(sizes(assign([member('a', { topics })])), [12])
  t.deepEqual(sizes(assign(['a', 'b', 'c'].map((id) => member(id, { topics })))), [4, 4, 4])
  t.deepEqual(sizes(assign([])), [])
  t.deepEqual(sizes(assign([member('a'), member('b')])), [0, 0])
})

test('topics of one path are together', (t) => {
  const topics = numbered(6, (i) => `shard${i}`).map((topic) => [topic, '/lake/all'] as const)
  const { tables } = assign([member('a', { topics }), member('b', { topics })])
  t.deepEqual(
    tables.get('a')?.get('/lake/all'),
    numbered(6, (i) => `shard${i}`),
  )
  t.is(tables.get('b')?.size, 0)
})

test('a member that joins gets its part, and nothing else moves', (t) => {
  const topics = topicsOf(12)
  const two = [member('a', { topics }), member('b', { topics })]
  const before = next(assign(two), two)
  const after = assign([...before, member('c', { topics })])
  t.deepEqual(sizes(after), [4, 4, 4])
  t.is(after.numMoved, 4)
  for (const { id, holds } of before) t.true(pathsOf(after, id).every((path) => holds.has(path)))
})

test('of a member that leaves the tables are shared out, and nothing else moves', (t) => {
  const topics = topicsOf(12)
  const three = ['a', 'b', 'c'].map((id) => member(id, { topics }))
  const [a, b] = next(assign(three), three) as [Member, Member]
  const after = assign([a, b])
  t.deepEqual(sizes(after), [6, 6])
  t.is(after.numMoved, 0)
  for (const { id, holds } of [a, b]) t.true([...holds].every((path) => pathsOf(after, id).includes(path)))
})

test('loads are shared, not numbers of tables; what nobody reports counts as a usual one', (t) => {
  const topics = topicsOf(9)
  const holds = topics.map(([, path]) => path)
  const loads = holds.slice(0, 8).map((path, i) => [path, i === 0 ? 8 : 1] as const)
  const after = assign([member('a', { topics, holds, loads }), member('b', { topics })])
  // Eight against eight: the large one moves alone.
  t.deepEqual(pathsOf(after, 'b'), ['/lake/t0'])
  t.is(after.numMoved, 1)
})

test('small differences move nothing', (t) => {
  const topics = topicsOf(10)
  const paths = topics.map(([, path]) => path)
  const a = member('a', { topics, holds: paths.slice(0, 5), loads: paths.slice(0, 5).map((path) => [path, 1.1]) })
  const b = member('b', { topics, holds: paths.slice(5), loads: paths.slice(5).map((path) => [path, 0.95]) })
  t.is(assign([a, b]).numMoved, 0)
  const heavy = { ...a, loads: new Map(paths.slice(0, 5).map((path) => [path, 2])) }
  t.true(assign([heavy, b]).numMoved > 0)
})

test('a table goes only to who knows all its topics', (t) => {
  const seen = [...topicsOf(4), ['late', '/lake/t0'] as const]
  const holds = topicsOf(4).map(([, path]) => path)
  // b has seen the topic `late`, a has not yet.
  const after = assign([member('a', { topics: topicsOf(4), holds }), member('b', { topics: seen })])
  t.true(pathsOf(after, 'b').includes('/lake/t0'))
  t.deepEqual(after.tables.get('b')?.get('/lake/t0'), ['late', 't0'])
  t.deepEqual(after.notes, [])
})

test('where nobody knows all topics of a table, one of those has it who know most', (t) => {
  const one = (...topics: string[]) => topics.map((topic) => [topic, '/lake/all'] as const)
  const after = assign([member('a', { topics: one('x', 'y') }), member('b', { topics: one('y', 'z') })])
  t.deepEqual(sizes(after), [1, 0])
  t.deepEqual(after.tables.get('a')?.get('/lake/all'), ['x', 'y'])
  t.regex(after.notes[0] ?? '', /no worker knows all topics of \/lake\/all: 1 /)
})

test('where members name different paths, most of them are right, and it is told', (t) => {
  const a = member('a', { topics: [['x', '/new']] })
  const b = member('b', { topics: [['x', '/old']] })
  const c = member('c', { topics: [['x', '/new']] })
  const after = assign([b, a, c])
  t.deepEqual(pathsOf(after, 'b'), [])
  t.is(
    sizes(after).reduce((sum, n) => sum + n),
    1,
  )
  t.regex(after.notes[0] ?? '', /different paths for the topic x: \/new counts, and not \/old/)
  // One against one: the first by name.
  t.deepEqual(pathsOf(assign([b, a]), 'a'), ['/new'])
})

test('of a process with two members, the one that joined last has the tables', (t) => {
  const topics = topicsOf(3)
  const holds = topics.map(([, path]) => path)
  const old = member('a-1', { worker: 'a', session: 1, topics, holds })
  const after = assign([old, member('a-2', { worker: 'a', session: 2, topics, holds })])
  t.deepEqual(sizes(after), [0, 3])
})

test('who has just joined gets what others leave, and nothing of those that stay', (t) => {
  const topics = topicsOf(8)
  const two = [member('a', { topics, isNew: true }), member('b', { topics, isNew: true })]
  // All are new: there is nothing to be spared.
  t.deepEqual(sizes(assign(two)), [4, 4])
  const [a, b] = next(assign(two), two).map((m) => ({ ...m, isNew: false })) as [Member, Member]
  const c = member('c', { topics, isNew: true })
  t.deepEqual(sizes(assign([a, b, c])), [4, 4, 0])
  const left = assign([b, c])
  t.deepEqual(sizes(left), [4, 4])
  t.is(left.numMoved, 0)
  t.deepEqual(sizes(assign([a, b, { ...c, isNew: false }])), [3, 3, 2])
})

/** The workers of an update, one after the other; how often each table was given to another worker. */
function update(numTables: number, numWorkers: number, order: 'join first' | 'leave first'): number[] {
  const topics = topicsOf(numTables)
  let members = numbered(numWorkers, (i) => `old${i}`).map((id) => member(id, { topics }))
  const places = new Map<string, string>()
  const moves = new Map<string, number>()
  const look = () => {
    const found = assign(members)
    members = next(found, members)
    for (const { id, holds } of members) {
      for (const path of holds) {
        const before = places.get(path)
        if (before !== undefined && before !== id) moves.set(path, (moves.get(path) ?? 0) + 1)
        places.set(path, id)
      }
    }
  }
  look()
  for (let i = 0; i < numWorkers; i++) {
    const join = () => {
      members = [...members, member(`new${i}`, { topics, isNew: true })]
      look()
    }
    const leave = () => {
      members = members.filter(({ id }) => id !== `old${i}`)
      look()
    }
    for (const step of order === 'join first' ? [join, leave] : [leave, join]) step()
  }
  members = members.map((m) => ({ ...m, isNew: false }))
  look()
  return topics.map(([, path]) => moves.get(path) ?? 0)
}

test('an update whose workers join before the old ones leave moves each table once', (t) => {
  for (const [numTables, numWorkers] of [
    [40, 4],
    [12, 3],
    [100, 5],
  ] as const) {
    // biome-ignore format: pairs
    t.deepEqual(new Set(update(numTables, numWorkers, 'join first')), new Set([1]), `${numTables}, ${numWorkers}`)
  }
})

test('an update whose workers leave before the new ones join moves few tables twice', (t) => {
  const moves = update(40, 4, 'leave first')
  t.log(`moves of 40 tables of 4 workers: ${moves.reduce((sum, n) => sum + n)}`)
  t.true(moves.reduce((sum, n) => sum + n) <= 40 + 2 * 10)
})

test('of two that say that they have a table, it stays where it was given last', (t) => {
  const topics = topicsOf(1)
  const zombie = member('a', { topics, holds: ['/lake/t0'], heldSince: 5 })
  const after = assign([zombie, member('b', { topics, holds: ['/lake/t0'], heldSince: 9 })])
  t.deepEqual(pathsOf(after, 'b'), ['/lake/t0'])
})

test('members whose report cannot be read get tables, by their topics alone', (t) => {
  const topics = topicsOf(6)
  const unknown = member('z', { worker: null, topics: topics.map(([topic]) => [topic, null] as const) })
  const after = assign([member('a', { topics }), unknown])
  t.deepEqual(sizes(after), [3, 3])
  t.deepEqual(sizes(assign([unknown])), [6])
})

test('loads that are no numbers are passed over', (t) => {
  const topics = topicsOf(4)
  const wrong = [Number.NaN, Number.POSITIVE_INFINITY, -5, 0]
  const loads = topics.map(([, path], i) => [path, wrong[i] as number] as const)
  const holds = topics.map(([, path]) => path)
  t.deepEqual(sizes(assign([member('a', { topics, holds, loads }), member('b', { topics })])), [2, 2])
})

/** Tables with one to three topics, and members that know all of them or most. */
function randomGroup(random: Random): Member[] {
  const tables = numbered(random.below(60), (i) => `/lake/${i}`)
  const topics = tables.flatMap((path) =>
    numbered(1 + random.below(3), (i) => `${path}-${i}`).map((t) => [t, path] as const),
  )
  const isUniform = random.below(2) === 0
  const knowsAll = random.below(2) === 0
  return numbered(1 + random.below(6), (i) => `m${i}`).map((id) => {
    const known = topics.filter(() => knowsAll || random.below(8) > 0)
    const named = known.map(([topic, path]) => [topic, random.below(200) === 0 ? `${path}-elsewhere` : path] as const)
    if (random.below(12) === 0)
      return member(id, { worker: null, topics: known.map(([topic]) => [topic, null] as const) })
    const holds = [...new Set(named.map(([, path]) => path))].filter(() => random.below(3) === 0)
    const loads = isUniform ? [] : holds.map((path) => [path, random.next() * 10 ** random.below(4)] as const)
    return member(id, { topics: named, holds, loads, heldSince: random.below(3) })
  })
}

const shuffled = <T>(random: Random, items: readonly T[]): T[] =>
  items
    .map((item) => [random.next(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)

test(`random groups: every table at one member that can read it, whatever the order (SEED=${SEED})`, (t) => {
  const random = generator(SEED)
  for (let round = 0; round < 400 * ROUNDS; round++) {
    const members = randomGroup(random)
    const found = assign(members)
    const text = (assignment: Assignment) =>
      JSON.stringify([...assignment.tables].sort().map(([id, own]) => [id, [...own]]))
    const again = assign(
      shuffled(random, members).map((m) => ({ ...m, topics: new Map(shuffled(random, [...m.topics])) })),
    )
    if (text(again) !== text(found)) t.fail(`round ${round}: the order counts`)
    const given = new Map<string, string>()
    for (const [id, own] of found.tables) {
      for (const [path, topics] of own) {
        if (topics.length === 0) t.fail(`round ${round}: ${path} without topics`)
        for (const topic of topics) {
          if (given.has(topic)) t.fail(`round ${round}: ${topic} twice`)
          given.set(topic, path)
          const known = members.find((m) => m.id === id)?.topics.get(topic)
          if (known === undefined || (known ?? path) !== path) t.fail(`round ${round}: ${id} cannot read ${topic}`)
        }
      }
    }
    const paths = [...found.tables.values()].flatMap((own) => [...own.keys()])
    if (new Set(paths).size < paths.length) t.fail(`round ${round}: a table at two members`)
    const all = new Set(members.flatMap((m) => [...m.topics.keys()]))
    const left = [...all].filter((topic) => !given.has(topic))
    // Only topics of a table that nobody knows as a whole are left.
    if (left.length > 0 && !found.notes.some((note) => note.includes('no worker knows'))) {
      t.fail(`round ${round}: ${left.join(', ')} at nobody`)
    }
  }
  t.pass()
})

test(`random groups: joins and leaves move what they must, and a second look moves nothing (SEED=${SEED})`, (t) => {
  const random = generator(SEED + 1)
  for (let round = 0; round < 100 * ROUNDS; round++) {
    const numTables = 1 + random.below(100)
    const topics = topicsOf(numTables)
    let members = numbered(1 + random.below(8), (i) => `m${String(i).padStart(3, '0')}`).map((id) =>
      member(id, { topics }),
    )
    for (let step = 0; step < 12; step++) {
      members = next(assign(members), members, step)
      const settled = assign(members)
      if (settled.numMoved > 0) t.fail(`round ${round}, step ${step}: ${settled.numMoved} moved without a change`)
      if (random.below(2) === 0 || members.length === 1) {
        const id = `m${String(step).padStart(3, '0')}-${random.below(1000)}`
        const joined = assign([...members, member(id, { topics })])
        const most = Math.ceil(numTables / (members.length + 1))
        const { size = 0 } = joined.tables.get(id) ?? {}
        if (joined.numMoved > most) t.fail(`round ${round}, step ${step}: ${joined.numMoved} moved for a join`)
        if (size < Math.floor(most * 0.7)) t.fail(`round ${round}, step ${step}: who joined got ${size} of ${most}`)
        members = [...members, member(id, { topics })]
      } else {
        members = members.filter((_, i, { length }) => i !== (step + round) % length)
        const left = assign(members)
        if (left.numMoved > 0) t.fail(`round ${round}, step ${step}: ${left.numMoved} others moved for a leave`)
        const [least = 0, ...more] = sizes(left).sort((a, b) => a - b)
        if ((more.at(-1) ?? least) - least > Math.ceil(numTables / members.length))
          t.fail(`round ${round}: ${sizes(left)}`)
      }
    }
  }
  t.pass()
})
