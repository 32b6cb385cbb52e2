import type { Contract, ContractTypes, DefinedContract } from '../contract/contract.ts'
import type { Admission, AttachedResilience, CallPolicy, PolicyHost } from './call-policy.ts'
import type { HandlerEntry } from './delivery-runner.ts'
import { lazy } from './within.ts'

/** What stands between the intake of a bus and its handlers. */
export class HandlerGuard {
  readonly #resilience: AttachedResilience | undefined
  readonly #host: PolicyHost

  constructor(resilience: AttachedResilience | undefined, host: PolicyHost) {
    this.#resilience = resilience
    this.#host = host
  }

  /** The handler with its policy round it, or as it is where there is none. */
  readonly policed = (entry: HandlerEntry): HandlerEntry => {
    const policy = this.#resilience?.handlePolicy(entry.contract)
    return policy === undefined ? entry : { ...entry, handle: policedHandle(entry, policy, this.#host) }
  }

  /** See `AttachedResilience.admission`. */
  admission(contract: DefinedContract<string, ContractTypes>, inFlightMax: number): Admission | undefined {
    return this.#resilience?.admission(contract, inFlightMax)
  }

  /** See `AttachedResilience.outcomes`. */
  outcomes(group: string): ((isFailure: boolean) => void) | undefined {
    return this.#resilience?.outcomes(group)
  }
}

function policedHandle({ contract, handle }: HandlerEntry, policy: CallPolicy<unknown>, host: PolicyHost): HandlerEntry['handle'] {
  return async (message, given) => {
    const context = lazy(given)
    const untilDeadlineMs = context.deadlineAtMs === undefined ? Infinity : context.deadlineAtMs - host.clock.nowMs()
    return await policy.run((signal) => handle(message, context.under(signal)), {
      signal: context.signal, host, name: contract.type, kind: kindOf(contract), expiresAtMs: host.clock.monotonicMs() + untilDeadlineMs,
      key: () => `${contract.type} ${JSON.stringify(message.data)}`,
    })
  }
}

/** Round a handler every kind may be done again: the delivery itself may come again at any time. */
function kindOf({ kind }: Contract): 'query' | 'event' | 'work' {
  return kind === 'command' ? 'work' : kind
}
