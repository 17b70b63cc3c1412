import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { KafkaToDeltaError } from '../../src/errors.js'
import { type RegistryOptions, RegistrySchemaSource } from '../../src/registry/registry.js'

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void

interface Served {
  source: RegistrySchemaSource
  port: number
  requests: IncomingMessage[]
}

async function serve(t: ExecutionContext, handler: Handler, options: Partial<RegistryOptions> = {}): Promise<Served> {
  const requests: IncomingMessage[] = []
  const server = createServer((request, response) => {
    requests.push(request)
    handler(request, response, requests.length)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const source = new RegistrySchemaSource({
    url: `http://127.0.0.1:${port}/`,
    firstDelay: 5,
    unknownSchemaTimeout: 0,
    ...options,
  })
  t.teardown(() => {
    source.close()
    server.close()
    server.closeAllConnections()
  })
  return { source, port, requests }
}

const SCHEMA = { type: 'record', name: 'Odd', fields: [{ name: 'with-dash', type: 'int' }] }

function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}

const schemaAnswer: Handler = (_, response) => json(response, { schema: JSON.stringify(SCHEMA) })

async function failure(t: ExecutionContext, promise: Promise<unknown>): Promise<KafkaToDeltaError> {
  return (await t.throwsAsync(promise, { instanceOf: KafkaToDeltaError })) as KafkaToDeltaError
}

test('a schema is looked up once, also by many at a time, and odd names are no matter', async (t) => {
  const { source, requests } = await serve(t, schemaAnswer)
  const all = await Promise.all([source.get(7), source.get(7), source.get(7)])
  t.deepEqual(all[0], SCHEMA)
  await source.get(7)
  t.is(requests.length, 1)
  t.is(requests[0]?.url, '/schemas/ids/7')
})

test('server errors are tried again', async (t) => {
  const { source, requests } = await serve(t, (request, response, count) =>
    count < 3 ? json(response, 'null', 503) : schemaAnswer(request, response, count),
  )
  t.deepEqual(await source.get(1), SCHEMA)
  t.is(requests.length, 3)
})

test('broken connections are tried again', async (t) => {
  const { source, requests } = await serve(t, (request, response, count) => {
    if (count < 3) (request.socket as Socket).destroy()
    else schemaAnswer(request, response, count)
  })
  t.deepEqual(await source.get(1), SCHEMA)
  t.true(requests.length >= 3)
})

test('a registry that stays down is unreachable, and asked again by the next batch', async (t) => {
  let up = false
  const { source } = await serve(
    t,
    (request, response, count) => (up ? schemaAnswer(request, response, count) : json(response, 'oops', 500)),
    { retries: 2 },
  )
  const error = await failure(t, source.get(1))
  t.is(error.code, 'REGISTRY_UNREACHABLE')
  t.true(error.canRetry)
  t.is(error.position.schemaId, 1)
  up = true
  t.deepEqual(await source.get(1), SCHEMA)
})

test('an address where nothing listens is unreachable', async (t) => {
  const source = new RegistrySchemaSource({ url: 'http://127.0.0.1:9', retries: 1, firstDelay: 1 })
  const error = await failure(t, source.get(1))
  t.is(error.code, 'REGISTRY_UNREACHABLE')
  t.regex(error.message, /ECONNREFUSED/)
})

test('an answer that never comes ends by the timeout', async (t) => {
  const { source } = await serve(t, () => {}, { timeout: 100, retries: 0 })
  t.is((await failure(t, source.get(1))).code, 'REGISTRY_UNREACHABLE')
})

test('an answer that breaks off ends by the timeout', async (t) => {
  const { source } = await serve(
    t,
    (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
      response.write('{"sch')
      setTimeout(() => response.destroy(), 20)
    },
    { timeout: 100, retries: 0 },
  )
  t.is((await failure(t, source.get(1))).code, 'REGISTRY_UNREACHABLE')
})

test('a password in a file is read anew for each request', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-registry-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'password')
  writeFileSync(file, 'first\n')
  const auth = { username: 'anna', password: { file } }
  const { source, requests } = await serve(t, schemaAnswer, { auth })
  await source.get(1)
  writeFileSync(file, 'second')
  await source.get(2)
  const basic = (password: string) => `Basic ${Buffer.from(`anna:${password}`).toString('base64')}`
  t.deepEqual(
    requests.map(({ headers }) => headers.authorization),
    [basic('first'), basic('second')],
  )
  rmSync(file)
  const error = await failure(t, source.get(3))
  t.is(error.code, 'REGISTRY_AUTH')
  t.true(error.message.includes(file))
})

