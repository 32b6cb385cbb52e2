import type { Contract } from '../contract/contract.ts'
import type { BusView, LightSubscription, SidePlane } from '../bus/port.ts'
import { type Clock, sleep } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { errorText, isTrunklineError } from '../core/errors.ts'
import type { Beat, FullAnnouncement, InstanceInfo, RosterRow } from './announcement.ts'
import {
  type AnnouncementContracts, type AnnouncementKind, COMMON, DescribeInstance, ROSTER_PAGE_MAX, type RosterPage, ShowRoster, contractsOf, rosterOf,
} from './announcement-contracts.ts'
import { beatOf } from './announcer.ts'
import { type ContractDrift, ContractDriftDetected, ShowContract, type ShowContractRequest, type ShownContract } from './contract-drift.ts'

/** Time for one page of a roster, in milliseconds. */
const ROSTER_TIMEOUT_MS = 1_600
/** After so long without an answer another instance is asked beside the first one, in milliseconds: two that are gone without the broker's knowledge cost less than a second. */
const ROSTER_NEXT_MS = 400
/** Instances that are asked for one page. */
const ROSTER_ASKED_MAX = 4
/** Pages of one roster. */
const ROSTER_PAGES_MAX = 1_000

const KINDS: readonly AnnouncementKind[] = ['started', 'alive', 'changed', 'draining', 'stopped']

/** What an instance gives others to hear and to ask. */
export interface AirSinks {
  readonly heard: (about: AnnouncementKind, beat: Beat, info: InstanceInfo | undefined) => void
  readonly describe: () => FullAnnouncement
  readonly show: (type: string) => ShownContract
  readonly roster: (services: readonly string[], after: string | undefined, limit: number) => RosterPage
}

/** What an instance that was asked says. */
export type ProbeAnswer = { readonly kind: 'answered'; readonly announcement: FullAnnouncement } | { readonly kind: 'refused' | 'silent' }

/** How announcements travel: who hears which of them, and who answers questions about others. */
export class Air {
  readonly #side: SidePlane
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #service: string
  readonly #own: AnnouncementContracts
  readonly #sinks: AirSinks
  readonly #subscriptions: LightSubscription[] = []
  readonly #interests = new Map<string, Promise<void>>()

  constructor({ side, logger, clock, service }: BusView, sinks: AirSinks) {
    this.#side = side
    this.#clock = clock
    this.#logger = logger
    this.#service = service.name
    this.#own = contractsOf(service.name)
    this.#sinks = sinks
  }

