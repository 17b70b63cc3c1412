/** How often tables are committed where no interval is given. */

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'

/** Milliseconds between two batches of a table that changes alone. */
const LEAST_MS = 150
/** Milliseconds between two batches, at most, of a process that keeps up. */
export const MOST_MS = 1_000
/** Milliseconds between two batches, at most, of one that does not. */
const OVERLOADED_MS = 30_000
/** How busy a process may be: the rest is for what comes in bursts, and for other programs. */
const BUSY_ENOUGH = 0.8
/** A pause that was too short is long enough when multiplied by this. */
const LONGER = 1.5
/** Where a process is less busy, its pause is multiplied by this, or less. */
const SHORTER = 0.9

/** Milliseconds since the process began: those in which its thread was busy, and those of CPUs, divided by their number. */
export interface Usage {
  thread: number
  cpus: number
}

/** Node.js 20 does not know the quota of a container: there, the thread alone tells. */
const CPUS = availableParallelism()

function usageOfProcess(): Usage {
  const { user, system } = process.cpuUsage()
  return { thread: performance.eventLoopUtilization().active, cpus: (user + system) / 1_000 / CPUS }
}

type Moment = Usage & { at: number }

/** Share of the time in which the thread was busy, or of all CPUs' time that the process had, whichever is more. */
const busyBetween = (from: Moment, to: Moment): number =>
  Math.max(to.thread - from.thread, to.cpus - from.cpus) / (to.at - from.at)

/**
 * The pause grows with the number of tables that change at the same time: each commit has a price in requests to the store and
 * in work, and all tables of a query together make no more of them than seven a second, until each makes one a second.
 *
 * A process is overloaded that cannot do these: most tables come late for their batches while it is busy. Its pause is chosen
 * anew whenever it has gone by, since tables that are committed together leave it idle for the rest of a pause. Work for commits
 * goes with their number: a pause that is longer by the factor by which a process is too busy makes it busy enough, and a shorter
 * one does as well where it is less busy. Where tables come in time, other work keeps the process busy: then the pause stays near
 * the last one that was too short. It gets no shorter in a process that is too busy: until tables are late again, which comes
 * long after the process has nothing left, nothing would tell that there was no room for more commits.
 */
export class AdaptivePace {
  /** When each table's last batch was made, the oldest first. */
  readonly #lastBatches = new Map<object, number>()
  readonly #now: () => number
  readonly #usage: () => Usage
  /** The pause of an overloaded process, more than `MOST_MS`; 0 where it keeps up. */
  #overloadedMs = 0
  /** The last pause that was too short; 0 where the process was not too busy since. */
  #lateMs = 0
  /** When the pause was last chosen, and the batches since: those for which tables came by the pause, and came late. */
  #chosen: Moment
  #batches = { all: 0, late: 0 }

  /** @param now the time, in milliseconds */
  constructor(now: () => number = () => performance.now(), usage: () => Usage = usageOfProcess) {
    this.#now = now
    this.#usage = usage
    this.#chosen = { at: now(), ...usage() }
  }

  /**
   * Notes that a batch of changes was made.
   * @param isLate the table came for it after the pause, and after `MOST_MS`; null where the pause does not decide when it comes
   */
  noteBatch(table: object, isLate: boolean | null): void {
    this.#lastBatches.delete(table)
    this.#lastBatches.set(table, this.#now())
    if (isLate === null) return
    this.#batches.all++
    if (isLate) this.#batches.late++
  }

  /** Milliseconds from a table's last batch to its next one. */
  get pauseMs(): number {
    const now = this.#now()
    const longest = Math.max(MOST_MS, this.#overloadedMs)
    for (const [table, at] of this.#lastBatches) {
      // A table counts as one that changes for two pauses.
      if (at > now - 2 * longest) break
      this.#lastBatches.delete(table)
    }
    if (now - this.#chosen.at >= longest) this.#choose({ at: now, ...this.#usage() }, longest)
    return Math.max(Math.min(MOST_MS, LEAST_MS * Math.max(1, this.#lastBatches.size)), this.#overloadedMs)
  }

  #choose(now: Moment, pause: number): void {
    const busy = busyBetween(this.#chosen, now)
    const { all, late } = this.#batches
    if (busy < BUSY_ENOUGH || this.#lastBatches.size === 0) this.#lateMs = 0
    else if (late > all / 2) this.#lateMs = pause
    const most = busy < BUSY_ENOUGH ? pause * SHORTER : Math.max(pause, this.#lateMs * LONGER)
    const chosen = Math.min(pause * (busy / BUSY_ENOUGH), most, OVERLOADED_MS)
    this.#overloadedMs = chosen > MOST_MS && this.#lastBatches.size > 0 ? chosen : 0
    this.#batches = { all: 0, late: 0 }
    this.#chosen = now
  }
}
