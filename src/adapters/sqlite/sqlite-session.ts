import type { DeliverySink, Outbound, PublishSignal, Subscription, TransportSubscription } from '../../bus/port.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import { SqliteChanges } from './sqlite-changes.ts'
import { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteTurn } from './sqlite-turn.ts'
import { integer } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteDeadLetters } from './sqlite-dead-letters.ts'
import { shiftDueTimes } from './sqlite-deliveries.ts'
import { joinGroup } from './sqlite-groups.ts'
import { SqliteFileGuard } from './sqlite-file-guard.ts'
import { closeGate, openGate } from './sqlite-gate.ts'
import type { SqliteGate } from './sqlite-gate.ts'
import { SqliteHealth } from './sqlite-health.ts'
import type { SqliteHost } from './sqlite-host.ts'
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
/** Time between two looks that counts as hearing of others. */
const HEARD_POLL_MS = 500
/** A wall clock that goes back by more than this was set, not corrected. */
const CLOCK_JUMP_MIN_MS = 1_000

/** The planes that a session serves; they belong to the transport and outlive the session. */
export interface SqlitePlanes {
  readonly light: SqliteLight
  readonly deadLetters: SqliteDeadLetters
}

/** What there is while the file is open. */
interface OpenFile {
  readonly connections: SqliteConnections
  readonly gate: SqliteGate
  readonly gateName: string
  readonly guard: SqliteFileGuard
  readonly log: SqliteLog
  readonly intake: SqliteIntake
  readonly durable: SqliteCommitQueue
  readonly consuming: SqliteCommitQueue
  readonly wake: SqliteWake | undefined
  readonly pulse: SqlitePulse
}

/** A file from its opening to its closing, for the transport and the store on it. */
export class SqliteSession {
  readonly health: SqliteHealth = new SqliteHealth()
  readonly changes: SqliteChanges = new SqliteChanges()
  readonly host: SqliteHost
  readonly #settings: SqliteSettings
  readonly #planes: SqlitePlanes
  readonly #instances: SqliteInstances
  #file: OpenFile | undefined
  #dataVersion = -1
  #watchAtMs = 0
  #wallAheadMs: number

  constructor(settings: SqliteSettings, host: SqliteHost, planes: SqlitePlanes) {
    this.#settings = settings
    this.host = host
    this.#planes = planes
    this.#instances = new SqliteInstances(host, settings.leaseMs)
    this.#wallAheadMs = host.clock.nowMs() - host.clock.monotonicMs()
  }

