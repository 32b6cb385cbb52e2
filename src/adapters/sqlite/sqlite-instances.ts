import type { SqliteTurn } from './sqlite-turn.ts'
import { integer, text } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { freeClaims } from './sqlite-deliveries.ts'
import type { SqliteHost } from './sqlite-host.ts'
import { isSurelyDead, ownIdentity } from './sqlite-process.ts'
import type { ProcessIdentity } from './sqlite-process.ts'
import { forgetInbox } from './sqlite-light-rows.ts'
import { endLeasesOf } from './sqlite-store-leases.ts'

/** Whom an observer has to tell apart: a row of an instance as it was seen. */
interface SeenInstance {
  readonly beat: number
  readonly silenceMs: number
}

/** An instance that is to be put out, as it was when that was decided. */
export interface LostInstance {
  readonly id: number
  readonly beat: number
}

/** Renewals per lease, so that one late pulse costs nothing. */
const BEATS_PER_LEASE = 3

/**
 * The row of this instance, and the watch over those of others.
 *
 * An instance owns what it claimed while its row exists. It is put out by others when its process has
 * surely ended, or when they have seen no heartbeat for a whole lease. That time is counted by each
 * observer on its own monotonic clock and only while it runs itself, so that neither a jump of the wall
 * clock nor a sleep of the machine makes the living look dead.
 */
export class SqliteInstances {
  readonly address: string
  /** Groups that this instance takes part in, and types that it listens to; entered again after it was put out. */
  readonly groups: Set<number> = new Set()
  readonly listens: Map<string, { readonly type: string; readonly kind: 'broadcast' | 'request' }> = new Map()
  readonly #host: SqliteHost
  readonly #leaseMs: number
  readonly #self: ProcessIdentity = ownIdentity()
  #seen = new Map<number, SeenInstance>()
  #id = 0
  #pendingId = 0
  #beatAtMs = Number.NEGATIVE_INFINITY
  #hasBeaten = false
  #watchedAtMs: number | undefined

  constructor(host: SqliteHost, leaseMs: number) {
    this.#host = host
    this.#leaseMs = leaseMs
    this.address = host.random.id(host.clock.nowMs())
  }

  /** True where the heartbeat is due. */
  isBeatDue(): boolean {
    return this.#host.clock.monotonicMs() - this.#beatAtMs >= this.#leaseMs / BEATS_PER_LEASE
  }

  /** Makes sure that the row exists, renews it when that is due, and gives its id, the owner of new claims. */
  ensure(turn: SqliteTurn): number {
    const { connection } = turn
    this.#hasBeaten = this.isBeatDue()
    if (this.#hasBeaten) {
      if (connection.run('UPDATE trunkline_instance SET beat = beat + 1 WHERE id = ?', this.#id) === 1) this.#pendingId = this.#id
      else this.#pendingId = this.#register(connection)
    } else if (connection.has('SELECT 1 FROM trunkline_instance WHERE id = ?', this.#id)) this.#pendingId = this.#id
    else this.#pendingId = this.#register(connection)
    return this.#pendingId
  }

  /** The transaction of the last `ensure` was committed. */
  confirm(): void {
    if (this.#hasBeaten) this.#beatAtMs = this.#host.clock.monotonicMs()
    this.#id = this.#pendingId
  }

  /** Enters the instance under a new id: what it had claimed under the old one is no longer its own. */
  #register(connection: SqliteConnection): number {
    const { place, pid, started } = this.#self
    const id = connection.insert(
      'INSERT INTO trunkline_instance (address, place, pid, started) VALUES (?, ?, ?, ?)',
      this.address, place, pid, started,
    )
    for (const group of this.groups) connection.run('INSERT OR IGNORE INTO trunkline_member VALUES (?, ?)', group, this.address)
    for (const { type, kind } of this.listens.values()) {
      connection.run('INSERT OR IGNORE INTO trunkline_listener VALUES (?, ?, ?)', type, kind, this.address)
    }
    return id
  }

  /** Looks at the others and tells which of them are gone. Call it about every `intervalMs`. */
  watch(connection: SqliteConnection, intervalMs: number): readonly LostInstance[] {
    const nowMs = this.#host.clock.monotonicMs()
    // A pulse that comes late means that this process did not run; it saw nothing in that time. And while it
    // cannot write a heartbeat itself, neither can the others.
    const isWriting = nowMs - this.#beatAtMs < this.#leaseMs / BEATS_PER_LEASE + 2 * intervalMs
    const elapsedMs = isWriting ? Math.min(nowMs - (this.#watchedAtMs ?? nowMs), 2 * intervalMs) : 0
    this.#watchedAtMs = nowMs
    const gone: LostInstance[] = []
    const seen = new Map<number, SeenInstance>()
    for (const row of connection.rows('SELECT id, place, pid, started, beat FROM trunkline_instance WHERE id <> ?', this.#id)) {
      const id = integer(row, 'id')
      const beat = integer(row, 'beat')
      const before = this.#seen.get(id)
      // Once everybody can write again, everybody gets the whole time again: who comes second is not silent.
      const silenceMs = isWriting && before?.beat === beat ? before.silenceMs + elapsedMs : 0
      seen.set(id, { beat, silenceMs })
      const identity = { place: text(row, 'place'), pid: integer(row, 'pid'), started: text(row, 'started') }
      if (silenceMs >= this.#leaseMs || isSurelyDead(identity, this.#self)) gone.push({ id, beat })
    }
    this.#seen = seen
    return gone
  }

  /** True where another instance uses the file. */
  hasOthers(connection: SqliteConnection): boolean {
    return connection.has('SELECT 1 FROM trunkline_instance WHERE address <> ? LIMIT 1', this.address)
  }

  /** Leaves the file. What is still claimed goes to others. */
  leave(turn: SqliteTurn): void {
    putOut(turn, this.#id, this.address)
  }
}

/** Puts an instance out that was found lost, unless it has shown a sign of life since. */
export function putOutLost(turn: SqliteTurn, lost: LostInstance): void {
  const row = turn.connection.row('SELECT address FROM trunkline_instance WHERE id = ? AND beat = ?', lost.id, lost.beat)
  if (row !== undefined) putOut(turn, lost.id, text(row, 'address'))
}

function putOut(turn: SqliteTurn, id: number, address: string): void {
  const { connection } = turn
  connection.run('DELETE FROM trunkline_instance WHERE id = ?', id)
  connection.run('DELETE FROM trunkline_member WHERE address = ?', address)
  connection.run('DELETE FROM trunkline_listener WHERE address = ?', address)
  endLeasesOf(connection, address)
  forgetInbox(turn, address)
  freeClaims(turn, id)
}
