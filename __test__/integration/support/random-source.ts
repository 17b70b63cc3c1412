/** Positions in a database's log, as Debezium's `source` has them: rising, standing still, going back, or null in parts. */

import type { Random } from '../../helpers/random.js'

export type Flavour = 'postgres' | 'mysql' | 'mariadb' | 'sqlserver' | 'oracle' | 'none'

/**
 * What the positions of a topic do. `rising`: transactions have rising ones. `standing`: all changes of a transaction have
 * one. `back`: they go back within a transaction and with another source under the same name. `partial`: parts are null.
 */
export type Behaviour = 'rising' | 'standing' | 'back' | 'partial'

/** What an event says of its origin. */
export type Position = Record<string, unknown> & { ts_ms: bigint; snapshot: string | null }

/** The type of `source.snapshot`. */
export const SNAPSHOT = {
  type: 'string',
  'connect.version': 1,
  'connect.parameters': { allowed: 'true,last,false,incremental' },
  'connect.default': 'false',
  'connect.name': 'io.debezium.data.Enum',
}

const BINLOG: [string, string][] = [
  ['server_id', 'long'],
  ['gtid', 'string'],
  ['file', 'string'],
  ['pos', 'long'],
  ['row', 'int'],
]

/** Fields of the position, with their types without null. */
const FIELDS: Readonly<Record<Flavour, [string, string][]>> = {
  postgres: [
    ['lsn', 'long'],
    ['sequence', 'string'],
    ['txId', 'long'],
  ],
  mysql: BINLOG,
  mariadb: BINLOG,
  sqlserver: [
    ['change_lsn', 'string'],
    ['commit_lsn', 'string'],
    ['event_serial_no', 'long'],
  ],
  oracle: [
    ['txId', 'string'],
    ['scn', 'string'],
    ['commit_scn', 'string'],
    ['rs_id', 'string'],
    ['ssn', 'int'],
  ],
  none: [],
}

