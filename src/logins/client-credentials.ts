/** Tokens of an OpenID provider, by OAuth's client credentials. The client library is loaded where they are used. */

import type { ClientAuth, TokenEndpointResponse } from 'oauth4webapi'
import type { ClientCredentials } from '../options/client-credentials.js'
import { readSecret } from '../options/secret.js'
import { type IssuedToken, sharedTokens, TokenError, TokenSource } from './tokens.js'

type OAuth = typeof import('oauth4webapi')

/** Of a provider's own words. */
const MAX_TEXT = 300

/** What a provider says where it has troubles of its own: RFC 6749, 4.1.2.1. */
const PASSING = new Set(['temporarily_unavailable', 'server_error'])

/** Tokens of these credentials: of all who log in with the same, one source. */
export function clientCredentialsTokens(given: ClientCredentials): TokenSource {
  const { tokenUrl, clientId, clientSecret, clientAssertion, clientAuth, scope, audience } = given
  const credentials = { tokenUrl, clientId, clientSecret, clientAssertion, clientAuth, scope, audience }
  const make = () => new TokenSource(() => issue(given), endpointName(tokenUrl))
  return sharedTokens(credentials, make)
}

/** An endpoint without what may be secret in it. */
function endpointName(url: string): string {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname}`
}

async function issue(credentials: ClientCredentials): Promise<IssuedToken> {
  const { tokenUrl, clientId, scope, audience } = credentials
  const fail = (reason: string, isRefusal: boolean) =>
    new TokenError(`cannot get a token from ${endpointName(tokenUrl)}: ${reason}`, isRefusal)
  const oauth = await import('oauth4webapi')
  const server = { issuer: new URL(tokenUrl).origin, token_endpoint: tokenUrl }
  const client = { client_id: clientId }
  const parameters = new URLSearchParams({ ...(scope ? { scope } : {}), ...(audience ? { audience } : {}) })
  const secret = secretNow(credentials, fail)
  // Of http, a start and the check warn.
  const options = { [oauth.allowInsecureRequests]: true }
  const hidden = (text: string) => text.replaceAll(secret, '***').slice(0, MAX_TEXT)
  let answer: TokenEndpointResponse
  let response: Response | undefined
  try {
    const proof = proofOf(oauth, credentials, secret)
    response = await oauth.clientCredentialsGrantRequest(server, client, proof, parameters, options)
    answer = await oauth.processClientCredentialsResponse(server, client, response)
  } catch (error) {
    throw fail(...reasonOf(oauth, error, response?.status, hidden))
  }
  const { access_token: value, expires_in: seconds } = answer
  return { value, lifetime: seconds === undefined ? null : seconds * 1000 }
}

function secretNow(
  { clientSecret, clientAssertion }: ClientCredentials,
  fail: (reason: string, isRefusal: boolean) => TokenError,
): string {
  try {
    return clientSecret === undefined
      ? readSecret(clientAssertion ?? '', 'clientAssertion')
      : readSecret(clientSecret, 'clientSecret')
  } catch (error) {
    throw fail((error as Error).message, true)
  }
}

function proofOf(oauth: OAuth, { clientAssertion, clientAuth }: ClientCredentials, secret: string): ClientAuth {
  if (clientAssertion !== undefined) {
    return (_server, client, body) => {
      body.set('client_id', client.client_id)
      body.set('client_assertion', secret)
      body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    }
  }
  return clientAuth === 'post' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret)
}

/** Why there is no token, and whether we are refused. */
function reasonOf(
  oauth: OAuth,
  error: unknown,
  status: number | undefined,
  hidden: (text: string) => string,
): [reason: string, isRefusal: boolean] {
  if (status === undefined) {
    const { message, cause } = error as Error
    const inner = cause instanceof Error ? cause.message || (cause as NodeJS.ErrnoException).code : undefined
    return [hidden(inner ?? message), false]
  }
  const mayPass = status >= 500 || status === 408 || status === 429
  if (error instanceof oauth.ResponseBodyError) {
    const { error: code, error_description: description } = error
    const text = hidden(description === undefined ? code : `${code}: ${description}`)
    return [text, !mayPass && !PASSING.has(code)]
  }
  if (mayPass) return [`it answers with status ${status}`, false]
  if (error instanceof oauth.WWWAuthenticateChallengeError) return [`it refuses the client (status ${status})`, true]
  return [`the answer (status ${status}) holds no token: is tokenUrl the provider's token endpoint?`, true]
}
