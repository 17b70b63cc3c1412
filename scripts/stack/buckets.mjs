/** Containers and buckets, made through the emulators' own interfaces. One that exists is no error. */

import { createHmac } from 'node:crypto'
import { Problem } from '../lib/process.mjs'
import { ENDPOINTS } from './settings.mjs'

async function create(what, url, request) {
  const response = await fetch(url, { ...request, signal: AbortSignal.timeout(30_000) })
  if (!response.ok && response.status !== 409) throw new Problem(`${what}: ${response.status} ${await response.text()}`)
}

/** Signed with the account's key ("Shared Key"): Azurite takes nothing without a signature. */
export function createAzureContainer(name) {
  const { AZURE_ENDPOINT: endpoint, AZURE_ACCOUNT: account, AZURE_KEY: key } = ENDPOINTS
  const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06' }
  const signed = Object.entries(headers).map(([header, value]) => `${header}:${value}`)
  // Of the other headers none is sent. An emulator has the account in the path, too.
  const text = ['PUT', ...Array(11).fill(''), ...signed, `/${account}/${account}/${name}`, 'restype:container'].join(
    '\n',
  )
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64')
  return create(`container ${name}`, `${endpoint}/${account}/${name}?restype=container`, {
    method: 'PUT',
    headers: { ...headers, authorization: `SharedKey ${account}:${signature}` },
  })
}

export function createGcsBucket(name) {
  return create(`bucket ${name}`, `${ENDPOINTS.GCS_JSON_ENDPOINT}/storage/v1/b?project=local`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name }),
  })
}
