/** What gives credentials to instances, pods and bearers of web identities in AWS, on loopback ports. */

import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { STORE_PASSWORD, selfSigned } from '../../helpers/self-signed.js'
import type { Issued, S3WithUsers } from './s3-users.js'

/** As they are given, but for the token of a session, which the S3 server takes from none but its own: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html */
const asJson = ({ id, secret, ends }: Issued) =>
  JSON.stringify({ AccessKeyId: id, SecretAccessKey: secret, Token: '', Expiration: ends.toISOString() })

/** As STS gives them: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html */
const asXml = ({ id, secret, ends }: Issued) =>
  `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
    <Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>${secret}</SecretAccessKey>
    <SessionToken></SessionToken><Expiration>${ends.toISOString()}</Expiration></Credentials>
  </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`

export class Identities {
  /** The store's options by each kind of identity. */
  readonly options: Readonly<Record<'instance' | 'pod' | 'web identity', Record<string, string>>>
  readonly end: () => void

  private constructor(options: Identities['options'], end: () => void) {
    this.options = options
    this.end = end
  }

  /** @param life milliseconds after which the store takes credentials no more; others are given after half of it */
  static async start(store: S3WithUsers, life: number): Promise<Identities> {
    const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-identities-'))
    const [token, certificate] = [join(folder, 'token'), join(folder, 'sts.pem')]
    writeFileSync(token, 'a-token')
    const now = sharedFor(() => store.issue(life), life / 2)
    const keys = join(folder, 'sts.p12')
    writeFileSync(certificate, selfSigned(keys))
    const plain = createServer(answer(now)).listen(0, '127.0.0.1')
    const secure = createSecureServer({ pfx: readFileSync(keys), passphrase: STORE_PASSWORD }, answer(now)).listen(
      0,
      '127.0.0.1',
    )
    await Promise.all([once(plain, 'listening'), once(secure, 'listening')])
    const { port } = plain.address() as AddressInfo
    const { port: securePort } = secure.address() as AddressInfo
    const options = {
      instance: { AWS_METADATA_ENDPOINT: `http://127.0.0.1:${port}` },
      pod: {
        AWS_CONTAINER_CREDENTIALS_FULL_URI: `http://127.0.0.1:${port}/v1/credentials`,
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: token,
      },
      'web identity': {
        AWS_WEB_IDENTITY_TOKEN_FILE: token,
        AWS_ROLE_ARN: 'arn:aws:iam::1:role/lake',
        AWS_ENDPOINT_URL_STS: `https://127.0.0.1:${securePort}`,
        certificate_path: certificate,
      },
    }
    return new Identities(options, () => {
      for (const server of [plain, secure]) {
        server.closeAllConnections()
        server.close()
      }
      rmSync(folder, { recursive: true, force: true })
    })
  }
}

/** The same result for so long. */
function sharedFor<T>(make: () => Promise<T>, milliseconds: number): () => Promise<T> {
  let [made, until]: [Promise<T> | null, number] = [null, 0]
  return () => {
    if (made === null || Date.now() >= until) [made, until] = [make(), Date.now() + milliseconds]
    return made
  }
}

/** Answers who shows the token that belongs to it. */
function answer(now: () => Promise<Issued>): RequestListener {
  return async (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://here')
    const { method, headers } = request
    const isInstance = headers['x-aws-ec2-metadata-token'] === 'session-token'
    const roles = '/latest/meta-data/iam/security-credentials/'
    if (method === 'PUT' && pathname === '/latest/api/token') response.end('session-token')
    else if (isInstance && pathname === roles) response.end('lake')
    else if (isInstance && pathname === `${roles}lake`) response.end(asJson(await now()))
    else if (headers.authorization === 'a-token' && pathname === '/v1/credentials') response.end(asJson(await now()))
    else if (searchParams.get('WebIdentityToken') === 'a-token' && searchParams.get('RoleArn')?.endsWith('role/lake')) {
      response.end(asXml(await now()))
    } else response.writeHead(403).end()
  }
}
