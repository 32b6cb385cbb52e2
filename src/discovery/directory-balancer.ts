import type { BalanceOptions, BalancedAttempt, BalancedCall, Balancer } from '../bus/balancer.ts'
import { linkedController, neverAborted } from '../core/abort.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { balanceOf } from './balance-options.ts'
import { CallBook } from './call-book.ts'
import { CallBudget } from './call-budget.ts'
import { type Reachable, choose } from './choice.ts'
import type { Instance } from './directory-state.ts'

/** What balancing needs of its directory. */
export interface BalancerHost {
  readonly clock: Clock
  readonly random: Random
  /** Zone of this process. */
  readonly zone: string | undefined
  /** Instances that can be given work, else those that may be able to; the surest first. */
  readonly candidates: (isWanted: (instance: Instance) => boolean) => readonly Instance[]
  /** Grows when `candidates` may give something else. */
  readonly revision: () => number
}

/** Instances tried for one call. */
const ATTEMPTS_MAX = 3
/** Types and services whose candidates are remembered. */
const REMEMBERED_MAX = 1_000

/** How one attempt ended, for the book: a declared error, or an answer about the data, is no fault of the instance. */
export function blameOf(error: unknown): 'ok' | 'failed' | 'abandoned' {
  if (isTrunklineError(error, 'bus.ask_cancelled') || isTrunklineError(error, 'bus.not_running') || isTrunklineError(error, 'bus.overloaded')) return 'abandoned'
  if (isTrunklineError(error, 'bus.answer_failed')) return error.details.code.startsWith('contract.') ? 'ok' : 'failed'
  return isTrunklineError(error) && error.code.startsWith('contract.') ? 'ok' : 'failed'
}

/** Answers of an instance that did nothing: another one may do it. */
const UNDONE: ReadonlySet<string> = new Set(['bus.overloaded', 'bus.not_running', 'resilience.overloaded'])

/** True where another instance may do better. Queries change nothing, so one that may have been answered can be asked again. */
function mayGoElsewhere(error: unknown): boolean {
  if (isTrunklineError(error, 'bus.answer_failed')) return UNDONE.has(error.details.code)
  return isTrunklineError(error, 'bus.no_responder') || isTrunklineError(error, 'bus.ask_timeout')
}

/** One call on its way through its attempts. */
interface Run {
  readonly call: BalancedCall
  readonly options: BalanceOptions
  readonly attempt: BalancedAttempt
  readonly signal: AbortSignal
  readonly tried: Set<string>
}

/** Balances asks over the instances of a directory, and remembers how they went. */
export class DirectoryBalancer implements Balancer {
  readonly book: CallBook
  readonly #host: BalancerHost
  readonly #budget: CallBudget
  readonly #remembered = new Map<string, readonly Reachable[]>()
  #rememberedRevision = -1
  #turn = 0

  constructor(host: BalancerHost) {
    this.#host = host
    this.book = new CallBook()
    this.#budget = new CallBudget(host.clock.monotonicMs())
  }