for (const status of [401, 403]) {
  test(`status ${status} is a matter of credentials, and not tried again`, async (t) => {
    const { source, requests } = await serve(
      t,
      (_, response) => json(response, { error_code: status, message: 'no' }, status),
      {
        auth: { username: 'user', password: 'secret' },
      },
    )
    const error = await failure(t, source.get(1))
    t.is(error.code, 'REGISTRY_AUTH')
    t.false(error.canRetry)
    t.is(requests.length, 1)
    t.false(error.message.includes('secret'))
  })
}

test('an unknown id is a bad record', async (t) => {
  const { source } = await serve(t, (_, response) =>
    json(response, { error_code: 40403, message: 'Schema 9 not found' }, 404),
  )
  const error = await failure(t, source.get(9))
  t.is(error.code, 'BAD_RECORD')
  t.regex(error.message, /unknown schema id 9/)
})

test('a page that is not found is no unknown id: the address is wrong', async (t) => {
  const { source } = await serve(t, (_, response) => {
    response.writeHead(404, { 'content-type': 'text/html' })
    response.end('<h1>not found</h1>')
  })
  const error = await failure(t, source.get(9))
  t.is(error.code, 'REGISTRY_UNREACHABLE')
  t.regex(error.message, /schemaRegistry.url/)
})

for (const [name, body] of [
  ['no JSON', '<html>'],
  ['null', 'null'],
  ['no schema', { id: 1 }],
  ['a list', '[]'],
  ['nothing', ''],
] as const) {
  test(`an answer with ${name} is none of a registry: it may be a proxy's, and is asked for again`, async (t) => {
    let garbage = true
    const { source } = await serve(t, (request, response, count) =>
      garbage ? json(response, body) : schemaAnswer(request, response, count),
    )
    const error = await failure(t, source.get(1))
    t.is(error.code, 'REGISTRY_UNREACHABLE')
    t.regex(error.message, /status 200 for schema 1: .*schemaRegistry.url/)
    garbage = false
    t.deepEqual(await source.get(1), SCHEMA)
  })
}

test('a schema whose text is no JSON is unsupported', async (t) => {
  const { source } = await serve(t, (_, response) => json(response, { schema: '{' }))
  const error = await failure(t, source.get(1))
  t.is(error.code, 'SCHEMA_UNSUPPORTED')
  t.regex(error.message, /schema 1: its text is not JSON/)
})

for (const [schemaType, schema] of [
  ['PROTOBUF', 'syntax = "proto3";'],
  ['JSON', '{"type":"object"}'],
] as const) {
  test(`a message of a ${schemaType} schema is a bad record, with the remedy, and asked for once`, async (t) => {
    const { source, requests } = await serve(t, (_, response) => json(response, { schema, schemaType }))
    const error = await failure(t, source.get(1))
    t.is(error.code, 'BAD_RECORD')
    t.regex(error.message, new RegExp(`${schemaType}.*value.converter.*AvroConverter`))
    await failure(t, source.get(1))
    t.is(requests.length, 1)
  })
}

const notFound = (response: ServerResponse) => json(response, { error_code: 40403, message: 'not found' }, 404)

test('an unknown id is asked for again: registries replicate', async (t) => {
  const { source, requests } = await serve(
    t,
    (request, response, count) => (count < 4 ? notFound(response) : schemaAnswer(request, response, count)),
    { unknownSchemaTimeout: 5_000 },
  )
  t.deepEqual(await source.get(1), SCHEMA)
  t.is(requests.length, 4)
})

