import { laneMoves } from '../../bus/protocol/lane-balance.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import { derivedId } from '../../core/random.ts'
import type { TransportHost } from '../../bus/port.ts'
import { fieldsOf, recordOf, type EsdbEvent } from './eventstoredb-event.ts'
import { EsdbFeed } from './eventstoredb-feed.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

/** What is kept of a role from owner to owner: how far its work is. */
export interface RoleState {
  /** Position up to which all of it is done. */
  readonly floor: bigint
  /** Highest position that was handed out. */
  readonly delivered: bigint
  /** Up to here an owner that vanished may have begun. */
  readonly suspect: bigint
}

/** A role, and who has it. */
interface Role extends RoleState {
  /** Empty where nobody has it. */
  readonly owner: string
}

/** What one event of the roster says. */
interface Table {
  /** Revision of the event; undefined where there is none yet. */
  readonly revision: bigint | undefined
  /** The server's clock when it was written. */
  readonly atMs: number
  readonly writer: string
  /** When each member last wrote, by the server's clock. */
  readonly members: ReadonlyMap<string, number>
  readonly roles: readonly Role[]
}

/** What a roster does for its group. */
export interface RosterWork {
  /** How far the work of a role of this process is; undefined where it has no such state. */
  stateOf(role: number): RoleState | undefined
  /** This process has the role from now on. */
  taken(role: number, state: RoleState): void
  /** Somebody else has it, or may have: nothing may be done any more. */
  lost(role: number, problem: string): void
  /** Others should have it: finish what runs, then give it back with `release`. */
  asked(role: number): void
}

/** What a roster is about. */
export interface RosterOptions {
  readonly stream: string
  readonly roles: number
  readonly leaseMs: number
  /** Where the work of a role begins that nobody has had yet. */
  readonly start: bigint
}

const WRITE_TRIES_MAX = 8
const KEPT = 16
const NONE: RoleState = { floor: -1n, delivered: -1n, suspect: -1n }

/**
 * Who of a group does what: a stream whose last event is the table of members and roles. Every member writes it every third of a lease, each time
 * only if nobody else has written since it read. A member has vanished when its last event is older than the lease by the server's own
 * clock, as told by the events' `created`: clients' clocks decide nothing (P-15). A member that could not write in time stops by itself.
 */
export class EsdbRoster {
  readonly #link: EsdbLink
  readonly #host: TransportHost
  readonly #options: RosterOptions
  readonly #work: RosterWork
  readonly #self: string
  readonly #owned = new Set<number>()
  readonly #releasing = new Set<number>()
  readonly #balanced = Promise.withResolvers<void>()
  readonly #left = new AbortController()
  #timer: Timer | undefined
  #watchdog: Timer | undefined
  #ticking: Promise<void> | undefined
  #isTickWanted = false
  #isClosed = false
  #writes = 0
  /** Monotonic time before which nobody else can take what this process has. */
  #validUntilMs = 0
  /** The server's clock was here at this monotonic time. */
  #clock: { readonly serverMs: number; readonly atMs: number } | undefined
  #written: { readonly id: string; readonly ackedAtMs: number } | undefined

  constructor(link: EsdbLink, host: TransportHost, options: RosterOptions, work: RosterWork) {
    this.#link = link
    this.#host = host
    this.#options = options
    this.#work = work
    this.#self = `${host.instance}/${host.random.id(host.clock.nowMs())}`
  }

  /** The server's clock, never ahead of it; undefined until it was heard. */
  get serverNowMs(): number | undefined {
    return this.#clock === undefined ? undefined : this.#clock.serverMs + (this.#host.clock.monotonicMs() - this.#clock.atMs)
  }

  /** Joins. Roles come soon after. */
  open(): void {
    this.#want()
    void this.#follow()
  }

