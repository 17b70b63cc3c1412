import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SchemaRegistry, SchemaType } from '@kafkajs/confluent-schema-registry'
import test, { type ExecutionContext } from 'ava'
import { EmbeddedRegistry, type EmbeddedRegistryOptions } from '../../src/demo/registry.js'

async function start(t: ExecutionContext, options?: EmbeddedRegistryOptions): Promise<EmbeddedRegistry> {
  const registry = await EmbeddedRegistry.start(options)
  t.teardown(() => registry.close())
  return registry
}

const user = { type: 'record', name: 'User', namespace: 'a', fields: [{ name: 'id', type: 'int' }] }
const wider = { ...user, fields: [...user.fields, { name: 'name', type: ['null', 'string'], default: null }] }
const asText = (schema: object) => JSON.stringify({ schema: JSON.stringify(schema) })

async function call(url: string, method = 'GET', body?: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, { method, ...(body === undefined ? {} : { body }) })
  return { status: response.status, body: await response.json() }
}

test('a client registers, finds, encodes and decodes', async (t) => {
  const registry = await start(t)
  const writer = new SchemaRegistry({ host: registry.url })
  const { id } = await writer.register({ type: SchemaType.AVRO, schema: JSON.stringify(user) })
  const again = await writer.register({ type: SchemaType.AVRO, schema: JSON.stringify(user, null, 2) })
  t.is(again.id, id)
  const next = await writer.register({ type: SchemaType.AVRO, schema: JSON.stringify(wider) }, { subject: 'a.User' })
  t.not(next.id, id)
  const bytes = await writer.encode(next.id, { id: 7, name: 'x' })
  const reader = new SchemaRegistry({ host: registry.url })
  const decoded = await reader.decode(bytes)
  t.is(JSON.stringify(decoded), JSON.stringify({ id: 7, name: 'x' }))
  t.is(await reader.getLatestSchemaId('a.User'), next.id)
  t.is(await reader.getRegistryId('a.User', 1), id)
  t.is(await reader.getRegistryIdBySchema('a.User', { type: SchemaType.AVRO, schema: JSON.stringify(user) }), id)
  await t.throwsAsync(reader.getSchema(99), { message: /Schema 99 not found/ })
})

test('the documented paths answer as Confluent does', async (t) => {
  const registry = await start(t)
  registry.setSchema(42, user)
  registry.setSchema(45, wider, 't-value')
  const { url } = registry
  t.deepEqual(await call(`${url}/schemas/ids/42`), { status: 200, body: { schema: JSON.stringify(user) } })
  t.deepEqual(await call(`${url}/schemas/ids/42?fetchMaxId=false&subject=x`), {
    status: 200,
    body: { schema: JSON.stringify(user) },
  })
  t.deepEqual((await call(`${url}/schemas/ids/42/schema`)).body, user)
  t.deepEqual(await call(`${url}/schemas/ids/41`), {
    status: 404,
    body: { error_code: 40403, message: 'Schema 41 not found' },
  })
  t.deepEqual((await call(`${url}/subjects`)).body, ['t-value'])
  t.deepEqual(await call(`${url}/subjects/t-value/versions`, 'POST', asText(user)), { status: 200, body: { id: 42 } })
  t.deepEqual((await call(`${url}/subjects/t-value/versions`)).body, [1, 2])
  t.deepEqual((await call(`${url}/subjects/t-value/versions/latest`)).body, {
    subject: 't-value',
    version: 2,
    id: 42,
    schema: JSON.stringify(user),
  })
  t.deepEqual((await call(`${url}/subjects/t-value`, 'POST', asText(wider))).body, {
    subject: 't-value',
    version: 1,
    id: 45,
    schema: JSON.stringify(wider),
  })
  t.is((await call(`${url}/subjects/t-value/versions/9`)).status, 404)
  t.is((await call(`${url}/subjects/none/versions`)).status, 404)
  // A subject with a slash and a space.
  const odd = encodeURIComponent('odd name/with slash')
  t.is((await call(`${url}/subjects/${odd}/versions`, 'POST', asText({ ...user, name: 'Other' }))).status, 200)
  t.deepEqual((await call(`${url}/subjects`)).body, ['odd name/with slash', 't-value'])
  t.deepEqual((await call(`${url}/config`)).body, { compatibilityLevel: 'NONE' })
  t.is((await call(`${url}/config/t-value`)).status, 404)
  t.deepEqual((await call(`${url}/config/t-value`, 'PUT', JSON.stringify({ compatibility: 'FULL' }))).body, {
    compatibility: 'FULL',
  })
  t.deepEqual((await call(`${url}/config/t-value`)).body, { compatibilityLevel: 'FULL' })
})

