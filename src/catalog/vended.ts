/** Credentials that a catalog gives for a table's files: held, and renewed before they end. */

import { asKafkaToDeltaError, KafkaToDeltaError } from '../errors.js'
import type { ResolvedTable } from '../options/types.js'
import { unlessAborted, within } from '../waits.js'
import type { VendedCredentials } from './catalog.js'
import { mustBeNames } from './keeper.js'
import { locationOf } from './location.js'
import type { OpenCatalogs } from './open-catalogs.js'

/** A share of their life after which credentials are renewed when it suits. */
const SOON_SHARE = 0.5

/** So much of their life before their end they are renewed before anything else. No more than a minute. */
const NOW_SHARE = 0.1
const NOW_MS = 60_000

/** After a failure the catalog is not asked for so long, as long as there are credentials that are good for a while. */
const QUIET_MS = 10_000

/** Credentials that are younger are not to blame where a store refuses them. */
const YOUNG_MS = 30_000

const ANSWER_MS = 30_000

/** Credentials, and the times of what is to be done about them, in milliseconds since 1970. */
interface Held {
  options: Record<string, string>
  taken: number
  /** When they are renewed, if that suits. */
  soon: number
  /** When they are renewed before anything else. */
  now: number
  ends: number
}

/** Own options that say who asks: beside the catalog's they would be mixed up. */
const CREDENTIALS =
  /access_key|secret|token|sas_|account_key|client_id|authority|profile|role_arn|skip_signature|master_key/i

/** A store's options, with the credentials that a catalog gave. */
export function withCredentials(
  own: Readonly<Record<string, string>>,
  vended: Readonly<Record<string, string>>,
): Record<string, string> {
  const others = Object.entries(own).filter(([name]) => !CREDENTIALS.test(name))
  return { ...Object.fromEntries(others), ...vended }
}

/** Variables whose key counts before a signature that a catalog gives, in Azure's client. */
const AZURE_KEYS = ['AZURE_STORAGE_ACCOUNT_KEY', 'AZURE_STORAGE_ACCESS_KEY', 'AZURE_STORAGE_MASTER_KEY']

function mustCount(vended: Readonly<Record<string, string>>): void {
  const key = AZURE_KEYS.find((name) => process.env[name] !== undefined)
  if (!('AZURE_STORAGE_SAS_TOKEN' in vended) || key === undefined) return
  throw new KafkaToDeltaError(
    'CATALOG_DENIED',
    `${key} is set, and would count before the credentials of the catalog: unset it`,
  )
}

/** The credentials of one table, as its catalog gave them last. */
export class HeldCredentials {
  readonly #ask: (signal: AbortSignal) => Promise<VendedCredentials>
  readonly #clock: () => number
  #held: Held | null = null
  #isRefused = false
  #quietUntil = 0
  #failure: KafkaToDeltaError | null = null

  /** @param clock milliseconds since 1970, for tests */
  constructor(ask: (signal: AbortSignal) => Promise<VendedCredentials>, clock: () => number = Date.now) {
    this.#ask = ask
    this.#clock = clock
  }

