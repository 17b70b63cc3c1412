/** One consumer group: members, generations and rebalances, as Kafka's classic group protocol has them. */

import { randomUUID } from 'node:crypto'
import { KafkaErrorCode, KafkaProtocolError } from './protocol.js'

export interface GroupProtocol {
  name: string
  metadata: Buffer
}

export interface JoinRequest {
  memberId: string
  clientId: string
  clientHost: string
  sessionTimeoutMs: number
  rebalanceTimeoutMs: number
  protocolType: string
  protocols: GroupProtocol[]
}

export interface JoinResult {
  generationId: number
  protocol: string
  leaderId: string
  memberId: string
  /** Filled for the leader only. */
  members: { memberId: string; metadata: Buffer }[]
}

interface Waiter<T> {
  resolve: (value: T) => void
  reject: (error: KafkaProtocolError) => void
}

interface Member {
  id: string
  clientId: string
  clientHost: string
  sessionTimeoutMs: number
  rebalanceTimeoutMs: number
  protocols: GroupProtocol[]
  assignment: Buffer
  joining: Waiter<JoinResult> | null
  syncing: Waiter<Buffer> | null
  expiry: NodeJS.Timeout | null
}

export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable' | 'Dead'

const unknownMember = (id: string) => new KafkaProtocolError(KafkaErrorCode.UNKNOWN_MEMBER_ID, `unknown member ${id}`)
const rebalancing = () => new KafkaProtocolError(KafkaErrorCode.REBALANCE_IN_PROGRESS, 'the group rebalances')

export class ConsumerGroup {
  readonly id: string
  state: GroupState = 'Empty'
  protocolType = ''
  protocol = ''
  generation = 0
  readonly #initialDelayMs: number
  readonly #members = new Map<string, Member>()
  /** Ids that were given out and have not joined yet. */
  readonly #pendingIds = new Set<string>()
  #leader: string | null = null
  #rebalanceTimer: NodeJS.Timeout | null = null
  /** Whether the first join of an empty group is being held back for further members. */
  #heldBack = false

  /** @param initialDelayMs how long an empty group waits for further members at its first join */
  constructor(id: string, initialDelayMs: number) {
    this.id = id
    this.#initialDelayMs = initialDelayMs
  }

