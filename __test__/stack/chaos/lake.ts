/** Where the tables of a seed lie, and how the workers, the commands and readers beside them reach them. */

import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DATA, ENDPOINTS, HOST } from '../../../scripts/stack/settings.mjs'
import { S3_OPTIONS } from '../support/replica.js'
import type { World } from './world.js'

export class Lake {
  /** Options of the object store without a proxy, and through it. */
  readonly direct: Record<string, string>
  readonly proxied: Record<string, string>
  readonly #root: string
  readonly #folder: string

  constructor(world: World, folder: string, name: string, isStore: boolean) {
    this.direct = isStore ? S3_OPTIONS : {}
    this.proxied = isStore ? { ...S3_OPTIONS, AWS_ENDPOINT_URL: `http://${HOST}:${world.proxies.s3.port}` } : {}
    const place = `${world.id}/${name}`
    this.#root = isStore ? `s3://${ENDPOINTS.S3_BUCKET}/${place}` : join(folder, 'lake')
    // The stack's store keeps each object as a file of its name.
    this.#folder = isStore ? join(DATA, 's3', ENDPOINTS.S3_BUCKET, place) : this.#root
    if (!isStore) mkdirSync(this.#root)
  }

  /** As the configuration names it; `$2` in a pattern's path. */
  uri(table: string): string {
    return `${this.#root}/${table}`
  }

  /** Where its files are on this machine. */
  folder(table: string): string {
    return join(this.#folder, table)
  }

  /** Whether a table is made. */
  has(table: string): boolean {
    return existsSync(join(this.folder(table), '_delta_log', `${'0'.repeat(20)}.json`))
  }
}
