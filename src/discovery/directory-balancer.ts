import type { BalanceOptions, BalancedAttempt, BalancedCall, BalancedLimits, Balancer, EarlyEnd } from '../bus/balancer.ts'
import type { CircuitState, PolicyHost } from '../bus/call-policy.ts'
import { linkedController, neverAborted } from '../core/abort.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { balanceOf } from './balance-options.ts'
import { type AttemptEnd, CallBook, type CallEnd } from './call-book.ts'
import { CallBudget } from './call-budget.ts'
import { type Reachable, choose } from './choice.ts'
import type { Instance } from './directory-state.ts'

/** What balancing needs of its directory. */
export interface BalancerHost {
  /** Time, chance, and where it is told that an instance is out or back. */
  readonly policyHost: PolicyHost
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

/** Errors that say nothing about how the instance is: it was not asked, or has too much to do, for which it is spared. */
const BLAMELESS: ReadonlySet<string> = new Set(['bus.ask_cancelled', 'bus.not_running', 'bus.overloaded', 'bus.callee_overloaded'])

/** How one attempt ended, for the book: a declared error, or an answer about the data, is no fault of the instance. */
export function blameOf(error: unknown): CallEnd {
  if (isTrunklineError(error) && BLAMELESS.has(error.code)) return 'abandoned'
  if (isTrunklineError(error, 'bus.answer_failed')) return error.details.code.startsWith('contract.') ? 'ok' : 'failed'
  return isTrunklineError(error) && error.code.startsWith('contract.') ? 'ok' : 'failed'
}

/** Answers of an instance that has no room, or goes: another one may do it. Its handler may have said so after it had begun. */
const ELSEWHERE: ReadonlySet<string> = new Set(['bus.overloaded', 'bus.not_running'])

/**
 * True where another instance may do better. What may be done twice goes there also where nobody knows whether it was done; the rest only where it certainly
 * did not begin: nobody was at the address, or the instance let it not in.
 */
export function mayGoElsewhere(error: unknown, mayRepeat: boolean): boolean {
  if (isTrunklineError(error, 'bus.no_responder')) return true
  if (isTrunklineError(error, 'bus.callee_overloaded')) return mayRepeat || error.details.hasBegun !== true
  if (!mayRepeat) return false
  return isTrunklineError(error, 'bus.ask_timeout') || (isTrunklineError(error, 'bus.answer_failed') && ELSEWHERE.has(error.details.code))
}

/** Why a hedged attempt was cut off: the other one was faster. */
const OUTRUN = new Error('another instance was faster')

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
  readonly #book: CallBook
  readonly #host: BalancerHost
  readonly #clock: Clock
  readonly #budget: CallBudget
  readonly #remembered = new Map<string, readonly Reachable[]>()
  #rememberedRevision = -1
  #turn = 0

  constructor(host: BalancerHost) {
    this.#host = host
    this.#book = new CallBook()
    this.#clock = host.policyHost.clock
    this.#budget = new CallBudget(this.#clock.monotonicMs())
  }

  async ask(call: BalancedCall, attempt: BalancedAttempt): Promise<unknown> {
    const clock = this.#clock
    const options = balanceOf(call.balance)
    if (options.hedgeAfterMs !== undefined && !call.mayRepeat) throw new TrunklineError('core.option_invalid', { option: 'hedgeAfterMs of balance', expected: 'given for queries, and for commands that are idempotent', actual: `given for ${call.type}` })
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
      // Who takes too long is left only for another one that may be asked: a late answer is better than none.
      let next: Reachable | undefined
      const mayEnd = (): boolean => (next ??= this.#paidTarget(run)) !== undefined
      const early = hasNext && call.mayRepeat ? { afterMs: attemptTimeoutMs ?? Math.max(1, leftMs / 2), mayEnd } : undefined
      try {
        return await this.#hedged(run, target, leftMs, early)
      } catch (error) {
        const isOver = clock.monotonicMs() >= expiresAtMs || run.signal.aborted
        target = isOver || !hasNext || !mayGoElsewhere(error, call.mayRepeat) ? undefined : (next ?? this.#paidTarget(run))
        if (target === undefined) throw isOver && isTrunklineError(error, 'bus.ask_timeout') ? lateError(call) : error
      }
    }
  }

  #problem(type: string, options: BalanceOptions): string {
    const version = options.version === undefined ? '' : ` of version ${options.version}`
    return `no instance${version} that is up answers ${type}`
  }