test('bad requests are answered with an error, not with a crash', async (t) => {
  const { url } = await start(t)
  t.is((await call(`${url}/subjects/s/versions`, 'POST', '{not json')).status, 400)
  t.is((await call(`${url}/subjects/s/versions`, 'POST', '{"schema":"{no"}')).status, 422)
  t.is((await call(`${url}/subjects/s/versions`, 'POST', '{"schema":"{}","schemaType":"PROTOBUF"}')).status, 422)
  t.is((await call(`${url}/subjects/%E0%A4%A/versions`)).status, 400)
  t.is((await call(`${url}/config/s`, 'PUT', '{"compatibility":"SOME"}')).status, 422)
  t.is((await call(`${url}/nothing`)).status, 404)
  t.is((await call(`${url}/subjects`)).status, 200)
})

test('faults: errors for a number of requests, and requests without an answer', async (t) => {
  const registry = await start(t)
  registry.setSchema(1, user)
  const url = `${registry.url}/schemas/ids/1`
  registry.failWith(503, { error_code: 50302, message: 'busy' }, 2)
  t.is((await call(url)).status, 503)
  t.deepEqual(await call(url), { status: 503, body: { error_code: 50302, message: 'busy' } })
  t.is((await call(url)).status, 200)
  registry.failWith(500, 'oops')
  const answer = await fetch(url)
  t.deepEqual([answer.status, await answer.text()], [500, 'oops'])
  registry.recover()
  registry.hang()
  await t.throwsAsync(fetch(url, { signal: AbortSignal.timeout(200) }), { any: true })
  const hanging = fetch(url)
  const cut = t.throwsAsync(hanging)
  await new Promise((resolve) => setTimeout(resolve, 100))
  registry.recover()
  await cut
  t.is((await call(url)).status, 200)
  t.is(registry.requests, 7)
})

test('a password is asked for where one is set', async (t) => {
  const registry = await start(t, { credentials: { user: 'u', password: 'p' } })
  registry.setSchema(1, user)
  t.is((await call(`${registry.url}/schemas/ids/1`)).status, 401)
  const reader = new SchemaRegistry({ host: registry.url, auth: { username: 'u', password: 'p' } })
  t.truthy(await reader.getSchema(1))
})

test('schemas, subjects and configuration survive in a file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-registry-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const dataFile = join(folder, 'schemas.jsonl')
  const first = await EmbeddedRegistry.start({ dataFile })
  await call(`${first.url}/subjects/s/versions`, 'POST', asText(user))
  await call(`${first.url}/subjects/s/versions`, 'POST', asText(wider))
  await call(`${first.url}/config/s`, 'PUT', JSON.stringify({ compatibility: 'NONE' }))
  await first.close()
  const second = await start(t, { dataFile })
  t.deepEqual(second.ids, [1, 2])
  t.deepEqual((await call(`${second.url}/subjects/s/versions`)).body, [1, 2])
  t.deepEqual((await call(`${second.url}/config/s`)).body, { compatibilityLevel: 'NONE' })
  t.deepEqual((await call(`${second.url}/subjects/s/versions`, 'POST', asText(user))).body, { id: 1 })
})
