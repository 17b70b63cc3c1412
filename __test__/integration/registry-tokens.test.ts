/** A registry behind a proxy that takes tokens of a real OpenID provider, which end, and by its keys alone. */

import { createPublicKey, verify } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { check } from '../../src/check/check.js'
import { EmbeddedBroker } from '../../src/demo/broker/index.js'
import { EmbeddedRegistry } from '../../src/demo/registry.js'
import { KafkaToDeltaError } from '../../src/errors.js'
import { resolveOptions } from '../../src/options/resolve.js'
import { RegistrySchemaSource } from '../../src/registry/registry.js'
import { AUDIENCE, OidcServer, SECRET } from './support/oidc-server.js'

const SCHEMA = { type: 'record', name: 'Value', fields: [{ name: 'id', type: 'int' }] } as const

/** Whether a token holds: its signature by the provider's keys, its time, and for whom it is. */
async function holds(provider: OidcServer, authorization: string | undefined): Promise<boolean> {
  const [head = '', body = '', signature = ''] = (authorization ?? '').replace(/^Bearer /, '').split('.')
  if (signature === '') return false
  const { keys } = (await (await fetch(provider.jwksUrl)).json()) as { keys: { kid: string }[] }
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  const jwk = keys.find(({ kid }) => kid === read(head).kid)
  if (!jwk) return false
  const key = createPublicKey({ key: jwk, format: 'jwk' })
  const bytes = Buffer.from(signature, 'base64url')
  const isSigned = verify('sha256', Buffer.from(`${head}.${body}`), { key, dsaEncoding: 'ieee-p1363' }, bytes)
  const { exp, aud, iss } = read(body)
  return isSigned && Date.now() < exp * 1000 && aud === AUDIENCE && iss === provider.url
}

interface Guarded {
  provider: OidcServer
  url: string
  /** Of requests that were let in. */
  taken: IncomingHttpHeaders[]
  /** Tokens that are refused though they hold. */
  withdrawn: Set<string | undefined>
  refused: () => number
}

async function guarded(t: ExecutionContext, seconds: number): Promise<Guarded> {
  const [provider, registry] = [await OidcServer.start(seconds), await EmbeddedRegistry.start()]
  for (let id = 1; id <= 9; id++) registry.setSchema(id, SCHEMA, `topic${id}-value`)
  const taken: IncomingHttpHeaders[] = []
  const withdrawn = new Set<string | undefined>()
  let refused = 0
  const proxy = createServer(async ({ headers, url }, response) => {
    const { authorization } = headers
    if (withdrawn.has(authorization) || !(await holds(provider, authorization))) {
      refused++
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"error_code":401,"message":"no"}')
      return
    }
    taken.push(headers)
    const answer = await fetch(`${registry.url}${url}`)
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(async () => {
    proxy.close()
    provider.close()
    await registry.close()
  })
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  return { provider, url, taken, withdrawn, refused: () => refused }
}

const login = (provider: OidcServer, more: object = {}) => ({
  tokenUrl: provider.tokenUrl,
  clientId: 'post',
  clientSecret: SECRET,
  clientAuth: 'post' as const,
  ...more,
})

function sourceOf(t: ExecutionContext, url: string, auth: ReturnType<typeof login>): RegistrySchemaSource {
  const source = new RegistrySchemaSource({ url, auth, firstDelay: 5, retries: 0 })
  t.teardown(() => source.close())
  return source
}

test('a token is used until it ends, and a new one after that; none of them is refused', async (t) => {
  const { provider, url, taken, refused } = await guarded(t, 4)
  const cloud = { logicalCluster: 'lsrc-1', identityPoolId: 'pool-1' }
  const source = sourceOf(t, url, login(provider, cloud))
  await Promise.all([source.get(1), source.get(2)])
  t.is(provider.asked, 1)
  for (let id = 3; id <= 6; id++) {
    await sleep(1_500)
    t.deepEqual(await source.get(id), SCHEMA)
  }
  t.is(refused(), 0)
  t.true(provider.asked >= 2)
  for (const headers of taken) {
    t.like(headers, { 'target-sr-cluster': 'lsrc-1', 'confluent-identity-pool-id': 'pool-1' })
  }
})

test('a token that is refused before its time is fetched anew, once', async (t) => {
  const { provider, url, taken, withdrawn, refused } = await guarded(t, 600)
  const source = sourceOf(t, url, login(provider))
  await source.get(1)
  withdrawn.add(taken[0]?.authorization)
  t.deepEqual(await source.get(2), SCHEMA)
  t.is(provider.asked, 2)
  t.is(refused(), 1)

  // Tokens of another provider are all refused.
  const stranger = await OidcServer.start(600)
  t.teardown(() => stranger.close())
  const error = await t.throwsAsync(sourceOf(t, url, login(stranger)).get(1), { instanceOf: KafkaToDeltaError })
  t.is(error?.code, 'REGISTRY_AUTH')
  t.is(stranger.asked, 2)
})

test('without a token: what the provider says, and no secret', async (t) => {
  const { provider, url } = await guarded(t, 600)
  const wrong = login(provider, { clientSecret: 'not the s3cret' })
  const refused = await t.throwsAsync(sourceOf(t, url, wrong).get(1), { instanceOf: KafkaToDeltaError })
  t.is(refused?.code, 'REGISTRY_AUTH')
  t.true(refused?.message.includes(`cannot get a token from ${provider.tokenUrl}: `))
  t.false(refused?.message.includes('not the s3cret'))
  provider.failing = 502
  const down = await t.throwsAsync(sourceOf(t, url, login(provider)).get(1), { instanceOf: KafkaToDeltaError })
  t.is(down?.code, 'REGISTRY_UNREACHABLE')
  t.false(down?.message.includes(SECRET))
})

test('check tells whether the login works', async (t) => {
  const { provider, url } = await guarded(t, 600)
  const broker = await EmbeddedBroker.start()
  t.teardown(() => broker.close())
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-registry-tokens-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const registryOf = async (auth: object) => {
    const options = {
      queryName: 'q',
      kafka: { brokers: broker.brokers },
      schemaRegistry: { url, auth },
      tables: { topic: { path: join(folder, 't') } },
    }
    const { systems } = await check(resolveOptions(options))
    t.false(JSON.stringify(systems).includes(SECRET))
    return systems.find(({ kind }) => kind === 'registry')
  }
  t.like(await registryOf(login(provider)), { ok: true })
  t.like(await registryOf(login(provider, { clientId: 'nobody' })), { ok: false, finding: { code: 'REGISTRY_AUTH' } })
})
