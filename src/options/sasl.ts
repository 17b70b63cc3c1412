/** SASL: what each mechanism needs. Values are never part of a message. */

import type { KafkaConfig } from 'kafkajs'
import { z } from 'zod'
import { type ClientCredentials, clientCredentials, clientCredentialsProblem } from './client-credentials.js'
import { callback, field, text } from './fields.js'
import { type Secret, secret } from './secret.js'
import { suggest } from './suggest.js'

type KafkajsSasl = NonNullable<KafkaConfig['sasl']>

/** Amazon MSK's IAM: as a role, a profile, or whom the environment, the pod or the instance says we are. */
export interface MskLogin {
  readonly mechanism: 'aws_msk_iam'
  readonly region: string
  readonly roleArn?: string
  readonly roleSessionName?: string
  readonly profile?: string
}

/** How to log in to Kafka: a mechanism with what it needs, or as KafkaJS takes it. */
export type SaslOptions =
  | {
      readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
      readonly username: string
      readonly password: Secret
    }
  | {
      readonly mechanism: 'aws'
      readonly authorizationIdentity: string
      readonly accessKeyId: string
      readonly secretAccessKey: Secret
      readonly sessionToken?: Secret
    }
  | (ClientCredentials & {
      readonly mechanism: 'oauthbearer'
      /** SASL extensions, by which the broker tells what the login is for. */
      readonly extensions?: Readonly<Record<string, string>>
    })
  | MskLogin
  | KafkajsSasl

/** KafkaJS's configuration, with our ways to log in. */
export type KafkaOptions = Omit<KafkaConfig, 'sasl'> & { sasl?: SaslOptions | undefined }

const login = { username: text('The user.'), password: secret('Its password.') }

/** What a mechanism takes beside its name. */
const MECHANISMS = {
  plain: login,
  'scram-sha-256': login,
  'scram-sha-512': login,
  aws: {
    authorizationIdentity: text('The user id of the IAM user or role.'),
    accessKeyId: text('The access key.'),
    secretAccessKey: secret('Its secret.'),
    sessionToken: secret('Of temporary credentials.').optional(),
  },
  aws_msk_iam: {
    region: text('The region of the cluster.'),
    roleArn: text('A role to take on.').optional(),
    roleSessionName: text("The session's name, with which the role's use is logged.").optional(),
    profile: text("A profile of the AWS CLI's files.").optional(),
  },
  oauthbearer: { ...clientCredentials, extensions: extensions().optional() },
} as const satisfies Record<string, z.ZodRawShape>

/** SASL extensions: RFC 7628, 3.1. */
function extensions() {
  const isExtension = ([name, value]: [string, unknown]) =>
    /^[A-Za-z]+$/.test(name) && name !== 'auth' && typeof value === 'string' && /^[\x20-\x7e\t\r\n]+$/.test(value)
  return field<Readonly<Record<string, string>>, Record<string, string>>(
    (value) =>
      typeof value === 'object' && value !== null && !Array.isArray(value) && Object.entries(value).every(isExtension)
        ? { ...value }
        : null,
    'names of letters, with texts',
    {
      description: 'SASL extensions, as Confluent Cloud asks for them: logicalCluster, identityPoolId.',
      type: 'object',
      additionalProperties: { type: 'string' },
    },
    'secret',
  )
}

/** Tokens that the API gives. */
const PROVIDER = { oauthBearerProvider: callback<() => Promise<unknown>>('Only from the API.') }

/** A mechanism of the user's own, from the API. */
const OWN = { authenticationProvider: callback<(...args: never[]) => unknown>('Only from the API.') }

const NAMES = Object.keys(MECHANISMS)

type Refuse = (path: PropertyKey[], message: string) => void

function shapeOf(mechanism: string, value: object): z.ZodRawShape | undefined {
  if ('authenticationProvider' in value) return OWN
  const name = mechanism.toLowerCase()
  if (name === 'oauthbearer' && 'oauthBearerProvider' in value) return PROVIDER
  return Object.hasOwn(MECHANISMS, name) ? MECHANISMS[name as keyof typeof MECHANISMS] : undefined
}

/** The form that a mechanism has in a file. */
function formOf(shape: z.ZodRawShape) {
  return z.strictObject({ mechanism: z.string(), ...shape })
}

function check(value: object, refuse: Refuse): void {
  const { mechanism } = value as { mechanism?: unknown }
  const known = NAMES.join(', ')
  if (typeof mechanism !== 'string') {
    refuse(['mechanism'], `must be given: one of ${known}`)
    return
  }
  const shape = shapeOf(mechanism, value)
  if (shape === undefined) {
    const meant = suggest(mechanism, NAMES)
    refuse(['mechanism'], `is no mechanism${meant ? `, did you mean "${meant}"?` : `; known are ${known}`}`)
    return
  }
  const given = Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined))
  const { error } = formOf(shape).safeParse(given)
  for (const issue of error?.issues ?? []) refuseIssue(issue, given, Object.keys(shape), refuse)
  const problem = error ? null : problemOf(shape, given)
  if (problem) refuse([problem[0]], problem[1])
}

/** What is wrong with options together. */
function problemOf(shape: z.ZodRawShape, given: Readonly<Record<string, unknown>>): [string, string] | null {
  if ('clientId' in shape) return clientCredentialsProblem(given)
  if ('roleArn' in shape && given.roleArn !== undefined && given.profile !== undefined) {
    return ['profile', 'is given beside roleArn: leave one of them out']
  }
  return null
}

function refuseIssue(issue: z.core.$ZodIssue, given: object, names: string[], refuse: Refuse): void {
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) {
      const meant = suggest(key, names)
      const hint = meant ? `, did you mean "${meant}"?` : `; known are ${names.join(', ')}`
      refuse([...issue.path, key], `unknown option of this mechanism${hint}`)
    }
    return
  }
  const isMissing = issue.path.length === 1 && !Object.hasOwn(given, issue.path[0] as string)
  const expected = issue.message.replace(/^Invalid input: |, (got|received) .*$/gs, '')
  const isFunction = expected === 'expected a function'
  refuse(
    issue.path,
    isFunction
      ? 'must be given with this mechanism: a function, which only the API can give'
      : isMissing
        ? 'must be given with this mechanism'
        : expected.replace('expected string', 'expected a text'),
  )
}

/** The forms that a file may have, for its JSON Schema. */
function fileForms(): object[] {
  const shapes = [...new Set<z.ZodRawShape>(Object.values(MECHANISMS))]
  return shapes.map((shape) => {
    const names = NAMES.filter((name) => MECHANISMS[name as keyof typeof MECHANISMS] === shape)
    const form = z.strictObject({ mechanism: z.enum(names.flatMap((name) => [name, name.toUpperCase()])), ...shape })
    const { $schema, ...schema } = z.toJSONSchema(form, { io: 'input', unrepresentable: 'any' })
    return schema
  })
}

export const sasl = z
  .custom<SaslOptions>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'expected an object',
  )
  .superRefine((value, context) => {
    if (typeof value !== 'object' || value === null) return
    check(value, (path, message) => context.addIssue({ code: 'custom', path, message }))
  })
  .meta({
    description: `SASL: how to log in. mechanism is one of ${NAMES.join(', ')}.`,
    anyOf: fileForms(),
  })
