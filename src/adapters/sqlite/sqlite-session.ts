import type { DeliverySink, Outbound, PublishSignal, Subscription, TransportHost, TransportSubscription } from '../../bus/port.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteTurn } from './sqlite-commit-queue.ts'
import { integer } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteDeadLetters } from './sqlite-dead-letters.ts'
import { shiftDueTimes } from './sqlite-deliveries.ts'
import { joinGroup } from './sqlite-groups.ts'
import { SqliteFileGuard } from './sqlite-file-guard.ts'
import { SqliteHealth } from './sqlite-health.ts'
import { SqliteInstances, putOutLost } from './sqlite-instances.ts'
import { SqliteIntake } from './sqlite-intake.ts'
import type { SqliteLight } from './sqlite-light.ts'
import { SqliteLog } from './sqlite-log.ts'
import { openConnections, patiently } from './sqlite-open.ts'
import type { SqliteConnections } from './sqlite-open.ts'
import type { SqliteSettings } from './sqlite-options.ts'
import { publishWith } from './sqlite-publish.ts'
import { SqlitePulse } from './sqlite-pulse.ts'
import { SqliteSubscription } from './sqlite-subscription.ts'
import { SqliteWake } from './sqlite-wake.ts'

/** Time between two tries to watch the wake file after the watcher failed. */
const WATCH_AGAIN_MS = 10_000
/** A wall clock that goes back by more than this was set, not corrected. */
const CLOCK_JUMP_MIN_MS = 1_000

/** The planes that a session serves; they belong to the transport and outlive the session. */
export interface SqlitePlanes {
  readonly light: SqliteLight
  readonly deadLetters: SqliteDeadLetters
}

/** Everything between `open` and `close`. */
export class SqliteSession {
  readonly #settings: SqliteSettings
  readonly #host: TransportHost
  readonly #connections: SqliteConnections
  readonly #planes: SqlitePlanes
  readonly #health: SqliteHealth
  readonly #instances: SqliteInstances
  readonly #intake: SqliteIntake
  readonly #publishing: SqliteCommitQueue
  readonly #consuming: SqliteCommitQueue
  readonly #wake: SqliteWake | undefined
  readonly #pulse: SqlitePulse
  readonly #guard: SqliteFileGuard
  readonly #log: SqliteLog
  #dataVersion = -1
  #watchAtMs = 0
  #wallAheadMs: number

  constructor(settings: SqliteSettings, host: TransportHost, connections: SqliteConnections, planes: SqlitePlanes) {
    this.#settings = settings
    this.#host = host
    this.#connections = connections
    this.#planes = planes
    this.#health = new SqliteHealth(host)
    this.#guard = new SqliteFileGuard(connections.publishing)
    this.#log = new SqliteLog(connections.consuming, { guard: this.#guard, health: this.#health, clock: host.clock })
    this.#instances = new SqliteInstances(host, settings.leaseMs)
    this.#intake = new SqliteIntake(this.#instances, planes.light, connections.consuming)
    this.#publishing = this.#queue('publishing', connections.publishing, undefined)
    this.#consuming = this.#queue('consuming', connections.consuming, this.#intake)
    const { wakeFile } = connections
    const { isWatching } = settings
    this.#wake =
      wakeFile === undefined ? undefined : new SqliteWake(wakeFile, { isWatching, onTouched: this.#onTouched, onLost: this.#onWatchLost })
    this.#pulse = new SqlitePulse({
      clock: host.clock,
      restMs: settings.pollMs,
      // A file that nobody else can open needs no looks at all beyond the duties.
      isToldByOthers: () => this.#wake === undefined || this.#wake.isHearing,
      look: () => this.#look(),
      duties: () => this.#doDuties(),
    })
    this.#wallAheadMs = host.clock.nowMs() - host.clock.monotonicMs()
  }

  /** Opens the file and enters this instance. */
  static async open(settings: SqliteSettings, host: TransportHost, planes: SqlitePlanes): Promise<SqliteSession> {
    const connections = await openConnections(settings, host)
    const session = new SqliteSession(settings, host, connections, planes)
    try {
      await session.#start()
    } catch (thrown) {
      await session.close()
      throw thrown
    }
    return session
  }

