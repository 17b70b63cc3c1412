/** Reads writer schemas from a Confluent Schema Registry, and keeps them. */

import type { SchemaRegistryAPIClient } from '@kafkajs/confluent-schema-registry/dist/api/index.js'
import type { AvroSchemaJson } from '../avro/schema.js'
import { guidOf, schemaName } from '../avro/wire.js'
import { KafkaToDeltaError } from '../errors.js'
import { withoutUndefined } from '../objects.js'
import { REGISTRY_DEFAULTS } from '../options/defaults.js'
import type { ResolvedRegistry } from '../options/types.js'
import { pause } from '../waits.js'
import { bodyOf, errorOf, isUnknown, noSchema, readAnswer, type SchemaBody } from './answers.js'
import { ask, closed, type Endpoint, endpointOf } from './endpoint.js'
import { inlineReferences, type SchemaReference } from './references.js'
import type { SchemaSource } from './schema-source.js'

/** How to reach the registry, and how long to try. */
export interface RegistryOptions extends Omit<ResolvedRegistry, 'unknownSchemaTimeout'> {
  /** Milliseconds for one request. */
  timeout?: number
  /** Tries of all addresses after the first one. */
  retries?: number
  /** Milliseconds before the first of them; each wait is twice the one before. */
  firstDelay?: number
  /**
   * Milliseconds in which an unknown id is asked for again: registries replicate, and a message may be faster than its
   * schema.
   */
  unknownSchemaTimeout?: number
  /** Milliseconds after which an id that was unknown is asked for again, should it come again. */
  unknownSchemaExpiry?: number
}

const RETRIED_STATUS = new Set([408, 425, 429])

/** In an error that is about no id. */
const NO_ID = -1

/** Requests at a time. */
const MAX_REQUESTS = 8

/** Unknown ids that are asked for again at a time: bytes that are no Avro can look like any id. */
const MAX_PATIENT = 100

/** Unknown ids that are remembered. */
const MAX_UNKNOWN = 10_000

/** Milliseconds between two requests for an unknown id: at first, and at most. */
const UNKNOWN_DELAY = { first: 100, max: 1_000 }

/** Schemas by id, each looked up once. */
export class RegistrySchemaSource implements SchemaSource {
  readonly #endpoints: Endpoint[]
  readonly #timeout: number
  readonly #retries: number
  readonly #firstDelay: number
  readonly #unknownTimeout: number
  readonly #unknownExpiry: number
  readonly #schemas = new Map<number, Promise<AvroSchemaJson>>()
  /** Ids that the registry did not know, with what was said, and until when that is believed. */
  readonly #unknown = new Map<number, { error: KafkaToDeltaError; until: number }>()
  readonly #slots = new Slots(MAX_REQUESTS)
  readonly #closing = new AbortController()
  #numPatient = 0

  /** @throws CONFIG_INVALID for a missing or broken address */
  constructor(options: RegistryOptions) {
    const urls = options.urls ?? (options.url === undefined ? [] : [options.url])
    if (urls.length === 0) throw new KafkaToDeltaError('CONFIG_INVALID', 'the schema registry needs a url')
    this.#endpoints = urls.map((url) => endpointOf(url, options))
    const read = { ...REGISTRY_DEFAULTS, ...withoutUndefined(options) }
    this.#timeout = read.timeout
    this.#retries = read.retries
    this.#firstDelay = read.firstDelay
    this.#unknownTimeout = read.unknownSchemaTimeout
    this.#unknownExpiry = read.unknownSchemaExpiry
  }

  get(id: number): Promise<AvroSchemaJson> {
    const known = this.#schemas.get(id)
    if (known !== undefined) return known
    const unknown = this.#unknown.get(id)
    if (unknown !== undefined && performance.now() < unknown.until) return Promise.reject(unknown.error)
    // It was waited for once: later, one look is enough.
    const lookup = unknown === undefined ? this.#loadPatiently(id) : this.#load(id)
    this.#schemas.set(id, lookup)
    lookup.then(
      () => this.#unknown.delete(id),
      (error: KafkaToDeltaError) => {
        // What an id stands for never changes, but it may not be there yet; all else may be the registry's state.
        if (isUnknown(error)) this.#rememberUnknown(id, error)
        if (isUnknown(error) || error.code !== 'BAD_RECORD') this.#schemas.delete(id)
      },
    )
    return lookup
  }

