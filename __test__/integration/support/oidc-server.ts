/** An OpenID provider that issues signed tokens of a short life, for client credentials alone. */

import { createSign, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'

export const SECRET = 'sw0rdf!sh of the client'
export const AUDIENCE = 'kafka'

/** Keys of clients that sign what they say of themselves. */
const clientKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' })

const client = (id: string, method: string) => ({
  client_id: id,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope: 'stream',
  id_token_signed_response_alg: 'ES256',
  token_endpoint_auth_method: method,
  ...(method === 'private_key_jwt'
    ? { jwks: { keys: [clientKeys.publicKey.export({ format: 'jwk' })] } }
    : { client_secret: SECRET }),
})

export class OidcServer {
  readonly #server: Server
  readonly #key: KeyObject
  readonly url: string
  /** Requests for tokens. */
  asked = 0
  /** What becomes of requests for tokens: a status, or no answer; null where they are answered. */
  failing: number | 'silent' | null = null

  private constructor(server: Server, key: KeyObject, seconds: number) {
    this.#server = server
    this.#key = key
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const handle = this.#provider(seconds).callback()
    server.on('request', (request, response) => {
      if (request.url === '/token') {
        this.asked++
        if (this.failing === 'silent') return
        if (this.failing !== null) {
          response.writeHead(this.failing, { 'content-type': 'text/html' }).end(`<p>${SECRET}</p>`)
          return
        }
      }
      void handle(request, response)
    })
  }

  /** @param seconds that a token holds */
  static async start(seconds: number): Promise<OidcServer> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new OidcServer(server, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey, seconds)
  }

  get tokenUrl(): string {
    return `${this.url}/token`
  }

  get jwksUrl(): string {
    return `${this.url}/jwks`
  }

  /** What the client `asserting` says of itself, for a minute. */
  assertion(): string {
    const part = (of: object) => Buffer.from(JSON.stringify(of)).toString('base64url')
    const now = Math.floor(Date.now() / 1000)
    const says = { iss: 'asserting', sub: 'asserting', aud: this.url, jti: `${Math.random()}`, iat: now, exp: now + 60 }
    const signed = `${part({ alg: 'ES256' })}.${part(says)}`
    const signature = createSign('sha256')
      .update(signed)
      .sign({ key: clientKeys.privateKey, dsaEncoding: 'ieee-p1363' })
    return `${signed}.${signature.toString('base64url')}`
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #provider(seconds: number): Provider {
    const resource = {
      scope: 'stream',
      audience: AUDIENCE,
      accessTokenTTL: seconds,
      accessTokenFormat: 'jwt',
      jwt: { sign: { alg: 'ES256' } },
    }
    return new Provider(this.url, {
      clients: [
        client('basic', 'client_secret_basic'),
        client('post', 'client_secret_post'),
        client('asserting', 'private_key_jwt'),
      ],
      jwks: { keys: [{ ...this.#key.export({ format: 'jwk' }), kid: 'one', use: 'sig', alg: 'ES256' }] },
      scopes: ['stream', 'other'],
      ttl: { ClientCredentials: seconds },
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => 'urn:kafka',
          getResourceServerInfo: () => resource,
        },
      },
    })
  }
}
