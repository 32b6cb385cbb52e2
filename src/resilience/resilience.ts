import type { Admission, AttachedResilience, BusResilience, PolicyEvent, ResilienceHost } from '../bus/call-policy.ts'
import type { Contract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type LoadAnnouncement, LoadChanged, announcementOf } from './announced-states.ts'
import { FairAdmission } from './fair-admission.ts'
import { KillSwitch, type KillSwitchOptions, switchRule } from './kill-switch.ts'
import { PeerLoads } from './peer-loads.ts'
import { type PolicyRule, RuleBook } from './policy-rule.ts'
import { type ProviderOptions, type ProviderRule, providerRule } from './provider.ts'

/** How the calls and handlers of one bus are guarded. */
export interface ResilienceOptions {
  /** Policies round asks that say none themselves. */
  readonly asks?: readonly PolicyRule[]
  /** Policies round handlers, also round those that are units of work; batches have none. */
  readonly handlers?: readonly PolicyRule[]
  /** Limits each caller of the queries and commands that this bus is asked, and sheds what waits too long. `{}` for the defaults. */
  readonly provider?: ProviderOptions
  /** Pauses a subscription whose handlers fail. `{}` for the defaults. */
  readonly killSwitch?: KillSwitchOptions
  /** Broadcasts what changes (`CircuitChanged`, `LoadChanged`, `IntakeChanged`). Default false. */
  readonly announces?: boolean
  /** Hears what others broadcast of their load: `peers`. Default false. */
  readonly listens?: boolean
}

const NAMES: OptionNames = optionNames<ResilienceOptions>({ asks: true, handlers: true, provider: true, killSwitch: true, announces: true, listens: true })

/** What guards one bus. */
export class Resilience implements BusResilience {
  /** What other instances have announced of their load; empty unless it `listens`. */
  readonly peers: PeerLoads = new PeerLoads()
  readonly #options: ResilienceOptions
  readonly #asks: RuleBook
  readonly #handlers: RuleBook
  readonly #admissions = new Map<string, { readonly admission: FairAdmission; readonly inFlightMax: number; readonly lineMax: number }>()
  #provider: ProviderRule | undefined
  #attachedTo: string | undefined

  constructor(options: ResilienceOptions) {
    refuseUnknown('resilience', options, NAMES)
    this.#options = options
    this.#asks = new RuleBook('asks', options.asks ?? [])
    this.#handlers = new RuleBook('handlers', options.handlers ?? [])
    this.#provider = options.provider === undefined ? undefined : providerRule(options.provider)
    if (options.killSwitch !== undefined) switchRule(options.killSwitch)
  }

  /** Replaces the limits of callers while the bus runs. Only where `provider` was given at first. @throws `core.option_invalid`, `core.option_unknown`. */
  limit(provider: ProviderOptions): void {
    const rule = providerRule(provider)
    if (this.#provider === undefined) throw new TrunklineError('core.option_invalid', { option: 'provider of resilience', expected: 'given at first, where limits are to be changed later', actual: 'undefined' })
    this.#provider = rule
    for (const { admission, inFlightMax, lineMax } of this.#admissions.values()) admission.change(rule(inFlightMax, lineMax))
  }

  attach(host: ResilienceHost): AttachedResilience {
    if (this.#attachedTo !== undefined) throw new TrunklineError('core.option_invalid', { option: 'resilience', expected: 'a value of its own for each bus', actual: `that of ${this.#attachedTo}` })
    this.#attachedTo = host.service
    const { asks, handlers, killSwitch, announces, listens } = this.#options
    const switches: KillSwitch[] = []
    const heard = (message: { readonly data: unknown }): void => {
      // It was decoded by the contract of this type.
      this.peers.heard(message.data as LoadAnnouncement, host.clock)
    }
    return {
      callPolicy: asks === undefined ? undefined : this.#asks.policyOf,
      handlePolicy: handlers === undefined ? () => undefined : this.#handlers.policyOf,
      admission: (contract, inFlightMax) => this.#admission(contract, inFlightMax, host),
      outcomes: (group) => {
        if (killSwitch === undefined) return undefined
        const one = new KillSwitch(group, switchRule(killSwitch), host)
        switches.push(one)
        return one.record
      },
      broadcasts: listens === true ? [{ contract: LoadChanged, handler: heard }] : [],
      heard: announces === true ? (told: PolicyEvent) => announce(told, host) : () => {},
      stop: () => {
        for (const one of switches) one.stop()
        for (const { admission } of this.#admissions.values()) admission.stop()
      },
    }
  }

  #admission({ type, kind }: Contract, inFlightMax: number, host: ResilienceHost): Admission | undefined {
    if (this.#provider === undefined) return undefined
    // A command can be asked in two ways, over the queue and of this instance alone: who asks counts as one.
    const known = this.#admissions.get(type)
    if (known !== undefined) return known.admission
    // Commands wait in their queue: a long line here would keep those of others from coming in.
    const lineMax = kind === 'command' ? Math.max(1, Math.floor(inFlightMax / 4)) : Infinity
    const admission = new FairAdmission(type, this.#provider(inFlightMax, lineMax), host)
    this.#admissions.set(type, { admission, inFlightMax, lineMax })
    return admission
  }
}

function announce(told: PolicyEvent, { service, instance, broadcast }: ResilienceHost): void {
  const { contract, data } = announcementOf(told, { service, instance })
  broadcast(contract, data)
}

/**
 * Guards a bus in one place: policies round asks and handlers by contract or context, limits for those who ask, kill switches for its subscriptions.
 *
 * @throws `core.option_invalid`, `core.option_unknown`.
 */
export function resilience(options: ResilienceOptions): Resilience {
  return new Resilience(options)
}