export const CONNECTORS: Readonly<Record<Flavour, string>> = {
  postgres: 'postgresql',
  mysql: 'mysql',
  mariadb: 'mariadb',
  sqlserver: 'sqlserver',
  oracle: 'oracle',
  none: 'informix',
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0')

/** The log of one database. */
export class RandomLog {
  /** The number of the last transaction: every flavour's position rises with it. */
  #commit = 20_000_000
  #lastCommit: number | null = null
  #file: number
  #pos = 4
  #serverId = 1
  #gtid: number | null
  #ts = 1_700_000_000_000n
  readonly #notSnapshot: string | null

  constructor(
    private readonly random: Random,
    private readonly flavour: Flavour,
    private readonly behaviour: Behaviour,
  ) {
    this.#file = random.pick([1, 8, 9, 98, 999_998, 999_999])
    this.#gtid = random.next() < 0.4 ? 20 : null
    if (random.next() < 0.2 && flavour !== 'sqlserver') this.#commit = 2 ** 52
    this.#notSnapshot = random.pick(['false', null])
  }

  get fields(): [string, string][] {
    return FIELDS[this.flavour]
  }

  #position(snapshot: string | null, own: Record<string, unknown>): Position {
    this.#ts += BigInt(this.random.below(50))
    const none = Object.fromEntries(this.fields.map(([name]) => [name, null]))
    return { ...none, ...own, ts_ms: this.#ts, snapshot }
  }

  /** A row of a snapshot. */
  snapshot(kind: 'first' | 'true' | 'last' | 'incremental'): Position {
    const { random } = this
    switch (this.flavour) {
      case 'postgres': {
        const lsn = kind === 'incremental' && random.next() < 0.5 ? null : this.#commit
        return this.#position(kind, this.#sequence(lsn ?? this.#commit, lsn))
      }
      case 'mysql':
      case 'mariadb':
        return this.#position(kind, this.#binlog(0))
      case 'sqlserver':
        return this.#position(kind, { commit_lsn: this.#lsn(0) })
      case 'oracle':
        return this.#position(kind, { scn: String(this.#commit) })
      case 'none':
        return this.#position(kind, {})
    }
  }

  /** The positions of one transaction's changes. */
  transaction(changes: number): Position[] {
    this.#commit += 1 + this.random.below(5000)
    const isMute = this.behaviour === 'partial' && this.random.next() < 0.3
    const own = this.#changes(changes).map((fields) => {
      if (!isMute) return fields
      // One part is not there, or null.
      const [name] = this.fields[this.random.below(this.fields.length)] ?? ['']
      return name === 'sequence'
        ? { ...fields, sequence: this.random.pick([null, '[null,"7"]']) }
        : { ...fields, [name]: null }
    })
    this.#lastCommit = this.#commit
    if (this.#gtid !== null) this.#gtid++
    if (this.flavour.startsWith('m') && this.random.next() < 0.15) this.#rotate()
    return own.map((fields) => this.#position(this.#notSnapshot, fields))
  }

  #changes(changes: number): Record<string, unknown>[] {
    const all = Array.from({ length: changes }, (_, i) => i)
    switch (this.flavour) {
      case 'postgres':
        return this.#postgres(all)
      case 'mysql':
      case 'mariadb':
        return this.#rows(all)
      case 'sqlserver': {
        const at = this.#order(all)
        return all.map((i) => ({
          commit_lsn: this.#lsn(0),
          change_lsn: this.#lsn(1 + (at[i] as number)),
          event_serial_no: BigInt(1 + this.random.below(2)),
        }))
      }
      case 'oracle': {
        const at = this.#order(all)
        return all.map((i) => ({
          txId: hex(this.#commit, 16),
          // The changes of a long transaction are from before others were committed.
          scn: String(this.#commit - this.random.below(9000) + (at[i] as number)),
          commit_scn: String(this.#commit),
          rs_id: ` 0x${hex(25, 6)}.${hex(this.#commit % 0xffffffff, 8)}.${hex(at[i] as number, 4)} `,
          ssn: at[i] as number,
        }))
      }
      case 'none':
        return all.map(() => ({}))
    }
  }

  /** What the parts that number a transaction's changes are: rising, the same, or in no order. */
  #order(all: number[]): number[] {
    if (this.behaviour === 'standing') return all.map(() => 1)
    return this.behaviour === 'back' ? all.map(() => this.random.below(9)) : all
  }

  #postgres(all: number[]): Record<string, unknown>[] {
    const { random } = this
    // It may have begun before others that were committed before it.
    let lsn = random.next() < 0.3 ? this.#commit - random.below(9000) : this.#commit
    return all.map(() => {
      // The rows of one COPY share an LSN.
      if (this.behaviour !== 'standing' && random.next() < 0.8) lsn += 1 + random.below(40)
      return this.#sequence(lsn, lsn)
    })
  }

  #sequence(own: number, lsn: number | null): Record<string, unknown> {
    const last = this.#lastCommit === null ? 'null' : `"${this.#lastCommit}"`
    return { lsn: lsn === null ? null : BigInt(lsn), sequence: `[${last},"${own}"]`, txId: BigInt(this.#commit) }
  }

  #rows(all: number[]): Record<string, unknown>[] {
    const { random } = this
    this.#pos += 1 + random.below(500)
    let row = -1
    return all.map((i) => {
      // The rows of one statement share a position; the next one has its own, but in compressed transactions.
      const isNext = i > 0 && random.next() < 0.6
      row = isNext ? 0 : row + 1
      if (isNext && this.behaviour !== 'standing') this.#pos += 1 + random.below(500)
      if (this.behaviour === 'back' && random.next() < 0.3) row = random.below(3)
      return this.#binlog(row)
    })
  }

  #binlog(row: number): Record<string, unknown> {
    const uuid = `3e11fa47-71ca-11e1-9e33-c80aa94295${String(this.#serverId).padStart(2, '0')}`
    const gtid = this.flavour === 'mysql' ? `${uuid}:${this.#gtid}` : `0-${this.#serverId}-${this.#gtid}`
    return {
      server_id: BigInt(this.#serverId),
      gtid: this.#gtid === null ? null : gtid,
      file: `mysql-bin.${String(this.#file).padStart(6, '0')}`,
      pos: BigInt(this.#pos),
      row,
    }
  }

  #lsn(change: number): string {
    return `${hex(39, 8)}:${hex(this.#commit % 0xffffffff, 8)}:${hex(change, 4)}`
  }

  /** The binary log goes on in the next file. */
  #rotate(): void {
    this.#file++
    this.#pos = 4
  }

  /** Another server takes over, with a log of its own and another name. */
  failOver(): void {
    this.#serverId++
    this.#file = 1 + this.random.below(5)
    this.#pos = 4
    if (this.#gtid !== null) this.#gtid = 1
  }

  /** Another source under the same name: a replica with the same server id, or a database that was restored. */
  beginAnew(): void {
    this.#file = Math.max(1, Math.floor(this.#file / 2))
    this.#pos = 4
    this.#commit = 1000
    this.#lastCommit = null
    if (this.#gtid !== null) this.#gtid = 1
  }
}