  /**
   * The id of a subject's newest schema; null where the registry has no such subject.
   * @throws REGISTRY_UNREACHABLE, REGISTRY_AUTH
   */
  async newest(subject: string): Promise<number | null> {
    const what = `the newest schema of the subject ${subject}`
    const find = (api: SchemaRegistryAPIClient) => api.Subject.latestVersion({ subject, timeout: this.#timeout })
    try {
      const { id } = await this.#request(find, what, NO_ID)
      return typeof id === 'number' ? id : null
    } catch (error) {
      if (isUnknown(error)) return null
      throw error
    }
  }

  /** Ends the lookups under way with CANCELLED, and their connections. */
  close(): void {
    this.#closing.abort()
  }

  /** Asks for an unknown id again until the timeout has passed. */
  async #loadPatiently(id: number): Promise<AvroSchemaJson> {
    const until = performance.now() + this.#unknownTimeout
    let delay = UNKNOWN_DELAY.first
    let waits = false
    try {
      for (;;) {
        try {
          return await this.#load(id)
        } catch (error) {
          const left = until - performance.now()
          if (!isUnknown(error) || left <= 0) throw error
          if (!waits && this.#numPatient >= MAX_PATIENT) throw error
          if (!waits) this.#numPatient++
          waits = true
          await this.#sleep(Math.min(delay, left))
          delay = Math.min(UNKNOWN_DELAY.max, delay * 2)
        }
      }
    } finally {
      if (waits) this.#numPatient--
    }
  }

  #rememberUnknown(id: number, error: KafkaToDeltaError): void {
    this.#unknown.delete(id)
    this.#unknown.set(id, { error, until: performance.now() + this.#unknownExpiry })
    const oldest = this.#unknown.keys().next()
    if (this.#unknown.size > MAX_UNKNOWN && !oldest.done) this.#unknown.delete(oldest.value)
  }

  async #sleep(ms: number): Promise<void> {
    await pause(ms, this.#closing.signal)
    if (this.#closing.signal.aborted) throw closed()
  }

  async #load(id: number): Promise<AvroSchemaJson> {
    const what = `schema ${schemaName(id)}`
    const guid = guidOf(id)
    // The client has no request of its own for GUIDs.
    const query = guid === null ? { id } : ({ path: `/schemas/guids/${guid}` } as unknown as { id: number })
    const answer = await this.#request((api) => api.Schema.find({ ...query, timeout: this.#timeout }), what, id)
    const { schema, references } = readAnswer(answer, what, id)
    if (references.length === 0) return schema
    return inlineReferences(schema, await this.#loadReferences(references, id, new Map()))
  }

  /** The definitions of all referenced names, also of the references' own. */
  async #loadReferences(
    references: SchemaReference[],
    id: number,
    found: Map<string, AvroSchemaJson>,
  ): Promise<Map<string, AvroSchemaJson>> {
    for (const { name, subject, version } of references) {
      if (found.has(name)) continue
      const what = `version ${version} of ${subject}, which schema ${schemaName(id)} refers to`
      const find = (api: SchemaRegistryAPIClient) => api.Subject.version({ subject, version, timeout: this.#timeout })
      const referred = readAnswer(await this.#request(find, what, id), what, id)
      found.set(name, referred.schema)
      await this.#loadReferences(referred.references, id, found)
    }
    return found
  }

  /** Asks each address in turn, again after a wait where none answered. */
  async #request(
    send: (api: SchemaRegistryAPIClient) => Promise<unknown>,
    what: string,
    id: number,
  ): Promise<SchemaBody> {
    let last: KafkaToDeltaError | null = null
    for (let attempt = 0; attempt <= this.#retries; attempt++) {
      let unknown: KafkaToDeltaError | null = null
      if (attempt > 0) await this.#sleep(this.#firstDelay * 2 ** (attempt - 1) * (0.75 + Math.random() * 0.5))
      for (const endpoint of this.#endpoints) {
        const result = await this.#slots.run(() => ask(endpoint, send, this.#timeout, this.#closing.signal))
        const body = 'fromRegistry' in result ? null : bodyOf(result)
        if (body !== null) return body
        const failure = 'fromRegistry' in result ? result : noSchema(result)
        const error = errorOf(failure, endpoint.host, what, id)
        if (isUnknown(error)) {
          // Another one may know it already.
          unknown = error
          continue
        }
        if (error.code !== 'REGISTRY_UNREACHABLE') throw error
        last = error
        const retried = failure.network || failure.status >= 500 || RETRIED_STATUS.has(failure.status)
        if (!retried && this.#endpoints.length === 1) throw error
      }
      if (unknown !== null) throw unknown
    }
    throw last ?? new KafkaToDeltaError('INTERNAL', 'no schema registry was asked')
  }
}

/** Lets so many run at a time, the others in order. */
class Slots {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(free: number) {
    this.#free = free
  }

  async run<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await operation()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}
