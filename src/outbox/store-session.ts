import type { TransportState, UnitHost } from '../bus/port.ts'
import { scopeOf } from '../bus/envelopes.ts'
import { runInScope } from '../bus/scope.ts'
import { refuseInUnit } from '../bus/unit-scope.ts'
import { LaterLooks } from '../core/later-looks.ts'
import type { EventStoreParts } from '../store/event-store-parts.ts'
import { ALARM_LEASE, AlarmClock } from './alarm-clock.ts'
import { Backlog } from './backlog.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import type { OutboxParts } from './outbox.ts'
import type { StoreBackend } from './port.ts'
import { shardLease } from './protocol/lease-names.ts'
import { Relay } from './relay.ts'
import type { SchedulerParts } from './scheduler.ts'
import { Sharder } from './shards.ts'
import type { StoreSettings } from './store-options.ts'
import { UnitRunner } from './unit-runner.ts'
import { UPKEEP_LEASE, Upkeep } from './upkeep.ts'

/** Time that a stopping process gives to what still waits in the outbox. */
const FLUSH_MS = 3_000
/** When to look after rows were written in somebody else's transaction: nobody tells of its commit. */
const NUDGES_MS: readonly number[] = [1, 5, 20, 60, 200, 1_000]

/** One store while it is open: units of work, and what goes on in the background. */
export class StoreSession<Tx> {
  readonly units: UnitRunner<Tx>
  readonly outboxParts: OutboxParts
  readonly schedulerParts: SchedulerParts
  readonly eventParts: EventStoreParts
  readonly #backend: StoreBackend<Tx>
  readonly #host: UnitHost
  readonly #isOwnTransport: boolean
  readonly #leases: LeaseKeeper
  readonly #relay: Relay | undefined
  readonly #alarm: AlarmClock
  readonly #upkeep: Upkeep
  readonly #backlog: Backlog
  readonly #nudges: LaterLooks<number>
  #state: TransportState = 'up'
  #reason = ''
  #unhear: (() => void) | undefined

  constructor(backend: StoreBackend<Tx>, settings: StoreSettings, host: UnitHost) {
    this.#backend = backend
    this.#host = host
    this.#isOwnTransport = host.transport !== undefined && backend.transport === host.transport
    const { clock, random, logger, messages } = host
    const sharder = new Sharder(backend.outbox.shards)
    const isPublishing = settings.relay && !this.#isOwnTransport && host.transport !== undefined
    const shards = isPublishing ? [...Array(backend.outbox.shards).keys()].map(shardLease) : []
    this.#leases = new LeaseKeeper({
      table: backend.leases, clock, random, logger, owner: host.instance, ttlMs: settings.leaseMs,
      names: [...shards, ALARM_LEASE, UPKEEP_LEASE],
      onChange: () => {
        this.#relay?.wakeAll()
        this.#alarm.look()
      },
    })
    const hearsOthers = (): boolean => backend.hearsOthers
    this.#relay = isPublishing
      ? new Relay({ table: backend.outbox, host, leases: this.#leases, pageMax: settings.relayPageMax, publishTimeoutMs: 30_000, notBeforeMs: settings.notBeforeMs, hearsOthers })
      : undefined
    // What goes straight into the tables of a transport waits for nobody here.
    this.#backlog = new Backlog({ table: backend.outbox, clock, logger, waitingMax: this.#isOwnTransport ? undefined : settings.outboxWaitingMax })
    const checkBacklog = this.#backlog.check
    this.#nudges = new LaterLooks(clock, NUDGES_MS, (noted) => this.#relay?.wake([...noted]))
    this.units = new UnitRunner(backend, { store: backend.name, clock, random, messages, sharder, checkBacklog, inline: settings.inline, loadSnapshot: (name, shape) => backend.checkpoints.loadSnapshot(name, shape) }, {
      conflictAttemptsMax: settings.conflictAttemptsMax,
      unitTimeoutMs: settings.unitTimeoutMs,
      onCommitted: ({ shards: written, dueInMs }) => {
        this.#relay?.wake(written)
        if (dueInMs !== undefined) this.#alarm.put(dueInMs)
      },
    })
    this.#alarm = new AlarmClock({ timers: backend.timers, host, leases: this.#leases, sharder, commit: (work) => this.units.commit(work), hearsOthers })
    const { inboxRetentionMs, bodyRetentionMs } = settings
    this.#upkeep = new Upkeep({ inbox: backend.inbox, bodies: backend.bodies, host, leases: this.#leases, inboxRetentionMs, bodyRetentionMs })
    this.outboxParts = { messages, sharder, backend, checkBacklog, nudge: (written) => this.#nudges.note(written) }
    this.schedulerParts = { messages, clock, random, runner: this.units, timers: backend.timers, put: (inMs) => this.#alarm.put(inMs) }
    this.eventParts = eventParts(backend, host, settings, this.units)
  }

  async open(): Promise<void> {
    const { clock, random, logger, service, instance } = this.#host
    await this.#backend.open({
      clock, random, logger, service, instance, isOwnTransport: this.#isOwnTransport,
      report: (state, reason) => {
        this.#state = state
        this.#reason = reason
      },
    })
    this.#unhear = this.#backend.onCommitted(() => {
      this.#relay?.heard()
      this.#alarm.look()
    })
  }

  /** Begins to publish and to fire, once the subscriptions of this process are there to get it. */
  async start(): Promise<void> {
    await this.#leases.start()
    this.#relay?.start()
    this.#alarm.start()
    this.#upkeep.start()
    this.#backlog.start()
  }

  async stop(): Promise<void> {
    this.#nudges.close()
    this.#unhear?.()
    await this.#relay?.stop(FLUSH_MS)
    await this.#alarm.stop()
    await this.#upkeep.stop()
    await this.#backlog.stop()
    await this.#leases.stop()
    await this.#backend.close()
  }

  health(): { readonly state: TransportState; readonly reasons: readonly string[] } {
    const relay = this.#relay?.health() ?? { state: 'up' as const, reasons: [] }
    if (this.#state === 'up') return relay
    const reasons = [`${this.#backend.name} is ${this.#state}: ${this.#reason}`, ...relay.reasons]
    return { state: this.#state === 'down' || relay.state === 'down' ? 'down' : 'degraded', reasons }
  }
}

function eventParts<Tx>(backend: StoreBackend<Tx>, host: UnitHost, settings: StoreSettings, units: UnitRunner<Tx>): EventStoreParts {
  const { messages, clock, random, logger, instance } = host
  return {
    log: backend.log,
    checkpoints: backend.checkpoints,
    leases: backend.leases,
    messages, clock, random, logger, instance,
    inScopeOf: (message, work) => runInScope(scopeOf(message), work),
    leaseMs: settings.leaseMs,
    transact: (work, signal) => units.transactRaw(work, signal),
    setMetadata: async (stream, metadata) => {
      refuseInUnit('events.setMetadata')
      await backend.log.setMetadata(stream, metadata)
    },
    // With messages that leave by the outbox, or inline projections, it takes a transaction; without, one statement does.
    append: (stream, expected, facts, hasPublic, events) => {
      // It would survive a rollback of the unit, or wait for what the unit holds.
      refuseInUnit('events.append')
      return hasPublic || settings.inline.length > 0 ? units.transact((unit) => unit.append(stream, expected, facts)) : backend.log.append(stream, expected, events)
    },
  }
}