  async ask(call: BalancedCall, attempt: BalancedAttempt): Promise<unknown> {
    const { clock } = this.#host
    const options = balanceOf(call.balance)
    const { attemptsMax = ATTEMPTS_MAX, attemptTimeoutMs } = options
    const run: Run = { call, options, attempt, signal: call.signal ?? neverAborted, tried: new Set() }
    const expiresAtMs = clock.monotonicMs() + call.timeoutMs
    this.#budget.deposit(clock.monotonicMs())
    let target = this.#target(run)
    if (target === undefined) throw new TrunklineError('discovery.no_instance', { wanted: call.type, problem: this.#problem(call.type, options) })
    for (let count = 1; ; count++) {
      run.tried.add(target.address)
      const hasNext = count < attemptsMax && this.isThereAnother(nameOf(call), run.tried)
      const leftMs = Math.max(1, expiresAtMs - clock.monotonicMs())
      try {
        return await this.#hedged(run, target, !hasNext ? leftMs : Math.min(leftMs, attemptTimeoutMs ?? Math.max(1, leftMs / 2)))
      } catch (error) {
        const isOver = clock.monotonicMs() >= expiresAtMs || run.signal.aborted
        target = isOver || !hasNext || !mayGoElsewhere(error) || !this.#budget.withdraw() ? undefined : this.#target(run)
        if (target === undefined) throw isOver && isTrunklineError(error, 'bus.ask_timeout') ? lateError(call) : error
      }
    }
  }

  #problem(type: string, options: BalanceOptions): string {
    const version = options.version === undefined ? '' : ` of version ${options.version}`
    return `no instance${version} that is up answers ${type}`
  }

  /** Asks one instance, and a second one where the first takes long and that was wanted; the first answer counts. */
  #hedged(run: Run, first: Reachable, timeoutMs: number): Promise<unknown> {
    const { hedgeAfterMs } = run.options
    if (hedgeAfterMs === undefined || hedgeAfterMs >= timeoutMs) return this.#one(run, first, timeoutMs, run.signal)
    const startedAtMs = this.#host.clock.monotonicMs()
    return new Promise((resolve, reject) => {
      const { controller, release } = linkedController(run.signal)
      let running = 0
      const ended = (): void => {
        timer.cancel()
        release()
        controller.abort()
      }
      const start = (target: Reachable): void => {
        running++
        this.#one(run, target, Math.max(1, timeoutMs - (this.#host.clock.monotonicMs() - startedAtMs)), controller.signal).then(
          (value) => {
            ended()
            resolve(value)
          },
          (error: unknown) => {
            if (--running > 0) return
            ended()
            reject(error)
          },
        )
      }
      const timer: Timer = this.#host.clock.setTimer(hedgeAfterMs, () => {
        const second = this.#target(run)
        if (second === undefined || running === 0 || !this.#budget.withdraw()) return
        run.tried.add(second.address)
        start(second)
      })
      start(first)
    })
  }

  async #one(run: Run, { address }: Reachable, timeoutMs: number, signal: AbortSignal): Promise<unknown> {
    const { clock } = this.#host
    const startedAtMs = clock.monotonicMs()
    const end = (outcome: 'ok' | 'failed' | 'abandoned'): void => this.book.end(address, outcome, clock.monotonicMs() - startedAtMs, clock.monotonicMs())
    this.book.begin(address)
    try {
      const value = await run.attempt(address, { timeoutMs, signal })
      end('ok')
      return value
    } catch (error) {
      end(blameOf(error))
      throw error
    }
  }

  #target({ call, options, tried }: Run): Reachable | undefined {
    return this.choose(nameOf(call), options, tried, (instance) => {
      const isAccepted = instance.accepts.some(({ type, version }) => type === call.type && version >= call.version)
      const address = instance.addresses['bus']
      return isAccepted ? address : undefined
    })
  }

  /**
   * Chooses among the instances that `addressOf` gives an address for.
   *
   * @param name what the candidates are remembered under: the same name must always mean the same `addressOf`.
   */
  choose(name: string, options: BalanceOptions, tried: ReadonlySet<string>, addressOf: (instance: Instance) => string | undefined): Reachable | undefined {
    const { clock, random, zone } = this.#host
    return choose(this.#reachable(name, addressOf), options, { book: this.book, random, zone, nowMs: clock.monotonicMs(), turn: this.#turn++, tried })
  }

  /** True where `choose` under this name could give an address that was not tried; it takes no turn. */
  isThereAnother(name: string, tried: ReadonlySet<string>): boolean {
    return this.#remembered.get(name)?.some(({ address, instance }) => !tried.has(address) && instance.weight > 0) ?? false
  }

  /** Many calls see the same instances, so they are looked up again only when something has changed. */
  #reachable(name: string, addressOf: (instance: Instance) => string | undefined): readonly Reachable[] {
    const revision = this.#host.revision()
    if (revision !== this.#rememberedRevision || this.#remembered.size > REMEMBERED_MAX) this.#remembered.clear()
    this.#rememberedRevision = revision
    let reachable = this.#remembered.get(name)
    if (reachable !== undefined) return reachable
    reachable = this.#host.candidates((instance) => addressOf(instance) !== undefined).flatMap((instance) => {
      const address = addressOf(instance)
      return address === undefined ? [] : [{ instance, address }]
    })
    this.#remembered.set(name, reachable)
    return reachable
  }

  /** True where a second attempt is within the budget, which it then takes from. */
  mayTryAgain(): boolean {
    return this.#budget.withdraw()
  }

  /** A first attempt that was not an ask. */
  deposit(): void {
    this.#budget.deposit(this.#host.clock.monotonicMs())
  }
}

function nameOf({ type, version }: BalancedCall): string {
  return `ask ${type} ${version}`
}

/** The whole time was over, not that of the last attempt. */
function lateError({ type, timeoutMs }: BalancedCall): TrunklineError {
  return new TrunklineError('bus.ask_timeout', { type, timeoutMs })
}
