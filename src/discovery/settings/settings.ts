import type { AttachedSettings, BusSettings, SettingsHost } from '../../bus/settings-port.ts'
import { backoffMs } from '../../core/backoff.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import type { Setting } from './setting.ts'
import { type SettingAnswer, type SettingChange, SettingChanged, SettingValues } from './setting-contracts.ts'
import { SettingLog, type SettingEvents, type StoredSettingChange } from './setting-log.ts'
import { type SettingScope, checkedScope } from './setting-scope.ts'
import { SettingTable } from './setting-table.ts'
import { Watches } from './setting-watches.ts'

/** What `settings` takes. */
export interface SettingsOptions {
  /** The settings that this program reads or sets. */
  readonly settings: readonly Setting<unknown, unknown>[]
  /** The streams of a store that belongs to the same bus: `store.events`. Without it this program follows what others set, and sets nothing itself. */
  readonly events?: SettingEvents
  /** The zone that this instance is in, for values that are meant for one. */
  readonly zone?: string
  /** Milliseconds between two looks into the store, or at a peer, for what a lost broadcast would have told. Default 30,000. */
  readonly refreshMs?: number
}

/** What goes with a change. */
export interface SetOptions {
  /** Whom the value is for. Default: everybody. */
  readonly scope?: SettingScope
  /** For the history. Default: the service's name. */
  readonly by?: string
  readonly reason?: string
  /** The last revision that you know: another one is refused with `store.wrong_revision`. */
  readonly expectedRevision?: number
}

const NAMES: OptionNames = optionNames<SettingsOptions>({ settings: true, events: true, zone: true, refreshMs: true })
const SET: OptionNames = optionNames<SetOptions>({ scope: true, by: true, reason: true, expectedRevision: true })
const REFRESH_MS = 30_000
const PEER_TIMEOUT_MS = 1_000
const PEER_ATTEMPTS = 5
const PEER_BACKOFF = { initialMs: 100, factor: 2, maxMs: 1_000 } as const

/** Typed configuration of one bus: read at once, watched live, set with history. */
export class Settings implements BusSettings {
  readonly #settings: ReadonlyMap<string, Setting<unknown, unknown>>
  readonly #log: SettingLog | undefined
  readonly #zone: string | undefined
  readonly #refreshMs: number
  readonly #watches = new Watches()
  #table: SettingTable | undefined
  #host: SettingsHost | undefined
  #timer: Timer | undefined
  #reading: Promise<void> | undefined
  #isStale = false
  #isComplete = false
  #isRunning = false
  #storeProblem: string | undefined

