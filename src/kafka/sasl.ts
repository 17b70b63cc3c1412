/** How kafkajs logs in, as the options say it. */

import kafkajs, { type KafkaConfig } from 'kafkajs'
import type { SaslOptions } from '../options/sasl.js'
import { readSecret, type Secret } from '../options/secret.js'

type KafkajsSasl = NonNullable<KafkaConfig['sasl']>

/** Of kafkajs's own mechanisms. */
const SECRETS = ['password', 'secretAccessKey', 'sessionToken'] as const

/**
 * SASL as kafkajs takes it. It asks for a password at each login, and so gets what the file holds then.
 * @param noteSecret is told each secret that may come up in a message
 */
export function kafkajsSasl(sasl: SaslOptions, noteSecret: (secret: string) => void): KafkajsSasl {
  // kafkajs writes into it; the configuration is the user's.
  const result = { ...sasl } as Record<string, unknown>
  for (const name of SECRETS) {
    const given = result[name] as Secret | undefined
    if (given === undefined || given === '') continue
    const get = () => {
      const found = secretNow(given, name)
      noteSecret(found)
      return found
    }
    if (typeof given === 'string') noteSecret(given)
    else Object.defineProperty(result, name, { get, enumerable: true })
  }
  return result as unknown as KafkajsSasl
}

/** What kafkajs throws where credentials are wrong: it does not try again. */
function refusal(message: string): Error {
  return Object.assign(new kafkajs.KafkaJSNonRetriableError(message), { name: 'KafkaJSSASLAuthenticationError' })
}

function secretNow(secret: Secret, name: string): string {
  try {
    return readSecret(secret, `kafka.sasl.${name}`)
  } catch (error) {
    throw refusal((error as Error).message)
  }
}
