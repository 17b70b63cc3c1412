/** Connectors: configurations of resources/connect, posted to Kafka Connect's REST interface. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ROOT } from '../lib/paths.mjs'
import { Problem } from '../lib/process.mjs'
import { ENDPOINTS } from './settings.mjs'

/** A connector's name and configuration, placeholders filled. `file`: a name in resources/connect, or a path. */
export function connectorOf(file, variables = {}, overrides = {}) {
  const path = /[/\\.]/.test(file) ? file : join(ROOT, 'resources', 'connect', `${file}.json`)
  const values = { ...ENDPOINTS, ...process.env, ...variables }
  const text = readFileSync(path, 'utf8').replaceAll(/\$\{([A-Z0-9_]+)\}/g, (_, name) => {
    if (values[name] === undefined) throw new Problem(`${path}: \${${name}} is not set`)
    return JSON.stringify(String(values[name])).slice(1, -1)
  })
  const { name, config } = JSON.parse(text)
  return { name: overrides.name ?? name, config: { ...config, ...overrides.config } }
}

async function request(method, path, body) {
  const response = await fetch(`${ENDPOINTS.CONNECT_URL}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  })
  const text = await response.text()
  if (!response.ok && response.status !== 404)
    throw new Problem(`Connect: ${method} ${path}: ${response.status} ${text}`)
  return response.status === 404 || text === '' ? null : JSON.parse(text)
}

export const listConnectors = () => request('GET', '/connectors')
export const connectorStatus = (name) => request('GET', `/connectors/${name}/status`)
export const restartConnector = (name) => request('POST', `/connectors/${name}/restart?includeTasks=true`)
export const deleteConnector = (name) => request('DELETE', `/connectors/${name}`)

/** Creates or changes a connector, and waits until its task runs. */
export async function putConnector({ name, config }, seconds = 120) {
  await request('PUT', `/connectors/${name}/config`, config)
  const until = Date.now() + seconds * 1000
  for (;;) {
    const status = await connectorStatus(name)
    const [task] = status?.tasks ?? []
    const failed = [status?.connector, task].find((part) => part?.state === 'FAILED')
    if (failed) throw new Problem(`connector ${name} failed: ${failed.trace?.slice(0, 2000)}`)
    if (task?.state === 'RUNNING') return
    if (Date.now() > until) throw new Problem(`connector ${name} does not run after ${seconds} s`)
    await sleep(300)
  }
}
