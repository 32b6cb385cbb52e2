import type { DeadLetterRecord } from '../../bus/port.ts'
import { decodeDeadLetterRecord, encodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { InboxEntry, NewOutboxRow, OutboxOutcome, OutboxRow } from '../../outbox/port.ts'
import type { Lease, NewTimer, Snapshot, StoredTimer } from '../../store/port.ts'
import { eventOf, messageOf } from './eventstoredb-event.ts'

// What a store keeps beside its streams of events, as the fold of one stream: every change is an operation in it, and what an operation
// means is decided where it is read, by the server's time of its event. All who have read the same events know the same.

/** One change: its name, then its parts, all JSON. */
export type Op = readonly unknown[]

/** The mark of a handled message. */
export interface Mark {
  readonly digest: string
  readonly answer: string | undefined
  readonly atMs: number
}

/** A timer, and which putting of it this is. */
export interface DeskTimer extends StoredTimer {
  readonly version: number
}

/** A message that the relay gave up. */
interface Dead {
  readonly row: OutboxRow
  readonly record: DeadLetterRecord
}

const POSTED_MAX = 20_000
/** The checkpoint of what brings units to the desk whose process did not. */
export const COURIER = '-courier'

/** A key of several texts. */
export function keyOf(...parts: readonly string[]): string {
  return JSON.stringify(parts)
}

/** The operations, so that what is written is what is read. */
export const ops = {
  enter: ({ group, source, id, digest }: InboxEntry): Op => ['enter', keyOf(group, source, id), base64(digest)],
  answer: ({ group, source, id }: InboxEntry, answer: Uint8Array): Op => ['answer', keyOf(group, source, id), base64(answer)],
  checkpoint: (name: string, cursor: bigint | undefined): Op => ['checkpoint', name, cursor === undefined ? null : `${cursor}`],
  /** A checkpoint under a lease: when it comes late, from the stream of its events, a later one stays. */
  progress: (name: string, cursor: bigint): Op => ['checkpoint', name, `${cursor}`, 'forwards'],
  /** How far the courier is, in the server's time. */
  passed: (atMs: number): Op => ['passed', atMs],
  snapshot: ({ stream, shape, revision, state }: Snapshot): Op => ['snapshot', stream, shape, `${revision}`, base64(state)],
  timer: ({ id, due, kind, message, recurrence }: NewTimer): Op => ['timer', id, due, kind, packed(message), recurrence ?? null],
  cancel: (id: string): Op => ['cancel', id],
  row: ({ kind, shard, message }: NewOutboxRow): Op => ['row', kind, shard, packed(message)],
  settle: ({ published, dead }: OutboxOutcome): Op => ['settle', published.map(String), dead.map(({ id, record }) => [`${id}`, encodeDeadLetterRecord(record)])],
  redrive: (id: bigint): Op => ['redrive', `${id}`],
  removeDead: (id: bigint): Op => ['remove-dead', `${id}`],
  hold: (names: readonly string[], owner: string, ttlMs: number, most: number): Op => ['hold', names, owner, ttlMs, most],
  release: (names: readonly string[], owner: string): Op => ['release', names, owner],
  prune: (keys: readonly string[]): Op => ['prune', keys],
  body: (id: string): Op => ['body', id],
  pruneBodies: (ids: readonly string[]): Op => ['prune-bodies', ids],
  tick: (): Op => ['tick'],
} as const

/** Everything that a store keeps beside its streams. */
export class DeskState {
  readonly checkpoints: Map<string, bigint> = new Map()
  readonly snapshots: Map<string, Snapshot> = new Map()
  readonly leases: Map<string, { owner: string; epoch: bigint; endsAtMs: number }> = new Map()
  readonly marks: Map<string, Mark> = new Map()
  readonly rows: Map<bigint, { readonly row: OutboxRow; readonly atMs: number }> = new Map()
  readonly dead: Map<bigint, Dead> = new Map()
  readonly timers: Map<string, DeskTimer> = new Map()
  readonly bodies: Map<string, number> = new Map()
  /** Units whose operations came from the stream of their events; the latest. */
  readonly posted: Set<string> = new Set()
  /** The server's time of the last event that the courier has passed. */
  passedAtMs = 0
  #rowId = 0n
  #version = 0

  /** Takes in what one event says. It never throws: what is not understood is left out. */
  apply(list: readonly unknown[], from: string | undefined, atMs: number): void {
    if (from !== undefined) {
      if (this.posted.has(from)) return
      this.posted.add(from)
      for (const oldest of this.posted) {
        if (this.posted.size <= POSTED_MAX) break
        this.posted.delete(oldest)
      }
    }
    for (const op of list) if (Array.isArray(op) && !(from !== undefined && this.#isBehind(op))) this.#apply(op, atMs)
  }

  #isBehind([name, first, second, third]: readonly unknown[]): boolean {
    return name === 'checkpoint' && third === 'forwards' && (this.checkpoints.get(text(first)) ?? -1n) >= bigint(second)
  }

  /** The leases of an owner among some names. */
  leasesOf(names: readonly string[], owner: string, atMs: number): readonly Lease[] {
    return [...new Set(names)].flatMap((name) => {
      const lease = this.leases.get(name)
      return lease?.owner === owner && lease.endsAtMs > atMs ? [{ name, epoch: lease.epoch }] : []
    })
  }

  /** Everything as a list that `restore` makes the same of. */
  items(): readonly Op[] {
    const rowOf = ({ id, kind, shard, message }: OutboxRow): Op => [`${id}`, kind, shard, packed(message)]
    return [
      ['counters', `${this.#rowId}`, this.#version],
      ...[...this.marks].map(([key, { digest, answer, atMs }]) => ['mark', key, digest, answer ?? null, atMs]),
      ...[...this.checkpoints].map(([name, cursor]) => ['checkpoint', name, `${cursor}`]),
      ...[...this.snapshots.values()].map((snapshot) => ops.snapshot(snapshot)),
      ...[...this.leases].map(([name, { owner, epoch, endsAtMs }]) => ['lease', name, owner, `${epoch}`, Number.isFinite(endsAtMs) ? endsAtMs : null]),
      ...[...this.rows.values()].map(({ row, atMs }) => ['row', ...rowOf(row), atMs]),
      ...[...this.dead.values()].map(({ row, record }) => ['dead', ...rowOf(row), encodeDeadLetterRecord(record)]),
      ...[...this.timers.values()].map(({ id, dueAtMs, kind, message, recurrence, version }) => ['timer', id, dueAtMs, kind, packed(message), recurrence ?? null, version]),
      ...[...this.bodies].map(([id, atMs]) => ['body', id, atMs]),
      ...[...this.posted].map((id) => ['posted', id]),
      ops.passed(this.passedAtMs),
    ]
  }

  /** Takes in what `items` gave, in an empty state. */
  restore(items: readonly unknown[]): void {
    for (const item of items) if (Array.isArray(item)) this.#restore(item)
  }

  #restore(item: readonly unknown[]): void {
    const [name, first, second, third, fourth] = item
    if (name === 'counters') [this.#rowId, this.#version] = [bigint(first), number(second)]
    else if (name === 'mark') this.marks.set(text(first), { digest: text(second), answer: typeof third === 'string' ? third : undefined, atMs: number(fourth) })
    else if (name === 'checkpoint') this.checkpoints.set(text(first), bigint(second))
    else if (name === 'snapshot') this.#snapshot(item)
    else if (name === 'lease') this.leases.set(text(first), { owner: text(second), epoch: bigint(third), endsAtMs: typeof fourth === 'number' ? fourth : -Infinity })
    else if (name === 'row') this.rows.set(bigint(first), { row: rowIn(item), atMs: number(item[5]) })
    else if (name === 'dead') this.dead.set(bigint(first), { row: rowIn(item), record: decodeDeadLetterRecord(text(item[5])) })
    else if (name === 'timer') this.timers.set(text(first), { ...timerOf(first, number(second), third, fourth, item[5]), version: number(item[6]) })
    else if (name === 'body') this.bodies.set(text(first), number(second))
    else if (name === 'posted') this.posted.add(text(first))
    else if (name === 'passed') this.passedAtMs = number(first)
  }

  #apply(op: readonly unknown[], atMs: number): void {
    const [name, first, second] = op
    switch (name) {
      case 'enter':
        this.marks.set(text(first), { digest: text(second), answer: undefined, atMs })
        break
      case 'answer':
        this.#answer(text(first), text(second))
        break
      case 'checkpoint':
        if (typeof second === 'string') this.checkpoints.set(text(first), bigint(second))
        else this.checkpoints.delete(text(first))
        break
      case 'snapshot':
        this.#snapshot(op)
        break
      case 'timer':
        this.#timer(op, atMs)
        break
      case 'cancel':
        this.timers.delete(text(first))
        break
      case 'row':
        this.#row({ kind: kindOf(first), shard: number(second), message: unpacked(op[3]) }, atMs)
        break
      case 'settle':
        this.#settle(listOf(first), listOf(second))
        break
      case 'hold':
        this.#hold(listOf(first).map(text), text(second), number(op[3]), number(op[4]), atMs)
        break
      case 'release':
        for (const one of listOf(first)) if (this.leases.get(text(one))?.owner === second) this.#endLease(text(one))
        break
      default:
        this.#upkeep(name, first, atMs)
    }
  }

  #upkeep(name: unknown, first: unknown, atMs: number): void {
    if (name === 'redrive') {
      const dead = this.dead.get(bigint(first))
      if (dead !== undefined && this.dead.delete(bigint(first))) this.#row(dead.row, atMs)
    } else if (name === 'remove-dead') this.dead.delete(bigint(first))
    else if (name === 'passed') this.passedAtMs = number(first)
    else if (name === 'prune') for (const key of listOf(first)) this.marks.delete(text(key))
    else if (name === 'prune-bodies') for (const id of listOf(first)) this.bodies.delete(text(id))
    else if (name === 'body') {
      this.bodies.delete(text(first))
      this.bodies.set(text(first), atMs)
    }
  }

  #answer(key: string, answer: string): void {
    const mark = this.marks.get(key)
    if (mark !== undefined) this.marks.set(key, { ...mark, answer })
  }

  #snapshot(op: readonly unknown[]): void {
    const snapshot: Snapshot = { stream: text(op[1]), shape: text(op[2]), revision: bigint(op[3]), state: Buffer.from(text(op[4]), 'base64') }
    const key = keyOf(snapshot.stream, snapshot.shape)
    const before = this.snapshots.get(key)
    if (before === undefined || before.revision < snapshot.revision) this.snapshots.set(key, snapshot)
  }

  #timer([, id, due, kind, message, recurrence]: readonly unknown[], atMs: number): void {
    const [at, after] = [partOf(due, 'atMs'), partOf(due, 'afterMs')]
    const dueAtMs = typeof at === 'number' ? at : atMs + number(after)
    this.timers.set(text(id), { ...timerOf(id, dueAtMs, kind, message, recurrence), version: ++this.#version })
  }

  #row({ kind, shard, message }: NewOutboxRow, atMs: number): void {
    const id = ++this.#rowId
    this.rows.set(id, { row: { id, kind, shard, message }, atMs })
  }

  #settle(published: readonly unknown[], dead: readonly unknown[]): void {
    for (const id of published) this.rows.delete(bigint(id))
    for (const one of dead) {
      const [id, record] = listOf(one)
      const held = this.rows.get(bigint(id))
      if (held === undefined) continue
      this.rows.delete(held.row.id)
      this.dead.set(held.row.id, { row: held.row, record: decodeDeadLetterRecord(text(record)) })
    }
  }

  #hold(names: readonly string[], owner: string, ttlMs: number, most: number, atMs: number): void {
    const distinct = [...new Set(names)]
    const own = distinct.filter((name) => this.leasesOf([name], owner, atMs).length > 0)
    const free = distinct.filter((name) => (this.leases.get(name)?.endsAtMs ?? -Infinity) <= atMs)
    for (const name of [...own, ...free].slice(0, Math.max(0, most))) {
      const before = this.leases.get(name)?.epoch ?? 0n
      this.leases.set(name, { owner, epoch: own.includes(name) ? before : before + 1n, endsAtMs: atMs + ttlMs })
    }
    // What an owner holds beyond what it asks for goes to others.
    for (const name of own.slice(Math.max(0, most))) this.#endLease(name)
  }

  #endLease(name: string): void {
    const lease = this.leases.get(name)
    if (lease !== undefined) lease.endsAtMs = -Infinity
  }
}

