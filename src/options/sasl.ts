/** SASL as KafkaJS takes it: what each mechanism needs. Values are never part of a message. */

import type { KafkaConfig } from 'kafkajs'
import { z } from 'zod'

type Sasl = NonNullable<KafkaConfig['sasl']>

interface Fields {
  needed: readonly string[]
  optional?: readonly string[]
  /** Given by the API alone, as a function. */
  callback?: string
}

const LOGIN: Fields = { needed: ['username', 'password'] }

const MECHANISMS: ReadonlyMap<string, Fields> = new Map([
  ['plain', LOGIN],
  ['scram-sha-256', LOGIN],
  ['scram-sha-512', LOGIN],
  ['aws', { needed: ['authorizationIdentity', 'accessKeyId', 'secretAccessKey'], optional: ['sessionToken'] }],
  ['oauthbearer', { needed: [], callback: 'oauthBearerProvider' }],
])

/** A mechanism of the user's own, from the API. */
const OWN: Fields = { needed: [], callback: 'authenticationProvider' }

function check(given: object, refuse: (path: string[], message: string) => void): void {
  const values = new Map<string, unknown>(Object.entries(given).filter(([, value]) => value !== undefined))
  const mechanism = values.get('mechanism')
  const known = [...MECHANISMS.keys()].join(', ')
  if (typeof mechanism !== 'string') {
    refuse(['mechanism'], `must be given: one of ${known}`)
    return
  }
  const fields = values.has('authenticationProvider') ? OWN : MECHANISMS.get(mechanism.toLowerCase())
  if (fields === undefined) {
    refuse(['mechanism'], `is no mechanism; known are ${known}`)
    return
  }
  const { needed, optional = [], callback } = fields
  const names = ['mechanism', ...needed, ...optional, ...(callback === undefined ? [] : [callback])]
  for (const name of needed) if (!values.has(name)) refuse([name], `must be given with this mechanism`)
  if (callback !== undefined && typeof values.get(callback) !== 'function') {
    refuse([callback], 'must be given with this mechanism: a function, which only the API can give')
  }
  for (const [name, value] of values) {
    if (!names.includes(name)) refuse([name], `unknown option of this mechanism; known are ${names.join(', ')}`)
    else if (name !== callback && (typeof value !== 'string' || value === '')) refuse([name], 'expected a text')
  }
}

export const sasl = z
  .custom<Sasl>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), 'expected an object')
  .superRefine((value, context) => {
    if (typeof value !== 'object' || value === null) return
    check(value, (path, message) => context.addIssue({ code: 'custom', path, message }))
  })
  .meta({
    description:
      'SASL: mechanism (plain, scram-sha-256, scram-sha-512 with username and password; aws with authorizationIdentity, accessKeyId, secretAccessKey; oauthbearer from the API).',
    type: 'object',
  })