test('an id that stays unknown is a bad record after the timeout, and then not asked for every time', async (t) => {
  let known = false
  const { source, requests } = await serve(
    t,
    (request, response, count) => (known ? schemaAnswer(request, response, count) : notFound(response)),
    { unknownSchemaTimeout: 1_500, unknownSchemaExpiry: 3_000 },
  )
  const begun = performance.now()
  t.is((await failure(t, source.get(1))).code, 'BAD_RECORD')
  const took = performance.now() - begun
  t.true(took >= 1_450 && took < 10_000, `${took} ms`)
  const asked = requests.length
  t.true(asked >= 2 && asked <= 10, `${asked} requests`)
  for (let i = 0; i < 50; i++) t.is((await failure(t, source.get(1))).code, 'BAD_RECORD')
  t.is(requests.length, asked)
  // Later, one look is enough, and finds an id that has turned up.
  await sleep(3_050)
  await failure(t, source.get(1))
  t.is(requests.length, asked + 1)
  known = true
  await failure(t, source.get(1))
  await sleep(3_050)
  t.deepEqual(await source.get(1), SCHEMA)
  t.deepEqual(await source.get(1), SCHEMA)
  t.is(requests.length, asked + 2)
})

test('many unknown ids at a time, as garbage has them, wait once and not one after another', async (t) => {
  const { source } = await serve(t, (_, response) => notFound(response), { unknownSchemaTimeout: 300 })
  const begun = performance.now()
  const results = await Promise.allSettled(Array.from({ length: 400 }, (_, i) => source.get(i + 1)))
  t.true(results.every(({ status }) => status === 'rejected'))
  t.true(performance.now() - begun < 15_000)
})

test('another registry of the cluster may know the id already', async (t) => {
  const behind = await serve(t, (_, response) => notFound(response))
  const ahead = await serve(t, schemaAnswer)
  const urls = [behind, ahead].map(({ port }) => `http://127.0.0.1:${port}`)
  const both = new RegistrySchemaSource({ urls })
  t.teardown(() => both.close())
  t.deepEqual(await both.get(1), SCHEMA)
})

test('an answer that comes byte by byte ends by the timeout, and does not block later ones', async (t) => {
  let slow = true
  const { source } = await serve(
    t,
    (request, response, count) => {
      if (!slow) return schemaAnswer(request, response, count)
      response.writeHead(200, { 'content-type': 'application/json' })
      const timer = setInterval(() => response.write(' '), 20)
      response.on('close', () => clearInterval(timer))
    },
    { timeout: 1_500, retries: 0 },
  )
  const errors = await Promise.all(Array.from({ length: 20 }, (_, i) => failure(t, source.get(i + 1))))
  for (const error of errors) t.regex(error.message, /no whole answer within 1500 ms/)
  slow = false
  t.deepEqual(await source.get(1), SCHEMA)
})

test('close ends what is under way', async (t) => {
  const { source } = await serve(t, () => {}, { timeout: 60_000 })
  const pending = failure(t, source.get(1))
  await sleep(50)
  source.close()
  t.is((await pending).code, 'CANCELLED')
  t.is((await failure(t, source.get(2))).code, 'CANCELLED')
  const waiting = await serve(t, (_, response) => notFound(response), { unknownSchemaTimeout: 60_000 })
  const unknown = failure(t, waiting.source.get(1))
  await sleep(50)
  waiting.source.close()
  t.is((await unknown).code, 'CANCELLED')
})

test('what is given up is not asked for once more, and its connection ends', async (t) => {
  let open = 0
  const { source, requests } = await serve(t, (request) => {
    open++
    request.socket.once('close', () => open--)
  })
  const lookup = failure(t, source.get(7))
  while (requests.length === 0) await sleep(5)
  source.close()
  t.is((await lookup).code, 'CANCELLED')
  await sleep(500)
  t.is(requests.length, 1)
  t.is(open, 0)
})

