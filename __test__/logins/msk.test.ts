/** Tokens of AWS's signer: the parts that its own tests ask for, and a signature that is computed anew by AWS's rules. */

import { createHash, createHmac } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { kafkajsSasl } from '../../src/kafka/sasl.js'
import { mskTokens } from '../../src/logins/msk.js'

const KEY = 'testAccessKeyId'
const SECRET = 'testSecretAccessKey'
const folder = mkdtempSync(join(tmpdir(), 'kafka2delta-msk-'))

test.before(() => {
  const file = join(folder, 'credentials')
  writeFileSync(file, `[streams]\naws_access_key_id = profileKeyId\naws_secret_access_key = ${SECRET}\n`)
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: KEY,
    AWS_SECRET_ACCESS_KEY: SECRET,
    AWS_SESSION_TOKEN: 'testSessionToken',
    AWS_SHARED_CREDENTIALS_FILE: file,
    AWS_CONFIG_FILE: join(folder, 'none'),
  })
})
test.after.always(() => rmSync(folder, { recursive: true }))

const urlOf = (token: string) => new URL(Buffer.from(token, 'base64url').toString())

/** The signature of a presigned request: AWS's Signature Version 4. */
function signatureOf(url: URL, secret: string): string {
  const encoded = (text: string) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  const signed = [...url.searchParams].filter(([name]) => name !== 'X-Amz-Signature' && name !== 'User-Agent')
  const query = signed
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .sort()
    .join('&')
  const sha = (text: string) => createHash('sha256').update(text).digest('hex')
  const request = ['GET', '/', query, `host:${url.hostname}`, '', 'host', sha('')].join('\n')
  const [, ...scope] = (url.searchParams.get('X-Amz-Credential') ?? '').split('/')
  const text = ['AWS4-HMAC-SHA256', url.searchParams.get('X-Amz-Date'), scope.join('/'), sha(request)].join('\n')
  const key = scope.reduce<Buffer>(
    (of, part) => createHmac('sha256', of).update(part).digest(),
    Buffer.from(`AWS4${secret}`),
  )
  return createHmac('sha256', key).update(text).digest('hex')
}

test.serial('a token is a presigned URL, with the parts and the signature that Amazon documents', async (t) => {
  const token = await mskTokens({ mechanism: 'aws_msk_iam', region: 'us-east-1' }).get()
  const url = urlOf(token)
  const has = (name: string) => url.searchParams.get(name) ?? ''
  t.is(url.hostname, 'kafka.us-east-1.amazonaws.com')
  t.is(has('Action'), 'kafka-cluster:Connect')
  t.regex(has('User-Agent'), /^aws-msk-iam-sasl-signer-js\//)
  t.is(has('X-Amz-Algorithm'), 'AWS4-HMAC-SHA256')
  t.regex(has('X-Amz-Credential'), /^testAccessKeyId\/\d{8}\/us-east-1\/kafka-cluster\/aws4_request$/)
  t.regex(has('X-Amz-Date'), /^\d{8}T\d{6}Z$/)
  t.is(has('X-Amz-Expires'), '900')
  t.is(has('X-Amz-Security-Token'), 'testSessionToken')
  t.is(has('X-Amz-SignedHeaders'), 'host')
  t.is(has('X-Amz-Signature'), signatureOf(url, SECRET))
  t.not(has('X-Amz-Signature'), signatureOf(url, 'another secret'))
  t.is(await mskTokens({ mechanism: 'aws_msk_iam', region: 'us-east-1' }).get(), token)
})

test.serial('a profile, and one that is not there', async (t) => {
  const url = urlOf(await mskTokens({ mechanism: 'aws_msk_iam', region: 'eu-west-1', profile: 'streams' }).get())
  t.regex(url.searchParams.get('X-Amz-Credential') ?? '', /^profileKeyId\/\d{8}\/eu-west-1\//)
  t.is(url.searchParams.get('X-Amz-Signature'), signatureOf(url, SECRET))
  const none = mskTokens({ mechanism: 'aws_msk_iam', region: 'eu-west-1', profile: 'none' })
  const error = await t.throwsAsync(none.get(), {
    message: /^cannot get a token from the credentials of AWS in eu-west-1: /,
  })
  t.like(error, { isRefusal: true })
})

test.serial('the token goes to the broker as OAUTHBEARER', async (t) => {
  const sasl = kafkajsSasl({ mechanism: 'aws_msk_iam', region: 'us-east-1' }, () => {})
  t.is(sasl.mechanism, 'oauthbearer')
  let sent = ''
  const provider = (sasl as { authenticationProvider: (args: object) => { authenticate(): Promise<void> } })
    .authenticationProvider
  const saslAuthenticate = async ({ request }: { request: { encode(): Buffer } }) => {
    sent = request.encode().subarray(4).toString()
    return ''
  }
  await provider({ host: 'broker', port: 9098, saslAuthenticate }).authenticate()
  const [first, pair = '', ...ends] = sent.split('\u0001')
  t.deepEqual([first, ends], ['n,,', ['', '']])
  const token = pair.replace('auth=Bearer ', '')
  t.is(urlOf(token).hostname, 'kafka.us-east-1.amazonaws.com')
})
