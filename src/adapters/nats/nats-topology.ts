import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import { connectionLost, numberIn, recordIn, type ApiAnswer, type NatsLink } from './nats-link.ts'
import type { NatsNames } from './nats-names.ts'
import type { NatsSettings } from './nats-options.ts'

const NANOSECONDS = 1_000_000
const STREAM_MISSING = 10_059
const CONSUMER_MISSING = 10_014
/** Time that a server gets to remove the files of a deleted stream. */
const DELETION_MS = 500
/** Deliveries in hand of all instances of a group. Delayed ones count too, so it must never be near the in-flight limit. */
const ACK_PENDING_MAX = 65_536

type Config = Readonly<Record<string, unknown>>

/** One durable pull consumer. */
export interface ConsumerPlan {
  readonly stream: string
  readonly name: string
  readonly filter: string
  /** Where it starts when it is made for the first time. Work queues have only `beginning`. */
  readonly from: 'new' | 'beginning'
  readonly ackWaitMs: number
  /** Deliveries in hand at most. Default 65,536. */
  readonly ackPendingMax?: number
}

/** What the server says about a consumer. */
export interface ConsumerState {
  /** Stream sequence up to which everything is acked. */
  readonly ackFloorSeq: number
  /** Stream sequence up to which everything was delivered at least once. */
  readonly deliveredSeq: number
  readonly ackPending: number
  /** Number of the last delivery. */
  readonly consumerSeq: number
}

/** Makes sure that streams and consumers exist; what exists already is compared and never changed. */
export class NatsTopology {
  readonly #link: NatsLink
  readonly #configs: ReadonlyMap<string, Config>
  readonly #ensuring = new Map<string, Promise<void>>()
  /** Streams that were there. */
  readonly #known = new Set<string>()

  constructor(link: NatsLink, names: NatsNames, settings: NatsSettings) {
    this.#link = link
    this.#configs = streamConfigs(names, settings)
  }

  /** @throws `bus.connection_lost`, `core.option_invalid` for a stream that would lose messages. */
  async ensureStreams(): Promise<void> {
    await Promise.all([...this.#configs.keys()].map(async (stream) => await this.ensureStream(stream)))
  }

  /** One stream; calls at the same time share one check. */
  async ensureStream(stream: string): Promise<void> {
    let ensuring = this.#ensuring.get(stream)
    if (ensuring === undefined) {
      ensuring = this.#ensure(stream).finally(() => this.#ensuring.delete(stream))
      this.#ensuring.set(stream, ensuring)
    }
    await ensuring
  }

  /**
   * The consumer as planned, made where it is absent.
   *
   * @param resumeFromSeq start of a consumer that existed and was deleted: never "new", which would lose what came since (N-22).
   * @param madeAt when the stream was made in which `resumeFromSeq` counts, as `streamMadeAt` gave it.
   * @throws `bus.connection_lost`, `bus.subscription_conflict` where the server refuses it.
   */
  async ensureConsumer(plan: ConsumerPlan, resumeFromSeq?: number, madeAt?: string): Promise<ConsumerState> {
    const found = await this.findConsumer(plan)
    if (found !== undefined) return found
    return await this.createConsumer(plan, resumeFromSeq, madeAt)
  }

  /** When the server made the stream: another text means another stream, whose sequence began at 1 again. @throws `bus.connection_lost`. */
  async streamMadeAt(stream: string): Promise<string> {
    const info = await this.#link.api(`STREAM.INFO.${stream}`)
    if (!info.ok) throw connectionLost(info.problem)
    return String(info.body['created'])
  }

  /** A stream that was made anew counts from 1 again: the old place would skip what it has stored since. */
  async #startWithin(stream: string, seq: number, madeAt: string | undefined): Promise<number> {
    const info = await this.#link.api(`STREAM.INFO.${stream}`)
    if (!info.ok) throw connectionLost(info.problem)
    const isOther = madeAt !== undefined && String(info.body['created']) !== madeAt
    return isOther || seq > numberIn(recordIn(info.body, 'state'), 'last_seq') + 1 ? 1 : seq
  }

  /** A consumer as it is, or undefined. @throws `bus.connection_lost`, `bus.subscription_conflict` where it is another one. */
  async findConsumer(plan: ConsumerPlan): Promise<ConsumerState | undefined> {
    const info = await this.#link.api(`CONSUMER.INFO.${plan.stream}.${plan.name}`)
    if (info.ok) {
      this.#compareConsumer(plan, recordIn(info.body, 'config'))
      return stateOf(info.body)
    }
    if (info.code === STREAM_MISSING) await this.ensureStream(plan.stream)
    else if (info.code !== CONSUMER_MISSING) throw connectionLost(info.problem)
    return undefined
  }

  /** Makes a consumer. @throws `bus.connection_lost`, `bus.subscription_conflict`. */
  async createConsumer(plan: ConsumerPlan, resumeFromSeq?: number, madeAt?: string): Promise<ConsumerState> {
    const startSeq = resumeFromSeq === undefined ? undefined : await this.#startWithin(plan.stream, resumeFromSeq, madeAt)
    // A work queue keeps only what is not acked and insists on delivering all of it.
    const start =
      startSeq !== undefined && startSeq > 1 && this.#configs.get(plan.stream)?.['retention'] === 'limits'
        ? { deliver_policy: 'by_start_sequence', opt_start_seq: startSeq }
        : { deliver_policy: plan.from === 'new' && startSeq === undefined ? 'new' : 'all' }
    const answer = await this.#link.api(`CONSUMER.DURABLE.CREATE.${plan.stream}.${plan.name}`, {
      stream_name: plan.stream,
      config: { ...consumerConfig(plan), ...start },
    })
    if (answer.ok) return stateOf(answer.body)
    throw answer.code === 0 || answer.status === 503
      ? connectionLost(answer.problem)
      : new TrunklineError('bus.subscription_conflict', { subscription: plan.name, problem: answer.problem })
  }

  /** Deletes a consumer; one that is absent counts as deleted. */
  async deleteConsumer(stream: string, name: string): Promise<boolean> {
    const answer = await this.#link.api(`CONSUMER.DELETE.${stream}.${name}`)
    return answer.ok || answer.code === CONSUMER_MISSING || answer.code === STREAM_MISSING
  }

  async #ensure(stream: string): Promise<void> {
    const config = this.#configs.get(stream)
    if (config === undefined) return
    const info = await this.#link.api(`STREAM.INFO.${stream}`)
    if (info.ok) {
      this.#compareStream(stream, config, recordIn(info.body, 'config'))
      this.#known.add(stream)
      return
    }
    if (info.code !== STREAM_MISSING) throw connectionLost(info.problem)
    if (this.#known.delete(stream)) {
      // It was deleted just now. nats-server 2.9 answers that before it has removed the files, and would remove those of a new one with them.
      await sleep(this.#link.host.clock, DELETION_MS)
      await this.#ensure(stream)
      return
    }
    const made = await this.#link.api(`STREAM.CREATE.${stream}`, config)
    // Another process may have made it in between with settings of its own.
    if (!made.ok && !(await this.#exists(stream))) throw connectionLost(`stream ${stream}: ${made.problem}`)
    this.#known.add(stream)
  }

  async #exists(stream: string): Promise<boolean> {
    const info: ApiAnswer = await this.#link.api(`STREAM.INFO.${stream}`)
    return info.ok
  }

  #compareStream(stream: string, wanted: Config, actual: Config): void {
    if (actual['retention'] !== wanted['retention']) {
      throw new TrunklineError('core.option_invalid', {
        option: 'namespace',
        expected: `stream ${stream} with ${String(wanted['retention'])} retention`, // N-06: another one acknowledges and drops
        actual: String(actual['retention']),
      })
    }
    this.#reportDifferences(`stream ${stream}`, wanted, actual)
  }

  #compareConsumer(plan: ConsumerPlan, actual: Config): void {
    if (actual['filter_subject'] !== plan.filter || actual['ack_policy'] !== 'explicit') {
      throw new TrunklineError('bus.subscription_conflict', {
        subscription: plan.name,
        problem: `the server has a consumer of this name with the filter ${String(actual['filter_subject'])}; it must be removed first`,
      })
    }
    this.#reportDifferences(`consumer ${plan.name}`, consumerConfig(plan), actual)
  }

  #reportDifferences(what: string, wanted: Config, actual: Config): void {
    const differing = Object.keys(wanted).filter((field) => JSON.stringify(wanted[field]) !== JSON.stringify(actual[field] ?? defaultOf(wanted[field])))
    if (differing.length === 0) return
    this.#link.host.logger.warn(
      { what, differences: differing.map((field) => `${field}: ${String(actual[field])} instead of ${String(wanted[field])}`) },
      'NATS has other settings than this service asks for; they are used as they are',
    )
  }
}

