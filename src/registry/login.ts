/** The headers by which the registry knows us. Secrets in files are read for each request: they may be new ones. */

import { KafkaToDeltaError } from '../errors.js'
import { readSecret, type Secret } from '../options/secret.js'
import type { SchemaRegistryOptions } from '../options/types.js'

export interface RegistryLogin {
  /** @throws REGISTRY_AUTH */
  headers(): Promise<Readonly<Record<string, string>>>
}

type Auth = NonNullable<SchemaRegistryOptions['auth']>

const NONE: RegistryLogin = { headers: async () => ({}) }

/** @param user of the address, where it has one */
export function loginOf(auth: Auth | undefined, user: { username: string; password: string } | null): RegistryLogin {
  const given = auth ?? user
  if (given === null) return NONE
  if ('token' in given) return { headers: async () => bearer(secretNow(given.token, 'token')) }
  const { username, password } = given
  return { headers: async () => basic(username, secretNow(password, 'password')) }
}

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })

const basic = (username: string, password: string) => ({
  Authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
})

function secretNow(secret: Secret, name: string): string {
  try {
    return readSecret(secret, `schemaRegistry.auth.${name}`)
  } catch (error) {
    throw new KafkaToDeltaError('REGISTRY_AUTH', (error as Error).message)
  }
}