for (const [who, body] of [
  ['Confluent', { error_code: 404, message: 'HTTP 404 Not Found' }],
  [
    'Apicurio',
    { error_code: 404, message: 'RESTEASY003210: Could not find resource for full path: http://h/schemas/ids/9' },
  ],
] as const) {
  test(`a path that the registry does not have is a wrong address, no unknown id: ${who}`, async (t) => {
    const { source } = await serve(t, (_, response) => json(response, body, 404))
    const error = await failure(t, source.get(9))
    t.is(error.code, 'REGISTRY_UNREACHABLE')
    t.regex(error.message, /schemaRegistry.url/)
  })
}

test('basic and bearer authentication, and credentials in the address', async (t) => {
  const basic = await serve(t, schemaAnswer, { auth: { username: 'user', password: 'pass:word' } })
  await basic.source.get(1)
  t.is(basic.requests[0]?.headers.authorization, `Basic ${Buffer.from('user:pass:word').toString('base64')}`)
  const bearer = await serve(t, schemaAnswer, { auth: { token: 'abc' } })
  await bearer.source.get(1)
  t.is(bearer.requests[0]?.headers.authorization, 'Bearer abc')
  const inUrl = new RegistrySchemaSource({ url: 'http://u:hidden@127.0.0.1:9', retries: 0 })
  const error = await failure(t, inUrl.get(1))
  t.false(error.message.includes('hidden'))
})

test('the second address is asked where the first does not answer', async (t) => {
  const second = await serve(t, schemaAnswer)
  const both = new RegistrySchemaSource({
    urls: ['http://127.0.0.1:9', `http://127.0.0.1:${second.port}`],
    retries: 0,
  })
  t.teardown(() => both.close())
  t.deepEqual(await both.get(1), SCHEMA)
})

test('referenced names are put in where they are first used', async (t) => {
  const { source } = await serve(t, (request, response) => {
    if (request.url?.startsWith('/schemas/ids/')) {
      const schema = {
        type: 'record',
        name: 'V',
        fields: [
          { name: 'a', type: ['null', 'com.x.Address'] },
          { name: 'b', type: 'com.x.Address' },
        ],
      }
      return json(response, {
        schema: JSON.stringify(schema),
        references: [{ name: 'com.x.Address', subject: 'address', version: 3 }],
      })
    }
    t.is(request.url, '/subjects/address/versions/3')
    const address = {
      type: 'record',
      name: 'Address',
      namespace: 'com.x',
      fields: [{ name: 'street', type: 'string' }],
    }
    return json(response, { schema: JSON.stringify(address), id: 2, version: 3, subject: 'address' })
  })
  const schema = (await source.get(1)) as { fields: { type: unknown }[] }
  const [first] = schema.fields as [{ type: { name: string }[] }, unknown]
  t.is(first.type[1]?.name, 'Address')
  t.is(schema.fields[1]?.type, 'com.x.Address')
})

test('a path before the interface: ccompat, and the context that ids belong to', async (t) => {
  const answer: Handler = (request, response) => {
    if (!request.url?.startsWith('/apis/ccompat/v7/contexts/.shop/')) return json(response, { error_code: 40403 }, 404)
    if (request.url.endsWith('/schemas/ids/7')) {
      const references = [{ name: 'Odd', subject: ':.shop:odd value', version: 1 }]
      return json(response, { schema: '"Odd"', references })
    }
    return json(response, { schema: JSON.stringify(SCHEMA) })
  }
  const { port, requests } = await serve(t, answer)
  const source = new RegistrySchemaSource({ url: `http://127.0.0.1:${port}/apis/ccompat/v7/contexts/.shop` })
  t.teardown(() => source.close())
  t.deepEqual(await source.get(7), SCHEMA)
  t.is(requests[1]?.url, '/apis/ccompat/v7/contexts/.shop/subjects/%3A.shop%3Aodd%20value/versions/1')
})

test('a missing or broken address is a matter of the configuration', (t) => {
  for (const options of [{}, { url: 'nonsense' }, { url: 'ftp://x' }]) {
    const error = t.throws(() => new RegistrySchemaSource(options), { instanceOf: KafkaToDeltaError })
    t.is(error?.code, 'CONFIG_INVALID')
  }
})