  /** Where the next attempt goes, if there is anybody left and the budget has one. */
  #paidTarget(run: Run): Reachable | undefined {
    const target = this.#target(run)
    return target !== undefined && this.#budget.withdraw() ? target : undefined
  }

  /** Asks one instance, and a second one where the first takes long and that was wanted; the first answer counts. */
  #hedged(run: Run, first: Reachable, timeoutMs: number, early: EarlyEnd | undefined): Promise<unknown> {
    const { hedgeAfterMs } = run.options
    if (hedgeAfterMs === undefined || hedgeAfterMs >= Math.min(timeoutMs, early?.afterMs ?? Infinity)) return this.#one(run, first, { timeoutMs, early, signal: run.signal })
    const startedAtMs = this.#clock.monotonicMs()
    return new Promise((resolve, reject) => {
      const { controller, release } = linkedController(run.signal)
      let running = 0
      const ended = (): void => {
        timer.cancel()
        release()
        controller.abort(OUTRUN)
      }
      const start = (target: Reachable): void => {
        running++
        const pastMs = this.#clock.monotonicMs() - startedAtMs
        const rest = early === undefined ? undefined : { ...early, afterMs: Math.max(1, early.afterMs - pastMs) }
        this.#one(run, target, { timeoutMs: Math.max(1, timeoutMs - pastMs), early: rest, signal: controller.signal }).then(
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
      const timer: Timer = this.#clock.setTimer(hedgeAfterMs, () => {
        const second = this.#target(run)
        if (second === undefined || running === 0 || !this.#budget.withdraw()) return
        run.tried.add(second.address)
        start(second)
      })
      start(first)
    })
  }

  async #one(run: Run, target: Reachable, limits: BalancedLimits): Promise<unknown> {
    const end = this.begin(target)
    try {
      const value = await run.attempt(target.address, limits)
      end('ok')
      return value
    } catch (error) {
      end(limits.signal.reason === OUTRUN ? 'outrun' : blameOf(error), isTrunklineError(error, 'bus.callee_overloaded') ? error.details.retryAfterMs : undefined)
      throw error
    }
  }

  /**
   * A call to an instance begins. What is given back tells how it ended, and for how long the instance wants to be left alone, where it said so.
   * Where the instance is out by that, or comes back, that is told like the changes of a circuit breaker.
   */
  begin(target: Reachable): (outcome: AttemptEnd, sparedForMs?: number) => void {
    const { address } = target
    const startedAtMs = this.#clock.monotonicMs()
    this.#tell(target, this.#book.begin(address, startedAtMs))
    return (outcome, sparedForMs) => {
      const nowMs = this.#clock.monotonicMs()
      if (sparedForMs !== undefined) this.#book.spare(address, sparedForMs, nowMs)
      this.#tell(target, this.#book.end(address, outcome, nowMs - startedAtMs, nowMs))
    }
  }

  #tell({ instance, address }: Reachable, state: CircuitState | undefined): void {
    if (state === undefined) return
    this.#host.policyHost.emit({ kind: 'circuit-changed', name: `${instance.service} at ${address}`, state, retryAfterMs: Math.ceil(this.#book.outForMs(address, this.#clock.monotonicMs())) })
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
    const { policyHost: { random }, zone } = this.#host
    return choose(this.#reachable(name, addressOf), options, { book: this.#book, random, zone, nowMs: this.#clock.monotonicMs(), turn: this.#turn++, tried })
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
    this.#budget.deposit(this.#clock.monotonicMs())
  }
}

function nameOf({ type, version }: BalancedCall): string {
  return `ask ${type} ${version}`
}

/** The whole time was over, not that of the last attempt. */
function lateError({ type, timeoutMs }: BalancedCall): TrunklineError {
  return new TrunklineError('bus.ask_timeout', { type, timeoutMs })
}