  /** Opens the file and enters this instance. @throws as `openConnections` does. */
  async open(): Promise<void> {
    const connections = await openConnections(this.#settings, this.host)
    const file = this.#opened(connections)
    this.#file = file
    try {
      const { light, deadLetters } = this.#planes
      light.attach({ queue: file.consuming, host: this.host, instances: this.#instances })
      deadLetters.attach({ queue: file.durable, read: (work) => this.read(work) })
      this.changes.start(connections.consuming)
      file.wake?.watch()
      // Any job brings the heartbeat along, and with it the row of this instance.
      await file.consuming.call(() => {})
      this.health.set('consuming', 'up', '')
      file.pulse.start()
      // Whoever died here before is put out by now, and what it held is free.
      await file.consuming.call(() => {})
    } catch (thrown) {
      await this.close()
      throw thrown
    }
  }

  #opened(connections: SqliteConnections): OpenFile {
    const { clock } = this.host
    const { durable, consuming, wakeFile } = connections
    const { isWatching, pollMs } = this.#settings
    const guard = new SqliteFileGuard(durable)
    const gateName = durable.file
    const gate = openGate(gateName)
    const intake = new SqliteIntake(this.#instances, this.#planes.light, consuming)
    const wake = wakeFile === undefined ? undefined : new SqliteWake(wakeFile, { isWatching, onTouched: this.#onTouched, onLost: this.#onWatchLost })
    const queue = (part: 'writing' | 'consuming', connection: SqliteConnection, tail: SqliteIntake | undefined): SqliteCommitQueue =>
      new SqliteCommitQueue({
        part, connection, tail, gate, guard,
        host: this.host,
        health: this.health,
        lockWaitMs: this.#settings.lockWaitMs,
        unitHoldMsMax: this.#settings.unitHoldMsMax,
        onCommitted: this.#onCommitted,
      })
    return {
      connections, gate, gateName, guard, intake, wake,
      log: new SqliteLog(consuming, { guard, health: this.health, clock }),
      durable: queue('writing', durable, undefined),
      consuming: queue('consuming', consuming, intake),
      pulse: new SqlitePulse({
        clock,
        restMs: pollMs,
        // A file that nobody else can open needs no looks at all beyond the duties.
        isToldByOthers: () => wake === undefined || wake.isHearing,
        look: () => this.#look(),
        duties: () => this.#doDuties(),
      }),
    }
  }

  get #open(): OpenFile {
    if (this.#file === undefined) throw new TrunklineError('bus.connection_lost', { adapter: 'sqlite', problem: 'the file is not open' })
    return this.#file
  }

  /** For what must survive a power cut. */
  get durable(): SqliteCommitQueue {
    return this.#open.durable
  }

  /** For what a power cut may undo. */
  get consuming(): SqliteCommitQueue {
    return this.#open.consuming
  }

  /** The connection that units of work write on. */
  get unitConnection(): SqliteConnection {
    return this.#open.connections.durable
  }

  /** Text under which this instance is entered in the file. */
  get address(): string {
    return this.#instances.address
  }

  /** True where commits of others are noticed at least as soon as by looking every half second. */
  get hearsOthers(): boolean {
    const wake = this.#file?.wake
    return wake === undefined || wake.isHearing || this.#settings.pollMs <= HEARD_POLL_MS
  }

  /** Reads what is committed; while the file cannot be read it is tried for as long as a lock may last. @throws `bus.connection_lost`. */
  read<T>(work: (connection: SqliteConnection) => T): Promise<T> {
    return patiently(this.host, this.#settings.lockWaitMs, () => {
      const { durable, consuming } = this.#open.connections
      return durable === consuming ? consuming.outside(() => work(consuming)) : work(consuming)
    })
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    return publishWith(this.durable, outbound, { giveUpAtMs: this.host.clock.monotonicMs() + this.#settings.lockWaitMs, signal })
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    if (subscription.kind === 'event' && subscription.from === 'beginning') {
      const needed = `from: "beginning" of group ${subscription.group}`
      throw new TrunklineError('bus.unsupported', { adapter: 'sqlite', capability: 'canReplay', needed })
    }
    const { address } = this.#instances
    const groupId = await this.durable.call((turn) => joinGroup(turn, subscription, address))
    this.#instances.groups.add(groupId)
    const running = new SqliteSubscription(groupId, subscription, sink, {
      queue: this.consuming,
      host: this.host,
      address,
      onClosed: (closed) => this.#forget(closed),
    })
    this.#open.intake.add(running)
    this.consuming.poke()
    return running
  }

  #forget(subscription: SqliteSubscription): boolean {
    const isLast = this.#open.intake.remove(subscription)
    if (isLast) this.#instances.groups.delete(subscription.groupId)
    return isLast
  }

  /** Ends what the transport has going on where its store goes on without it. */
  async endDeliveries(): Promise<void> {
    await this.#open.intake.closeAll()
    await this.#planes.light.closeAll()
  }

  /** Stores what waits, hands back what is unsettled, and closes what `open` opened. */
  async close(): Promise<void> {
    const file = this.#file
    if (file === undefined) return
    const { pulse, durable, consuming, intake, wake, connections } = file
    pulse.close()
    // Nothing that waits can be stored in a file that is gone.
    const waitMs = this.#hasFile(file) ? this.#settings.lockWaitMs : 0
    try {
      // It stands behind all that waits, and gives up when they do.
      await durable.call(() => {}, waitMs)
    } catch {
      // The publishes have failed by themselves.
    }
    durable.close()
    intake.stop()
    try {
      await consuming.call((turn) => this.#instances.leave(turn), waitMs)
    } catch {
      // Others put the instance out when its process has ended or its lease is over.
    }
    consuming.close()
    wake?.close()
    this.#planes.light.detach()
    this.#planes.deadLetters.attach(undefined)
    this.#file = undefined
    connections.close()
    closeGate(file.gateName)
  }

  readonly #onCommitted = (turn: SqliteTurn): void => {
    const file = this.#file
    if (file === undefined) return
    if (turn.groups.size > 0) file.intake.wakeGroups(turn.groups)
    if (turn.wakesInbox) this.#planes.light.wake()
    if (turn.groups.size > 0 || turn.wakesInbox) file.consuming.poke()
    if (turn.numbered > 0) this.changes.own(turn)
    if (turn.wakesOthers) this.wakeOthers(turn.connection)
  }

  /** Tells other processes that something was committed. */
  wakeOthers(connection: SqliteConnection): void {
    const { wake, pulse } = this.#open
    if (wake === undefined) return
    pulse.stir()
    try {
      if (this.#instances.hasOthers(connection)) wake.touch()
    } catch {
      // Others find it by their pulse.
    }
  }

  /** Somebody has committed something, perhaps in this process and on a connection of its own. */
  readonly wakeSelf = (): void => {
    const file = this.#file
    if (file === undefined) return
    file.intake.wakeAll()
    file.consuming.poke()
    try {
      this.#lookForChanges(file)
    } catch {
      // The file cannot be read; the pulse looks again.
    }
  }

  readonly #onTouched = (): void => {
    if (this.#file?.wake?.isHearing === true) this.health.set('wake-up', 'up', '')
    this.wakeSelf()
  }

  readonly #onWatchLost = (reason: unknown): void => {
    this.#watchAtMs = this.host.clock.monotonicMs() + WATCH_AGAIN_MS
    this.health.set('wake-up', 'degraded', `the wake file cannot be watched, other processes are noticed by polling: ${errorText(reason)}`)
    this.#file?.pulse.stir()
  }

  /** The size of the write-ahead log at the last pulse. */
  get logBytes(): number {
    return this.#file?.log.bytes ?? 0
  }

  #lookForChanges({ connections: { durable, consuming } }: OpenFile): void {
    // On a connection that is shared with writers, what is not committed would be seen.
    if (durable === consuming && consuming.isInTransaction) return
    this.changes.look(consuming)
  }

  /** Finds what others have committed without a wake-up that reached this instance. */
  #look(): boolean {
    try {
      const { connections: { consuming }, log, intake, consuming: queue } = this.#open
      const row = consuming.row('PRAGMA data_version')
      const dataVersion = row === undefined ? -1 : integer(row, 'data_version')
      if (dataVersion !== this.#dataVersion) {
        this.#dataVersion = dataVersion
        log.grow()
        intake.wakeAll()
        this.#lookForChanges(this.#open)
      }
      const hasWork = intake.hasWork(consuming)
      if (hasWork) queue.poke()
      return hasWork
    } catch {
      // The file cannot be read; the queue that works with it reports that.
      return false
    }
  }

  #doDuties(): void {
    const { connections, intake, consuming, wake, log } = this.#open
    try {
      this.#hasFile(this.#open)
      this.#heedClock()
      intake.check()
      for (const lost of this.#instances.watch(connections.consuming, this.#settings.pollMs)) {
        void consuming.call((turn) => putOutLost(turn, lost)).catch(() => {})
      }
      wake?.check()
      if (wake?.wantsWatching === true && this.host.clock.monotonicMs() >= this.#watchAtMs) wake.watch()
      log.tend()
    } catch {
      // As above: what is left undone now is done at the next pulse.
    }
    // The heartbeat may be due.
    consuming.poke()
  }

  #hasFile({ guard }: OpenFile): boolean {
    try {
      guard.check()
      this.health.set('file', 'up', '')
      return true
    } catch (thrown) {
      this.health.set('file', 'down', errorText(thrown))
      return false
    }
  }

  /** Due times are wall-clock times. Where several processes bring them forward, retries come early, which harms less than hours late. */
  #heedClock(): void {
    const { clock } = this.host
    const aheadMs = clock.nowMs() - clock.monotonicMs()
    const backMs = this.#wallAheadMs - aheadMs
    this.#wallAheadMs = aheadMs
    if (backMs < CLOCK_JUMP_MIN_MS) return
    const shifted = this.consuming.call((turn) => shiftDueTimes(turn, clock.nowMs(), backMs))
    shifted.then(this.#onTouched).catch(() => {})
  }
}
