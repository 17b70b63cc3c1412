/** The one place that decides whether, when and how often something is tried again. */

import { asKafkaToDeltaError, type KafkaToDeltaError, type RetryPolicyName, retryPolicyOf } from './errors.js'
import { pause } from './waits.js'

export interface RetryPolicy {
  /** Tries after the first one. */
  retries: number
  /** Milliseconds before the first of them; each wait is twice the one before. */
  firstDelay: number
  /** Milliseconds: no wait is longer. */
  maxDelay: number
}

export type RetryPolicies = Record<RetryPolicyName, RetryPolicy>

/** What heals by itself: which errors these are, ERROR_CODES says. */
function policies(retries: number): RetryPolicies {
  return {
    outage: { retries, firstDelay: 250, maxDelay: 30_000 },
    // Tried only where it was allowed before.
    access: { retries, firstDelay: 250, maxDelay: 30_000 },
    // The addon has already gone on after lost versions; what arrives here is a busy table.
    conflict: { retries, firstDelay: 100, maxDelay: 30_000 },
  }
}

/** Where somebody waits for the end, of a start or of a run over what is there now: three to four minutes. */
export const BOUNDED = policies(12)

/** Of a query that runs on: an outage is waited out, however long it lasts. */
export const UNBOUNDED = policies(Number.POSITIVE_INFINITY)

export interface RetryOptions {
  /** Ends the waiting; the last error is thrown. */
  signal?: AbortSignal
  onRetry?: (error: KafkaToDeltaError, attempt: number, delayMs: number) => void
  /** Whether what is refused now was allowed before in this run: it may be again. Default: it was not. */
  wasAllowed?: () => boolean | Promise<boolean>
  /** Asked at each failure. Default: {@link BOUNDED}. */
  policies?: () => RetryPolicies
}

/** Milliseconds to wait before the given try (from 1), or null where it is not tried again. */
export function retryDelay(error: KafkaToDeltaError, attempt: number, policies = BOUNDED): number | null {
  const name = retryPolicyOf(error.code)
  if (name === null) return null
  const policy = policies[name]
  if (attempt > policy.retries) return null
  const delay = Math.min(policy.maxDelay, policy.firstDelay * 2 ** (attempt - 1))
  // Workers that lost to each other must not meet again.
  return Math.round(delay * (0.75 + Math.random() * 0.5))
}

/** Runs an operation until it succeeds, or until retrying cannot help. */
export async function withRetries<T>(
  operation: (attempt: number) => Promise<T>,
  options: RetryOptions = {},
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation(attempt)
    } catch (thrown) {
      const error = asKafkaToDeltaError(thrown)
      const delay = retryDelay(error, attempt, options.policies?.())
      if (delay === null || options.signal?.aborted) throw error
      if (retryPolicyOf(error.code) === 'access' && !(await options.wasAllowed?.())) throw error
      options.onRetry?.(error, attempt, delay)
      await pause(delay, options.signal)
      if (options.signal?.aborted) throw error
    }
  }
}
