/** The headers by which the registry knows us. Secrets in files are read for each request: they may be new ones. */

import { KafkaToDeltaError } from '../errors.js'
import { clientCredentialsTokens } from '../logins/client-credentials.js'
import { TokenError, type TokenSource } from '../logins/tokens.js'
import { withoutUndefined } from '../objects.js'
import { readSecret, type Secret } from '../options/secret.js'
import type { SchemaRegistryOptions } from '../options/types.js'

type Headers = Readonly<Record<string, string>>

export interface RegistryLogin {
  /** @throws REGISTRY_AUTH, REGISTRY_UNREACHABLE where there is nothing to log in with */
  headers(): Promise<Headers>
  /** Is told that these were refused: true where others may be had. */
  refused(headers: Headers): boolean
}

type Auth = NonNullable<SchemaRegistryOptions['auth']>

const always = (headers: () => Headers): RegistryLogin => ({ headers: async () => headers(), refused: () => false })

/** @param user of the address, where it has one */
export function loginOf(auth: Auth | undefined, user: { username: string; password: string } | null): RegistryLogin {
  const given = auth ?? user
  if (given === null) return always(() => ({}))
  if ('tokenUrl' in given) return byTokens(clientCredentialsTokens(given), cloudHeaders(given))
  if ('token' in given) return always(() => ({ ...bearer(secretNow(given.token, 'token')), ...cloudHeaders(given) }))
  const { username, password } = given
  return always(() => basic(username, secretNow(password, 'password')))
}

function byTokens(tokens: TokenSource, more: Headers): RegistryLogin {
  return {
    headers: async () => ({ ...bearer(await tokenOf(tokens)), ...more }),
    // Before its time: it was withdrawn, or the provider has other keys.
    refused: ({ Authorization = '' }) => {
      tokens.refused(Authorization.replace(/^Bearer /, ''))
      return true
    },
  }
}

async function tokenOf(tokens: TokenSource): Promise<string> {
  try {
    return await tokens.get()
  } catch (error) {
    if (!(error instanceof TokenError)) throw error
    const { message, isRefusal } = error
    throw new KafkaToDeltaError(
      isRefusal ? 'REGISTRY_AUTH' : 'REGISTRY_UNREACHABLE',
      `cannot log in to the schema registry: ${message} (check schemaRegistry.auth)`,
    )
  }
}

/** By these Confluent Cloud knows whom a token is for. */
function cloudHeaders({
  logicalCluster,
  identityPoolId,
}: {
  logicalCluster?: string
  identityPoolId?: string
}): Headers {
  return withoutUndefined({
    'target-sr-cluster': logicalCluster,
    'Confluent-Identity-Pool-Id': identityPoolId,
  }) as Headers
}

const bearer = (token: string): Headers => ({ Authorization: `Bearer ${token}` })

const basic = (username: string, password: string): Headers => ({
  Authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
})

function secretNow(secret: Secret, name: string): string {
  try {
    return readSecret(secret, `schemaRegistry.auth.${name}`)
  } catch (error) {
    throw new KafkaToDeltaError('REGISTRY_AUTH', (error as Error).message)
  }
}
