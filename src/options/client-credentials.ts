/** OAuth's client credentials, by which a program gets tokens of an OpenID provider. */

import { z } from 'zod'
import { choice, text } from './fields.js'
import { type Secret, secret } from './secret.js'

export interface ClientCredentials {
  /** The provider's token endpoint. */
  readonly tokenUrl: string
  readonly clientId: string
  /** Either this or `clientAssertion`. */
  readonly clientSecret?: Secret
  /** In place of a secret, a signed token that says who we are: that of a pod, as workload identity has it. */
  readonly clientAssertion?: Secret
  /** How the secret is sent: `basic` (default), in a header, or `post`, in the form. */
  readonly clientAuth?: 'basic' | 'post'
  readonly scope?: string
  readonly audience?: string
}

const httpUrl = z
  .string()
  .refine((value) => isPlainHttp(value), { error: 'expected an http or https URL without a user' })
  .meta({ description: "The provider's token endpoint.", format: 'uri' })

function isPlainHttp(value: string): boolean {
  if (!URL.canParse(value)) return false
  const { protocol, username, password } = new URL(value)
  return /^https?:$/.test(protocol) && username === '' && password === ''
}

/** The options, as parts of others. */
export const clientCredentials = {
  tokenUrl: httpUrl,
  clientId: text('The client that the provider knows us as.'),
  clientSecret: secret('Its secret; or clientAssertion.').optional(),
  clientAssertion: secret('In place of a secret, a signed token that says who we are.').optional(),
  clientAuth: choice(
    ['basic', 'post'],
    'How the secret is sent: in a header (basic, default) or in the form (post).',
  ).optional(),
  scope: text('The scope of the token; several with spaces between.').optional(),
  audience: text('For whom the token is, where the provider asks for it.').optional(),
}

type Given = { readonly [Name in keyof ClientCredentials]?: unknown }

/** What is wrong with client credentials as a whole: the option, and why. */
export function clientCredentialsProblem(given: Given): [option: string, message: string] | null {
  const { clientSecret, clientAssertion, clientAuth } = given
  if (clientSecret === undefined && clientAssertion === undefined)
    return ['clientSecret', 'must be given, or clientAssertion']
  if (clientSecret !== undefined && clientAssertion !== undefined) {
    return ['clientAssertion', 'is given beside clientSecret: leave one of them out']
  }
  if (clientAuth !== undefined && clientAssertion !== undefined) {
    return ['clientAuth', 'has no effect on a clientAssertion, which is sent in the form']
  }
  return null
}
