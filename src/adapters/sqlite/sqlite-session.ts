import type { DeliverySink, Outbound, PublishSignal, Subscription, TransportHost, TransportSubscription } from '../../bus/port.ts'
import type { Timer } from '../../core/clock.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteTurn } from './sqlite-commit-queue.ts'
import { integer } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteDeadLetters } from './sqlite-dead-letters.ts'
import { shiftDueTimes } from './sqlite-deliveries.ts'
import { joinGroup } from './sqlite-groups.ts'
import { SqliteHealth } from './sqlite-health.ts'
import { SqliteInstances, putOutLost } from './sqlite-instances.ts'
import { SqliteIntake } from './sqlite-intake.ts'
import type { SqliteLight } from './sqlite-light.ts'
import { openConnections, patiently } from './sqlite-open.ts'
import type { SqliteConnections } from './sqlite-open.ts'
import type { SqliteSettings } from './sqlite-options.ts'
import { publishWith } from './sqlite-publish.ts'
import { SqliteSubscription } from './sqlite-subscription.ts'
import { SqliteWake } from './sqlite-wake.ts'

/** Time between two checkpoints that this instance asks for, so that the WAL does not wait for a busy writer (L-07). */
const CHECKPOINT_EVERY_MS = 30_000
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
  #pulse: Timer | undefined
  #dataVersion = -1
  #isCheckpointDue = false
  #checkpointAtMs: number
  #watchAtMs = 0
  #wallAheadMs: number

  constructor(settings: SqliteSettings, host: TransportHost, connections: SqliteConnections, planes: SqlitePlanes) {
    this.#settings = settings
    this.#host = host
    this.#connections = connections
    this.#planes = planes
    this.#health = new SqliteHealth(host)
    this.#instances = new SqliteInstances(host, settings.leaseMs)
    this.#intake = new SqliteIntake(this.#instances, planes.light, connections.consuming)
    this.#publishing = this.#queue('publishing', connections.publishing, undefined)
    this.#consuming = this.#queue('consuming', connections.consuming, this.#intake)
    const { wakeFile } = connections
    this.#wake = wakeFile === undefined || !settings.isWatching ? undefined : new SqliteWake(wakeFile, this.#onTouched, this.#onWatchLost)
    this.#checkpointAtMs = host.clock.monotonicMs() + CHECKPOINT_EVERY_MS
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
    this.#watch()
    // Any job brings the heartbeat along, and with it the row of this instance.
    await this.#consuming.call(() => {})
    this.#health.set('consuming', 'up', '')
    this.#onPulse()
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
    this.#pulse?.cancel()
    try {
      // It stands behind all that waits, and gives up when they do.
      await this.#publishing.call(() => {})
    } catch {
      // The publishes have failed by themselves.
    }
    this.#publishing.close()
    this.#intake.stop()
    try {
      await this.#consuming.call((turn) => this.#instances.leave(turn))
    } catch {
      // Others put the instance out when its process has ended or its lease is over.
    }
    this.#consuming.close()
    this.#pulse?.cancel()
    this.#wake?.close()
    this.#planes.light.detach()
    this.#planes.deadLetters.attach(undefined)
    this.#connections.close()
  }

  #queue(part: 'publishing' | 'consuming', connection: SqliteConnection, tail: SqliteIntake | undefined): SqliteCommitQueue {
    return new SqliteCommitQueue({
      part, connection, tail,
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
    try {
      if (this.#instances.hasOthers(turn.connection)) this.#wake.touch()
    } catch {
      // Others find it by their pulse.
    }
  }

  readonly #onTouched = (): void => {
    this.#intake.wakeAll()
    this.#consuming.poke()
  }

  readonly #onWatchLost = (thrown: unknown): void => {
    const reason = thrown === undefined ? 'it was moved or removed' : errorText(thrown)
    this.#health.set('wake-up', 'degraded', `the wake file cannot be watched, other processes are noticed by polling: ${reason}`)
  }

  #watch(): void {
    if (this.#wake === undefined || this.#wake.isWatching) return
    this.#watchAtMs = this.#host.clock.monotonicMs() + WATCH_AGAIN_MS
    this.#wake.watch()
    if (this.#wake.isWatching) this.#health.set('wake-up', 'up', '')
  }

  readonly #onPulse = (): void => {
    try {
      this.#look()
    } catch {
      // The file cannot be read; the queue that works with it reports that.
    }
    this.#pulse = this.#host.clock.setTimer(this.#settings.pollMs, this.#onPulse)
  }

  #look(): void {
    const { consuming } = this.#connections
    const row = consuming.row('PRAGMA data_version')
    const dataVersion = row === undefined ? -1 : integer(row, 'data_version')
    if (dataVersion !== this.#dataVersion) {
      this.#dataVersion = dataVersion
      this.#isCheckpointDue = true
      this.#intake.wakeAll()
    }
    this.#heedClock()
    this.#intake.check()
    for (const lost of this.#instances.watch(consuming, this.#settings.pollMs)) {
      void this.#consuming.call((turn) => putOutLost(turn, lost)).catch(() => {})
    }
    const nowMs = this.#host.clock.monotonicMs()
    if (nowMs >= this.#watchAtMs) this.#watch()
    if (this.#isCheckpointDue && nowMs >= this.#checkpointAtMs) {
      this.#isCheckpointDue = false
      this.#checkpointAtMs = nowMs + CHECKPOINT_EVERY_MS
      consuming.row('PRAGMA wal_checkpoint(PASSIVE)')
    }
    this.#consuming.poke()
  }

  /** Due times are wall-clock times. Where several processes bring them forward, retries come early, which harms less than hours late. */
  #heedClock(): void {
    const { clock } = this.#host
    const aheadMs = clock.nowMs() - clock.monotonicMs()
    const backMs = this.#wallAheadMs - aheadMs
    this.#wallAheadMs = aheadMs
    if (backMs < CLOCK_JUMP_MIN_MS) return
    void this.#consuming.call((turn) => shiftDueTimes(turn, clock.nowMs(), backMs)).catch(() => {})
    this.#intake.wakeAll()
  }
}