  /** Resolves when this process has its share, or after a while. */
  async balanced(timeoutMs: number): Promise<void> {
    await Promise.race([this.#balanced.promise, sleep(this.#host.clock, timeoutMs, this.#link.closed)])
  }

  /** Gives a role back after its work has ended in order. */
  async release(role: number): Promise<void> {
    if (!this.#owned.has(role)) return
    this.#releasing.add(role)
    await this.#settled()
  }

  /** Writes down how far the work is, as soon as possible. */
  hurry(): void {
    this.#want()
  }

  /** Leaves; every role was released before, or is lost. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#left.abort()
    this.#timer?.cancel()
    for (const role of this.#owned) this.#releasing.add(role)
    await this.#settled()
    this.#watchdog?.cancel()
  }

  async #settled(): Promise<void> {
    await this.#ticking
    this.#want()
    await this.#ticking
  }

  /** Looks at once when somebody else has changed what concerns this process; without it, it would notice with its next look. */
  async #follow(): Promise<void> {
    const { stream, leaseMs } = this.#options
    const stop = AbortSignal.any([this.#left.signal, this.#link.closed])
    while (!stop.aborted) {
      const feed = new EsdbFeed(this.#link, KEPT, () => this.#link.client.subscribeToStream(stream, { ...this.#link.callOptions, fromRevision: 'end' }))
      for (let item = feed.poll(); item?.kind !== 'ended' && !stop.aborted; item = feed.poll()) {
        if (item?.kind === 'event' && this.#concerns(tableOf(item.event, this.#options))) this.#want()
        if (item === undefined) await feed.arrived(leaseMs, stop)
      }
      feed.close()
      await sleep(this.#host.clock, leaseMs / 3, stop)
    }
  }

  #concerns({ writer, members, roles }: Table): boolean {
    if (writer === this.#self || !members.has(this.#self)) return false
    const owned = roles.flatMap(({ owner }, number) => (owner === this.#self && !this.#releasing.has(number) ? [number] : []))
    const free = roles.flatMap(({ owner }, number) => (owner === '' ? [number] : []))
    const { acquire, release } = laneMoves({ lanes: this.#options.roles, owned, free, members: members.size })
    return acquire.length > 0 || release.length > 0
  }

  #want(): void {
    if (this.#ticking !== undefined) {
      this.#isTickWanted = true
      return
    }
    this.#timer?.cancel()
    this.#isTickWanted = false
    this.#ticking = this.#tick()
      .catch((error: unknown) => this.#host.logger.warn({ problem: errorText(error), stream: this.#options.stream }, 'looking after roles failed'))
      .finally(() => {
        this.#ticking = undefined
        if (this.#isTickWanted) this.#want()
        else this.#arm()
      })
  }

  #arm(): void {
    if (this.#isClosed || this.#link.closed.aborted) return
    const { clock, random } = this.#host
    this.#timer = clock.setTimer((this.#options.leaseMs / 3) * (0.75 + random.next() / 4), () => this.#want(), { background: true })
  }

  async #tick(): Promise<void> {
    for (let tries = 1; tries <= WRITE_TRIES_MAX && !this.#link.closed.aborted; tries++) {
      const table = await this.#read()
      if (table === undefined) return
      const isJoined = table.members.has(this.#self) || this.#isClosed
      const outcome = await this.#write(table)
      // The first look joins and hears the server's clock; the second one decides.
      if (outcome === 'written' && isJoined) return
      if (outcome === 'failed') return
      if (outcome === 'taken') await sleep(this.#host.clock, this.#host.random.next() * 20 * tries, this.#link.closed)
    }
  }

  async #read(): Promise<Table | undefined> {
    const { stream } = this.#options
    const result = await this.#link.read((client) => client.readStream(stream, { ...this.#link.callOptions, direction: 'backwards', fromRevision: 'end', maxCount: 1 }))
    if (result.kind === 'failed' && result.failure.kind !== 'stream-missing') return undefined
    const event = result.kind === 'done' ? result.value.events[0] : undefined
    const table = tableOf(event, this.#options)
    if (event !== undefined && event.id === this.#written?.id) this.#clock = { serverMs: event.storedAtMs, atMs: this.#written.ackedAtMs }
    for (const role of this.#owned) {
      if (table.roles[role]?.owner !== this.#self) this.#drop(role, 'another instance has taken it over')
    }
    return table
  }

  async #write(table: Table): Promise<'written' | 'taken' | 'failed'> {
    const { stream, leaseMs } = this.#options
    const next = this.#next(table)
    const sentAtMs = this.#host.clock.monotonicMs()
    const id = derivedId(stream, this.#self, `${++this.#writes}`)
    const expected = table.revision ?? 'no_stream'
    const result = await this.#link.call(
      (client) => client.appendToStream(stream, [recordOf(id, 'roster', dataOf(next.members, next.roles, this.#self))], { ...this.#link.callOptions, expectedRevision: expected, streamState: expected }),
      leaseMs / 3,
    )
    if (result.kind === 'failed') return result.failure.kind === 'wrong-revision' ? 'taken' : 'failed'
    this.#written = { id, ackedAtMs: this.#host.clock.monotonicMs() }
    this.#validUntilMs = sentAtMs + leaseMs
    this.#watch()
    if (table.revision === undefined) await this.#link.call((client) => client.setStreamMetadata(stream, { maxCount: KEPT }, this.#link.callOptions))
    this.#apply(next.roles)
    return 'written'
  }

  /** The table as this process wants it. */
  #next(table: Table): { readonly members: Map<string, number>; readonly roles: readonly Role[] } {
    const { leaseMs, roles: count } = this.#options
    const isAlive = (member: string): boolean => (table.members.get(member) ?? -Infinity) + leaseMs > table.atMs
    const members = new Map([...table.members].filter(([member]) => member !== this.#self && isAlive(member)))
    const roles = table.roles.map((role, number) => this.#role(role, number, isAlive))
    if (this.#isClosed) return { members, roles: roles.map((role) => (role.owner === this.#self ? { ...role, owner: '' } : role)) }
    const isNew = !table.members.has(this.#self)
    members.set(this.#self, table.atMs)
    if (isNew) return { members, roles }
    const owned = roles.flatMap(({ owner }, number) => (owner === this.#self ? [number] : []))
    const free = roles.flatMap(({ owner }, number) => (owner === '' && !this.#releasing.has(number) ? [number] : []))
    const { acquire, release } = laneMoves({ lanes: count, owned, free, members: members.size })
    if (owned.length + acquire.length >= Math.floor(count / members.size)) this.#balanced.resolve()
    for (const number of release) if (!this.#releasing.has(number)) this.#work.asked(number)
    return { members, roles: roles.map((role, number) => (acquire.includes(number) ? { ...role, owner: this.#self } : role)) }
  }

  #role(role: Role, number: number, isAlive: (member: string) => boolean): Role {
    if (role.owner === this.#self) {
      // An earlier write of ours was done although its answer was lost: the role is taken with this one.
      if (!this.#owned.has(number)) return role
      const state = this.#work.stateOf(number) ?? role
      return { ...role, ...state, owner: this.#releasing.has(number) ? '' : this.#self }
    }
    if (role.owner === '' || isAlive(role.owner)) return role
    // Whatever the vanished owner had in hand may have begun.
    return { ...role, owner: '', suspect: role.delivered > role.suspect ? role.delivered : role.suspect }
  }

  #apply(roles: readonly Role[]): void {
    for (const [number, role] of roles.entries()) {
      const isMine = role.owner === this.#self
      if (isMine && !this.#owned.has(number)) {
        this.#owned.add(number)
        this.#work.taken(number, role)
      } else if (!isMine && this.#owned.delete(number)) this.#releasing.delete(number)
    }
  }

  /** Ends what this process has when its lease runs out, whatever hangs. */
  #watch(): void {
    this.#watchdog?.cancel()
    const { clock } = this.#host
    this.#watchdog = clock.setTimer(Math.max(0, this.#validUntilMs - clock.monotonicMs()), () => {
      for (const role of this.#owned) this.#drop(role, 'its lease could not be renewed in time')
    }, { background: true })
  }

  #drop(role: number, problem: string): void {
    if (!this.#owned.delete(role)) return
    this.#releasing.delete(role)
    this.#work.lost(role, problem)
  }
}

function dataOf(members: ReadonlyMap<string, number>, roles: readonly Role[], writer: string): Record<string, unknown> {
  return {
    writer,
    members: Object.fromEntries(members),
    roles: roles.map(({ owner, floor, delivered, suspect }) => [owner, `${floor}`, `${delivered}`, `${suspect}`]),
  }
}

function tableOf(event: EsdbEvent | undefined, { roles: count, start }: RosterOptions): Table {
  const fields = event === undefined ? {} : fieldsOf(event)
  const { writer, members: stored, roles: rows } = { writer: undefined, members: undefined, roles: undefined, ...fields } satisfies Record<string, unknown>
  const listed: readonly unknown[] = Array.isArray(rows) ? rows : []
  const members = membersOf(stored)
  if (event !== undefined && typeof writer === 'string' && members.has(writer)) members.set(writer, event.storedAtMs)
  const empty: Role = { ...NONE, floor: start, owner: '' }
  return {
    revision: event?.revision,
    atMs: event?.storedAtMs ?? 0,
    writer: typeof writer === 'string' ? writer : '',
    members,
    roles: Array.from({ length: count }, (_, number) => roleOf(listed[number]) ?? empty),
  }
}

function membersOf(stored: unknown): Map<string, number> {
  const entries: readonly (readonly [string, unknown])[] = typeof stored === 'object' && stored !== null ? Object.entries(stored) : []
  return new Map(entries.flatMap(([name, at]) => (typeof at === 'number' ? [[name, at] as const] : [])))
}

function roleOf(row: unknown): Role | undefined {
  if (!Array.isArray(row)) return undefined
  const cells: readonly unknown[] = row
  const [owner, floor, delivered, suspect] = cells
  return { owner: typeof owner === 'string' ? owner : '', floor: numberOf(floor), delivered: numberOf(delivered), suspect: numberOf(suspect) }
}

function numberOf(value: unknown): bigint {
  return typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : -1n
}
