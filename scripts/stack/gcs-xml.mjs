/**
 * The XML interface of Google Cloud Storage, as far as object stores' clients use it, in front of fake-gcs-server, which
 * takes objects through the JSON interface only. Whether a conditional put wins is decided there, under its lock.
 */

import { createHash, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { ENDPOINTS, HOST, PORTS } from './settings.mjs'

const SERVER = ENDPOINTS.GCS_JSON_ENDPOINT
/** What a reader gets to see of the server's answer. */
const PASSED = /^(content-type|content-range|etag|last-modified|x-goog-)/

/** Parts of uploads under way: upload id to number to bytes. */
const uploads = new Map()

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const xml = (name, content) => `<${name}>${content}</${name}>`
const text = (name, value) =>
  xml(
    name,
    String(value).replace(/[&<>"]/g, (c) => escapes[c]),
  )

const url = (prefix, bucket, object) => `${SERVER}${prefix}/storage/v1/b/${bucket}/o/${encodeURIComponent(object)}`

async function failure(response) {
  return { status: response.status, body: xml('Error', text('Message', await response.text())) }
}

async function put(bucket, name, body, headers) {
  const query = new URLSearchParams({ uploadType: 'media', name })
  const generation = headers['x-goog-if-generation-match']
  if (generation !== undefined) query.set('ifGenerationMatch', generation)
  const type = { 'content-type': headers['content-type'] ?? 'application/octet-stream' }
  const response = await fetch(`${SERVER}/upload/storage/v1/b/${bucket}/o?${query}`, {
    method: 'POST',
    headers: type,
    body,
  })
  if (!response.ok) return failure(response)
  const object = await response.json()
  return { status: 200, headers: { etag: `"${object.etag}"`, 'x-goog-generation': object.generation } }
}

async function complete(bucket, name, id, body) {
  const parts = uploads.get(id)
  const numbers = [...body.toString().matchAll(/<PartNumber>(\d+)/g)].map(([, number]) => number)
  if (!parts || !numbers.every((number) => parts.has(number))) return { status: 404, body: xml('Error', '') }
  const answer = await put(bucket, name, Buffer.concat(numbers.map((number) => parts.get(number))), {})
  if (answer.status === 200) {
    uploads.delete(id)
    answer.body = xml('CompleteMultipartUploadResult', text('ETag', answer.headers.etag))
  }
  return answer
}

async function list(bucket, asked) {
  const query = new URLSearchParams({ prefix: asked.get('prefix') ?? '', delimiter: asked.get('delimiter') ?? '' })
  // Here the first name is left out, there it is not.
  if (asked.has('start-after')) query.set('startOffset', `${asked.get('start-after')}\0`)
  if (asked.has('continuation-token')) query.set('pageToken', asked.get('continuation-token'))
  query.set('maxResults', asked.get('max-keys') ?? '1000')
  const response = await fetch(`${SERVER}/storage/v1/b/${bucket}/o?${query}`)
  if (!response.ok) return failure(response)
  const { items = [], prefixes = [], nextPageToken } = await response.json()
  const objects = items.map(({ name, updated, etag, size }) =>
    xml('Contents', text('Key', name) + text('LastModified', updated) + text('ETag', `"${etag}"`) + text('Size', size)),
  )
  const folders = prefixes.map((prefix) => xml('CommonPrefixes', text('Prefix', prefix)))
  const next = nextPageToken ? text('NextContinuationToken', nextPageToken) : ''
  const content = [text('IsTruncated', next !== ''), next, ...objects, ...folders].join('')
  return { status: 200, body: xml('ListBucketResult', content) }
}

async function get(bucket, name, query, request) {
  const { range } = request.headers
  const generation = query.has('generation') ? `?generation=${query.get('generation')}` : ''
  const response = await fetch(`${url('/download', bucket, name)}${generation}`, {
    method: request.method,
    headers: range ? { range } : {},
  })
  const headers = Object.fromEntries([...response.headers].filter(([header]) => PASSED.test(header)))
  if (request.method === 'HEAD') headers['content-length'] = response.headers.get('content-length')
  return { status: response.status, headers, body: Buffer.from(await response.arrayBuffer()) }
}

async function remove(bucket, name) {
  const response = await fetch(url('', bucket, name), { method: 'DELETE' })
  return response.ok ? { status: 204 } : failure(response)
}

async function answer(request) {
  const { pathname, searchParams: query } = new URL(request.url, SERVER)
  const [bucket, ...rest] = pathname.slice(1).split('/').map(decodeURIComponent)
  const name = rest.join('/')
  const id = query.get('uploadId')
  const body = await buffer(request)
  switch (request.method) {
    case 'GET':
    case 'HEAD':
      return name === '' ? list(bucket, query) : get(bucket, name, query, request)
    case 'PUT': {
      if (id === null) return put(bucket, name, body, request.headers)
      uploads.get(id)?.set(query.get('partNumber'), body)
      const etag = `"${createHash('md5').update(body).digest('hex')}"`
      return uploads.has(id) ? { status: 200, headers: { etag } } : { status: 404 }
    }
    case 'POST': {
      if (id !== null) return complete(bucket, name, id, body)
      const made = randomUUID()
      uploads.set(made, new Map())
      return { status: 200, body: xml('InitiateMultipartUploadResult', text('UploadId', made)) }
    }
    case 'DELETE':
      if (id === null) return remove(bucket, name)
      return { status: uploads.delete(id) ? 204 : 404 }
    default:
      return { status: 405 }
  }
}

createServer(async (request, response) => {
  const { status, headers, body = '' } = await answer(request).catch((error) => ({ status: 500, body: String(error) }))
  response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...headers }).end(body)
}).listen(PORTS.gcs, HOST)
