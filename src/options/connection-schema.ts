/** The part of the schema that says how Kafka and the schema registry are reached. */

import type { ConnectionOptions } from 'node:tls'
import type { KafkaConfig } from 'kafkajs'
import { z } from 'zod'
import { clientCredentials, clientCredentialsProblem } from './client-credentials.js'
import { callback, count, decimal, duration, field, flag, size, text } from './fields.js'
import { sasl } from './sasl.js'
import { secret } from './secret.js'

const retry = z
  .strictObject({
    maxRetryTime: duration('The longest wait between two tries.').optional(),
    initialRetryTime: duration('The first wait.').optional(),
    factor: decimal('How much a wait may differ from its length, as a share (0.2).', 0, 1).optional(),
    multiplier: decimal('How much longer each wait is than the one before (2).', 0).optional(),
    retries: count('Tries of one request.', 0).optional(),
    restartOnFailure: callback<(error: Error) => Promise<boolean>>('Only from the API.').optional(),
  })
  .meta({ description: "KafkaJS's retry options." })

export const kafka = z
  .strictObject({
    brokers: field<string | readonly string[] | (() => string[] | Promise<string[]>), KafkaConfig['brokers']>(
      (value) => {
        if (typeof value === 'function') return value as () => string[]
        const list = typeof value === 'string' ? value.split(',').map((broker) => broker.trim()) : value
        return Array.isArray(list) &&
          list.length > 0 &&
          list.every((broker) => typeof broker === 'string' && /^[^\s,]+:\d+$/.test(broker))
          ? list
          : null
      },
      'a list of host:port',
      {
        description: 'The brokers to begin with, as host:port.',
        anyOf: [
          { type: 'array', items: { type: 'string', pattern: ':\\d+$' }, minItems: 1 },
          { type: 'string', description: 'several with commas between' },
        ],
      },
      'secret',
    ),
    clientId: text('The name that brokers see.').optional(),
    ssl: field<boolean | ConnectionOptions, boolean | ConnectionOptions>(
      (value) =>
        value === 'true' || value === 'false'
          ? value === 'true'
          : typeof value === 'boolean'
            ? value
            : typeof value === 'object' && value && !Array.isArray(value)
              ? value
              : null,
      'true, false or TLS options',
      {
        description: "TLS: true, or Node's TLS options: ca, cert, key… as PEM texts or names of files.",
        anyOf: [{ enum: [true, false, 'true', 'false'] }, { type: 'object' }],
      },
      'secret',
    ).optional(),
    sasl: sasl.optional(),
    connectionTimeout: duration('How long a connection may take.').optional(),
    authenticationTimeout: duration('How long authentication may take.').optional(),
    reauthenticationThreshold: duration('How long before its end a session is renewed.').optional(),
    requestTimeout: duration('How long a request may take.').optional(),
    enforceRequestTimeout: flag('Whether requestTimeout counts.').optional(),
    retry: retry.optional(),
    socketFactory: callback<NonNullable<KafkaConfig['socketFactory']>>('Only from the API.').optional(),
    logLevel: count("KafkaJS's log level: 0 nothing, 1 errors, 2 warnings, 4 all, 5 debug.", 0, 5).optional(),
    logCreator: callback<NonNullable<KafkaConfig['logCreator']>>('Only from the API.').optional(),
  })
  .meta({ description: "How to reach Kafka: KafkaJS's KafkaConfig." })

export const consumer = z
  .strictObject({
    groupId: text('Prefix of the consumer group; default: the query name.').optional(),
    metadataMaxAge: duration('How old cluster metadata may be.').optional(),
    sessionTimeout: duration('How long a silent consumer stays in its group.').optional(),
    rebalanceTimeout: duration('How long a rebalance may take.').optional(),
    heartbeatInterval: duration('Time between heartbeats.').optional(),
    maxBytesPerPartition: size('Bytes of one partition in a fetch.', 1).optional(),
    minBytes: size('Bytes that the broker waits for.', 0).optional(),
    maxBytes: size('Bytes of a fetch.', 1).optional(),
    maxWaitTimeInMs: duration(
      'How long the broker waits for minBytes; default: 250 ms, and a second where all partitions are fetched.',
    ).optional(),
    retry: retry.optional(),
    maxInFlightRequests: count('Requests at a time.', 1).optional(),
    rackId: text('The rack, to fetch from replicas nearby.').optional(),
  })
  .meta({ description: "KafkaJS's ConsumerConfig, within what exactly-once needs." })

