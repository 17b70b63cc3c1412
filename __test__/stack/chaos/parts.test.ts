/** The parts of a chaos run by themselves: a check that sees nothing would find nothing. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { DeltaLog } from './delta-log.js'
import { KINDS, plan } from './faults.js'
import { TcpProxy } from './proxy.js'

const entry = (...offsets: number[]) => offsets.map((version, i) => ({ txn: { appId: `q:t:${i}`, version } }))

function log(...entries: ReturnType<typeof entry>[]): DeltaLog {
  const read = new DeltaLog('nowhere', 'q:t:')
  for (const actions of entries) read.apply(actions)
  return read
}

const told = (worker: number, version: number, start: number, end: number) => ({
  worker,
  topic: 't',
  version,
  offsets: { 0: { start: String(start), end: String(end) } },
})

test('a log whose offsets grow by what workers told is right', (t) => {
  const right = log([], entry(4), entry(9), [])
  right.check(told(1, 1, 0, 4))
  right.check(told(2, 2, 5, 9))
  t.deepEqual(right.problems, [])
  t.is(right.numCommits, 4)
})

test('offsets that go down are found', (t) => {
  t.deepEqual(log(entry(4, 7), entry(9, 6)).problems, ['version 1: partition 1 went down from 7 to 6'])
})

test('a commit that begins elsewhere than the log ends, as a fenced worker would write it, is found', (t) => {
  const late = log(entry(4), entry(6), entry(9))
  late.check(told(1, 1, 5, 6))
  late.check(told(2, 2, 5, 9))
  t.deepEqual(late.problems, ['version 2, told by worker 2: applied 5 to 9 of partition 0, the log went from 6 to 9'])
})

test('a version that two workers tell, one that is not there, and one without the offsets are found', (t) => {
  const wrong = log(entry(4), [])
  wrong.check(told(1, 0, 0, 4))
  wrong.check(told(2, 0, 0, 4))
  wrong.check(told(1, 1, 5, 6))
  wrong.check(told(1, 2, 5, 6))
  t.deepEqual(wrong.problems, [
    'version 0, told by worker 2: worker 1 told it, too',
    'version 1, told by worker 1: nothing of partition 0, of which it applied 5 to 6',
    'version 2, told by worker 1: the log has no such entry',
  ])
})

test('a seed gives the same faults again, and many seeds give all of them', (t) => {
  const options = { lasts: 400_000, every: 1_700, hasStore: true }
  t.deepEqual(plan({ seed: 5, ...options }), plan({ seed: 5, ...options }))
  t.notDeepEqual(plan({ seed: 5, ...options }), plan({ seed: 6, ...options }))
  const kinds = Array.from({ length: 10 }, (_, seed) => plan({ seed, ...options })).flat()
  t.deepEqual([...new Set(kinds.map(({ kind }) => kind))].sort(), Object.keys(KINDS).sort())
})

test('without a store there are no faults of one', (t) => {
  const kinds = plan({ seed: 1, lasts: 400_000, every: 100, hasStore: false }).map(({ kind }) => kind)
  t.deepEqual(
    kinds.filter((kind) => kind.includes('the store')),
    [],
  )
})

/** A server that says what it is told, and a proxy before it. */
async function echo(t: ExecutionContext) {
  const server = createServer((socket) => socket.pipe(socket).on('error', () => {}))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy = await TcpProxy.start((server.address() as AddressInfo).port)
  t.teardown(async () => {
    await proxy.close()
    server.close()
  })
  return proxy
}

async function connected(proxy: TcpProxy) {
  const socket = connect(proxy.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** However it comes to it. */
const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))

test('a silent system keeps connections and gives what it held back when it is healed', async (t) => {
  const proxy = await echo(t)
  const socket = await connected(proxy)
  proxy.silence()
  let heard = ''
  socket.on('data', (data) => {
    heard += data
  })
  socket.write('a')
  await sleep(100)
  t.is(heard, '')
  proxy.heal()
  await once(socket, 'data')
  t.is(heard, 'a')
  socket.end()
})

test('a system that is cut off ends its connections, and each new one, until it is healed', async (t) => {
  const proxy = await echo(t)
  const socket = await connected(proxy)
  const cut = closed(socket)
  proxy.cut()
  await cut
  const refused = connect(proxy.port, '127.0.0.1')
  refused.on('error', () => {})
  await closed(refused)
  proxy.heal()
  const other = await connected(proxy)
  other.write('b')
  t.is(String((await once(other, 'data'))[0]), 'b')
  other.end()
})
