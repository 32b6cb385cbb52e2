import type { BusCompanion, BusExtension, BusView, HealthPart } from '../bus/port.ts'
import type { Timer } from '../core/clock.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import { type CheckedHealth, type HealthCheck, type HealthOptions, checkedHealth } from './health-options.ts'
import { type HealthFinding, deadLetterFinding, loopFinding, memoryFinding } from './health-findings.ts'

/** Between two looks at the process itself, in milliseconds. */
const LOOK_MS = 1_000

/**
 * Checks of this process, and your own, as parts of the bus' health: `createBus({ …, health: healthChecks() })`. Broker, store and
 * outbox are checked by the bus and its store in any case.
 *
 * @throws `core.option_unknown`, `core.option_invalid`.
 */
export function healthChecks(options: HealthOptions = {}): HealthChecks {
  return new HealthChecks(options)
}

/** Looks at the process once a second, and runs each of the user's checks in its interval, its last outcome standing meanwhile. */
export class HealthChecks implements BusCompanion {
  readonly #options: CheckedHealth
  #runner: HealthRunner | undefined

  constructor(options: HealthOptions) {
    this.#options = checkedHealth(options)
  }

  /** What the bus calls; not for programs. */
  attach(view: BusView): BusExtension {
    if (this.#runner !== undefined) throw new TrunklineError('discovery.attached_twice', { service: view.service.name })
    const runner = new HealthRunner(view, this.#options)
    this.#runner = runner
    return {
      name: 'checks',
      start: () => Promise.resolve(runner.start()),
      stop: () => Promise.resolve(runner.stop()),
      health: () => ({ state: 'up', reasons: [], parts: runner.parts }),
    }
  }

  /** What every check found last, by name; empty before the bus has started. */
  get parts(): readonly HealthPart[] {
    return this.#runner?.parts ?? []
  }
}

class HealthRunner {
  readonly #view: BusView
  readonly #options: CheckedHealth
  readonly #found = new Map<string, HealthPart>()
  readonly #timers = new Set<Timer>()
  readonly #latenesses: number[] = []
  readonly #deadLetteredAtMs: number[] = []
  #unobserve: () => void = () => {}
  #isRunning = false

  constructor(view: BusView, options: CheckedHealth) {
    this.#view = view
    this.#options = options
  }

  get parts(): readonly HealthPart[] {
    return [...this.#found.values()]
  }

  start(): void {
    this.#isRunning = true
    this.#unobserve = this.#view.observe((event) => {
      if (event.kind === 'delivery-dead-lettered') this.#deadLetteredAtMs.push(this.#view.clock.monotonicMs())
    })
    this.#look()
    for (const [name, check] of Object.entries(this.#options.checks)) this.#begin(name, check)
  }

  stop(): void {
    this.#isRunning = false
    this.#unobserve()
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    this.#found.clear()
  }

  /** The process itself: cheap enough to be looked at each second. */
  #look(): void {
    const { clock } = this.#view
    const dueMs = clock.monotonicMs() + LOOK_MS
    this.#take('event loop', loopFinding(this.#latenesses, this.#options))
    this.#take('memory', memoryFinding(this.#options))
    this.#take('dead letters', deadLetterFinding(this.#deadLetteredAtMs, clock.monotonicMs(), this.#options))
    this.#after(LOOK_MS, () => {
      this.#latenesses.push(Math.max(0, clock.monotonicMs() - dueMs))
      if (this.#latenesses.length > this.#options.loopLooks) this.#latenesses.shift()
      this.#look()
    })
  }

  #begin(name: string, check: HealthCheck): void {
    // Until it has run for the first time nothing is known, and a service must not be given work on a guess.
    this.#take(name, { state: check.isCritical ? 'down' : 'degraded', reasons: ['it has not been checked yet'] })
    void this.#run(name, check)
  }

  async #run(name: string, check: HealthCheck): Promise<void> {
    const finding = await this.#outcome(check)
    if (!this.#isRunning) return
    this.#take(name, finding)
    this.#after(check.everyMs, () => void this.#run(name, check))
  }

  /** A check that fails, or takes too long, says so itself. Never rejects. */
  async #outcome({ run, timeoutMs, isCritical }: HealthCheck): Promise<HealthFinding> {
    const bad = isCritical ? 'down' : 'degraded'
    const abort = new AbortController()
    let limit: Timer | undefined
    const late = new Promise<HealthFinding>((resolve) => {
      limit = this.#view.clock.setTimer(timeoutMs, () => {
        abort.abort()
        resolve({ state: bad, reasons: [`it did not end within ${timeoutMs} ms`] })
      }, { background: true })
    })
    try {
      const ran = (async () => await run(abort.signal))()
      // A check that fails after its time must not be an unhandled rejection.
      ran.catch(() => undefined)
      return findingOf(await Promise.race([ran, late]))
    } catch (error) {
      return { state: bad, reasons: [errorText(error).slice(0, 200)] }
    } finally {
      limit?.cancel()
    }
  }

  #take(name: string, { state, reasons }: HealthFinding): void {
    const before = this.#found.get(name)
    this.#found.set(name, { name, state, reasons })
    if (before?.state !== state || before.reasons.join() !== reasons.join()) this.#view.healthChanged()
  }

  #after(delayMs: number, work: () => void): void {
    if (!this.#isRunning) return
    const timer = this.#view.clock.setTimer(delayMs, () => {
      this.#timers.delete(timer)
      work()
    }, { background: true })
    this.#timers.add(timer)
  }
}

/** What a check gave back: nothing is well, and what is no finding is a mistake of the check. */
function findingOf(value: HealthFinding | undefined | void): HealthFinding {
  if (typeof value !== 'object' || value === null) return { state: 'up', reasons: [] }
  const { state, reasons } = value
  if (state === 'up' || state === 'degraded' || state === 'down') return { state, reasons: Array.isArray(reasons) ? reasons.map((reason) => String(reason).slice(0, 200)) : [] }
  return { state: 'down', reasons: ['the check gave back neither nothing nor a state'] }
}
