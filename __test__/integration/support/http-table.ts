/** A table behind HTTP, in place of the addon's: its store may be slow, fail or fall silent at each step. */

import { KafkaToDeltaError } from '../../../src/errors.js'
import type { StreamTable } from '../../../src/stream/dependencies.js'
import { type Answer, SlowServer } from './slow-server.js'

type Info = Awaited<ReturnType<StreamTable['info']>>
type Merged = Awaited<ReturnType<StreamTable['merge']>>

/** What the store holds. */
export class HttpStore {
  readonly offsets = new Map<string, string>()
  version = -1
  /** Answered instead of a write. */
  failing = false
  /** The next commit finds these offsets in the table. */
  fence: Record<string, string> | null = null
  onFence: () => void = () => {}

  start(): Promise<SlowServer> {
    return SlowServer.start((path, body) => this.#answer(path, body))
  }

  #answer(path: string, body: string): Answer {
    if (path === '/write' && this.failing) return { status: 503, json: 'slow down' }
    if (path === '/commit') {
      if (this.fence) {
        for (const [appId, last] of Object.entries(this.fence)) this.offsets.set(appId, last)
        this.fence = null
        this.version++
        this.onFence()
        return { status: 409, json: 'another worker was there' }
      }
      for (const [appId, last] of JSON.parse(body) as [string, string][]) this.offsets.set(appId, last)
      this.version++
    }
    return { json: { version: this.version, offsets: [...this.offsets] } }
  }
}

export class HttpTable implements StreamTable {
  readonly uri: string
  readonly #store: string

  private constructor(store: string, uri: string) {
    this.#store = store
    this.uri = uri
  }

  static async open(store: string, uri: string, signal?: AbortSignal): Promise<HttpTable> {
    const table = new HttpTable(store, uri)
    await table.#ask('/open', null, signal)
    return table
  }

  async info(): Promise<Info> {
    throw new Error('nobody asks')
  }

  async refresh({ signal }: { signal?: AbortSignal } = {}): Promise<Info> {
    const { version, offsets } = await this.#ask('/refresh', null, signal)
    return {
      exists: version >= 0,
      offsets: offsets.map(([appId, last]) => ({ appId, version: BigInt(last) })),
    } as unknown as Info
  }

  async merge(_changes: Uint8Array | null, options: { offsets?: readonly { appId: string; last: bigint }[] } & Signal) {
    const { offsets = [], signal } = options
    await this.#ask('/write', null, signal)
    const entries = offsets.map(({ appId, last }) => [appId, String(last)])
    const { version } = await this.#ask('/commit', entries, signal)
    const timings = { collapse: 0, locate: 0, fetch: 0, write: 0, commit: 0, total: 0 }
    return { version, timings, notes: [], numMissingValues: 0, indexBytes: 0, peakBytes: 0 } as unknown as Merged
  }

  async compact({ signal }: Signal): Promise<null> {
    await this.#ask('/compact', null, signal)
    return null
  }

  async close(): Promise<void> {}

  async #ask(path: string, body: unknown, signal?: AbortSignal) {
    const request = { method: 'POST', body: JSON.stringify(body), ...(signal ? { signal } : {}) }
    const response = await fetch(this.#store + path, request)
    if (response.status === 409) throw new KafkaToDeltaError('FENCED', 'another worker was there')
    if (!response.ok) throw new KafkaToDeltaError('STORAGE', `status ${response.status}`)
    return (await response.json()) as { version: number; offsets: [string, string][] }
  }
}

interface Signal {
  signal?: AbortSignal
}