  get members(): { memberId: string; clientId: string; clientHost: string; metadata: Buffer; assignment: Buffer }[] {
    return [...this.#members.values()].map((member) => ({
      memberId: member.id,
      clientId: member.clientId,
      clientHost: member.clientHost,
      metadata: this.state === 'Stable' ? this.#metadata(member) : Buffer.alloc(0),
      assignment: member.assignment,
    }))
  }

  /** An id for a member that has none: it joins again with it. */
  newMemberId(clientId: string): string {
    const id = `${clientId}-${randomUUID()}`
    this.#pendingIds.add(id)
    return id
  }

  join(request: JoinRequest): Promise<JoinResult> {
    return new Promise((resolve, reject) => {
      let member = this.#members.get(request.memberId)
      if (!member && !this.#pendingIds.has(request.memberId)) {
        reject(unknownMember(request.memberId))
        return
      }
      if (!this.#agrees(request)) {
        reject(new KafkaProtocolError(KafkaErrorCode.INCONSISTENT_GROUP_PROTOCOL, 'no assigner that all members have'))
        return
      }
      const unchanged = member !== undefined && sameProtocols(member.protocols, request.protocols)
      if (!member) {
        this.#pendingIds.delete(request.memberId)
        member = {
          id: request.memberId,
          clientId: request.clientId,
          clientHost: request.clientHost,
          sessionTimeoutMs: request.sessionTimeoutMs,
          rebalanceTimeoutMs: request.rebalanceTimeoutMs,
          protocols: request.protocols,
          assignment: Buffer.alloc(0),
          joining: null,
          syncing: null,
          expiry: null,
        }
        this.#members.set(member.id, member)
      }
      this.protocolType = request.protocolType
      member.protocols = request.protocols
      member.sessionTimeoutMs = request.sessionTimeoutMs
      member.rebalanceTimeoutMs = request.rebalanceTimeoutMs
      const answersAtOnce =
        unchanged && (this.state === 'CompletingRebalance' || (this.state === 'Stable' && member.id !== this.#leader))
      if (answersAtOnce) {
        this.#touch(member)
        resolve(this.#joinResult(member))
        return
      }
      member.joining?.reject(unknownMember(member.id))
      member.joining = { resolve, reject }
      this.#stopExpiry(member)
      if (this.state === 'PreparingRebalance') this.#completeJoinIfAllCame()
      else this.#prepareRebalance()
    })
  }

  /** The member's assignment, once the leader has sent all of them. */
  sync(memberId: string, generation: number, assignments: ReadonlyMap<string, Buffer>): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const member = this.#members.get(memberId)
      if (!member) reject(unknownMember(memberId))
      else if (generation !== this.generation) reject(this.#illegalGeneration(generation))
      else if (this.state === 'PreparingRebalance') reject(rebalancing())
      else if (this.state === 'Stable') {
        this.#touch(member)
        resolve(member.assignment)
      } else {
        member.syncing = { resolve, reject }
        this.#stopExpiry(member)
        if (memberId === this.#leader) this.#assign(assignments)
      }
    })
  }

  heartbeat(memberId: string, generation: number): void {
    const member = this.#members.get(memberId)
    if (!member) throw unknownMember(memberId)
    if (generation !== this.generation) throw this.#illegalGeneration(generation)
    this.#touch(member)
    if (this.state === 'PreparingRebalance') throw rebalancing()
  }

  /** Throws where the member may not commit offsets. Tools without a member commit to empty groups. */
  checkCommit(memberId: string, generation: number): void {
    if (generation < 0 && memberId === '') {
      if (this.#members.size > 0) throw unknownMember(memberId)
      return
    }
    const member = this.#members.get(memberId)
    if (!member) throw unknownMember(memberId)
    if (generation !== this.generation) throw this.#illegalGeneration(generation)
    if (this.state === 'CompletingRebalance') throw rebalancing()
    this.#touch(member)
  }

  leave(memberId: string): void {
    if (this.#pendingIds.delete(memberId)) return
    const member = this.#members.get(memberId)
    if (!member) throw unknownMember(memberId)
    this.#remove(member)
  }

  /** Ends all timers and turns waiting members away. */
  close(): void {
    if (this.#rebalanceTimer) clearTimeout(this.#rebalanceTimer)
    for (const member of this.#members.values()) {
      this.#stopExpiry(member)
      member.joining?.reject(unknownMember(member.id))
      member.syncing?.reject(unknownMember(member.id))
    }
    this.#members.clear()
    this.state = 'Dead'
  }

  #illegalGeneration(generation: number): KafkaProtocolError {
    return new KafkaProtocolError(
      KafkaErrorCode.ILLEGAL_GENERATION,
      `generation ${generation}, the group is at ${this.generation}`,
    )
  }

  /** Whether the joining member shares its type and one protocol with all others. */
  #agrees(request: JoinRequest): boolean {
    if (request.protocols.length === 0) return false
    const others = [...this.#members.values()].filter((member) => member.id !== request.memberId)
    if (others.length === 0) return true
    if (request.protocolType !== this.protocolType) return false
    return request.protocols.some(({ name }) =>
      others.every((member) => member.protocols.some((protocol) => protocol.name === name)),
    )
  }

  #prepareRebalance(): void {
    const wasEmpty = this.state === 'Empty'
    for (const member of this.#members.values()) {
      member.syncing?.reject(rebalancing())
      if (member.syncing) this.#touch(member)
      member.syncing = null
    }
    this.state = 'PreparingRebalance'
    if (this.#rebalanceTimer) clearTimeout(this.#rebalanceTimer)
    this.#heldBack = wasEmpty && this.#initialDelayMs > 0
    if (this.#heldBack) {
      this.#rebalanceTimer = setTimeout(() => this.#completeJoin(), this.#initialDelayMs).unref()
      return
    }
    const longest = Math.max(0, ...[...this.#members.values()].map((member) => member.rebalanceTimeoutMs))
    this.#rebalanceTimer = setTimeout(() => this.#completeJoin(), longest).unref()
    this.#completeJoinIfAllCame()
  }

  #completeJoinIfAllCame(): void {
    if (this.#heldBack) return
    if ([...this.#members.values()].every((member) => member.joining)) this.#completeJoin()
  }

  #completeJoin(): void {
    if (this.#rebalanceTimer) clearTimeout(this.#rebalanceTimer)
    this.#rebalanceTimer = null
    this.#heldBack = false
    for (const member of [...this.#members.values()]) {
      if (member.joining) continue
      // It did not come back in time.
      this.#stopExpiry(member)
      this.#members.delete(member.id)
    }
    this.generation++
    if (this.#members.size === 0) {
      this.state = 'Empty'
      this.protocol = ''
      this.#leader = null
      return
    }
    if (this.#leader === null || !this.#members.has(this.#leader)) {
      this.#leader = this.#members.keys().next().value ?? null
    }
    this.protocol = this.#elect()
    this.state = 'CompletingRebalance'
    for (const member of this.#members.values()) {
      const joining = member.joining
      member.joining = null
      member.assignment = Buffer.alloc(0)
      this.#touch(member)
      joining?.resolve(this.#joinResult(member))
    }
  }

  /** The protocol that most members name first among those that all of them have. */
  #elect(): string {
    const members = [...this.#members.values()]
    const common = (name: string) => members.every((member) => member.protocols.some((p) => p.name === name))
    const votes = new Map<string, number>()
    for (const member of members) {
      const choice = member.protocols.find((protocol) => common(protocol.name))
      if (choice) votes.set(choice.name, (votes.get(choice.name) ?? 0) + 1)
    }
    return [...votes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? ''
  }

  #metadata(member: Member): Buffer {
    return member.protocols.find((protocol) => protocol.name === this.protocol)?.metadata ?? Buffer.alloc(0)
  }

  #joinResult(member: Member): JoinResult {
    const leads = member.id === this.#leader
    return {
      generationId: this.generation,
      protocol: this.protocol,
      leaderId: this.#leader ?? '',
      memberId: member.id,
      members: leads
        ? [...this.#members.values()].map((other) => ({ memberId: other.id, metadata: this.#metadata(other) }))
        : [],
    }
  }

  #assign(assignments: ReadonlyMap<string, Buffer>): void {
    this.state = 'Stable'
    for (const member of this.#members.values()) {
      member.assignment = assignments.get(member.id) ?? Buffer.alloc(0)
      const syncing = member.syncing
      member.syncing = null
      this.#touch(member)
      syncing?.resolve(member.assignment)
    }
  }

  /** Starts the member's session anew. */
  #touch(member: Member): void {
    this.#stopExpiry(member)
    if (member.joining || member.syncing) return
    member.expiry = setTimeout(() => this.#remove(member), member.sessionTimeoutMs).unref()
  }

  #stopExpiry(member: Member): void {
    if (member.expiry) clearTimeout(member.expiry)
    member.expiry = null
  }

  #remove(member: Member): void {
    this.#stopExpiry(member)
    this.#members.delete(member.id)
    member.joining?.reject(unknownMember(member.id))
    member.syncing?.reject(unknownMember(member.id))
    if (this.state === 'PreparingRebalance') this.#completeJoinIfAllCame()
    else if (this.state === 'Stable' || this.state === 'CompletingRebalance') this.#prepareRebalance()
  }
}

function sameProtocols(a: readonly GroupProtocol[], b: readonly GroupProtocol[]): boolean {
  return (
    a.length === b.length &&
    a.every((protocol, i) => protocol.name === b[i]?.name && protocol.metadata.equals(b[i].metadata))
  )
}
