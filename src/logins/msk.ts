/** Amazon MSK's IAM login: presigned URLs as tokens, by AWS's own signer, which is loaded where they are used. */

import type { MskLogin } from '../options/sasl.js'
import { type IssuedToken, sharedTokens, TokenError, TokenSource } from './tokens.js'

const SIGNER = 'aws-msk-iam-sasl-signer-js'

/** Tokens of a role, a profile, or of whom the environment, the pod or the instance says we are. */
export function mskTokens(login: MskLogin): TokenSource {
  const { region, roleArn, roleSessionName, profile } = login
  const make = () => new TokenSource(() => issue(login), `the credentials of AWS in ${region}`)
  return sharedTokens({ msk: { region, roleArn, roleSessionName, profile } }, make)
}

async function issue({ region, roleArn, roleSessionName, profile }: MskLogin): Promise<IssuedToken> {
  const signer = await load()
  const session = roleSessionName === undefined ? {} : { awsRoleSessionName: roleSessionName }
  try {
    const { token, expiryTime } = roleArn
      ? await signer.generateAuthTokenFromRole({ region, awsRoleArn: roleArn, ...session })
      : profile
        ? await signer.generateAuthTokenFromProfile({ region, awsProfileName: profile })
        : await signer.generateAuthToken({ region, ...session })
    return { value: token, lifetime: expiryTime - Date.now() }
  } catch (error) {
    const { message, name, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
    const status = $metadata?.httpStatusCode ?? 0
    const isRefusal = name === 'CredentialsProviderError' || (status >= 400 && status < 500 && status !== 429)
    throw new TokenError(`cannot get a token from the credentials of AWS in ${region}: ${message}`, isRefusal)
  }
}

async function load(): Promise<typeof import('aws-msk-iam-sasl-signer-js')> {
  try {
    return await import('aws-msk-iam-sasl-signer-js')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const isMissing = code === 'ERR_MODULE_NOT_FOUND' && message.includes(SIGNER)
    const reason = isMissing ? `it is not installed: npm install ${SIGNER}` : message
    throw new TokenError(`the mechanism aws_msk_iam needs the package ${SIGNER}: ${reason}`, true)
  }
}