const LOGINS = {
  password: ['username', 'password'],
  token: ['token', 'logicalCluster', 'identityPoolId'],
  provider: [...Object.keys(clientCredentials), 'logicalCluster', 'identityPoolId'],
} as const

/** What is wrong with a login as a whole. */
function registryAuthProblem(given: Readonly<Record<string, unknown>>): { path: string[]; message: string } | null {
  const has = (name: string) => given[name] !== undefined
  const kinds = [has('username') || has('password'), has('token'), has('tokenUrl') || has('clientId')]
  if (kinds.filter(Boolean).length !== 1) {
    return { path: [], message: 'give either username and password, or token, or tokenUrl, clientId and clientSecret' }
  }
  const kind = kinds[0] ? 'password' : kinds[1] ? 'token' : 'provider'
  const needed = kind === 'password' ? LOGINS.password : kind === 'token' ? ['token'] : ['tokenUrl', 'clientId']
  const missing = needed.find((name) => !has(name))
  if (missing) return { path: [missing], message: 'must be given with this login' }
  const other = Object.keys(given).find((name) => has(name) && !(LOGINS[kind] as readonly string[]).includes(name))
  if (other) return { path: [other], message: 'has no effect on this login' }
  const problem = kind === 'provider' ? clientCredentialsProblem(given) : null
  return problem && { path: [problem[0]], message: problem[1] }
}

export const url = z
  .string()
  .refine((value) => URL.canParse(value) && /^https?:$/.test(new URL(value).protocol), {
    error: 'expected an http or https URL',
  })
  .meta({ description: 'http or https URL', format: 'uri' })

export const tls = z.strictObject({
  ca: text("The authorities to trust: PEM text, or a file's name.").optional(),
  cert: text("Our certificate: PEM text, or a file's name.").optional(),
  key: text("Its key: PEM text, or a file's name.").optional(),
  passphrase: secret('Passphrase of the key.').optional(),
  rejectUnauthorized: flag('Refuse certificates that cannot be verified (default true).').optional(),
})

export const schemaRegistry = z
  .strictObject({
    url: url.optional(),
    urls: z.array(url).min(1).meta({ description: 'Several registries of one cluster, tried in turn.' }).optional(),
    auth: z
      .strictObject({
        username: text('User of basic authentication.').optional(),
        password: secret('Password of basic authentication.').optional(),
        token: secret('Bearer token.').optional(),
        ...clientCredentials,
        tokenUrl: clientCredentials.tokenUrl.optional(),
        clientId: clientCredentials.clientId.optional(),
        logicalCluster: text('Of Confluent Cloud, beside a token: the id of the registry, lsrc-….').optional(),
        identityPoolId: text('Of Confluent Cloud, beside a token: the identity pool, pool-….').optional(),
      })
      .superRefine((auth, context) => {
        const problem = registryAuthProblem(auth)
        if (problem) context.addIssue({ code: 'custom', path: problem.path, message: problem.message })
      })
      .meta({ description: 'Either username and password, or token, or tokenUrl with clientId and clientSecret.' })
      .optional(),
    tls: tls.meta({ description: 'TLS of an https registry.' }).optional(),
    unknownSchemaTimeout: duration(
      'How long an unknown schema id is asked for again before its message is a bad record (default "5 seconds").',
    ).optional(),
  })
  .refine((registry) => (registry.url === undefined) !== (registry.urls === undefined), {
    error: 'give either url or urls',
  })
  .meta({ description: 'The Confluent Schema Registry, or one that speaks its API.' })
