/** A token that all of the process share: fetched once, renewed before it ends. */

import { within } from '../waits.js'

/** A token as it was issued. */
export interface IssuedToken {
  value: string
  /** Milliseconds that it holds from now; null: that is not told. */
  lifetime: number | null
}

/** No token could be had. The message names where it was asked for, and no secret. */
export class TokenError extends Error {
  override readonly name = 'TokenError'
  /** We are refused; otherwise nothing answers as it should, which may pass. */
  readonly isRefusal: boolean

  constructor(message: string, isRefusal: boolean) {
    super(message)
    this.isRefusal = isRefusal
  }
}

/** Below the seconds in which a start that cannot log in has to say so. */
const TIMEOUT_MS = 5_000

/** After a failure, so long nothing is asked: connections try again at once, and one by one. */
const QUIET_MS = 1_500

/** Of a token whose lifetime is not told. */
const UNKNOWN_LIFETIME_MS = 5 * 60_000

/** A token is renewed when so much of its life is left. */
const RENEWED_SHARE = 0.2

/** And when so much is: connections log in anew ten seconds before their session ends. No more than half of its life. */
const RENEWED_MS = 15_000

/** So long before its end a token is not used: clocks differ, and ends are whole seconds. No more than a tenth of its life. */
const SPARE_MS = 2_000

interface Held {
  value: string
  /** Times of a monotonic clock. */
  renewAt: number
  endsAt: number
}

export class TokenSource {
  readonly #issue: () => Promise<IssuedToken>
  readonly #where: string
  readonly #timeout: number
  readonly #now: () => number
  #held: Held | null = null
  #asking: Promise<Held> | null = null
  #failure: { error: unknown; until: number } | null = null

  /**
   * @param where tokens come from, for messages
   * @param now a clock that is never set, for tests
   */
  constructor(
    issue: () => Promise<IssuedToken>,
    where: string,
    timeout = TIMEOUT_MS,
    now: () => number = () => performance.now(),
  ) {
    this.#issue = issue
    this.#where = where
    this.#timeout = timeout
    this.#now = now
  }

  /** @throws TokenError */
  async get(): Promise<string> {
    const held = this.#held
    const now = this.#now()
    if (held && now < held.renewAt) return held.value
    try {
      return (await this.#renew(now)).value
    } catch (error) {
      // It is good for a while yet: the next login asks again.
      if (held && this.#now() < held.endsAt) return held.value
      throw error
    }
  }

  /** A token was refused before its time: another one is asked for. */
  refused(value: string): void {
    if (this.#held?.value === value) this.#held = null
  }

  #renew(now: number): Promise<Held> {
    if (this.#asking) return this.#asking
    if (this.#failure && now < this.#failure.until) return Promise.reject(this.#failure.error)
    this.#asking = this.#ask().finally(() => {
      this.#asking = null
    })
    return this.#asking
  }

  async #ask(): Promise<Held> {
    const late = () =>
      new TokenError(`cannot get a token from ${this.#where}: no answer within ${this.#timeout / 1000} seconds`, false)
    const begun = this.#now()
    try {
      const { value, lifetime } = await within(this.#issue(), this.#timeout, late)
      const life = lifetime ?? UNKNOWN_LIFETIME_MS
      const left = Math.min(Math.max(life * RENEWED_SHARE, RENEWED_MS), life / 2)
      this.#held = { value, renewAt: begun + life - left, endsAt: begun + life - Math.min(SPARE_MS, life / 10) }
      this.#failure = null
      return this.#held
    } catch (error) {
      this.#failure = { error, until: this.#now() + QUIET_MS }
      throw error
    }
  }
}

const sources = new Map<string, TokenSource>()

/** The one source of a process for the same settings. */
export function sharedTokens(settings: unknown, make: () => TokenSource): TokenSource {
  const key = JSON.stringify(settings)
  const known = sources.get(key)
  if (known) return known
  const made = make()
  sources.set(key, made)
  return made
}
