/** How kafkajs logs in, as the options say it. */

import kafkajs, { type AuthenticationProviderArgs, type KafkaConfig } from 'kafkajs'
import { clientCredentialsTokens } from '../logins/client-credentials.js'
import { mskTokens } from '../logins/msk.js'
import { TokenError, type TokenSource } from '../logins/tokens.js'
import type { MskLogin, SaslOptions } from '../options/sasl.js'
import { readSecret, type Secret } from '../options/secret.js'

type KafkajsSasl = NonNullable<KafkaConfig['sasl']>

/** Is told each secret that may come up in a message: of those of one name the newest counts. */
type NoteSecret = (name: string, secret: string) => void

/** SASL as kafkajs takes it. */
export function kafkajsSasl(sasl: SaslOptions, noteSecret: NoteSecret): KafkajsSasl {
  if (isOf(sasl, 'oauthbearer') && 'tokenUrl' in sasl) {
    return bearer(clientCredentialsTokens(sasl), sasl.extensions ?? {}, noteSecret)
  }
  if (isOf(sasl, 'aws_msk_iam')) return bearer(mskTokens(sasl as MskLogin), {}, noteSecret)
  return withSecrets(sasl, noteSecret)
}

const isOf = ({ mechanism }: SaslOptions, name: string) => mechanism.toLowerCase() === name

/** Of kafkajs's own mechanisms. */
const SECRETS = ['password', 'secretAccessKey', 'sessionToken'] as const

/** kafkajs asks for a password at each login, and so gets what the file holds then. */
function withSecrets(sasl: SaslOptions, noteSecret: NoteSecret): KafkajsSasl {
  // kafkajs writes into it; the configuration is the user's.
  const result = { ...sasl } as Record<string, unknown>
  for (const name of SECRETS) {
    const given = result[name] as Secret | undefined
    if (given === undefined || given === '') continue
    const get = () => {
      const found = secretNow(given, name)
      noteSecret(name, found)
      return found
    }
    if (typeof given === 'string') noteSecret(name, given)
    else Object.defineProperty(result, name, { get, enumerable: true })
  }
  return result as unknown as KafkajsSasl
}

function secretNow(secret: Secret, name: string): string {
  try {
    return readSecret(secret, `kafka.sasl.${name}`)
  } catch (error) {
    throw refusal((error as Error).message)
  }
}

/** What kafkajs throws where credentials are wrong: it does not try again. */
function refusal(message: string): Error {
  return Object.assign(new kafkajs.KafkaJSNonRetriableError(message), { name: 'KafkaJSSASLAuthenticationError' })
}

/**
 * OAUTHBEARER. That of kafkajs does not read what the broker answers: a token that is refused looked like a login, and the
 * next request like a broken connection.
 */
function bearer(
  tokens: TokenSource,
  extensions: Readonly<Record<string, string>>,
  noteSecret: NoteSecret,
): KafkajsSasl {
  const provider = ({ host, port, saslAuthenticate }: AuthenticationProviderArgs) => ({
    authenticate: async () => {
      const broker = `${host}:${port}`
      const token = await tokenFor(tokens, broker)
      noteSecret('token', token)
      const send = (text: string) => saslAuthenticate({ request: { encode: () => sized(text) }, response: TEXT })
      try {
        const answer = await send(firstMessage(token, extensions))
        // The broker says so what it does not like, and expects a byte before it ends the login: RFC 7628, 3.2.3.
        if (answer) await send(SEPARATOR)
        if (answer) throw new Error(`the broker answers ${answer}`)
      } catch (error) {
        if (BROKEN.has((error as Error).name)) throw error
        tokens.refused(token)
        throw refusal(`SASL OAUTHBEARER authentication failed: ${(error as Error).message}`)
      }
    },
  })
  return { mechanism: 'oauthbearer', authenticationProvider: provider }
}

/** What says nothing of the token. */
const BROKEN = new Set(['KafkaJSConnectionError', 'KafkaJSConnectionClosedError', 'KafkaJSRequestTimeoutError'])

/** A token, or an error of kafkajs's: one that it tries again, unless we are refused. */
async function tokenFor(tokens: TokenSource, broker: string): Promise<string> {
  try {
    return await tokens.get()
  } catch (error) {
    if (!(error instanceof TokenError)) throw error
    const { message, isRefusal } = error
    const remedy = 'check kafka.sasl, and that the token endpoint can be reached from here'
    if (isRefusal) throw Object.assign(refusal(message), { remedy: 'check kafka.sasl' })
    throw Object.assign(new kafkajs.KafkaJSConnectionError(message, { broker }), { remedy })
  }
}

/** RFC 7628, 3.1. */
const SEPARATOR = '\u0001'

function firstMessage(token: string, extensions: Readonly<Record<string, string>>): string {
  const pairs = [`auth=Bearer ${token}`, ...Object.entries(extensions).map(([name, value]) => `${name}=${value}`)]
  return `n,,${SEPARATOR}${pairs.join(SEPARATOR)}${SEPARATOR}${SEPARATOR}`
}

/** kafkajs takes and gives messages with their length before them. */
function sized(text: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeInt32BE(Buffer.byteLength(text))
  return Buffer.concat([length, Buffer.from(text)])
}

const TEXT = { decode: (bytes: Buffer) => bytes.subarray(4), parse: (bytes: Buffer) => bytes.toString() }
