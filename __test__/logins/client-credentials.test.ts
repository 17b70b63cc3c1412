/** Tokens of a real OpenID provider, by client credentials. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { clientCredentialsTokens } from '../../src/logins/client-credentials.js'
import { TokenError } from '../../src/logins/tokens.js'
import { OidcServer, SECRET } from '../integration/support/oidc-server.js'

async function provider(t: ExecutionContext, seconds = 20): Promise<OidcServer> {
  const server = await OidcServer.start(seconds)
  t.teardown(() => server.close())
  return server
}

const claims = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())

async function refusal(t: ExecutionContext, asked: Promise<unknown>): Promise<TokenError> {
  const error = await t.throwsAsync(asked, { instanceOf: TokenError })
  t.false(`${error?.message}${error?.stack}`.includes(SECRET))
  return error as TokenError
}

test('the secret in a header, in the form, and a signed word in place of it', async (t) => {
  const server = await provider(t)
  const { tokenUrl } = server
  const basic = clientCredentialsTokens({ tokenUrl, clientId: 'basic', clientSecret: SECRET, scope: 'stream' })
  t.like(claims(await basic.get()), { sub: 'basic', aud: 'kafka', iss: server.url, scope: 'stream' })
  const post = clientCredentialsTokens({ tokenUrl, clientId: 'post', clientSecret: SECRET, clientAuth: 'post' })
  t.like(claims(await post.get()), { sub: 'post' })
  const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-assertion-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'token')
  writeFileSync(file, server.assertion())
  const asserting = clientCredentialsTokens({ tokenUrl, clientId: 'asserting', clientAssertion: { file } })
  t.like(claims(await asserting.get()), { sub: 'asserting' })
})

test('one token for all who log in with the same, however many ask at a time', async (t) => {
  const server = await provider(t)
  const { tokenUrl } = server
  const credentials = () => ({ tokenUrl, clientId: 'basic', clientSecret: SECRET, mechanism: 'oauthbearer' })
  const sources = [clientCredentialsTokens(credentials()), clientCredentialsTokens(credentials())]
  const tokens = await Promise.all([...sources, ...sources].map((source) => source.get()))
  t.is(new Set(tokens).size, 1)
  t.is(server.asked, 1)
  const other = clientCredentialsTokens({ ...credentials(), scope: 'stream' })
  t.not(await other.get(), tokens[0])
})

test('a wrong secret, client or address is a refusal that names the endpoint', async (t) => {
  const { tokenUrl, url } = await provider(t)
  const wrong = clientCredentialsTokens({ tokenUrl, clientId: 'basic', clientSecret: 'not the sw0rdf!sh' })
  const secret = await refusal(t, wrong.get())
  t.true(secret.isRefusal)
  t.regex(secret.message, new RegExp(`^cannot get a token from ${tokenUrl}: .*(invalid_client|refuses the client)`))
  t.false(secret.message.includes('not the sw0rdf!sh'))
  const unknown = clientCredentialsTokens({ tokenUrl, clientId: 'nobody', clientSecret: SECRET })
  t.true((await refusal(t, unknown.get())).isRefusal)
  const scope = clientCredentialsTokens({ tokenUrl, clientId: 'basic', clientSecret: SECRET, scope: 'other' })
  t.regex((await refusal(t, scope.get())).message, /invalid_scope/)
  const page = { tokenUrl: `${url}/jwks?key=${SECRET}`, clientId: 'basic', clientSecret: SECRET }
  const notTokens = await refusal(t, clientCredentialsTokens(page).get())
  t.true(notTokens.isRefusal)
  t.regex(notTokens.message, new RegExp(`^cannot get a token from ${url}/jwks: `))
})

test('an endpoint that is down or overloaded may come back', async (t) => {
  const server = await provider(t)
  const { tokenUrl } = server
  server.failing = 503
  const tokens = clientCredentialsTokens({ tokenUrl, clientId: 'basic', clientSecret: SECRET })
  const busy = await refusal(t, tokens.get())
  t.false(busy.isRefusal)
  t.regex(busy.message, /status 503/)
  const nobody = { tokenUrl: 'http://127.0.0.1:9/token', clientId: 'basic', clientSecret: SECRET }
  const down = await refusal(t, clientCredentialsTokens(nobody).get())
  t.false(down.isRefusal)
  t.regex(down.message, /ECONNREFUSED|bad port/)
})

test('a file of the secret that is gone is told', async (t) => {
  const { tokenUrl } = await provider(t)
  const file = '/no/such/secret'
  const tokens = clientCredentialsTokens({ tokenUrl, clientId: 'basic', clientSecret: { file } })
  t.regex((await refusal(t, tokens.get())).message, /\/no\/such\/secret cannot be read/)
})