/** The keys of the messages that a list of operations marks as handled. */
export function enteredIn(list: readonly unknown[]): readonly string[] {
  return list.flatMap((op) => (Array.isArray(op) && op[0] === 'enter' ? [text(op[1])] : []))
}

/** How far a list of operations brings the checkpoint of a name under its lease; undefined where it does not. */
export function progressIn(list: readonly unknown[], name: string): bigint | undefined {
  const found = list.findLast((op) => Array.isArray(op) && op[0] === 'checkpoint' && op[1] === name && op[3] === 'forwards')
  return Array.isArray(found) ? bigint(found[2]) : undefined
}

function timerOf(id: unknown, dueAtMs: number, kind: unknown, message: unknown, recurrence: unknown): StoredTimer {
  const [cron, timeZone] = [partOf(recurrence, 'cron'), partOf(recurrence, 'timeZone')]
  return {
    id: text(id),
    dueAtMs,
    kind: kindOf(kind),
    message: unpacked(message),
    recurrence: typeof cron === 'string' && typeof timeZone === 'string' ? { cron, timeZone } : undefined,
  }
}

function rowIn([, id, kind, shard, message]: readonly unknown[]): OutboxRow {
  return { id: bigint(id), kind: kindOf(kind), shard: number(shard), message: unpacked(message) }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function packed(message: WireMessage): Op {
  const { type, metadata } = eventOf('', message)
  return [type, metadata, base64(message.body)]
}

function unpacked(value: unknown): WireMessage {
  const [type, metadata, body] = listOf(value)
  const stored = typeof metadata === 'object' && metadata !== null ? { ...metadata } : {}
  const message = messageOf({ stream: 'desk', revision: 0n, position: 0n, storedAtMs: 0, id: '', type: text(type), metadata: stored, body: Buffer.from(text(body), 'base64') })
  return { ...message, defect: undefined }
}

/** A list, or an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function number(value: unknown): number {
  return typeof value === 'number' ? value : 0
}

function bigint(value: unknown): bigint {
  return typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : -1n
}

function kindOf(value: unknown): 'event' | 'command' {
  return value === 'command' ? 'command' : 'event'
}

function partOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}