  async #start(): Promise<void> {
    const { light, deadLetters } = this.#planes
    light.attach({ queue: this.#consuming, host: this.#host, instances: this.#instances })
    deadLetters.attach({ queue: this.#publishing, read: (work) => this.#read(work) })
    this.#wake?.watch()
    // Any job brings the heartbeat along, and with it the row of this instance.
    await this.#consuming.call(() => {})
    this.#health.set('consuming', 'up', '')
    this.#pulse.start()
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    return publishWith(this.#publishing, outbound, { giveUpAtMs: this.#host.clock.monotonicMs() + this.#settings.lockWaitMs, signal })
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    if (subscription.kind === 'event' && subscription.from === 'beginning') {
      const needed = `from: "beginning" of group ${subscription.group}`
      throw new TrunklineError('bus.unsupported', { adapter: 'sqlite', capability: 'canReplay', needed })
    }
    const { address } = this.#instances
    const groupId = await this.#publishing.call((turn) => joinGroup(turn, subscription, address))
    this.#instances.groups.add(groupId)
    const running = new SqliteSubscription(groupId, subscription, sink, {
      queue: this.#consuming,
      host: this.#host,
      address,
      onClosed: (closed) => this.#forget(closed),
    })
    this.#intake.add(running)
    this.#consuming.poke()
    return running
  }

  #forget(subscription: SqliteSubscription): boolean {
    const isLast = this.#intake.remove(subscription)
    if (isLast) this.#instances.groups.delete(subscription.groupId)
    return isLast
  }

  /** Stores what waits, hands back what is unsettled, and closes what `open` opened. */
  async close(): Promise<void> {
    this.#pulse.close()
    // Nothing that waits can be stored in a file that is gone.
    const waitMs = this.#hasFile() ? this.#settings.lockWaitMs : 0
    try {
      // It stands behind all that waits, and gives up when they do.
      await this.#publishing.call(() => {}, waitMs)
    } catch {
      // The publishes have failed by themselves.
    }
    this.#publishing.close()
    this.#intake.stop()
    try {
      await this.#consuming.call((turn) => this.#instances.leave(turn), waitMs)
    } catch {
      // Others put the instance out when its process has ended or its lease is over.
    }
    this.#consuming.close()
    this.#wake?.close()
    this.#planes.light.detach()
    this.#planes.deadLetters.attach(undefined)
    this.#connections.close()
  }

  #queue(part: 'publishing' | 'consuming', connection: SqliteConnection, tail: SqliteIntake | undefined): SqliteCommitQueue {
    return new SqliteCommitQueue({
      part, connection, tail,
      guard: this.#guard,
      host: this.#host,
      health: this.#health,
      lockWaitMs: this.#settings.lockWaitMs,
      onCommitted: this.#onCommitted,
    })
  }

  #read<T>(work: (connection: SqliteConnection) => T): Promise<T> {
    return patiently(this.#host, this.#settings.lockWaitMs, () => work(this.#connections.consuming))
  }

  readonly #onCommitted = (turn: SqliteTurn): void => {
    if (turn.groups.size > 0) this.#intake.wakeGroups(turn.groups)
    if (turn.wakesInbox) this.#planes.light.wake()
    if (turn.groups.size > 0 || turn.wakesInbox) this.#consuming.poke()
    if (!turn.wakesOthers || this.#wake === undefined) return
    this.#pulse.stir()
    try {
      if (this.#instances.hasOthers(turn.connection)) this.#wake.touch()
    } catch {
      // Others find it by their pulse.
    }
  }

  readonly #onTouched = (): void => {
    if (this.#wake?.isHearing === true) this.#health.set('wake-up', 'up', '')
    this.#intake.wakeAll()
    this.#consuming.poke()
  }

  readonly #onWatchLost = (reason: unknown): void => {
    this.#watchAtMs = this.#host.clock.monotonicMs() + WATCH_AGAIN_MS
    this.#health.set('wake-up', 'degraded', `the wake file cannot be watched, other processes are noticed by polling: ${errorText(reason)}`)
    this.#pulse.stir()
  }

  /** The size of the write-ahead log at the last pulse. */
  get logBytes(): number {
    return this.#log.bytes
  }

  /** Finds what others have committed without a wake-up that reached this instance. */
  #look(): boolean {
    try {
      const { consuming } = this.#connections
      const row = consuming.row('PRAGMA data_version')
      const dataVersion = row === undefined ? -1 : integer(row, 'data_version')
      if (dataVersion !== this.#dataVersion) {
        this.#dataVersion = dataVersion
        this.#log.grow()
        this.#intake.wakeAll()
      }
      const hasWork = this.#intake.hasWork(consuming)
      if (hasWork) this.#consuming.poke()
      return hasWork
    } catch {
      // The file cannot be read; the queue that works with it reports that.
      return false
    }
  }

  #doDuties(): void {
    try {
      this.#hasFile()
      this.#heedClock()
      this.#intake.check()
      for (const lost of this.#instances.watch(this.#connections.consuming, this.#settings.pollMs)) {
        void this.#consuming.call((turn) => putOutLost(turn, lost)).catch(() => {})
      }
      this.#wake?.check()
      if (this.#wake?.wantsWatching === true && this.#host.clock.monotonicMs() >= this.#watchAtMs) this.#wake.watch()
      this.#log.tend()
    } catch {
      // As above: what is left undone now is done at the next pulse.
    }
    // The heartbeat may be due.
    this.#consuming.poke()
  }

  #hasFile(): boolean {
    try {
      this.#guard.check()
      this.#health.set('file', 'up', '')
      return true
    } catch (thrown) {
      this.#health.set('file', 'down', errorText(thrown))
      return false
    }
  }

  /** Due times are wall-clock times. Where several processes bring them forward, retries come early, which harms less than hours late. */
  #heedClock(): void {
    const { clock } = this.#host
    const aheadMs = clock.nowMs() - clock.monotonicMs()
    const backMs = this.#wallAheadMs - aheadMs
    this.#wallAheadMs = aheadMs
    if (backMs < CLOCK_JUMP_MIN_MS) return
    const shifted = this.#consuming.call((turn) => shiftDueTimes(turn, clock.nowMs(), backMs))
    shifted.then(this.#onTouched).catch(() => {})
  }
}
