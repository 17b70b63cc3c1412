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

/** After a failure the catalog is not asked for so long, as long as there are credentials. */
const QUIET_MS = 10_000

/** Credentials that are younger are not to blame where a store refuses them. */
const YOUNG_MS = 30_000

const ANSWER_MS = 30_000

interface Held {
  options: Record<string, string>
  taken: number
  soon: number
  now: number
}

/** Own options that say who asks: beside the catalog's they would be mixed up. */
const CREDENTIALS = /access_key|secret|token|sas_|account_key|client_id|authority|profile|role_arn|skip_signature/i

/** A store's options, with the credentials that a catalog gave. */
export function withCredentials(
  own: Readonly<Record<string, string>>,
  vended: Readonly<Record<string, string>>,
): Record<string, string> {
  const others = Object.entries(own).filter(([name]) => !CREDENTIALS.test(name))
  return { ...Object.fromEntries(others), ...vended }
}

export class VendedOptions {
  readonly #ask: (signal: AbortSignal) => Promise<VendedCredentials>
  readonly #clock: () => number
  #held: Held | null = null
  #isRefused = false
  #quietUntil = 0

  /** @param clock milliseconds since 1970, for tests */
  constructor(ask: (signal: AbortSignal) => Promise<VendedCredentials>, clock: () => number = Date.now) {
    this.#ask = ask
    this.#clock = clock
  }

  /** Whether to {@link renew}: not, when it suits, or before anything else. */
  get need(): 'none' | 'soon' | 'now' {
    const now = this.#clock()
    if (this.#held === null || this.#isRefused || now >= this.#held.now) return 'now'
    return now >= this.#held.soon && now >= this.#quietUntil ? 'soon' : 'none'
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
   * @returns null where the catalog gives none now, and those that are held are good for a while yet
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
      this.#held = { options, taken: begun, ...this.#times(begun, expires) }
      this.#isRefused = false
      return options
    } catch (thrown) {
      signal?.throwIfAborted()
      this.#quietUntil = this.#clock() + QUIET_MS
      if (this.need !== 'now') return null
      throw toStorage(thrown)
    }
  }

  #times(begun: number, expires: Date | null): Pick<Held, 'soon' | 'now'> {
    if (expires === null) return { soon: Number.POSITIVE_INFINITY, now: Number.POSITIVE_INFINITY }
    const life = Math.max(0, expires.getTime() - begun)
    return { soon: begun + life * SOON_SHARE, now: begun + life - Math.min(life * NOW_SHARE, NOW_MS) }
  }
}

/** Without credentials it is the store that cannot be used: it is waited for as the store itself is. */
function toStorage(thrown: unknown): KafkaToDeltaError {
  const error = asKafkaToDeltaError(thrown, 'CATALOG_UNAVAILABLE')
  const message = `there are no credentials for the table's files: ${error.message}`
  return new KafkaToDeltaError(error.canRetry ? 'STORAGE' : 'STORAGE_DENIED', message, { cause: error })
}

type VendedTable = Pick<ResolvedTable, 'uri' | 'storageOptions' | 'catalog'>

/** Whether a table's catalog is to give the credentials for its files. */
export const isVended = ({ catalog }: Pick<VendedTable, 'catalog'>): boolean =>
  catalog?.options.type === 'unity' && catalog.options.vendedCredentials === true

/** The credentials of a table whose catalog is to give them; null for others. */
export function vendedOptionsOf(table: VendedTable, catalogs: OpenCatalogs): VendedOptions | null {
  const { catalog, uri, storageOptions } = table
  if (catalog === null || !isVended(table)) return null
  const { options, schema, tableName: name } = catalog
  const place = { schema, name, location: locationOf(uri, options.type, storageOptions) }
  return new VendedOptions(async (signal) => {
    mustBeNames(catalog)
    const opened = await catalogs.of(options)
    if (opened.credentials) return opened.credentials(place, signal)
    throw new KafkaToDeltaError('CATALOG_DENIED', `a catalog of the type ${options.type} gives no credentials`)
  })
}

/** The table, by credentials of now where its catalog gives them: for whoever opens it for less than they live. */
export async function withVended<T extends VendedTable>(
  table: T,
  catalogs: OpenCatalogs,
  signal?: AbortSignal,
): Promise<T> {
  const vended = await vendedOptionsOf(table, catalogs)?.renew(signal)
  return vended ? { ...table, storageOptions: withCredentials(table.storageOptions, vended) } : table
}