  /** Begins to hear, and to answer for itself. */
  async open(interest: 'all' | readonly string[]): Promise<void> {
    this.#subscriptions.push(await this.#side.onAsk(DescribeInstance, () => this.#sinks.describe()))
    // The contract's schema has just validated it.
    this.#subscriptions.push(await this.#side.onAsk(ShowContract, (data) => this.#sinks.show((data as ShowContractRequest).type)))
    if (interest === 'all') await this.#hear(COMMON)
    else for (const service of new Set([this.#service, ...interest])) await this.listenTo(service)
  }

  /** Begins to hear one service more. */
  listenTo(service: string): Promise<void> {
    const known = this.#interests.get(service)
    if (known !== undefined) return known
    const listening = this.#hear(contractsOf(service))
    this.#interests.set(service, listening)
    return listening
  }

  async #hear(contracts: AnnouncementContracts): Promise<void> {
    const kinds = new Map(KINDS.map((kind) => [contracts[kind].type, kind]))
    const heard = (contract: Contract, data: unknown): void => {
      const about = kinds.get(contract.type)
      // The contract's schema has just validated it.
      const announcement = data as Beat & { readonly info?: InstanceInfo }
      if (about !== undefined) this.#sinks.heard(about, announcement, announcement.info)
    }
    this.#subscriptions.push(await this.#side.onBroadcast(KINDS.map((kind) => contracts[kind]), heard))
  }

  /** Begins to answer who is there: for its own service, and for all where it hears all. */
  async offerRoster(hearsAll: boolean): Promise<void> {
    const answer = (data: unknown): RosterPage => {
      // The contract's schema has just validated it.
      const { services, after, limit } = data as { readonly services: readonly string[]; readonly after?: string; readonly limit: number }
      return this.#sinks.roster(services, after, limit)
    }
    this.#subscriptions.push(await this.#side.onAsk(rosterOf(this.#service), answer))
    if (hearsAll) this.#subscriptions.push(await this.#side.onAsk(ShowRoster, answer))
  }

  /** Says it to those who hear all services, or to those who hear this one. A lost announcement is made good by the next one. */
  announce(audience: 'all' | 'service', about: AnnouncementKind, announcement: FullAnnouncement): Promise<void> {
    const contract = (audience === 'all' ? COMMON : this.#own)[about]
    const data = about === 'started' || about === 'changed' ? announcement : beatOf(announcement)
    return this.#side.broadcast(contract, data).catch((error: unknown) => {
      this.#logger.debug({ problem: errorText(error).slice(0, 500), about }, 'an announcement could not be made')
    })
  }

  /** Says it to whoever listens. Never rejects. */
  tellDrift(drift: ContractDrift): Promise<void> {
    return this.#side.broadcast(ContractDriftDetected, drift).catch((error: unknown) => {
      this.#logger.debug({ problem: errorText(error).slice(0, 500) }, 'a contract drift could not be told')
    })
  }

  /** Asks one instance about itself. Never rejects. */
  async probe(instance: string, address: string, timeoutMs: number): Promise<ProbeAnswer> {
    try {
      // The contract's schema validates answers, too.
      const announcement = (await this.#side.ask(DescribeInstance, { instance }, { timeoutMs, to: address })) as FullAnnouncement
      return announcement.instance === instance ? { kind: 'answered', announcement } : { kind: 'refused' }
    } catch (error) {
      return { kind: isTrunklineError(error, 'bus.no_responder') ? 'refused' : 'silent' }
    }
  }

  /**
   * Asks who is there, page by page; undefined where nobody answers. `service` where only that one is of interest.
   *
   * @param limit rows of a page; 0 for the size of the cluster alone.
   */
  async roster(service: string | undefined, limit: number = ROSTER_PAGE_MAX): Promise<{ readonly rows: readonly RosterRow[]; readonly size: number } | undefined> {
    const rows: RosterRow[] = []
    let after: string | undefined
    let size = 0
    for (let count = 0; count < ROSTER_PAGES_MAX; count++) {
      const page = await this.#page(service, after, limit)
      if (page === undefined) return count === 0 ? undefined : { rows, size }
      rows.push(...page.rows)
      size = Math.max(size, page.size)
      after = page.next
      if (after === undefined) break
    }
    return { rows, size }
  }

  async #page(service: string | undefined, after: string | undefined, limit: number): Promise<RosterPage | undefined> {
    const [contract, services] = service === undefined ? [ShowRoster, []] : [rosterOf(service), [service]]
    // The contract's schema validates answers, too.
    const ask = async (): Promise<RosterPage> => (await this.#side.ask(contract, { services, after, limit }, { timeoutMs: ROSTER_TIMEOUT_MS })) as RosterPage
    const asked: Promise<RosterPage>[] = []
    const enough = new AbortController()
    try {
      for (;;) {
        asked.push(ask())
        if (asked.length === ROSTER_ASKED_MAX) return await Promise.any(asked)
        const page = await Promise.race([Promise.any(asked), sleep(this.#clock, ROSTER_NEXT_MS, enough.signal)])
        if (page !== undefined) return page
      }
    } catch {
      // Nobody is there who could know, or nobody answered.
      return undefined
    } finally {
      enough.abort()
    }
  }

  /** Hears and answers no more. Never rejects. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#subscriptions.splice(0).map((subscription) => subscription.close()))
    this.#interests.clear()
  }
}
