import type { DeliverySink, Outbound, PublishSignal, Subscription, TransportHost, TransportSubscription } from '../../bus/port.ts'
import { sleep } from '../../core/clock.ts'
import { errorText, isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { LaterLooks } from '../../core/later-looks.ts'
import type { PgDatabase } from './postgres-database.ts'
import type { PgDeadLetters } from './postgres-dead-letters.ts'
import { PgDeliveries, type PgSettled } from './postgres-deliveries.ts'
import { PgGroups } from './postgres-groups.ts'
import { instanceIdFrom, PgInstances } from './postgres-instances.ts'
import type { PgLight } from './postgres-light.ts'
import { PgLightRows } from './postgres-light-rows.ts'
import { PgLink } from './postgres-link.ts'
import { PgMessages, type PgStored } from './postgres-messages.ts'
import { asLost, isPassing } from './postgres-problem.ts'
import { PgPublisher } from './postgres-publish.ts'
import { PgPulse } from './postgres-pulse.ts'
import type { PgExecutor } from './postgres-session.ts'
import { PgSettler } from './postgres-settler.ts'
import { PgSubscription } from './postgres-subscription.ts'
import { PgTransportHealth } from './postgres-transport-health.ts'
import { channelOf, PgTransportLocks } from './postgres-transport-locks.ts'
import { PgWaker } from './postgres-waker.ts'

/** Longest wait for the connection that listens, when the transport opens and when something is listened to. */
const HEAR_WAIT_MS = 5_000
/** Longest time that closing waits for outcomes to be written. */
const CLOSE_WAIT_MS = 5_000
/** After a write on a transaction that the caller commits, nobody tells when it has: it is looked at these times later. */
const ADOPTED_LOOKS_MS: readonly number[] = [10, 100, 1_000]
/** An idle instance is believed to live for so many leases without a sign. */
const IDLE_LEASES = 4

/** The planes that a session serves; they belong to the transport and outlive the session. */
export interface PgPlanes {
  readonly light: PgLight
  readonly deadLetters: PgDeadLetters
}

/** Everything between `open` and `close`. */
export class PgTransportSession {
  readonly #database: PgDatabase
  readonly #host: TransportHost
  readonly #planes: PgPlanes
  readonly #health: PgTransportHealth
  readonly #databaseHost: TransportHost
  readonly #leaseMs: number
  readonly #address: string
  readonly #locks: PgTransportLocks
  readonly #deliveries: PgDeliveries
  readonly #instances: PgInstances
  readonly #groups: PgGroups
  readonly #messages: PgMessages
  readonly #publishing: PgLink
  readonly #consuming: PgLink
  readonly #publisher: PgPublisher
  readonly #settler: PgSettler
  readonly #waker: PgWaker
  readonly #pulse: PgPulse
  readonly #subscriptions = new Set<PgSubscription>()
  readonly #adopted: LaterLooks<PgStored>
  readonly #told = new WeakSet<PgStored>()
  #instanceId: string | undefined
  #isEntering = false
  #isClosed = false

  private constructor(database: PgDatabase, host: TransportHost, planes: PgPlanes) {
    this.#database = database
    this.#host = host
    this.#planes = planes
    this.#leaseMs = database.settings.leaseMs
    this.#health = new PgTransportHealth(host)
    this.#databaseHost = { ...host, report: (state, reason) => this.#health.set('database', state, reason) }
    this.#address = host.random.id(host.clock.nowMs())
    this.#locks = new PgTransportLocks(database.settings.schema)
    this.#deliveries = new PgDeliveries(database.schema)
    this.#instances = new PgInstances(database.schema)
    this.#groups = new PgGroups(database, this.#locks)
    this.#messages = new PgMessages(database.schema, this.#locks)
    this.#adopted = new LaterLooks(host.clock, ADOPTED_LOOKS_MS, (noted) => this.#lookAtAdopted(noted))
    this.#publishing = this.#link('publishing')
    this.#consuming = this.#link('consuming')
    const instanceId = (): string | undefined => this.#instanceId
    this.#publisher = new PgPublisher({
      link: this.#publishing, host, messages: this.#messages, instanceId,
      onSent: (groupIds) => this.#waker.tell(new Map(groupIds.map((groupId) => [groupId, true]))),
      onStored: (stored) => this.stored(stored),
    })
    this.#settler = new PgSettler({
      link: this.#consuming, host, deliveries: this.#deliveries, locks: this.#locks, instanceId,
      onSettled: (settled) => this.#settled(settled),
    })
    this.#waker = new PgWaker({ link: this.#publishing, host, address: this.#address, channel: channelOf(database.settings.schema, 'wake') })
    this.#pulse = new PgPulse({
      host, link: this.#consuming, instances: this.#instances, deliveries: this.#deliveries, address: this.#address,
      leaseMs: this.#leaseMs, idleLeaseMs: IDLE_LEASES * this.#leaseMs, signals: () => database.signals,
      isExpectedToHear: database.settings.listenAddress !== undefined,
      instanceId,
      isBusy: () => [...this.#subscriptions].some(({ isBusy }) => isBusy),
      groupIds: () => [...new Set([...this.#subscriptions].flatMap(({ groupId }) => groupId ?? []))],
      onWork: (groupIds) => this.#wake(groupIds),
      onFreed: (groupIds) => this.#freed(groupIds),
      onPutOut: (id) => this.#onPutOut(id),
      takeLight: () => planes.light.take(),
      report: (state, reason) => this.#health.set('wake-up', state, reason),
    })
  }

  /** Connects, brings the tables up to date, and enters this instance. @throws `bus.connection_lost`. */
  static async open(database: PgDatabase, host: TransportHost, planes: PgPlanes): Promise<PgTransportSession> {
    const session = new PgTransportSession(database, host, planes)
    try {
      await database.open(session.#databaseHost, 'transport')
      await session.#start()
    } catch (thrown) {
      await session.close()
      throw asLost(thrown)
    }
    return session
  }

  async #start(): Promise<void> {
    const { signals } = this.#database
    const { schema } = this.#database.settings
    await Promise.all([this.#publishing.open(), this.#consuming.open()])
    const isHearing = await signals.hear(this.#inbox, this.#planes.light.heard, HEAR_WAIT_MS)
    if (isHearing) await signals.hear(this.#waker.channel, (payload) => this.#wake(this.#waker.groupsIn(payload)), HEAR_WAIT_MS)
    await this.#enter()
    this.#planes.light.attach({
      host: this.#host, address: this.#address, instanceId: () => this.#instanceId,
      link: this.#publishing, rows: new PgLightRows(this.#database.schema), instances: this.#instances,
      channelOf: (type) => channelOf(schema, `broadcast ${type}`),
      hear: async (channel) => void (await signals.hear(channel, this.#planes.light.heard, HEAR_WAIT_MS)),
      deafen: (channel) => signals.deafen(channel),
      onAsked: () => this.#pulse.soon(),
    })
    this.#planes.deadLetters.attach({ link: this.#publishing, locks: this.#locks, onFreed: (groupIds) => this.#freed(groupIds) })
    // While nobody listened, anything may have happened.
    signals.on('*', () => this.#onConsumingAgain())
    this.#pulse.start()
  }

  get #inbox(): string {
    return channelOf(this.#database.settings.schema, `inbox ${this.#address}`)
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    return this.#publisher.publish(outbound, signal)
  }

  /** Stores messages in a transaction of the caller's, who tells `stored` after its commit. @throws `store.*`. */
  insert(executor: PgExecutor, outbounds: readonly Outbound[]): Promise<PgStored> {
    return this.#messages.insert(executor, outbounds, this.#instanceId)
  }

  /** Messages were committed. */
  stored({ groups, heard }: PgStored): void {
    this.#wake(groups.keys())
    this.#waker.tell(groups)
    for (const { message } of heard) {
      // Without durability: whoever cannot be told now is not told.
      this.#planes.light.broadcast(message).catch(() => undefined)
    }
  }

  /** Messages may be committed at any time from now on; what nobody keeps is told only once they are. */
  adopted(stored: PgStored): void {
    this.#adopted.note([stored])
  }

  #lookAtAdopted(noted: ReadonlySet<PgStored>): void {
    const groups = new Map<number, boolean>()
    for (const stored of noted) for (const [group, isForeign] of stored.groups) groups.set(group, isForeign || groups.get(group) === true)
    this.stored({ groups, heard: [], transaction: '' })
    for (const stored of noted) {
      if (stored.heard.length === 0 || this.#told.has(stored)) continue
      this.#publishing.run(this.#messages.committedStep(stored.transaction)).then(
        ([row]) => {
          if (this.#told.has(stored) || row?.['status'] !== 'committed') return
          this.#told.add(stored)
          this.stored({ ...stored, groups: new Map() })
        },
        () => undefined,
      )
    }
  }

  async subscribe(wanted: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    if (wanted.kind === 'event' && wanted.from === 'beginning') {
      const needed = `from: "beginning" of group ${wanted.group}`
      throw new TrunklineError('bus.unsupported', { adapter: 'postgres', capability: 'canReplay', needed })
    }
    const instanceId = this.#instanceId
    if (instanceId === undefined) throw asLost(new TrunklineError('store.down', { store: 'postgres', problem: 'this instance is being entered again' }))
    try {
      const membership = await this.#groups.join(wanted, instanceId)
      const subscription = new PgSubscription(wanted, sink, membership, {
        link: this.#consuming, host: this.#host, deliveries: this.#deliveries, locks: this.#locks, settler: this.#settler, leaseMs: this.#leaseMs,
        onClaimed: () => this.#pulse.busy(),
        onPutOut: (id) => this.#onPutOut(id),
        onClosed: (closed) => void this.#subscriptions.delete(closed),
      })
      this.#subscriptions.add(subscription)
      // What was put out meanwhile is entered again with the others; else it begins now.
      if (this.#instanceId === instanceId) subscription.wake()
      else await this.#rejoin(subscription)
      return subscription
    } catch (thrown) {
      throw asLost(thrown)
    }
  }

  /** Stores what waits, hands back what is unsettled, and closes what `open` opened. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#adopted.close()
    this.#pulse.stop()
    await this.#inTime(Promise.all([this.#publisher.flushed(), this.#settler.flushed()]))
    this.#publisher.close()
    this.#settler.close()
    this.#planes.light.detach()
    this.#planes.deadLetters.attach(undefined)
    const instanceId = this.#instanceId
    this.#instanceId = undefined
    // Where that does not succeed, others put the instance out when its lease is over.
    if (instanceId !== undefined && this.#consuming.isUp) await this.#inTime(this.#putOutSelf(instanceId))
    this.#waker.close()
    await Promise.all([this.#publishing.close(), this.#consuming.close()])
    await this.#database.close(this.#databaseHost)
  }

  async #putOutSelf(instanceId: string): Promise<void> {
    try {
      await this.#consuming.transact(this.#deliveries.putOut(instanceId))
    } catch {
      // As if it had died.
    }
  }

  async #inTime(work: Promise<unknown>): Promise<void> {
    const waiting = new AbortController()
    await Promise.race([work, sleep(this.#host.clock, CLOSE_WAIT_MS, waiting.signal)])
    waiting.abort()
  }

  #link(part: 'publishing' | 'consuming'): PgLink {
    return new PgLink(this.#database, this.#host, {
      onUp: () => {
        this.#health.set(part, 'up', '')
        if (part === 'consuming' && this.#instanceId !== undefined) this.#onConsumingAgain()
      },
      onDown: (problem) => this.#health.set(part, 'down', problem),
    })
  }

  /** The server may have crashed and forgotten what was claimed last. */
  #onConsumingAgain(): void {
    for (const subscription of this.#subscriptions) subscription.restore()
    this.#pulse.beat()
  }

  #wake(groupIds: Iterable<number>): void {
    const woken = new Set(groupIds)
    if (woken.size === 0) return
    for (const subscription of this.#subscriptions) if (subscription.groupId !== undefined && woken.has(subscription.groupId)) subscription.wake()
  }

  #freed(groupIds: readonly number[]): void {
    this.#wake(groupIds)
    this.#waker.tell(new Map(groupIds.map((groupId) => [groupId, true])))
  }

  #settled({ isInstance, groups }: PgSettled): void {
    this.#wake(groups.keys())
    this.#waker.tell(groups)
    if (!isInstance && this.#instanceId !== undefined) this.#onPutOut(this.#instanceId)
  }

  /** Enters the instance under a new id: what it had claimed under the old one is no longer its own. */
  async #enter(): Promise<void> {
    const isListening = this.#database.settings.listenAddress !== undefined
    this.#instanceId = instanceIdFrom(await this.#consuming.run(this.#instances.enter(this.#address, this.#inbox, isListening, IDLE_LEASES * this.#leaseMs)))
  }

  #onPutOut(instanceId: string): void {
    if (this.#instanceId !== instanceId || this.#isEntering || this.#isClosed) return
    this.#instanceId = undefined
    this.#isEntering = true
    this.#host.logger.warn({ instance: this.#host.instance }, 'this instance showed no sign of life in time and was put out; it enters again')
    for (const subscription of this.#subscriptions) subscription.expel()
    void this.#enterAgain().finally(() => {
      this.#isEntering = false
    })
  }

  async #enterAgain(): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.#enter()
        const { listens } = this.#planes.light
        if (this.#instanceId !== undefined && listens.length > 0) await this.#consuming.run(this.#instances.listen(this.#instanceId, listens))
        for (const subscription of this.#subscriptions) if (subscription.groupId === undefined) await this.#rejoin(subscription)
        return
      } catch (thrown) {
        if (!isPassing(thrown)) this.#host.logger.error({ problem: errorText(thrown) }, 'this instance could not enter again; it goes on trying')
        await this.#consuming.recovered()
      }
    }
  }

  async #rejoin(subscription: PgSubscription): Promise<void> {
    const instanceId = this.#instanceId
    if (instanceId === undefined) return
    try {
      subscription.readmit(await this.#groups.join(subscription.wanted, instanceId))
    } catch (thrown) {
      // Put out once more meanwhile: then the next round enters it.
      if (!isTrunklineError(thrown, 'store.refused')) throw thrown
    }
  }
}
