import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import thrift from 'thrift'
import { openClient } from '../../../src/catalog/hive/client.js'
import { type Struct, text, textOf } from '../../../src/catalog/hive/values.js'
import type { ErrorCode } from '../../../src/errors.js'
import type { Secret } from '../../../src/options/secret.js'
import { type Answer, fakeMetastore, listen } from './fake-metastore.js'

/** Long for what answers, short for what does not. */
const PATIENT = { connectMs: 20_000, callMs: 20_000 }
const SHORT = { connectMs: 100, callMs: 100 }
const NOTHING: Struct = new Map()
const { signal } = new AbortController()

const clientOf = (uri: string, patience = PATIENT, auth?: { username: string; password?: Secret }) =>
  openClient(thrift, { type: 'hive', uri, ...(auth ? { auth } : {}) }, patience)

const echo: Answer = (method) => new Map([[0, text(method)]])
/** Answers the greeting, and nothing else. */
const greetingOnly: Answer = (method) => (method === 'set_ugi' ? NOTHING : null)

async function port() {
  const server = createServer()
  const free = await listen(server)
  server.close()
  await once(server, 'close')
  return free
}

const unavailable = { code: 'CATALOG_UNAVAILABLE' as ErrorCode }

test('a call has the answer of the first metastore that answers', async (t) => {
  const [silent, open] = [await fakeMetastore(() => null), await fakeMetastore(echo)]
  const client = clientOf(`thrift://127.0.0.1:${await port()}, ${silent.uri},${open.uri}`, {
    ...PATIENT,
    connectMs: 500,
  })
  t.is(textOf(await client.call('one', NOTHING, signal), 0), 'one')
  t.is(textOf(await client.call('two', NOTHING, signal), 0), 'two')
  t.deepEqual(open.calls, ['1 set_ugi', '1 one', '1 two'])
  client.close()
  await Promise.all([silent.close(), open.close()])
})

test('where no metastore answers, each is named with its reason', async (t) => {
  const silent = await fakeMetastore(() => null)
  const free = await port()
  const client = clientOf(`thrift://127.0.0.1:${free},${silent.uri},thrift://nowhere.invalid:9083`, SHORT)
  const error = await t.throwsAsync(client.call('one', NOTHING, signal), unavailable)
  t.regex(
    error.message,
    new RegExp(`127.0.0.1:${free}: .*ECONNREFUSED.*does not answer for 100 ms.*nowhere.invalid:9083: `),
  )
  client.close()
  await silent.close()
})

test('a server of something else is told', async (t) => {
  const web = createHttpServer((_, response) => response.end())
  const client = clientOf(`thrift://127.0.0.1:${await listen(web)}`)
  const error = await t.throwsAsync(client.call('one', NOTHING, signal), unavailable)
  t.regex(error.message, /protocol version|closed the connection/)
  client.close()
  web.close()
})

test('a connection that has ended is opened anew', async (t) => {
  const metastore = await fakeMetastore(echo)
  const client = clientOf(metastore.uri)
  await client.call('one', NOTHING, signal)
  metastore.answer = (method) => {
    if (method === 'two') metastore.hangUp()
    return echo(method, NOTHING)
  }
  const error = await t.throwsAsync(client.call('two', NOTHING, signal), unavailable)
  t.regex(error.message, /fails at two: .*(closed the connection|ECONNRESET)/)
  t.is(textOf(await client.call('three', NOTHING, signal), 0), 'three')
  t.deepEqual(metastore.calls, ['1 set_ugi', '1 one', '1 two', '2 set_ugi', '2 three'])
  client.close()
  await metastore.close()
})

test('a call without an answer ends, and the next one has a connection of its own', async (t) => {
  const metastore = await fakeMetastore(greetingOnly)
  const client = clientOf(metastore.uri, { ...PATIENT, callMs: 100 })
  await t.throwsAsync(client.call('one', NOTHING, signal), {
    ...unavailable,
    message: /fails at one: no answer for 100 ms/,
  })
  metastore.answer = echo
  t.is(textOf(await client.call('two', NOTHING, signal), 0), 'two')
  t.deepEqual(metastore.calls, ['1 set_ugi', '1 one', '2 set_ugi', '2 two'])
  client.close()
  await metastore.close()
})

test('a signal ends a call that runs and one that waits for it', async (t) => {
  const metastore = await fakeMetastore(greetingOnly)
  const client = clientOf(metastore.uri)
  const stop = new AbortController()
  const calls = ['one', 'two'].map((method) =>
    t.throwsAsync(client.call(method, NOTHING, stop.signal), { message: 'stop' }),
  )
  while (!metastore.calls.includes('1 one')) await new Promise((resolve) => setTimeout(resolve, 5))
  stop.abort(new Error('stop'))
  await Promise.all(calls)
  metastore.answer = echo
  t.is(textOf(await client.call('three', NOTHING, signal), 0), 'three')
  t.false(metastore.calls.some((call) => call.endsWith('two')))
  client.close()
  await metastore.close()
})

test('calls wait for each other', async (t) => {
  const metastore = await fakeMetastore(echo)
  const client = clientOf(metastore.uri)
  const methods = Array.from({ length: 20 }, (_, i) => `call${i}`)
  const answers = await Promise.all(methods.map((method) => client.call(method, NOTHING, signal)))
  t.deepEqual(
    answers.map((answer) => textOf(answer, 0)),
    methods,
  )
  client.close()
  await metastore.close()
})

test('a login by password', async (t) => {
  const metastore = await fakeMetastore(echo, 'secret')
  const client = clientOf(metastore.uri, PATIENT, { username: 'ann', password: 'secret' })
  t.is(textOf(await client.call('one', NOTHING, signal), 0), 'one')
  client.close()
  const wrong = clientOf(metastore.uri, PATIENT, { username: 'ann', password: 'wrong' })
  const denied = { code: 'CATALOG_DENIED' as ErrorCode, message: /refuses the login of ann: wrong password/ }
  await t.throwsAsync(wrong.call('one', NOTHING, signal), denied)
  wrong.close()
  await metastore.close()
})

test('a password in a file is read anew for each login', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-hive-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'password')
  writeFileSync(file, 'old')
  const metastore = await fakeMetastore(echo, 'secret')
  const client = clientOf(metastore.uri, PATIENT, { username: 'ann', password: { file } })
  const asked = () => client.call('one', NOTHING, signal)
  await t.throwsAsync(asked(), { code: 'CATALOG_DENIED' })
  writeFileSync(file, 'secret\n')
  t.is(textOf(await asked(), 0), 'one')
  client.close()
  const lost = clientOf(metastore.uri, PATIENT, { username: 'ann', password: { file: join(folder, 'none') } })
  const denied = { code: 'CATALOG_DENIED' as ErrorCode, message: /catalog\.auth\.password: the file .* cannot be read/ }
  await t.throwsAsync(lost.call('one', NOTHING, signal), denied)
  lost.close()
  await metastore.close()
})

test('after it is closed, no call is made', async (t) => {
  const metastore = await fakeMetastore(echo)
  const client = clientOf(metastore.uri)
  await client.call('one', NOTHING, signal)
  client.close()
  await t.throwsAsync(client.call('two', NOTHING, signal), unavailable)
  t.false(metastore.calls.some((call) => call.endsWith('two')))
  await metastore.close()
})