  constructor(options: SettingsOptions) {
    refuseUnknown('settings', options, NAMES, 'an object such as { settings: [PricingPolicy] }')
    const { settings: list, events, zone, refreshMs = REFRESH_MS } = options
    if (!(refreshMs >= 10 && refreshMs <= 86_400_000)) throw new TrunklineError('core.option_invalid', { option: 'refreshMs', expected: 'a number from 10 to 86400000', actual: String(refreshMs) })
    this.#settings = new Map(list.map((one) => [one.name, one]))
    if (this.#settings.size < list.length) throw new TrunklineError('core.option_invalid', { option: 'settings', expected: 'each name once', actual: 'two settings of one name' })
    this.#log = events === undefined ? undefined : new SettingLog(events)
    this.#zone = zone
    this.#refreshMs = refreshMs
  }

  /** The value now: what was set for the most exact scope that fits this instance, else the default. @throws `discovery.setting_unknown`. */
  get<T>(setting: Setting<T, unknown>): T {
    return this.#watches.current(this.#known(setting))
  }

  /**
   * Calls `watcher` with the value now, and with each other one from then on, until the returned function is called. What it throws is logged.
   *
   * @throws `discovery.setting_unknown`.
   */
  watch<T>(setting: Setting<T, unknown>, watcher: (value: T, before: T | undefined) => void): () => void {
    return this.#watches.add(this.#known(setting), watcher, this.#host?.logger)
  }

  /**
   * Sets a value: it is checked, stored, and told to everybody. Resolves with its revision when it is stored and holds here.
   *
   * @throws `discovery.setting_invalid`, `discovery.setting_unknown`, `discovery.settings_unstored`, `store.*`, `core.option_*`.
   */
  async set<T, I>(setting: Setting<T, I>, value: I, options: SetOptions = {}): Promise<number> {
    this.#known(setting).checked(value)
    return await this.#change(setting.name, value, false, options)
  }

  /** Takes back what was set for a scope, so that a less exact value or the default holds. @throws as `set` does. */
  async clear(setting: Setting<unknown, unknown>, options: SetOptions = {}): Promise<number> {
    return await this.#change(this.#known(setting).name, null, true, options)
  }

  /**
   * Sets a scope back to what it had as of a revision, as a change of its own.
   *
   * @throws `discovery.setting_revision_missing`, `discovery.setting_invalid` where the value of then does not fit the schema of today, and as `set` does.
   */
  async rollback(setting: Setting<unknown, unknown>, revision: number, options: SetOptions = {}): Promise<number> {
    const known = this.#known(setting)
    if (!Number.isSafeInteger(revision) || revision < 0) throw new TrunklineError('discovery.setting_revision_missing', { setting: known.name, revision })
    const was = await this.#stored('rollback').asOf(known.name, revision, checkedScope(options.scope ?? {}))
    const reason = options.reason ?? `back to revision ${revision}`
    if (was === undefined || was.isCleared) return await this.clear(known, { ...options, reason })
    return await this.set(known, was.value, { ...options, reason })
  }

  /** The changes of a setting, the last one first. @throws `discovery.setting_unknown`, `discovery.settings_unstored`, `store.*`. */
  async history(setting: Setting<unknown, unknown>, limit: number = 100): Promise<readonly StoredSettingChange[]> {
    return await this.#stored('history').history(this.#known(setting).name, limit)
  }

  /** Looks into the store now, or asks a peer; resolves when it is done, whatever came of it. */
  refresh(): Promise<void> {
    this.#isStale = true
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  attach(host: SettingsHost): AttachedSettings {
    if (this.#host !== undefined) throw new TrunklineError('core.option_invalid', { option: 'settings', expected: 'a value of its own for each bus', actual: `that of ${this.#host.service.name}` })
    this.#host = host
    this.#table = new SettingTable({ service: host.service.name, version: host.service.version, zone: this.#zone, instance: host.instance })
    return {
      extension: {
        name: 'settings',
        start: async () => {
          this.#isRunning = true
          // What is stored is there before the first handler runs; peers can be asked only when deliveries have started.
          if (this.#log !== undefined) await this.refresh()
        },
        ready: async () => {
          if (this.#log === undefined) await this.#join(host)
          this.#schedule(host)
        },
        stop: async () => {
          this.#isRunning = false
          this.#timer?.cancel()
          await this.#reading
        },
        health: () => this.#health(),
      },
      broadcasts: host.canBroadcast ? [{ contract: SettingChanged, handler: (message) => this.#heard(message.data) }] : [],
      answers: host.canRequest ? [{ contract: SettingValues, handler: (): SettingAnswer => ({ changes: this.#table?.all() ?? [], isComplete: this.#isComplete }) }] : [],
    }
  }

  async #change(name: string, value: unknown, isCleared: boolean, options: SetOptions): Promise<number> {
    refuseUnknown('set of settings', options, SET)
    const log = this.#stored('set')
    const { scope = {}, by = this.#host?.service.name ?? '', reason = '', expectedRevision } = options
    const change = await log.append({ name, scope: checkedScope(scope), value, isCleared, by, reason }, expectedRevision)
    this.#apply([change])
    this.#host?.broadcast(SettingChanged, change)
    return change.revision
  }

  /** A change is told when it has been stored. Others may have been missed before it: a store is looked into. */
  #heard(data: unknown): void {
    // The contract of this type has validated it.
    this.#apply([data as SettingChange])
    if (this.#log !== undefined) void this.refresh()
  }

  /** What is told while it reads may be beyond what it has read: it reads once more then. */
  async #readAll(): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false
      await this.#read()
    }
  }

  async #read(): Promise<void> {
    const host = this.#host
    if (host === undefined || !this.#isRunning) return
    if (this.#log === undefined) {
      await this.#askPeer(host).catch(() => undefined)
      return
    }
    try {
      const news = await this.#log.news()
      this.#isComplete = true
      this.#storeProblem = undefined
      this.#apply(news)
    } catch (error) {
      this.#storeProblem = errorText(error).slice(0, 200)
      host.logger.warn({ err: error }, 'settings could not be read; what was known before still holds')
      host.healthChanged()
    }
  }

  /** Asks until somebody answers who knows; nobody may be there at all, and then defaults hold. */
  async #join(host: SettingsHost): Promise<void> {
    for (let attempt = 1; host.canRequest && attempt <= PEER_ATTEMPTS && !this.#isComplete && this.#isRunning; attempt++) {
      try {
        if (await this.#askPeer(host)) return
      } catch (error) {
        host.logger.debug({ err: error, attempt }, 'no peer told its settings')
      }
      await sleep(host.clock, backoffMs(PEER_BACKOFF, attempt, host.random))
    }
  }

  async #askPeer(host: SettingsHost): Promise<boolean> {
    if (!host.canRequest) return false
    // The contract has validated it.
    const answer = await host.ask(SettingValues, {}, PEER_TIMEOUT_MS) as SettingAnswer
    this.#apply(answer.changes)
    this.#isComplete ||= answer.isComplete
    return answer.isComplete
  }

  #apply(changes: readonly SettingChange[]): void {
    const table = this.#table
    if (table === undefined) return
    const changed = new Set(changes.filter((change) => table.apply(change)).map(({ name }) => name))
    for (const name of changed) {
      const setting = this.#settings.get(name)
      if (setting !== undefined) this.#watches.update(setting, table.resolve(setting), this.#host?.logger)
    }
    if (changed.size > 0) this.#host?.healthChanged()
  }

  #schedule(host: SettingsHost): void {
    if (!this.#isRunning) return
    // Spread out, so that instances that started together do not look together for ever.
    this.#timer = host.clock.setTimer(this.#refreshMs * (0.9 + 0.2 * host.random.next()), () => void this.refresh().finally(() => this.#schedule(host)), { background: true })
  }

  #health(): { readonly state: 'up' | 'degraded'; readonly reasons: readonly string[] } {
    const reasons = [...this.#watches.problems(), ...(this.#storeProblem === undefined ? [] : [`the store could not be read: ${this.#storeProblem}`])]
    return { state: reasons.length === 0 ? 'up' : 'degraded', reasons }
  }

  #known<T>(setting: Setting<T, unknown>): Setting<T, unknown> {
    if (this.#settings.get(setting?.name) === setting) return setting
    throw new TrunklineError('discovery.setting_unknown', { setting: String(setting?.name).slice(0, 200), known: [...this.#settings.keys()] })
  }

  #stored(operation: string): SettingLog {
    if (this.#log !== undefined && this.#isRunning) return this.#log
    throw new TrunklineError('discovery.settings_unstored', { operation })
  }
}

/**
 * Makes the settings of one bus: `createBus({ settings: settings({ settings: [PricingPolicy], events: store.events }) })`.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function settings(options: SettingsOptions): Settings {
  return new Settings(options)
}
