/** Positions in a database's log, as Debezium's `source` has them. */

import type { Random } from '../../helpers/random.js'
import type { Database } from './random-columns.js'

/** What an event says of its origin; fields of the other database are left out of the schemas. */
export interface Position {
  ts_ms: bigint
  snapshot: string | null
  lsn: bigint | null
  sequence: string | null
  txId: bigint | null
  file: string
  pos: bigint
  row: number
  server_id: bigint
}

/** The type of `source.snapshot`. */
export const SNAPSHOT = {
  type: 'string',
  'connect.version': 1,
  'connect.parameters': { allowed: 'true,last,false,incremental' },
  'connect.default': 'false',
  'connect.name': 'io.debezium.data.Enum',
}

/** The log of one database: positions grow, but those of transactions that were open for long lie behind others. */
export class RandomLog {
  #lsn = 20_000_000n
  #lastCommit: bigint | null = null
  #file: number
  #pos = 4n
  #row = 0
  #serverId = 1n
  #txId = 500n
  #ts = 1_700_000_000_000n
  readonly #notSnapshot: string | null

  constructor(
    private readonly random: Random,
    private readonly database: Database,
  ) {
    this.#file = random.pick([1, 8, 9, 98, 999_998, 999_999])
    if (random.next() < 0.2) this.#lsn = 2n ** 62n
    this.#notSnapshot = random.pick(['false', null])
  }

  #position(snapshot: string | null, sequence: string | null, lsn: bigint | null): Position {
    this.#ts += BigInt(this.random.below(50))
    const file = `mysql-bin.${String(this.#file).padStart(6, '0')}`
    const [pos, row, server_id] = [this.#pos, this.#row, this.#serverId]
    return { ts_ms: this.#ts, snapshot, lsn, sequence, txId: this.#txId, file, pos, row, server_id }
  }

  /** A row of a snapshot. */
  snapshot(kind: 'first' | 'true' | 'last' | 'incremental'): Position {
    const { random } = this
    if (this.database === 'mysql') return { ...this.#position(kind, null, null), row: 0 }
    const lsn = kind === 'incremental' && random.next() < 0.5 ? null : this.#lsn
    const last = this.#lastCommit === null ? 'null' : `"${this.#lastCommit}"`
    return this.#position(kind, `[${last},"${lsn ?? this.#lsn}"]`, lsn)
  }

  /** The positions of one transaction's changes. */
  transaction(changes: number): Position[] {
    const { random } = this
    const positions: Position[] = []
    this.#txId += 1n
    if (this.database === 'mysql') {
      for (let i = 0; i < changes; i++) {
        // The rows of one statement share a position.
        if (i > 0 && random.next() < 0.4) this.#row++
        else {
          this.#row = 0
          this.#pos += BigInt(1 + random.below(500))
        }
        positions.push(this.#position(this.#notSnapshot, null, null))
      }
      if (random.next() < 0.15) this.rotate()
      return positions
    }
    // It may have begun before others that were committed before it.
    let lsn = random.next() < 0.3 ? this.#lsn - BigInt(random.below(3000)) : this.#lsn
    for (let i = 0; i < changes; i++) {
      // The rows of one COPY share an LSN.
      if (i === 0 || random.next() < 0.8) lsn += BigInt(1 + random.below(400))
      const last = this.#lastCommit === null ? 'null' : `"${this.#lastCommit}"`
      positions.push(this.#position(this.#notSnapshot, `[${last},"${lsn}"]`, lsn))
    }
    this.#lsn = (lsn > this.#lsn ? lsn : this.#lsn) + BigInt(1 + random.below(100))
    this.#lastCommit = this.#lsn
    return positions
  }

  /** The binary log goes on in the next file. */
  rotate(): void {
    this.#file++
    this.#pos = 4n
  }

  /** Another server takes over, with a binary log of its own. */
  failOver(): void {
    this.#serverId++
    this.#file = 1 + this.random.below(5)
    this.#pos = 4n
  }
}