  /** Whether to {@link renew}: not, when it suits, or before anything else. */
  get need(): 'none' | 'soon' | 'now' {
    const [held, now] = [this.#held, this.#clock()]
    if (held === null || now >= held.ends) return 'now'
    if (now < this.#quietUntil) return 'none'
    if (this.#isRefused || now >= held.now) return 'now'
    return now >= held.soon ? 'soon' : 'none'
  }

  /** Why the catalog gave none when it was asked last; null where it did. */
  get failure(): KafkaToDeltaError | null {
    return this.#failure
  }

  /** Milliseconds until they are to be renewed, for who waits for that. Infinity where they do not end. */
  get dueIn(): number {
    if (this.#held === null) return 0
    const at = this.#isRefused ? this.#clock() : this.#held.soon
    return Math.max(at, this.#quietUntil) - this.#clock()
  }

  /** As they were given last. */
  get held(): Record<string, string> {
    return this.#held?.options ?? {}
  }

  /** A store refused them: they may have been taken back before their end. */
  refused(): void {
    if (this.#held && this.#clock() - this.#held.taken >= YOUNG_MS) this.#isRefused = true
  }

  /**
   * The store's options by new credentials.
   * @returns null where the catalog gives none now ({@link failure}), and those that are held have not ended
   * @throws STORAGE where the catalog does not answer, STORAGE_DENIED where it refuses; what `signal` was aborted with
   */
  async renew(signal: AbortSignal | undefined): Promise<Record<string, string> | null> {
    signal?.throwIfAborted()
    const begun = this.#clock()
    const timeout = new AbortController()
    const both = AbortSignal.any([timeout.signal, ...(signal ? [signal] : [])])
    const late = () => {
      const error = new KafkaToDeltaError('CATALOG_UNAVAILABLE', `it has not answered for ${ANSWER_MS / 1000} s`)
      timeout.abort(error)
      return error
    }
    try {
      const { options, expires } = await unlessAborted(within(this.#ask(both), ANSWER_MS, late), signal)
      mustCount(options)
      this.#held = { options, taken: begun, ...timesOf(begun, expires) }
      this.#isRefused = false
      this.#failure = null
      return options
    } catch (thrown) {
      signal?.throwIfAborted()
      this.#failure = toStorage(thrown)
      this.#quietUntil = this.#clock() + QUIET_MS
      if (this.#held && this.#clock() < this.#held.ends) return null
      throw this.#failure
    }
  }
}

function timesOf(begun: number, expires: Date | null): Pick<Held, 'soon' | 'now' | 'ends'> {
  const never = Number.POSITIVE_INFINITY
  if (expires === null) return { soon: never, now: never, ends: never }
  const life = Math.max(0, expires.getTime() - begun)
  const ends = begun + life
  return { soon: begun + life * SOON_SHARE, now: ends - Math.min(life * NOW_SHARE, NOW_MS), ends }
}

/** Without credentials it is the store that cannot be used: it is waited for as the store itself is. */
function toStorage(thrown: unknown): KafkaToDeltaError {
  const error = asKafkaToDeltaError(thrown, 'CATALOG_UNAVAILABLE')
  const message = `there are no credentials for the table's files: ${error.message}`
  return new KafkaToDeltaError(error.canRetry ? 'STORAGE' : 'STORAGE_DENIED', message, { cause: error })
}

type ConfiguredTable = Pick<ResolvedTable, 'uri' | 'storageOptions' | 'catalog'>

/** Whether a table's catalog is to give the credentials for its files. */
export const isVended = ({ catalog }: Pick<ConfiguredTable, 'catalog'>): boolean =>
  catalog?.options.type === 'unity' && catalog.options.vendedCredentials === true

/** The credentials of a table whose catalog is to give them; null for others. */
export function heldCredentialsOf(table: ConfiguredTable, catalogs: OpenCatalogs): HeldCredentials | null {
  const { catalog, uri, storageOptions } = table
  if (catalog === null || !isVended(table)) return null
  const { options, schema, tableName: name } = catalog
  const place = { schema, name, location: locationOf(uri, options.type, storageOptions) }
  return new HeldCredentials(async (signal) => {
    mustBeNames(catalog)
    const opened = await catalogs.of(options)
    if (opened.credentials) return opened.credentials(place, signal)
    throw new KafkaToDeltaError('CATALOG_DENIED', `a catalog of the type ${options.type} gives no credentials`)
  })
}

/** The table, by credentials of now where its catalog gives them: for whoever opens it for less than they live. */
export async function withVended<T extends ConfiguredTable>(
  table: T,
  catalogs: OpenCatalogs,
  signal?: AbortSignal,
): Promise<T> {
  const vended = await heldCredentialsOf(table, catalogs)?.renew(signal)
  return vended ? { ...table, storageOptions: withCredentials(table.storageOptions, vended) } : table
}
