/** The part of the schema that says how catalogs are reached. */

import { z } from 'zod'
import { tls, url } from './connection-schema.js'
import { field, flag, show, text } from './fields.js'
import { secret } from './secret.js'
import { suggest } from './suggest.js'

const kind = <const T extends string>(type: T, description: string) => z.literal(type).meta({ description })

const URIS = /^thrift:\/\/[^\s,/:]+:\d+(\s*,\s*thrift:\/\/[^\s,/:]+:\d+)*$/

const hive = z
  .strictObject({
    type: kind('hive', 'A Hive metastore.'),
    uri: field<string, string>(
      (value) => (typeof value === 'string' && URIS.test(value.trim()) ? value.trim() : null),
      'thrift://host:port, several with commas between',
      { description: 'thrift://host:port, several with commas between: tried in turn.', type: 'string' },
      'secret',
    ),
    auth: z
      .strictObject({
        username: text('The user by whose name the metastore knows us.'),
        password: secret('With it, a login by SASL PLAIN.').optional(),
      })
      .meta({ description: "Default: the system's user, by its name alone." })
      .optional(),
    tls: tls.meta({ description: 'TLS of a metastore with hive.metastore.use.SSL.' }).optional(),
  })
  .meta({ description: 'A Hive metastore.' })

const CREDENTIALS = ['clientId', 'clientSecret', 'tokenUrl', 'scope'] as const

const unity = z
  .strictObject({
    type: kind('unity', 'Unity Catalog, by its REST interface.'),
    url: url.meta({ description: "Of the server, without the interface's own path: https://host.", format: 'uri' }),
    catalog: text('The catalog that has the schemas; it must be there.'),
    auth: z
      .strictObject({
        token: secret('Bearer token.').optional(),
        clientId: text('OAuth client credentials: the id.').optional(),
        clientSecret: secret('OAuth client credentials: the secret.').optional(),
        tokenUrl: url.meta({ description: 'Where tokens are given (default: <url>/oidc/v1/token).' }).optional(),
        scope: text('Scope of the tokens (default: all-apis).').optional(),
      })
      .superRefine((auth, context) => {
        const refuse = (name: string, message: string) => context.addIssue({ code: 'custom', path: [name], message })
        if (auth.token !== undefined) {
          for (const name of CREDENTIALS) if (auth[name] !== undefined) refuse(name, 'has no effect beside token')
          return
        }
        if (auth.clientId === undefined && auth.clientSecret === undefined) {
          refuse('token', 'give either token, or clientId and clientSecret')
        } else if (auth.clientId === undefined) refuse('clientId', 'must be given with clientSecret')
        else if (auth.clientSecret === undefined) refuse('clientSecret', 'must be given with clientId')
      })
      .meta({ description: 'Either token, or clientId and clientSecret. Default: none.' })
      .optional(),
    tls: tls.meta({ description: 'TLS of an https server.' }).optional(),
    vendedCredentials: flag(
      "The catalog gives the credentials for the tables' files, in place of those of storageOptions (default false).",
    ).optional(),
  })
  .meta({ description: 'Unity Catalog, by its REST interface.' })

const glue = z
  .strictObject({
    type: kind('glue', 'The AWS Glue data catalog, with the credentials of AWS’s default chain.'),
    region: text("Default: as AWS's default chain has it.").optional(),
    endpoint: url.meta({ description: "Another address than AWS's.", format: 'uri' }).optional(),
    catalogId: text('The account that has the data catalog (default: that of the credentials).').optional(),
  })
  .meta({ description: 'The AWS Glue data catalog.' })

const none = z
  .strictObject({ type: kind('none', 'The table is registered nowhere.') })
  .meta({ description: 'The table is registered nowhere.' })

const TYPES = ['hive', 'unity', 'glue', 'none'] as const

function wrongType(given: unknown): string {
  const type = typeof given === 'object' && given !== null && 'type' in given ? given.type : undefined
  const known = TYPES.map((name) => JSON.stringify(name)).join(', ')
  if (type === undefined) return `expected {type: …} with one of ${known}`
  const meant = typeof type === 'string' ? suggest(type, TYPES) : null
  return `expected one of ${known}, got ${show(type)}${meant ? `, did you mean "${meant}"?` : ''}`
}

export const catalog = z
  .discriminatedUnion('type', [hive, unity, glue, none], { error: ({ input }) => wrongType(input) })
  .meta({ description: 'Registers tables by schema and tableName: in a Hive metastore, Unity Catalog or AWS Glue.' })
