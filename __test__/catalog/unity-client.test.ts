import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { UnityClient } from '../../src/catalog/unity-client.js'
import type { UnityCatalogOptions, WithTls } from '../../src/options/types.js'

const { signal } = new AbortController()

async function clientOf(
  t: ExecutionContext,
  auth: NonNullable<WithTls<UnityCatalogOptions>['auth']>,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<UnityClient> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = new UnityClient({ type: 'unity', url: `http://127.0.0.1:${port}`, catalog: 'main', auth })
  t.teardown(() => {
    client.close()
    server.close()
  })
  return client
}

function secretFile(t: ExecutionContext, secret: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-unity-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'secret'), secret)
  return join(folder, 'secret')
}

test('a token in a file is read anew for each request', async (t) => {
  const file = secretFile(t, 'first\n')
  const given: unknown[] = []
  const client = await clientOf(t, { token: { file } }, ({ headers }, response) => {
    given.push(headers.authorization)
    response.end('{}')
  })
  await client.get('look', 'tables/a', signal)
  writeFileSync(file, 'second')
  await client.get('look', 'tables/a', signal)
  t.deepEqual(given, ['Bearer first', 'Bearer second'])
  rmSync(file)
  await t.throwsAsync(client.get('look', 'tables/a', signal), {
    code: 'CATALOG_DENIED',
    message: `catalog.auth.token: the file ${file} cannot be read (ENOENT)`,
  })
})

test("a client's secret in a file is read anew for each token", async (t) => {
  const file = secretFile(t, 'first')
  const logins: string[] = []
  const auth = { clientId: 'client', clientSecret: { file } }
  const client = await clientOf(t, auth, ({ url, headers }, response) => {
    if (url !== '/oidc/v1/token') {
      // The first token is refused before its end.
      response.statusCode = headers.authorization === 'Bearer 1' ? 401 : 200
      response.end('{}')
      return
    }
    logins.push(Buffer.from(String(headers.authorization).slice('Basic '.length), 'base64').toString())
    writeFileSync(file, 'second')
    response.end(JSON.stringify({ access_token: String(logins.length), expires_in: 3600 }))
  })
  await client.get('look', 'tables/a', signal)
  await client.get('look', 'tables/b', signal)
  t.deepEqual(logins, ['client:first', 'client:second'])
})