/** The server leaves out what is false or zero. */
function defaultOf(wanted: unknown): unknown {
  return typeof wanted === 'boolean' ? false : undefined
}

function stateOf(body: Record<string, unknown>): ConsumerState {
  return {
    ackFloorSeq: numberIn(recordIn(body, 'ack_floor'), 'stream_seq'),
    deliveredSeq: numberIn(recordIn(body, 'delivered'), 'stream_seq'),
    ackPending: numberIn(body, 'num_ack_pending'),
    consumerSeq: numberIn(recordIn(body, 'delivered'), 'consumer_seq'),
  }
}

function consumerConfig(plan: ConsumerPlan): Config {
  return {
    durable_name: plan.name,
    ack_policy: 'explicit',
    ack_wait: plan.ackWaitMs * NANOSECONDS,
    max_deliver: -1, // N-17: attempts are counted here
    max_ack_pending: plan.ackPendingMax ?? ACK_PENDING_MAX,
    filter_subject: plan.filter,
    replay_policy: 'instant',
  }
}

function streamConfigs(names: NatsNames, settings: NatsSettings): ReadonlyMap<string, Config> {
  const { streams, namespace } = names
  const { eventsAgeMaxMs, duplicateWindowMs, replicas } = settings
  const common = { storage: 'file', num_replicas: replicas, duplicate_window: duplicateWindowMs * NANOSECONDS }
  const configs: readonly (Config & { readonly name: string })[] = [
    {
      ...common,
      name: streams.events,
      subjects: [`${namespace}.e.>`],
      retention: 'limits',
      discard: 'old',
      max_age: eventsAgeMaxMs * NANOSECONDS,
      duplicate_window: Math.min(duplicateWindowMs, eventsAgeMaxMs) * NANOSECONDS,
      deny_delete: true,
      deny_purge: true,
    },
    { ...common, name: streams.commands, subjects: [`${namespace}.c.>`], retention: 'workqueue', discard: 'new' }, // N-24
    { ...common, name: streams.retry, subjects: [`${namespace}.r.>`], retention: 'workqueue', discard: 'new' },
    { ...common, name: streams.hold, subjects: [`${namespace}.h.>`], retention: 'limits', discard: 'new' },
    { ...common, name: streams.dead, subjects: [`${namespace}.d.>`], retention: 'limits', discard: 'new' },
    {
      storage: 'file',
      num_replicas: replicas,
      name: streams.state,
      subjects: [`${namespace}.s.>`],
      retention: 'limits',
      discard: 'old',
      max_msgs_per_subject: 1, // leases change for ever, and only their last version means anything
    },
  ]
  return new Map(configs.map((config) => [config.name, config]))
}
